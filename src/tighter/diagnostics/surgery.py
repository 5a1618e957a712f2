"""ELBO surgery: what of the KL term tells examples apart, and what is the prior's misfit."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float, Int, Key, PyTree

from tighter._checks import check_counts, require
from tighter._chunks import map_blocks
from tighter._programs import compiled
from tighter._rows import Rows
from tighter._summary import fields_of, quantity, summary
from tighter.diagnostics._index_information import (
    full_normal,
    index_information,
    normal_units,
)
from tighter.diagnostics._posteriors import (
    check_every_row,
    draw_of,
    posterior_of,
    posteriors_of_all,
    prior_of,
    unit_pair,
    units_of,
)
from tighter.distributions import draw, has_closed_form, kl

# Draws and codes at a time: their densities fit the cache, and are worth the start of a program.
_DRAWS, _CODES = 256, 2048
# Rows through the decoder at a time.
_ROWS = 4096
# Log densities of one normal unit that are worth a minute or two on two cores, and how many of
# them that of another family is worth.
_BUDGET, _OTHER_FAMILY = 2e11, 3.0


class SurgeryTerms(NamedTuple):
    """A number, or one a unit, for each part of the KL term.

    Attributes:
        average_kl: Of the mean over examples of KL(q(z|x_n)‖p(z)).
        index_code_mutual_information: Of I(n; z).
        marginal_kl: Of KL(q(z)‖p(z)).
    """

    average_kl: Float[np.ndarray, "*latent"]
    index_code_mutual_information: Float[np.ndarray, "*latent"]
    marginal_kl: Float[np.ndarray, "*latent"]

    def __repr__(self) -> str:
        return fields_of(self)


class SurgeryErrors(NamedTuple):
    """Monte Carlo standard errors, in nats; zero where a closed form was used."""

    elbo: float
    reconstruction: float
    average_kl: float
    index_code_mutual_information: float
    marginal_kl: float


class UnitSurgery(NamedTuple):
    """The KL term of each unit (latent dimension) alone, in nats, and the standard errors.

    The sum over units of the average KL is the average KL; that of the other two differs from the
    whole by what units share.
    """

    average_kl: Float[np.ndarray, " latent"]
    index_code_mutual_information: Float[np.ndarray, " latent"]
    marginal_kl: Float[np.ndarray, " latent"]
    standard_error: SurgeryTerms

    def __repr__(self) -> str:
        return fields_of(self)


class ElboSurgery(NamedTuple):
    """The ELBO taken apart, in nats a datum.

    Attributes:
        elbo: reconstruction − average_kl.
        reconstruction: Mean over examples of E_q[log p(x_n|z)].
        average_kl: Mean over examples of KL(q(z|x_n)‖p(z)); the sum of the next two.
        index_code_mutual_information: I(n; z), what z tells of the example's index, in [0, log N].
        marginal_kl: KL(q(z)‖p(z)), of the aggregated posterior. The difference of the two before
            it, so that it can be below zero by its error.
        standard_error: Of each of the five. That of `marginal_kl` is at most the number given.
        per_dimension: The same of each latent dimension, where posteriors and prior are
            factorized; None elsewhere.
        num_examples: N; q(z) is the mixture of all N posteriors.
        num_evaluated: The examples, a random choice of the N, at whose draws q(z) was evaluated.
        num_samples: Draws of an example.
        closed_form: Whether `average_kl` is exact, rather than an average over draws.
    """

    elbo: float
    reconstruction: float
    average_kl: float
    index_code_mutual_information: float
    marginal_kl: float
    standard_error: SurgeryErrors
    per_dimension: UnitSurgery | None
    num_examples: int
    num_evaluated: int
    num_samples: int
    closed_form: bool

    def __repr__(self) -> str:
        errors, values = self.standard_error._asdict(), self._asdict()
        terms = (f"{name} {quantity(values[name], error)}" for name, error in errors.items())
        return summary(self, f"nats of {self.num_examples:,} examples: {', '.join(terms)}")


def elbo_surgery(
    model: Any,
    x: PyTree,
    *,
    num_samples: int = 2,
    num_evaluated: int | None = None,
    chunk_size: int | None = None,
    key: Key[Array, ""],
    show_progress: bool | None = None,
) -> ElboSurgery:
    r"""Take the ELBO apart: reconstruction − [mutual information + marginal KL].

    $$\mathcal L / N = \tfrac1N \sum_n \mathbb E_q[\log p(x_n \mid z)]
        - \underbrace{\left(\log N - \mathbb E_{q(z)} H[q(n \mid z)]\right)}_{I(n; z)}
        - \mathrm{KL}(q(z) \| p(z)),\qquad q(z) = \tfrac1N \sum_n q(z \mid x_n),$$

    q(z) exactly: over all N examples. The mutual information is estimated by the entropy of the
    posterior over the index, $q(n \mid z) \propto q(z \mid x_n)$, one number in [0, log N] a draw;
    averaged over draws of all examples this is unbiased, keeps the bounds, and has less variance
    than the mean of $\log q(z \mid x_n) / q(z)$, whose expectation given z it is. The average KL
    is exact where it has a closed form, and the marginal KL is their difference: unbiased, and the
    identity holds to rounding. Time grows with N² (a minute for 60,000 examples, 20 dimensions and
    two draws, on two cores), memory does not.

    Args:
        model: Has `prior`, `posterior(x)` and `log_joint(x)`.
        x: Examples; arrays with leading axis N.
        num_samples: Draws of an example. With one alone the standard errors are too large: they
            hold the differences between examples as well.
        num_evaluated: Examples at whose draws q(z) is evaluated; None for all, or as many as a
            minute or two on two cores allow.
        chunk_size: Posteriors in the sum over n at a time; None for a size that suits the machine.
            The result does not depend on it, to rounding.
        key: Random key.
        show_progress: None for a bar on terminals; True or False.

    Returns:
        The terms with their Monte Carlo errors. The examples are taken as given: they are no
        sample of anything.

    Raises:
        InputError: If the model has no prior, a count is out of range, q has mass where p has
            none, or log p(x|z) is NaN.

    References:
        Hoffman & Johnson, "ELBO surgery: yet another way to carve up the variational evidence
        lower bound", 2016, sec. 2.
    """
    check_counts(num_samples=num_samples, num_evaluated=num_evaluated, chunk_size=chunk_size)
    prior = prior_of(model)
    draws_key, choice_key = jax.random.split(key)
    rows = posteriors_of_all(model, x, key=draws_key)
    num = rows.keys.shape[0]
    require(
        (num_evaluated or 1) <= num,
        f"num_evaluated is at most the number of examples, got {num_evaluated} of {num}",
    )
    evaluated = num_evaluated or _affordable(rows, num_samples)
    chosen = np.asarray(jax.random.permutation(choice_key, num)[:evaluated])

    of_units = unit_pair(rows.example_posterior(), prior) is not None
    closed = _has_closed_form(rows.example_posterior(), prior)

    terms = _over_blocks(
        lambda taken: _terms(rows, prior, taken, num_samples, closed=closed),
        np.arange(num),
        max(1, _ROWS // num_samples),
        "reconstruction",
        show_progress=show_progress,
    )
    check_every_row(
        ~np.isnan(terms.reconstruction).any(axis=1),
        "log p(x|z) is NaN",
        "look for values that are not finite in it and in the model",
    )
    codes = min(chunk_size or _num_codes(rows), num)
    information = _over_blocks(
        lambda taken: index_information(rows, taken, num_samples, codes, of_units=of_units),
        chosen,
        max(1, _DRAWS // num_samples),
        "mutual information",
        show_progress=show_progress,
    )

    reconstruction = float(np.mean(terms.reconstruction))
    parts, errors = _parts(terms.kl, information.whole, num, closed=closed)
    per_dimension = None
    if of_units:
        unit_parts, unit_errors = _parts(terms.unit_kl, information.units, num, closed=closed)
        per_dimension = UnitSurgery(*unit_parts, standard_error=unit_errors)
    elbo_error, reconstruction_error = (
        float(_standard_error(part, num))
        for part in (terms.reconstruction - terms.kl, terms.reconstruction)
    )
    return ElboSurgery(
        elbo=reconstruction - float(parts.average_kl),
        reconstruction=reconstruction,
        **_floats(parts),
        standard_error=SurgeryErrors(elbo_error, reconstruction_error, **_floats(errors)),
        per_dimension=per_dimension,
        num_examples=num,
        num_evaluated=evaluated,
        num_samples=num_samples,
        closed_form=closed,
    )


class _Terms(NamedTuple):
    """Of each draw; the KL has one column alone where it is exact."""

    reconstruction: Any  # (examples, draws)
    kl: Any  # (examples, draws or 1)
    unit_kl: Any  # (examples, draws or 1, latent), or None


@compiled
def _terms(
    rows: Rows, prior: Any, taken: Int[Array, " block"], num_samples: int, *, closed: bool
) -> _Terms:
    """What a draw's own example and the prior say of it."""

    def example(x: PyTree, batched: PyTree, key: Key[Array, ""]) -> _Terms:
        posterior = posterior_of(rows, batched)
        units = unit_pair(posterior, prior)

        def of_draw(index: Int[Array, ""]) -> tuple[Array, ...]:
            z = draw_of(rows, batched, key, index)
            log_prior = prior.log_prob(z)
            reconstruction = jnp.subtract(rows.log_joint_of(x)(z), log_prior)
            if closed:
                return reconstruction, jnp.zeros(()), jnp.zeros(())
            if units is None:
                return reconstruction, jnp.subtract(posterior.log_prob(z), log_prior), jnp.zeros(())
            of_units = jnp.ravel(units[0].log_prob(z) - units[1].log_prob(z))
            return reconstruction, jnp.sum(of_units), of_units

        reconstruction, ratio, unit_ratio = jax.vmap(of_draw)(jnp.arange(num_samples))
        if not closed:
            return _Terms(reconstruction, ratio, None if units is None else unit_ratio)
        if units is None:
            return _Terms(reconstruction, kl(posterior, prior)[None], None)
        unit_kl = jnp.ravel(kl(*units))
        return _Terms(reconstruction, jnp.sum(unit_kl)[None], unit_kl[None])

    some = rows.take(taken)
    return jax.vmap(example)(some.xs, some.batched, some.keys)


