"""Signal and noise of a gradient estimator on a given model, batch and parameters."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from tighter._checks import check_counts, require
from tighter._examples import admitted
from tighter._summary import quantity, summary
from tighter.diagnostics.jackknife import (
    Interval,
    jackknife_error,
    jackknife_interval,
    left_out,
    positive_interval,
    ratio_of,
    size_interval,
)
from tighter.diagnostics.parameter_roles import Roles, parameter_roles
from tighter.diagnostics.replicates import (
    NUM_GROUPS,
    Gradient,
    Groups,
    interleaved_seconds,
    replicate,
)

MIN_REPLICATES = 2 * NUM_GROUPS

# Coordinates whose statistics are computed at once, with every group left out in turn.
_COLUMNS = 2**15


@dataclasses.dataclass(frozen=True)
class PooledNoise:
    r"""Signal and noise of all coordinates of θ, or of φ, taken together.

    The first entry of each array is of all replicates; each other leaves out one group of them.

    Attributes:
        num_coordinates: How many there are.
        variances: $\sum_i \mathrm{var}(g_i)$.
        signals: $\|\mathrm{E}\,g\|^2$, unbiased: $\|\bar g\|^2$ less the noise of $\bar g$, which
            is the variance over the number of replicates.
        mean_snrs: Mean over the coordinates of |mean| / standard deviation.
    """

    num_coordinates: int
    variances: Float[np.ndarray, " all_and_groups"]
    signals: Float[np.ndarray, " all_and_groups"]
    mean_snrs: Float[np.ndarray, " all_and_groups"]

    @property
    def variance(self) -> float:
        """Summed over the coordinates."""
        return float(self.variances[0])

    @property
    def variance_interval(self) -> Interval:
        """Of `variance`."""
        return Interval(*(float(end) for end in positive_interval(self.variances)))

    @property
    def snr(self) -> float:
        r"""$\|\mathrm{E}\,g\| / \sqrt{\sum_i \mathrm{var}(g_i)}$; 0 if the signal drowns."""
        return math.sqrt(max(float(self._squared_snrs[0]), 0))

    @property
    def snr_interval(self) -> Interval:
        """Of `snr`; from zero where a signal can't be told from none."""
        ends = jackknife_interval(self._squared_snrs)
        return Interval(*(math.sqrt(max(float(end), 0)) for end in ends))

    @property
    def mean_snr(self) -> float:
        r"""Mean over the coordinates of their ratios, as Rainforth et al. have it.

        With R replicates it is about $.8/\sqrt R$ where there is no signal at all. Coordinates
        without noise don't count.
        """
        return float(self.mean_snrs[0])

    @property
    def mean_snr_interval(self) -> Interval:
        """Of `mean_snr`."""
        return Interval(*(float(end) for end in jackknife_interval(self.mean_snrs)))

    @property
    def _squared_snrs(self) -> Float[np.ndarray, " all_and_groups"]:
        return ratio_of(self.signals, self.variances)

    def __repr__(self) -> str:
        low, high = self.snr_interval
        snr = f"SNR {quantity(self.snr)}, 95 % interval {quantity(low)} to {quantity(high)}"
        return summary(self, snr, f"{self.num_coordinates:,} coordinates")


class Measured:
    """What follows from replicates of a gradient and the seconds of one.

    Attributes:
        values: The mean bound in nats: of all replicates, then with each group left out.
        theta: Pooled over the parameters that log p(x, z) depends on; None if there are none.
        phi: Pooled over those that q(z|x) depends on; None if there are none.
        timings: Seconds of one gradient, compiled and warm, call by call.
    """

    values: Float[np.ndarray, " all_and_groups"]
    theta: PooledNoise | None
    phi: PooledNoise | None
    timings: Float[np.ndarray, " calls"]

    @property
    def pools(self) -> dict[str, PooledNoise | None]:
        """The noise by the parameters' role."""
        return {"theta": self.theta, "phi": self.phi}

    @property
    def value(self) -> float:
        """The mean bound over the batch, in nats."""
        return float(self.values[0])

    @property
    def value_error(self) -> float:
        """Its Monte Carlo standard error, in nats."""
        return float(jackknife_error(self.values))

    @property
    def seconds(self) -> float:
        """Median time of one gradient."""
        return float(np.median(self.timings))

    def snr_squared_per_second(self, role: str) -> float | None:
        """What a second buys for θ or φ: the mean of n gradients has n times the SNR² of one."""
        pool = self.pools[role]
        return None if pool is None else pool.snr**2 / self.seconds

    @property
    def theta_snr_squared_per_second(self) -> float | None:
        """What a second buys for θ."""
        return self.snr_squared_per_second("theta")

    @property
    def phi_snr_squared_per_second(self) -> float | None:
        """What a second buys for φ."""
        return self.snr_squared_per_second("phi")


