"""Whether a posterior over parameters did its work, by the weights that would correct it."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from tighter._checks import require
from tighter._examples import check_finite
from tighter._programs import compiled
from tighter._protocols import as_model
from tighter._summary import quantity, summary
from tighter.distributions import draw
from tighter.evaluation.psis import smoothed_weights
from tighter.evaluation.verdicts import TRUSTED, verdict

_DRAWS = 256

# What a user would not want to be off by: means in standard deviations, standard deviations as a
# share; beyond so many Monte Carlo errors of the corrected ones.
_OFF, _ERRORS = 0.15, 3

_NOT_FINITE = "see where model.log_joint(data) and model.posterior(data) are not finite"


class PosteriorCheck(NamedTuple):
    """Draws of q, weighed by the posterior density that q should have.

    Attributes:
        pareto_k: k̂ of the weights: up to 0.7 the corrected numbers can be trusted; the nearer to
            zero, the nearer is q to the posterior. It can't tell of a mode that q has no mass at.
        ess: Effective sample size of the smoothed weights, between 1 and S.
        log_evidence: Log of the mean weight, in nats.
        standard_error: Its Monte Carlo standard error, in nats.
        mean: q's means, like the parameters.
        sd: q's standard deviations.
        corrected_mean: Means under the smoothed weights.
        corrected_sd: Standard deviations under them.
        draws: S draws of q.
        log_weights: Their smoothed weights, which add up to one.
    """

    pareto_k: float
    ess: float
    log_evidence: float
    standard_error: float
    mean: PyTree
    sd: PyTree
    corrected_mean: PyTree
    corrected_sd: PyTree
    draws: PyTree
    log_weights: Float[np.ndarray, " S"]

    @property
    def corrections(self) -> tuple[float, float]:
        r"""What the weights change most: a mean, and a standard deviation.

        $\max |\mu_q - \mu| / \sigma$ and $\max |\sigma_q / \sigma - 1|$ over all parameters, of the
        corrected $\mu$ and $\sigma$.
        """
        parts = (self.mean, self.sd, self.corrected_mean, self.corrected_sd)
        mean, sd, correct_mean, correct_sd = (
            np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(part)]) for part in parts
        )
        scale = np.where(correct_sd > 0, correct_sd, 1)
        shifts, shares = np.abs(mean - correct_mean) / scale, np.abs(sd - correct_sd) / scale
        return float(shifts.max()), float(shares.max())

    @property
    def verdict(self) -> str:
        """Whether to trust q, and q corrected by its weights, in words."""
        if not math.isfinite(self.log_evidence):
            return f"the log evidence is {self.log_evidence}: not to be trusted; {_NOT_FINITE}"
        sentence = verdict(np.array([self.pareto_k]), np.array([self.standard_error]))
        wider = "a full-rank, mixture or flow posterior, trained by IWAE"
        if self.pareto_k > TRUSTED:
            return f"{sentence}: {wider}"
        shift, share = self.corrections
        off = []
        if shift > _OFF + _ERRORS / math.sqrt(self.ess):
            off.append(f"a mean by {shift:.2g} standard deviations")
        if share > _OFF + _ERRORS / math.sqrt(2 * self.ess):
            off.append(f"a standard deviation by {100 * share:.0f} %")
        if not off:
            return sentence
        return (
            f"{sentence}; but q itself is not: its weights correct {' and '.join(off)}: take "
            f"corrected_mean and corrected_sd, or {wider}"
        )

    def resampled(self, num: int, *, key: Key[Array, ""]) -> PyTree:
        """Draws of about the posterior: those of q, drawn anew by their weights.

        Args:
            num: How many; more than `ess` of them repeat one another.
            key: Random key.
        """
        start, order = jax.random.split(key)
        cumulative = np.cumsum(np.exp(self.log_weights))
        points = (np.arange(num) + float(jax.random.uniform(start))) / num * cumulative[-1]
        picked = np.searchsorted(cumulative, points, side="right")
        picked = np.minimum(picked, len(cumulative) - 1)
        picked = picked[np.asarray(jax.random.permutation(order, num))]
        return jax.tree.map(lambda leaf: leaf[picked], self.draws)

    def __repr__(self) -> str:
        evidence = quantity(self.log_evidence, self.standard_error)
        return summary(self, f"log evidence {evidence} nats", self.verdict)


def posterior_check(
    model: Any, data: PyTree, *, num_samples: int = 10_000, key: Key[Array, ""]
) -> PosteriorCheck:
    """Weigh draws of q by log p(data, θ) − log q(θ), and see whether that goes well.

    Args:
        model: A `BayesianModel`, or any with `log_joint(data)` and `posterior(data)`.
        data: All of the data.
        num_samples: S.
        key: Random key.

    Raises:
        InputError: If there are fewer than 25 draws, or the data are not finite.

    References:
        Yao, Vehtari, Simpson & Gelman, "Yes, but did it work? Evaluating variational inference",
        2018; Dhaka et al., "Challenges and opportunities in high-dimensional variational
        inference", 2021.
    """
    draws, log_ratios = weighed_draws(model, data, num_samples=num_samples, key=key)
    smoothed, shape = smoothed_weights(log_ratios[:, None])
    weights = np.exp(smoothed[:, 0])
    top = log_ratios.max()
    ratios = np.exp(log_ratios - top)
    even = np.full(num_samples, 1 / num_samples)
    mean, sd = _moments(draws, even)
    corrected_mean, corrected_sd = _moments(draws, weights)
    return PosteriorCheck(
        float(shape[0]),
        float(1 / np.sum(weights**2)),
        float(top + math.log(ratios.mean())),
        float(ratios.std(ddof=1) / ratios.mean() / math.sqrt(num_samples)),
        mean,
        sd,
        corrected_mean,
        corrected_sd,
        draws,
        smoothed[:, 0],
    )


def weighed_draws(
    model: Any, data: PyTree, *, num_samples: int, key: Key[Array, ""]
) -> tuple[PyTree, Float[np.ndarray, " S"]]:
    """Draws of q with log p(data, θ) − log q(θ), in nats.

    Raises:
        InputError: If there are fewer than 25 draws, or the data are not finite.
    """
    require(num_samples >= 25, f"k̂ takes 25 draws or more, got {num_samples}")
    check_finite(data, "data", missing=as_model(model).takes_missing)
    draws, log_ratios = jax.device_get(_weighed(model, data, num_samples, key))
    return draws, np.asarray(log_ratios, np.float64)


@compiled
def _weighed(
    model: Any, data: PyTree, num_samples: int, key: Key[Array, ""]
) -> tuple[PyTree, Float[Array, " S"]]:
    data = jax.tree.map(jnp.asarray, data)
    log_joint, posterior = model.log_joint(data), model.posterior(data)

    def draw_weighed(key: Key[Array, ""]) -> tuple[PyTree, Array]:
        z = draw(posterior, key=key)
        return z, log_joint(z) - posterior.log_prob(z)

    return jax.lax.map(draw_weighed, jax.random.split(key, num_samples), batch_size=_DRAWS)


def _moments(draws: PyTree, weights: Float[np.ndarray, " S"]) -> tuple[PyTree, PyTree]:
    def mean(leaf: np.ndarray) -> np.ndarray:
        return np.tensordot(weights, np.asarray(leaf, np.float64), 1)

    def sd(leaf: np.ndarray) -> np.ndarray:
        centered = np.asarray(leaf, np.float64) - mean(leaf)
        return np.asarray(np.sqrt(np.tensordot(weights, centered**2, 1)))

    return jax.tree.map(mean, draws), jax.tree.map(sd, draws)