def _has_closed_form(posterior: Any, prior: Any) -> bool:
    if not all(isinstance(d, dist.Distribution) for d in (posterior, prior)):
        return False
    return has_closed_form(*(unit_pair(posterior, prior) or (posterior, prior)))


def _num_codes(rows: Rows) -> int:
    return _CODES if normal_units(rows) else _CODES // 8


def _affordable(rows: Rows, num_samples: int) -> int:
    """How many examples' draws are worth the time: the same whatever the machine."""
    num = rows.keys.shape[0]
    return int(np.clip(_BUDGET / (_price(rows) * num_samples * num), 1, num))


def _price(rows: Rows) -> float:
    """Of the density of a draw under one posterior, in log densities of one normal unit."""
    posterior = rows.example_posterior()
    if units_of(posterior) is not None:
        each = 1.0 if normal_units(rows) else _OTHER_FAMILY
        return each * (1 + math.prod(posterior.event_shape))
    if full_normal(rows):
        return 1 + posterior.event_shape[0] ** 2 / 16
    arrays, static = eqx.partition(posterior, eqx.is_array)
    z = draw(posterior, key=jax.random.key(0))
    program = jax.jit(lambda arrays, z: eqx.combine(arrays, static).log_prob(z)).lower(arrays, z)
    return max(100.0, (program.cost_analysis() or {}).get("flops", 0.0))


