"""Which units carry something, and whether all encodings together look like the prior."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from tighter._checks import check_counts, require
from tighter._programs import compiled
from tighter._protocols import prior_if_any
from tighter._rows import Rows
from tighter._summary import quantity, summary
from tighter.diagnostics._against_prior import against_prior
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

# A variance of n numbers errs by √(2/n) of itself, a distribution function by .5/√n: below these
# nothing is concluded.
_LEAST_ACTIVE, _LEAST_AGGREGATED = 30, 50
# Nats, from which on a unit that carries nothing is worth a word.
_COSTS = 0.1


class ActiveUnits(NamedTuple):
    """Which units of z vary with x.

    Attributes:
        count: How many are active.
        variance: Variance over examples of the posterior's mean, of each unit.
        standard_error: Of the variance: from the choice of examples, and of draws if any.
        active: Whether the variance is above the threshold.
        kl: Mean over examples of KL(q(z_j|x)‖p(z_j)) in nats, where posterior and prior are
            factorized with a closed form; None elsewhere.
        threshold: What the variance is compared with.
        num_examples: N.
        warnings: Signs of collapse, in words; empty if there are none. Units are counted from 0.
        parts: Which units are of which part of z, by its name in the dict that z is; {"z": all}
            where z is an array.
    """

    count: int
    variance: Float[np.ndarray, " latent"]
    standard_error: Float[np.ndarray, " latent"]
    active: Bool[np.ndarray, " latent"]
    kl: Float[np.ndarray, " latent"] | None
    threshold: float
    num_examples: int
    warnings: tuple[str, ...]
    parts: dict[str, slice]

    @property
    def counts(self) -> dict[str, int]:
        """How many units are active in each part of z."""
        return {name: int(self.active[units].sum()) for name, units in self.parts.items()}

    def __repr__(self) -> str:
        count = f"{self.count} of {self.variance.size} units vary"
        return summary(self, count, f"{self.num_examples:,} examples", *self.warnings)


class AggregatedPosterior(NamedTuple):
    """Encodings, one draw an example, against the prior, unit by unit.

    Attributes:
        statistic: Kolmogorov–Smirnov: the largest difference of the two distribution functions,
            between 0 and 1.
        p_value: Of so large a statistic if the encodings were draws of the prior, for examples
            that are themselves a sample. For units of discrete values it is too large rather than
            too small. With thousands of examples it is small for any model: look at the statistic.
        mean: Of the encodings; that of a prior of N(0, 1) is 0.
        standard_deviation: Of the encodings.
        theoretical_quantiles: Of the prior, at equally spaced levels: a QQ picture's one axis.
        sample_quantiles: Of the encodings at the same levels: the other axis.
        compared_with: "distribution function", "whitened normal" (units are those of the
            whitened z) or "draws", by what is known of the prior.
        num_examples: N.
    """

    statistic: Float[np.ndarray, " latent"]
    p_value: Float[np.ndarray, " latent"]
    mean: Float[np.ndarray, " latent"]
    standard_deviation: Float[np.ndarray, " latent"]
    theoretical_quantiles: Float[np.ndarray, "latent levels"]
    sample_quantiles: Float[np.ndarray, "latent levels"]
    compared_with: str
    num_examples: int

    def __repr__(self) -> str:
        furthest = f"unit {int(np.argmax(self.statistic))}, {quantity(np.max(self.statistic))}"
        distance = f"Kolmogorov–Smirnov distance from the prior at most that of {furthest}"
        return summary(self, distance, f"{self.num_examples:,} examples")


def active_units(
    model: Any,
    x: PyTree,
    *,
    threshold: float = 0.01,
    num_samples: int | None = None,
    key: Key[Array, ""] | None = None,
) -> ActiveUnits:
    r"""Units whose posterior mean varies: $\mathrm{Var}_x(\mathbb E_{q(u \mid x)}[u]) > .01$.

    Means are exact where the posterior has them. Elsewhere they are averages over draws, and the
    variance that the draws bring, $\sum_n s_n^2 / (S N)$, is subtracted.

    Args:
        model: Has `posterior(x)` and `log_joint(x)`; with `prior` the KL of each unit is told too.
        x: Examples, 30 or more; arrays with leading axis N.
        threshold: What the variance is compared with.
        num_samples: Draws of an example, 2 or more, for posteriors that have no mean.
        key: Random key for them.

    Returns:
        Count, variances and warnings. The units of a z of several parts stand one part after the
        other, as `parts` says.

    Raises:
        InputError: If there are too few examples, or the posterior has no mean and no draws were
            asked for.

    References:
        Burda, Grosse & Salakhutdinov, "Importance weighted autoencoders", 2016, sec. 5.2.
    """
    check_counts(num_samples=num_samples)
    rows = posteriors_of_all(model, x, key=jax.random.key(0) if key is None else key)
    num = _enough(rows, _LEAST_ACTIVE, "whether a unit is active")
    if _has_mean(rows):
        means, noise = np.asarray(_means(rows), np.float64), 0.0
    else:
        require(
            num_samples is not None and num_samples >= 2 and key is not None,
            f"{type(rows.example_posterior()).__name__} has no finite mean in closed form: give "
            "num_samples of 2 or more and key for an average over draws",
        )
        assert num_samples is not None
        drawn = _drawn_means(rows, num_samples)
        means, noises = (np.asarray(part, np.float64) for part in drawn)
        noise = noises.mean(axis=0)
    check_every_row(
        np.isfinite(means).all(axis=1),
        "the posterior's mean is not finite",
        "look for values that are not finite in it and in the model",
    )
    squares = (means - means.mean(axis=0)) ** 2 * (num / (num - 1))
    variance = squares.mean(axis=0) - noise
    error = squares.std(axis=0, ddof=1) / np.sqrt(num)
    active = variance > threshold
    divergence = _unit_kl(rows, model)
    parts = _parts(rows)
    words = _warnings(variance, error, divergence, threshold, parts)
    return ActiveUnits(
        int(active.sum()), variance, error, active, divergence, threshold, num, words, parts
    )


def aggregated_posterior(model: Any, x: PyTree, *, key: Key[Array, ""]) -> AggregatedPosterior:
    r"""Compare $q(z) = \tfrac1N \sum_n q(z \mid x_n)$ with the prior: are the encodings Gaussian?

    One draw an example, unit by unit. A prior whose units are independent is compared by its
    distribution function; z with a full normal prior is whitened first; of any other prior draws
    are made. Units that all agree may still depend on one another: the marginal KL of
    `elbo_surgery` sees that.

    Args:
        model: Has `prior`, `posterior(x)` and `log_joint(x)`.
        x: Examples, 50 or more; arrays with leading axis N.
        key: Random key.

    Returns:
        Statistics and quantiles, a row a unit.

    Raises:
        InputError: If the model has no prior, or there are too few examples.
    """
    prior = prior_of(model)
    encodings_key, prior_key = jax.random.split(key)
    rows = posteriors_of_all(model, x, key=encodings_key)
    num = _enough(rows, _LEAST_AGGREGATED, "how encodings are distributed")
    z, comparison = against_prior(prior, _encodings(rows), key=prior_key)
    encodings = np.asarray(z, np.float64)
    return AggregatedPosterior(
        **comparison._asdict(),
        mean=encodings.mean(axis=0),
        standard_deviation=encodings.std(axis=0, ddof=1),
        num_examples=num,
    )


def _enough(rows: Rows, least: int, to_tell: str) -> int:
    num = rows.keys.shape[0]
    require(num >= least, f"{to_tell} takes {least} examples or more to tell, got {num}")
    return num


def _flat(z: PyTree) -> Array:
    return ravel_pytree(z)[0]


def _parts(rows: Rows) -> dict[str, slice]:
    """Which units of the flattened z are of which part."""
    posterior = rows.example_posterior()
    z = eqx.filter_eval_shape(draw, posterior, key=rows.keys[0])
    parts, start = {}, 0
    for path, leaf in jax.tree.leaves_with_path(z):
        name = jax.tree_util.keystr(path, simple=True, separator=".") or "z"
        parts[name] = slice(start, start + leaf.size)
        start += leaf.size
    return parts


def _has_mean(rows: Rows) -> bool:
    """Whether posteriors have a finite mean in closed form, of the shape of a draw."""
    posterior = rows.example_posterior()
    try:
        mean = posterior.mean
    except (AttributeError, NotImplementedError):
        return False
    return isinstance(mean, jax.Array) and bool(jnp.all(jnp.isfinite(mean)))


@compiled
def _means(rows: Rows) -> Float[Array, "examples latent"]:
    return jax.vmap(lambda _, batched: _flat(posterior_of(rows, batched).mean))(
        rows.keys, rows.batched
    )


@compiled
def _drawn_means(rows: Rows, num_samples: int) -> tuple[Array, Array]:
    """Means over draws of each example, and the variances of these means; a draw at a time."""

    def add(sums: tuple[Array, Array, Array], index: Int[Array, ""]) -> tuple[Any, None]:
        # Welford's recurrence: sums of squares would cancel.
        count, mean, squares = sums
        z = _draws(rows, index)
        step = z - mean
        mean = mean + step / (count + 1)
        return (count + 1, mean, squares + step * (z - mean)), None

    first = _draws(rows, jnp.asarray(0))
    start = jnp.ones(()), first, jnp.zeros_like(first)
    (count, mean, squares), _ = jax.lax.scan(add, start, jnp.arange(1, num_samples))
    return mean, squares / ((count - 1) * count)


def _draws(rows: Rows, index: Int[Array, ""]) -> Float[Array, "examples latent"]:
    """Draw `index` of every example."""

    def of_example(batched: PyTree, key: Key[Array, ""]) -> Array:
        return _flat(draw_of(rows, batched, key, index)).astype(float)

    return jax.vmap(of_example)(rows.batched, rows.keys)


@compiled
def _encodings(rows: Rows) -> Float[Array, "examples latent"]:
    return _draws(rows, jnp.asarray(0))


def _unit_kl(rows: Rows, model: Any) -> Float[np.ndarray, " latent"] | None:
    pair = unit_pair(rows.example_posterior(), prior_if_any(model))
    if pair is None or not has_closed_form(*pair):
        return None
    return np.asarray(_mean_unit_kl(rows, pair[1]), np.float64)


@compiled
def _mean_unit_kl(rows: Rows, prior_units: Any) -> Float[Array, " latent"]:
    def of_example(_: Array, batched: PyTree) -> Array:
        return jnp.ravel(kl(units_of(posterior_of(rows, batched)), prior_units))

    return jnp.mean(jax.vmap(of_example)(rows.keys, rows.batched), axis=0)


def _warnings(
    variance: Float[np.ndarray, " latent"],
    error: Float[np.ndarray, " latent"],
    divergence: Float[np.ndarray, " latent"] | None,
    threshold: float,
    parts: dict[str, slice],
) -> tuple[str, ...]:
    words, num = [], variance.size
    idle = np.flatnonzero(variance <= threshold)
    if idle.size == num:
        words.append(
            f"all {num} units carry nothing (the posterior's mean varies by no more than "
            f"{threshold:g}): the posterior has collapsed"
        )
    elif idle.size:
        words.append(
            f"{idle.size} of {num} units carry nothing (the posterior's mean varies by no more "
            f"than {threshold:g}): {_listed(idle, parts)}"
        )
    unsure = np.flatnonzero(np.abs(variance - threshold) < 2 * error)
    if unsure.size:
        words.append(
            f"too few examples to tell on which side of {threshold:g} the variance of some units "
            f"is: {_listed(unsure, parts)}"
        )
    if divergence is not None:
        dear = idle[divergence[idle] > _COSTS]
        if dear.size:
            words.append(
                "units that carry nothing and yet cost nats, their posterior not being the prior: "
                + ", ".join(f"{j} ({divergence[j]:.2g})" for j in dear)
            )
    return tuple(words)


def _listed(units: Int[np.ndarray, " some"], parts: dict[str, slice]) -> str:
    """The units, by the parts of z if there are several."""
    if len(parts) == 1:
        return ", ".join(map(str, units))
    texts = []
    for name, part in parts.items():
        inside = units[(units >= part.start) & (units < part.stop)] - part.start
        if inside.size:
            texts.append(f"{name} {', '.join(map(str, inside))}")
    return "; ".join(texts)
