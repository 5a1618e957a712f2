"""Leave-one-out cross-validation without fitting again, by Pareto-smoothed importance sampling."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from tighter._errors import InputError
from tighter._summary import quantity, summary
from tighter.evaluation.posterior_check import weighed_draws
from tighter.evaluation.psis import smoothed_weights
from tighter.evaluation.verdicts import TRUSTED


class LeaveOneOut(NamedTuple):
    r"""$\mathrm{elpd} = \sum_n \log p(d_n \mid d_{-n})$, each term from draws given all data.

    Attributes:
        elpd: Expected log predictive density, in nats.
        standard_error: Its standard error as an estimate for new data: √N times the spread of its
            terms.
        p_loo: Effective number of parameters: by how much data seen are likelier than unseen ones.
        pointwise: The terms, in nats, shape (N,).
        pareto_k: k̂ of each datum's weights: where it is above 0.7, the datum moves the posterior
            too much for its term to be trusted.
        posterior_k: k̂ of q's own weights; 0 for draws of the posterior itself.
    """

    elpd: float
    standard_error: float
    p_loo: float
    pointwise: Float[np.ndarray, " N"]
    pareto_k: Float[np.ndarray, " N"]
    posterior_k: float

    @property
    def verdict(self) -> str:
        """Whether to trust it, in words."""
        if not math.isfinite(self.elpd):
            wrong = ~np.isfinite(self.pointwise)
            return (
                f"elpd is {self.elpd}, of {wrong.sum():,} data, row {wrong.argmax()} first: not to "
                "be trusted; see where log_likelihood and the prior are not finite"
            )
        if self.posterior_k > TRUSTED:
            return (
                f"k̂ of the posterior is {self.posterior_k:.2f}: not to be trusted; a full-rank, "
                "mixture or flow posterior will help"
            )
        known = self.pareto_k[~np.isnan(self.pareto_k)]
        if not known.size:
            return "k̂ is not known: 25 draws or more tell whether the weights are to be trusted"
        bad = int(np.sum(known > TRUSTED))
        if not bad:
            return f"k̂ is at most {known.max():.2f}: to be trusted"
        return (
            f"k̂ is above {TRUSTED} for {bad:,} of {known.size:,} data, {known.max():.2f} at worst: "
            "not to be trusted there; leave each of these out and fit again"
        )

    def __repr__(self) -> str:
        elpd = quantity(self.elpd, self.standard_error)
        return summary(self, f"elpd {elpd} nats of {self.pointwise.size:,} data", self.verdict)


def leave_one_out(
    model: Any, data: PyTree, *, num_samples: int = 4000, key: Key[Array, ""]
) -> LeaveOneOut:
    r"""PSIS-LOO with draws of an approximate posterior, corrected for it.

    The weights of datum n are $p(d_{-n}, \theta) / q(\theta)$, Pareto-smoothed: a draw at which
    datum n is impossible still counts where the others are not.

    Args:
        model: A `BayesianModel`.
        data: The data it was fitted to, arrays with leading axis N.
        num_samples: Draws of q.
        key: Random key.

    Raises:
        InputError: If there are fewer than 25 draws, or the data are not finite.

    References:
        Vehtari, Gelman & Gabry, "Practical Bayesian model evaluation using leave-one-out
        cross-validation and WAIC", 2017; Magnusson, Andersen, Jonasson & Vehtari, "Bayesian
        leave-one-out cross-validation for large data", 2019, eq. 8.
    """
    draws, log_ratios = weighed_draws(model, data, num_samples=num_samples, key=key)
    without = None
    if np.isneginf(log_ratios).any():
        without = _weights_without_one(model, draws, data)
    return _from_blocks(_blocks(model, draws, data), log_ratios, without)


def leave_one_out_from_draws(model: Any, draws: PyTree, data: PyTree) -> LeaveOneOut:
    """PSIS-LOO with draws of the posterior itself, from a sampler or importance-resampled.

    Args:
        model: Has `log_likelihoods(parameters, data)`.
        draws: Parameters with leading axis S.
        data: The data that they were drawn given.

    Raises:
        InputError: If the data are not finite, or impossible at a draw.
    """
    return _from_blocks(_blocks(model, draws, data), None, None)


def _blocks(model: Any, draws: PyTree, data: PyTree) -> Iterable[np.ndarray]:
    # Imported late: a log-likelihood of a user's own model needs no models of ours.
    from tighter.models.bayesian.predictive import likelihood_blocks

    return likelihood_blocks(model, draws, data)


def _weights_without_one(model: Any, draws: PyTree, data: PyTree) -> Float[np.ndarray, " S"]:
    """Log weights without the one datum that is impossible; -inf where several are, or none is."""
    prior, posterior = model.prior, model.posterior(data)

    def before_data(z: PyTree) -> Array:
        return prior.log_prob(z) - posterior.log_prob(z)

    others = np.asarray(jax.jit(jax.vmap(before_data))(draws), np.float64)
    impossible = np.zeros(len(others), int)
    for block in _blocks(model, draws, data):
        none = np.isneginf(block)
        impossible += none.sum(axis=1)
        others += np.where(none, 0, block).sum(axis=1)
    return np.where(impossible == 1, others, -np.inf)


def _from_blocks(
    blocks: Iterable[np.ndarray],
    log_ratios: Float[np.ndarray, " S"] | None,
    without: Float[np.ndarray, " S"] | None,
) -> LeaveOneOut:
    pointwise, shapes, in_sample = [], [], []
    posterior_k, log_posterior = 0.0, 0.0
    if log_ratios is not None:
        weights = smoothed_weights(log_ratios[:, None])
        posterior_k, log_posterior = float(weights.pareto_k[0]), weights.log_weights
    for block in blocks:
        none = np.isneginf(block)
        if log_ratios is None and none.any():
            raise InputError(
                f"at {none.any(axis=1).sum():,} draws a datum is impossible: these are no draws of "
                "the posterior given all data; take leave_one_out, or draw anew"
            )
        ratios = -block
        if log_ratios is not None:
            ratios = log_ratios[:, None] - np.where(none, 0, block)
            ratios = ratios if without is None else np.where(none, without[:, None], ratios)
        weights = smoothed_weights(ratios)
        pointwise.append(np.logaddexp.reduce(weights.log_weights + block, axis=0))
        shapes.append(weights.pareto_k)
        within = log_posterior if log_ratios is not None else -math.log(len(block))
        in_sample.append(np.logaddexp.reduce(within + block, axis=0))
    terms = np.concatenate(pointwise)
    spread = float(np.std(terms, ddof=1)) if terms.size > 1 else math.nan
    return LeaveOneOut(
        float(terms.sum()),
        math.sqrt(terms.size) * spread,
        float(np.concatenate(in_sample).sum() - terms.sum()),
        terms,
        np.concatenate(shapes),
        posterior_k,
    )