@dataclasses.dataclass(frozen=True)
class GradientNoise(Measured):
    """Mean, variance and signal-to-noise ratio of a gradient, for each parameter and pooled.

    The pytrees have the model's structure: arrays for its inexact arrays, None elsewhere.

    Attributes:
        mean: Of the gradient.
        variance: Of one gradient, in each coordinate.
        snr: |mean| / standard deviation in each coordinate; where there is no noise, infinite, or
            0 without a signal.
        mean_interval: Confidence interval of `mean`.
        variance_interval: Of `variance`.
        snr_interval: Of `snr`.
        theta: Pooled over the parameters that log p(x, z) depends on; None if there are none.
        phi: Pooled over those that q(z|x) depends on; None if there are none.
        values: The mean bound in nats: of all replicates, then with each group left out.
        timings: Seconds of one gradient, compiled and warm, call by call.
        num_replicates: How many gradients these are moments of.
    """

    mean: PyTree
    variance: PyTree
    snr: PyTree
    mean_interval: Interval
    variance_interval: Interval
    snr_interval: Interval
    theta: PooledNoise | None
    phi: PooledNoise | None
    values: Float[np.ndarray, " all_and_groups"]
    timings: Float[np.ndarray, " calls"]
    num_replicates: int

    def __repr__(self) -> str:
        pools = [f"{name} {pool}" for name, pool in self.pools.items() if pool is not None]
        bound = f"bound {quantity(self.value, self.value_error)} nats"
        return summary(self, bound, *pools, f"{self.num_replicates:,} replicates")


def gradient_noise(
    model: Any,
    x: PyTree,
    objective: Any,
    *,
    num_replicates: int = 1000,
    phi: Callable[[Any], Any] | PyTree | None = None,
    chunk_size: int | None = None,
    key: Key[Array, ""],
    show_progress: bool | None = None,
) -> GradientNoise:
    r"""Moments of the estimate of $\nabla \frac1N \sum_n F(x_n)$ over replicates of its draws.

    Replicates are streamed: memory does not grow with their number, and the result does not depend
    on the chunk size, to rounding. They are kept in 20 groups, and the confidence intervals come
    from leaving out one group at a time (the jackknife), so that heavy tails and coordinates that
    move together count as they are.

    Args:
        model: Any `eqx.Module` with `log_joint(x)` and `posterior(x)`; its inexact arrays are its
            parameters.
        x: A batch, as in training; arrays with leading axis N.
        objective: An `Objective`, an ELBO in closed form, or `SUMO`: all that has `batch`.
        num_replicates: Independent gradients, at least 40; rounded up to a multiple of 20.
        phi: Which parameters are φ: a function from the model to a part of it, or the model with a
            bool for each of its arrays; θ is the rest. Left out: φ is what q(z|x) depends on, θ
            what log p(x, z) depends on.
        chunk_size: Replicates computed at once; None for what fits into a cache.
        key: Random key.
        show_progress: None for a bar on terminals; True or False.

    Returns:
        Mean, variance and SNR with their intervals, pooled for θ and φ, and the seconds of one.

    Raises:
        InputError: If there are fewer than 40 replicates, no examples or no parameters.
        TypeError: If the posterior can't serve the objective's estimator.

    Example:
        >>> objective = Objective(IWAE(), DoublyReparameterized(), num_samples=64)
        >>> noise = gradient_noise(model, xs, objective, key=jax.random.key(0))
        >>> noise.phi.snr, noise.phi.snr_interval, noise.snr.encoder

    References:
        Rainforth et al., "Tighter variational bounds are not necessarily better", 2018, sec. 3.
    """
    check_replicates(num_replicates)
    check_counts(chunk_size=chunk_size)
    model, x, _ = admitted(model, x)
    gradient = Gradient(model, x, objective)
    roles = parameter_roles(model, x, phi=phi, key=key)
    timings = interleaved_seconds([gradient], key=key)[0]
    groups = replicate(
        gradient, num_replicates, chunk_size=chunk_size, key=key, show_progress=show_progress
    )
    theta, phi_pool, leaves = summarize(groups, roles)
    structure = jax.tree.structure(gradient.arrays)

    def tree(name: str, part: int) -> PyTree:
        return jax.tree.unflatten(structure, [leaf[name][part] for leaf in leaves])

    names = ("mean", "variance", "snr")
    return GradientNoise(
        *(tree(name, 0) for name in names),
        *(Interval(tree(name, 1), tree(name, 2)) for name in names),
        theta=theta,
        phi=phi_pool,
        values=value_statistics(groups),
        timings=timings,
        num_replicates=NUM_GROUPS * groups.size,
    )


