"""Annealing from both sides: log-likelihoods of simulated data between two bounds."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Unpack

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from tighter._checks import check_counts, require
from tighter._programs import compiled
from tighter._protocols import as_model, prior_if_any
from tighter._summary import mean_of, summary
from tighter.distributions import draw
from tighter.evaluation.annealing import (
    AnnealedLogLikelihood,
    AnnealingOptions,
    anneal,
    annealing_of,
)


class Bidirectional(NamedTuple):
    """Bounds on log p(x) from both sides, for data simulated from the model; a row an example.

    Attributes:
        x: The simulated examples.
        z: The latents that they were simulated from.
        lower: Forward annealing: stochastic lower bounds.
        upper: Reverse annealing from z: stochastic upper bounds, on simulated data only.
    """

    x: PyTree
    z: PyTree
    lower: AnnealedLogLikelihood
    upper: AnnealedLogLikelihood

    @property
    def gap(self) -> Float[np.ndarray, " batch"]:
        """Upper minus lower bound, in nats."""
        return self.upper.value - self.lower.value

    @property
    def mean_gap(self) -> float:
        """Mean gap in nats a datum: how far, in expectation, either bound is off at most."""
        return float(np.mean(self.gap))

    @property
    def mean_gap_error(self) -> float:
        """Standard error of `mean_gap` over the examples, in nats; NaN for one example."""
        if self.gap.size < 2:
            return math.nan
        return float(np.std(self.gap, ddof=1) / math.sqrt(self.gap.size))

    @property
    def note(self) -> str:
        """What the upper bound is worth."""
        return (
            "The upper bound holds for these examples, simulated from the model, whose exact "
            "posterior draws are known; on other data annealing gives the lower bound alone, and "
            "the gap here says how far off the same settings are where the model is right."
        )

    def __repr__(self) -> str:
        gap = f"upper − lower is {mean_of(self.gap, of='simulated examples')}"
        return summary(self, gap)


def bidirectional(
    model: Any,
    *,
    num_examples: int = 100,
    key: Key[Array, ""],
    show_progress: bool | None = None,
    **options: Unpack[AnnealingOptions],
) -> Bidirectional:
    r"""Simulate examples from the model and bound log p(x) of each from both sides.

    z ~ p(z) and x ~ p(x|z) make z an exact draw of p(z|x), from which annealing can be run in
    reverse. In expectation lower ≤ log p(x) ≤ upper, and the gap falls as 1/T once the
    transitions mix. **The upper bound holds on simulated data only**: of real data no exact
    posterior draw is known. The gap tells what the settings are worth for x such as the model
    makes.

    Args:
        model: A `LatentVariableModel`: with `prior`, `likelihood(z)`, `log_joint(x)` and
            `posterior(x)`.
        num_examples: How many to simulate.
        key: Random key.
        show_progress: None for bars on terminals; True or False.
        options: Of the annealing, each way, as in `annealed_log_likelihood`; `start` is the end of
            the path that is not p.

    Returns:
        Examples, bounds with their errors, and the gap; `note` says where the upper bound holds.

    Raises:
        InputError: As `annealed_log_likelihood`, or if `num_examples` is below 1 or the model has
            no prior or likelihood to simulate from.

    Example:
        >>> both = bidirectional(model, num_examples=100, num_temperatures=500, key=key)
        >>> both.mean_gap, both.mean_gap_error

    References:
        Grosse, Ancha & Roy, "Measuring the reliability of MCMC inference with bidirectional Monte
        Carlo", 2016; Wu, Burda, Salakhutdinov & Grosse, "On the quantitative analysis of
        decoder-based generative models", 2017, sec. 4.1.
    """
    annealing = annealing_of(**options)
    check_counts(num_examples=num_examples)
    for name, part in (("prior", prior_if_any(model)), ("likelihood", as_model(model).likelihood)):
        require(
            part is not None,
            f"examples are simulated from prior and likelihood, and {type(model).__name__} has no "
            f"{name}: make it a LatentVariableModel",
        )
    simulation_key, lower_key, upper_key = jax.random.split(key, 3)
    z, x = _simulate(model, jax.random.split(simulation_key, num_examples))
    lower = anneal(annealing, model, x, None, key=lower_key, show_progress=show_progress)
    upper = anneal(annealing, model, x, z, key=upper_key, show_progress=show_progress)
    return Bidirectional(jax.device_get(x), jax.device_get(z), lower, upper)


def reverse_annealed_log_likelihood(
    model: Any,
    x: PyTree,
    z: PyTree,
    *,
    key: Key[Array, ""],
    show_progress: bool | None = None,
    **options: Unpack[AnnealingOptions],
) -> AnnealedLogLikelihood:
    r"""Bound $\log p(x)$ from above, annealing back from an exact posterior draw to q.

    From $z_T = z \sim p(z \mid x)$ by transitions that leave $f_{\beta_t}$ as it is, t = T … 1,

    $$\log w' = -\sum_{t=1}^T (\beta_t - \beta_{t-1}) \log \frac{p(x, z_t)}{q(z_t)},
      \qquad \mathrm{E}[w'] = 1 / p(x),$$

    and minus the log of a mean of weights is an upper bound in expectation. That of draws that
    are not exact is no bound at all: it holds on data simulated with its latents, or where exact
    posterior draws are known otherwise. All chains of an example begin at its one z, and their
    spread, so the standard error, can't tell what another z would have given.

    Args:
        model: As in `annealed_log_likelihood`.
        x: Examples; arrays with leading axis N.
        z: An exact draw of p(z|x) for each, arrays with leading axis N.
        key: Random key.
        show_progress: None for a bar on terminals; True or False.
        options: Of the annealing, as in `annealed_log_likelihood`: `start` is where it arrives,
            `step_size` is adapted on draws of the start, not on z, and a `transition` is
            reversible.

    Returns:
        Upper bounds with their errors, in nats a datum, one row an example.

    Raises:
        InputError: As `annealed_log_likelihood`, or if z is not of the latents' shape.

    References:
        Grosse, Ghahramani & Adams, "Sandwiching the marginal likelihood using bidirectional Monte
        Carlo", 2015, sec. 3.
    """
    annealing = annealing_of(**options)
    return anneal(annealing, model, x, z, key=key, show_progress=show_progress)


@compiled
def _simulate(model: Any, keys: Key[Array, " batch"]) -> tuple[PyTree, PyTree]:
    """Latents from the prior, and examples from the likelihood given them."""

    def simulate(key: Key[Array, ""]) -> tuple[PyTree, PyTree]:
        latent_key, observation_key = jax.random.split(key)
        z = draw(model.prior, key=latent_key)
        # Models take real examples, also of a likelihood that draws whole numbers.
        return z, jnp.asarray(model.likelihood(z).sample(observation_key), float)

    return jax.vmap(simulate)(keys)