def _over_blocks(
    function: Callable[[Int[Array, " block"]], Any],
    indices: Int[np.ndarray, " some"],
    block: int,
    description: str,
    *,
    show_progress: bool | None,
) -> Any:
    """A function of examples' indices, a block at a time, gathered in double precision."""
    num = indices.size
    values = map_blocks(
        lambda places: function(jnp.asarray(indices)[places]),
        num,
        min(block, num),
        description,
        show_progress=show_progress,
    )
    return jax.tree.map(lambda leaf: leaf.astype(np.float64), values)


def _parts(
    divergence: Float[np.ndarray, ...],
    information: Float[np.ndarray, ...],
    num: int,
    *,
    closed: bool,
) -> tuple[SurgeryTerms, SurgeryTerms]:
    """The three parts of the KL term and their standard errors."""
    average, gained = divergence.mean(axis=(0, 1)), information.mean(axis=(0, 1))
    gained = np.clip(gained, 0, math.log(num))  # beyond by rounding alone
    error = np.zeros_like(average) if closed else _standard_error(divergence, num)
    information_error = _standard_error(information, num)
    # The two are averages over the same draws: their difference errs by the sum at most.
    errors = SurgeryTerms(error, information_error, error + information_error)
    return SurgeryTerms(average, gained, average - gained), errors


def _floats(terms: SurgeryTerms) -> dict[str, float]:
    return {name: float(value) for name, value in terms._asdict().items()}


def _standard_error(values: Float[np.ndarray, ...], num: int) -> Float[np.ndarray, ...]:
    """Of the mean of draws (examples, draws, ...) of some of `num` examples, of each as many.

    References:
        Cochran, "Sampling techniques", 1977, sec. 10.4: sampling in two stages.
    """
    examples, draws = values.shape[:2]
    with np.errstate(invalid="ignore", divide="ignore"):
        between = values.mean(axis=1).var(axis=0) / np.float64(examples - 1)
        if draws == 1:
            return np.sqrt(between)
        within = values.var(axis=1).mean(axis=0) / (examples * (draws - 1))
    left_out = 1 - examples / num
    return np.sqrt(within if left_out == 0 else left_out * between + (1 - left_out) * within)
