"""Annealed importance sampling: log-likelihoods by many small steps from a start to p(x, z)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypedDict

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree
from scipy.special import expit, logsumexp

from tighter._checks import check_above, check_counts, require
from tighter._examples import admitted
from tighter._names import unknown
from tighter._progress import progress_bar
from tighter._protocols import ModelHooks, as_model, prior_if_any
from tighter._summary import mean_of, quantity, summary
from tighter.distributions import check_posterior, draw, name_of
from tighter.evaluation.chains import Annealing, Hamiltonian, Transition, anneal_block
from tighter.evaluation.log_likelihood import rows_of_all

# Chains at a time: large enough for the matrix products, small enough for the cache.
_CHAINS = 1024


_STARTS = ("posterior", "prior")


def _sigmoidal(places: np.ndarray) -> np.ndarray:
    """σ(4(2t/T − 1)), stretched to go from 0 to 1 (Grosse, Ancha & Roy, 2016)."""
    betas = expit(4 * (2 * places - 1))
    return (betas - betas[0]) / (betas[-1] - betas[0])


# t/T -> β.
SCHEDULES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "geometric": lambda places: places,
    "sigmoidal": _sigmoidal,
}


class AnnealedLogLikelihood(NamedTuple):
    """Annealed estimates of log p(x), a row an example.

    Attributes:
        value: In nats: forward, log of the mean of the chains' weights, a stochastic lower bound;
            in reverse, minus the log of the mean of their inverses, a stochastic upper bound.
        standard_error: Monte Carlo standard error of `value` over the chains, in nats (delta
            method); NaN with one chain.
        ess: Effective sample size of the chains' weights, between 1 and the number of chains.
        acceptance: Mean acceptance rate of the transitions.
        step_size: Mean leapfrog step size as adapted, in units of the start's spread.
    """

    value: Float[np.ndarray, " batch"]
    standard_error: Float[np.ndarray, " batch"]
    ess: Float[np.ndarray, " batch"]
    acceptance: Float[np.ndarray, " batch"]
    step_size: Float[np.ndarray, " batch"]

    def __repr__(self) -> str:
        acceptance = f"acceptance {quantity(np.mean(self.acceptance))}"
        ess = f"median ESS {quantity(np.median(self.ess))}"
        return summary(self, mean_of(self.value, self.standard_error), acceptance, ess)


def annealed_log_likelihood(
    model: Any,
    x: PyTree,
    *,
    num_temperatures: int = 1000,
    num_chains: int = 16,
    schedule: str = "sigmoidal",
    temperatures: Any = None,
    start: str = "posterior",
    num_leapfrog: int = 10,
    step_size: float = 0.2,
    transition: Transition | None = None,
    key: Key[Array, ""],
    show_progress: bool | None = None,
) -> AnnealedLogLikelihood:
    r"""Estimate $\log p(x)$ by annealing from q(z) to p(x, z), for each example.

    Along $\log f_\beta(z) = (1 - \beta) \log q(z) + \beta \log p(x, z)$, the geometric path, with
    $z_0 \sim q$ and transitions $z_{t-1} \to z_t$ that leave $f_{\beta_t}$ as it is,

    $$\log w = \sum_{t=1}^T (\beta_t - \beta_{t-1}) \log \frac{p(x, z_{t-1})}{q(z_{t-1})},
      \qquad \mathrm{E}[w] = p(x),$$

    so that the log of a mean of weights is a lower bound in expectation, whether or not the
    transitions mix. For that they must not depend on the chains that they move: leapfrog step
    sizes are adapted by a preliminary run over the path, with draws of its own, to an acceptance
    rate of 0.7 for each example, and then held fixed.

    Memory grows neither with the temperatures nor (but for the posteriors) with the examples.

    Args:
        model: Any `eqx.Module` with `log_joint(x)` and `posterior(x)`; z is any pytree of real
            arrays. Positive, bounded and other constrained latents of a numpyro posterior are
            moved in unconstrained space.
        x: Examples; arrays with leading axis N.
        num_temperatures: T, the steps from q to p; 1 is importance sampling.
        num_chains: Chains an example, whose weights are averaged.
        schedule: "geometric": β in equal steps along the geometric path; "sigmoidal": in equal
            steps of its logit (stretched to both ends), where they are closer.
        temperatures: β_0 … β_T themselves, rising from 0 to 1, in place of `num_temperatures` and
            `schedule`.
        start: "posterior" for q(z|x) or "prior" for p(z), which needs `model.prior`.
        num_leapfrog: Leapfrog steps of a Hamiltonian transition.
        step_size: Where adaptation begins, in units of the start's spread.
        transition: What moves a chain; None for `Hamiltonian(num_leapfrog)`.
        key: Random key.
        show_progress: None for a bar on terminals; True or False.

    Returns:
        Estimates with their errors, in nats a datum, one row an example.

    Raises:
        InputError: If a number is below what makes sense, a name is unknown, temperatures don't
            rise from 0 to 1, there are no examples, or z is discrete.
        ValueError: If `log_joint` or `log_prob` returns no scalar.

    Example:
        >>> result = annealed_log_likelihood(model, xs, num_temperatures=500, key=key)
        >>> result.value.mean()

    References:
        Neal, "Annealed importance sampling", 2001, eqs. 4-11; Wu, Burda, Salakhutdinov & Grosse,
        "On the quantitative analysis of decoder-based generative models", 2017.
    """
    annealing = annealing_of(
        num_temperatures=num_temperatures,
        num_chains=num_chains,
        schedule=schedule,
        temperatures=temperatures,
        start=start,
        num_leapfrog=num_leapfrog,
        step_size=step_size,
        transition=transition,
    )
    return anneal(annealing, model, x, None, key=key, show_progress=show_progress)


class AnnealingOptions(TypedDict, total=False):
    """What `annealed_log_likelihood` says of the annealing, with its defaults and meaning there."""

    num_temperatures: int
    num_chains: int
    schedule: str
    temperatures: Any
    start: str
    num_leapfrog: int
    step_size: float
    transition: Transition | None


def annealing_of(
    *,
    num_temperatures: int = 1000,
    num_chains: int = 16,
    schedule: str = "sigmoidal",
    temperatures: Any = None,
    start: str = "posterior",
    num_leapfrog: int = 10,
    step_size: float = 0.2,
    transition: Transition | None = None,
) -> Annealing:
    """The arguments of `annealed_log_likelihood`, checked."""
    check_counts(
        num_temperatures=num_temperatures, num_chains=num_chains, num_leapfrog=num_leapfrog
    )
    check_above(0.0, step_size=step_size)
    if start not in _STARTS:
        raise unknown("start", start, _STARTS)
    if schedule not in SCHEDULES:
        raise unknown("schedule", schedule, SCHEDULES)
    if temperatures is None:
        betas = SCHEDULES[schedule](np.linspace(0, 1, num_temperatures + 1))
    else:
        betas = _rising(np.asarray(temperatures, np.float64))
    return Annealing(
        betas, num_chains, transition or Hamiltonian(num_leapfrog), float(step_size), start
    )


def anneal(
    annealing: Annealing,
    model: Any,
    x: PyTree,
    z: PyTree | None,
    *,
    key: Key[Array, ""],
    show_progress: bool | None,
) -> AnnealedLogLikelihood:
    """Forward from draws of the start; or, given an exact posterior draw z for each x, back."""
    if annealing.start == "prior":
        model, x, _ = admitted(model, x)
        require(
            prior_if_any(model) is not None,
            f"start 'prior' is model.prior, and {type(model).__name__} has none: take 'posterior'",
        )
        model = _FromPrior(model)
    rows = rows_of_all(model, x, key=key)
    num, in_reverse = rows.keys.shape[0], z is not None
    _check_latents(rows.example_posterior(), z, num)
    num_blocks = -(-num * annealing.num_chains // _CHAINS)
    block = -(-num // num_blocks)
    starts = range(0, num, block)
    parts = []
    total = len(starts) * (annealing.temperatures.size - 1)
    with progress_bar(total, "annealing", show_progress=show_progress) as advance:
        for first in starts:
            # The last block is filled up with earlier rows, so that one program serves all.
            taken = np.minimum(np.arange(first, first + block), num - 1)
            latents = jax.tree.map(lambda leaf, taken=taken: jnp.asarray(leaf)[taken], z)
            some = rows.take(jnp.asarray(taken))
            parts.append(anneal_block(annealing, some, latents, advance))
    gathered = (np.concatenate(part)[:num] for part in zip(*parts, strict=True))
    return _summarize(*gathered, in_reverse=in_reverse)


def _summarize(
    log_weights: Float[np.ndarray, "batch chains"],
    acceptance: Float[np.ndarray, " batch"],
    step_size: Float[np.ndarray, " batch"],
    *,
    in_reverse: bool,
) -> AnnealedLogLikelihood:
    num = log_weights.shape[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        log_sum = np.asarray(logsumexp(log_weights, axis=1))
        shares = np.exp(log_weights - log_sum[:, None])
        squares = np.sum(shares**2, axis=1)
        relative_variance = np.maximum(squares - 1 / num, 0) * num / np.float64(num - 1)
        value = log_sum - math.log(num)
    value = -value if in_reverse else value
    return AnnealedLogLikelihood(
        value, np.sqrt(relative_variance), 1 / squares, acceptance, step_size
    )


def _rising(temperatures: Float[np.ndarray, ...]) -> Float[np.ndarray, " steps_and_one"]:
    require(
        temperatures.ndim == 1 and temperatures.size >= 2,
        f"temperatures are two or more in a row, got shape {temperatures.shape}: the least is "
        "[0, 1], importance sampling",
    )
    outside = temperatures[~((temperatures >= 0) & (temperatures <= 1))]
    require(not outside.size, f"temperatures are within [0, 1], got {next(iter(outside), None)}")
    rises = np.diff(temperatures) > 0
    before, after = temperatures[rises.argmin() :][:2]
    require(rises.all(), f"temperatures rise strictly, got {after} after {before}")
    require(
        temperatures[0] == 0 and temperatures[-1] == 1,
        f"temperatures go from 0 (the start) to 1 (p), got {temperatures[0]} to {temperatures[-1]}",
    )
    return temperatures


class _FromPrior(ModelHooks, eqx.Module):
    """A model whose annealing starts at its prior."""

    model: Any

    @property
    def takes_missing(self) -> bool:
        return as_model(self.model).takes_missing

    def log_joint(self, x: PyTree) -> Callable[[Any], Array]:
        return self.model.log_joint(x)

    def posterior(self, x: PyTree) -> Any:
        return self.model.prior


def _check_latents(start: Any, z: PyTree | None, num: int) -> None:
    """Refuse latents that can't be moved, and posterior draws that are none of them."""
    check_posterior(start, needs_path=False, estimator="annealing")
    latent = jax.eval_shape(lambda: draw(start, key=jax.random.key(0)))
    require(
        all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(latent)),
        f"annealing moves real latents, and {name_of(start)} has others: use log_likelihood where "
        "they are discrete",
    )
    if z is None:
        return
    expected = jax.tree.map(lambda leaf: (num, *leaf.shape), latent)
    got = jax.tree.map(jnp.shape, z)
    require(
        got == expected,
        f"z is an exact posterior draw for each of {num} examples, of shape {expected}, got {got}",
    )
