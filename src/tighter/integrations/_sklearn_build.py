"""From an estimator's parameters to the objects that they speak of."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import optax

from tighter._errors import InputError
from tighter._programs import compiled
from tighter.bounds import Side, bound_from_name
from tighter.distributions import is_reparameterizable
from tighter.gradients import VIMCO, DoublyReparameterized, Estimator, estimator_from_name
from tighter.integrations._sklearn_input import refuse_constant
from tighter.models import VAE, Missing, Observation, Standardized, Support, observation_from_name
from tighter.objectives.objective import Objective
from tighter.training import SCHEDULES

# One program to compile instead of one a layer; it runs once, so that speed is no matter.
_OPTIONS: Any = {"compiler_options": {"xla_backend_optimization_level": 0}}
create = compiled(VAE.create, **_OPTIONS)


def observation_of(given: str | Observation, values: np.ndarray, *, names: Any) -> Observation:
    """The family, standardized where it is over all numbers; entries may be missing.

    Raises:
        InputError: If there is no such family, or a column's density would have no bound.
    """
    shape = values.shape[1:]
    family = observation_from_name(given, shape) if isinstance(given, str) else given
    if isinstance(family, Missing):
        return family
    if family.support == Support():
        refuse_constant(values, names=names)
        family = family if isinstance(family, Standardized) else Standardized(family, shape)
    return Missing(family)


def objective_of(bound: Any, gradient: Any, num_samples: int, *, model: VAE) -> Objective:
    """The objective that a model is to be trained by.

    Raises:
        InputError: If a name is unknown, a part is none, or the bound is an upper one.
        ValueError: If the parts don't fit.
    """
    if isinstance(bound, str):
        bound = bound_from_name(bound)
    if isinstance(gradient, str):
        gradient = estimator_from_name(gradient)
    if gradient is None:
        posterior = model.family.distribution(jnp.zeros(model.family.shape(model.num_latent)))
        continuous = is_reparameterizable(posterior)
        gradient = DoublyReparameterized() if continuous else VIMCO()
    if not callable(bound):
        raise InputError(f"bound is a name or a tighter.bounds object, got {bound!r}")
    if not isinstance(gradient, Estimator):
        raise InputError(f"gradient is a name or a tighter.gradients object, got {gradient!r}")
    part: Any = bound
    objective = Objective(part, gradient, num_samples=num_samples)
    if objective.bound.side is Side.UPPER:
        raise InputError(
            f"{bound} is an upper bound on log p: maximizing it trains nothing; take a lower "
            "bound (elbo, iwae, renyi:0.5)"
        )
    return objective


def adam(schedule: str, learning_rate: float, num_steps: int) -> optax.GradientTransformation:
    """Adam with a learning rate that follows a schedule."""
    return optax.adam(SCHEDULES[schedule](learning_rate, num_steps))