def check_replicates(num_replicates: int) -> None:
    """Refuse fewer replicates than the errors of variances need.

    Raises:
        InputError: If there are fewer than two in a group.
    """
    require(
        num_replicates >= MIN_REPLICATES,
        f"num_replicates is at least {MIN_REPLICATES}, two in each of the {NUM_GROUPS} groups "
        f"that tell the errors, got {num_replicates}",
    )


def value_statistics(groups: Groups) -> Float[np.ndarray, " all_and_groups"]:
    """The mean bound: of all replicates, then with each group left out."""
    means, squares = (column[:, None] for column in groups.value)
    return left_out(means, squares, groups.size)[0][:, 0]


Leaf = dict[str, tuple[np.ndarray, ...]]


def summarize(
    groups: Groups, roles: Roles
) -> tuple[PooledNoise | None, PooledNoise | None, list[Leaf]]:
    """Noise pooled for θ and φ, and that of each array: (value, low, high) by name."""
    summaries = [_of_array(*leaf, groups.size) for leaf in groups.leaves]
    pools = []
    for role in roles:
        own = zip(summaries, jax.tree.leaves(role), strict=True)
        pools.append(_pooled([sums for (_, sums), flag in own if flag], groups.size))
    return *pools, [leaf for leaf, _ in summaries]


class _Sums(NamedTuple):
    """Over the coordinates of an array; of all replicates, then with each group left out."""

    variance: np.ndarray
    squared_mean: np.ndarray
    snr: np.ndarray
    noisy: np.ndarray
    num_coordinates: int


def _of_array(means: np.ndarray, squares: np.ndarray, size: int) -> tuple[Leaf, _Sums]:
    """Statistics of an array's coordinates, some at a time, from (groups, *shape)."""
    shape, num = means.shape[1:], means[0].size
    means, squares = (array.reshape(NUM_GROUPS, num) for array in (means, squares))
    parts, sums = [], np.zeros((4, NUM_GROUPS + 1))
    for start in range(0, num, _COLUMNS):
        some = slice(start, start + _COLUMNS)
        mean, variance = left_out(means[:, some], squares[:, some], size)
        ratio = ratio_of(mean, np.sqrt(variance))
        noisy = variance > 0
        counted = (variance, mean**2, np.where(noisy, np.abs(ratio), 0), noisy)
        sums += [part.sum(axis=1) for part in counted]
        parts.append(
            {
                "mean": (mean[0], *jackknife_interval(mean)),
                "variance": (variance[0], *positive_interval(variance)),
                "snr": (np.abs(ratio[0]), *size_interval(ratio)),
            }
        )
    leaf = {
        name: tuple(
            np.concatenate(columns).reshape(shape)
            for columns in zip(*(part[name] for part in parts), strict=True)
        )
        for name in ("mean", "variance", "snr")
    }
    return leaf, _Sums(*sums, num_coordinates=num)


def _pooled(arrays: list[_Sums], size: int) -> PooledNoise | None:
    """One pool of several arrays."""
    if not arrays:
        return None
    sums = _Sums(*(np.sum(parts, axis=0) for parts in zip(*arrays, strict=True)))
    replicates = size * np.array([NUM_GROUPS, *[NUM_GROUPS - 1] * NUM_GROUPS])
    return PooledNoise(
        num_coordinates=int(sums.num_coordinates),
        variances=sums.variance,
        signals=sums.squared_mean - sums.variance / replicates,
        mean_snrs=ratio_of(sums.snr, sums.noisy),
    )
