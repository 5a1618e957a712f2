"""Simulation-based calibration: whether posteriors are as wide as they should be."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, Key, PyTree

from tighter._checks import require
from tighter._summary import summary
from tighter.distributions import draw

# Below this, after Bonferroni, ranks are not what a calibrated posterior would have.
_SURPRISING = 0.01


class Calibration(NamedTuple):
    """Ranks of true parameters among draws of their posteriors: uniform where all is right.

    A ∪ of counts tells of posteriors too narrow, a ∩ of ones too wide, a slope of ones shifted.

    Attributes:
        names: Of the parameters, one a number.
        ranks: How many of L draws are below the truth, shape (simulations, parameters). Draws equal
            to it stand below or above it at random, so that ranks of discrete parameters, too, are
            uniform.
        num_draws: L.
        counts: Simulations by rank in bins of the same size, shape (parameters, bins).
        statistic: χ² of the counts against even ones, bins − 1 degrees of freedom.
        p_value: How often it would be as large by chance.
        band: The counts between which 99 % lie by chance, one bin at a time.
    """

    names: tuple[str, ...]
    ranks: Int[np.ndarray, "simulations parameters"]
    num_draws: int
    counts: Int[np.ndarray, "parameters bins"]
    statistic: Float[np.ndarray, " parameters"]
    p_value: Float[np.ndarray, " parameters"]
    band: tuple[float, float]

    @property
    def verdict(self) -> str:
        """Whether ranks are uniform, and what they tell if not."""
        num = len(self.names)
        least = int(np.argmin(self.p_value))
        least_likely = f"p = {self.p_value[least]:.2g} for {self.names[least]}, the least of {num}"
        if self.p_value[least] * num > _SURPRISING:
            return f"calibrated, as far as {len(self.ranks):,} simulations tell ({least_likely})"
        place = (self.ranks[:, least] + 0.5) / (self.num_draws + 1)
        shift, spread = place.mean() - 0.5, place.var() * 12
        shifted = abs(shift) * np.sqrt(12 * len(place)) > 4
        kind = "too narrow" if spread > 1 else "too wide"
        if shifted:
            kind = f"too {'low' if shift > 0 else 'high'}"
        return f"not calibrated: posteriors are {kind} ({least_likely})"

    def __repr__(self) -> str:
        return summary(self, self.verdict)


def simulation_based_calibration(
    prior: Any,
    simulate: Callable[[PyTree, Key[Array, ""]], PyTree],
    posterior: Callable[[PyTree, Key[Array, ""]], Any],
    *,
    num_simulations: int = 500,
    num_draws: int = 99,
    num_bins: int = 20,
    chunk_size: int = 64,
    key: Key[Array, ""],
) -> Calibration:
    """Draw parameters from the prior, data given them, and find them among the posterior's draws.

    Args:
        prior: Has `sample(key)`: a distribution, or a model's `prior`.
        simulate: (parameters, key) -> data.
        posterior: (data, key) -> q(parameters | data), in JAX: an amortized model's `posterior`, or
            a fit of some steps in a `jax.lax.scan`.
        num_simulations: How many.
        num_draws: L, draws of each posterior.
        num_bins: Bins of ranks; a divisor of L + 1.
        chunk_size: Simulations at a time.
        key: Random key.

    Raises:
        InputError: If L + 1 is no multiple of `num_bins`, there are fewer than two bins, or fewer
            than five simulations a bin; if the posterior's draws are not shaped as the prior's.

    References:
        Talts, Betancourt, Simpson, Vehtari & Gelman, "Validating Bayesian inference algorithms with
        simulation-based calibration", 2018, algorithm 1.
    """
    require(
        num_bins >= 2 and (num_draws + 1) % num_bins == 0,
        "ranks 0 … L fall into 2 bins or more of the same size: L + 1 is a multiple of the number "
        f"of bins, got L = {num_draws} and {num_bins} bins",
    )
    require(
        num_simulations >= 5 * num_bins,
        f"χ² takes 5 simulations a bin or more, got {num_simulations} for {num_bins} bins",
    )

    def rank_of(key: Key[Array, ""]) -> Int[Array, " parameters"]:
        truth_key, data_key, fit_key, draws_key, tie_key = jax.random.split(key, 5)
        truth = prior.sample(truth_key)
        fitted = posterior(simulate(truth, data_key), fit_key)
        _check_alike(truth, jax.eval_shape(lambda key: draw(fitted, key=key), draws_key))
        draws = jax.vmap(lambda key: ravel_pytree(draw(fitted, key=key))[0])(
            jax.random.split(draws_key, num_draws)
        )
        truth = ravel_pytree(truth)[0]
        below = jnp.sum(draws < truth[None], axis=0)
        # Among the draws equal to it the truth has any place, one as likely as another.
        equal = jnp.sum(draws == truth[None], axis=0)
        rank = below + jax.random.randint(tie_key, equal.shape, 0, equal + 1)
        unordered = jnp.any(jnp.isnan(draws), axis=0) | jnp.isnan(truth)
        return jnp.where(unordered, -1, rank)

    size = min(chunk_size, num_simulations)
    keys = jax.random.split(key, num_simulations)
    ranks = np.asarray(jax.jit(lambda keys: jax.lax.map(rank_of, keys, batch_size=size))(keys))
    names = _names(jax.eval_shape(prior.sample, key))
    unranked = ranks < 0
    num, parameter = unranked.any(axis=1).sum(), names[unranked.any(axis=0).argmax()]
    require(
        not num,
        f"NaN has no rank, and in {num:,} of {num_simulations:,} simulations {parameter} or a draw "
        "of its posterior is NaN: see which of prior, simulate and posterior makes it",
    )
    return _calibration(names, ranks, num_draws, num_bins)


def _check_alike(truth: PyTree, drawn: PyTree) -> None:
    """Refuse what would be broadcast, or ranked part by another part; one vector of all is fine."""
    ours, theirs = (
        [(jax.tree_util.keystr(path), jnp.shape(leaf)) for path, leaf in leaves]
        for leaves in (jax.tree.flatten_with_path(tree)[0] for tree in (truth, drawn))
    )
    flat = [("", (sum(math.prod(shape) for _, shape in ours),))]
    alike, got = (
        ", ".join(f"{name or 'one'} of shape {shape}" for name, shape in parts)
        for parts in (ours, theirs)
    )
    require(
        theirs in (ours, flat),
        f"draws of the posterior are like the prior's, {alike}, got {got}: rank the same "
        "parameters",
    )


def _calibration(
    names: tuple[str, ...], ranks: np.ndarray, num_draws: int, num_bins: int
) -> Calibration:
    from scipy import stats  # two seconds that training need not wait for

    width = (num_draws + 1) // num_bins
    counts = np.stack([np.bincount(column // width, minlength=num_bins) for column in ranks.T])
    expected = len(ranks) / num_bins
    statistic = ((counts - expected) ** 2).sum(axis=1) / expected
    low, high = stats.binom.ppf([0.005, 0.995], len(ranks), 1 / num_bins)
    p_value = stats.chi2.sf(statistic, num_bins - 1)
    return Calibration(
        names, ranks, num_draws, counts, statistic, p_value, (float(low), float(high))
    )


def _names(parameters: PyTree) -> tuple[str, ...]:
    """A name for each number: the parameter's, with its place in it."""
    names = []
    for path, leaf in jax.tree.leaves_with_path(parameters):
        name = jax.tree_util.keystr(path, simple=True, separator=".") or "parameter"
        places = (f"[{', '.join(map(str, index))}]" for index in np.ndindex(leaf.shape))
        names += [name + (place if leaf.shape else "") for place in places]
    return tuple(names)
