"""From a configuration to the objective that it speaks of."""

from __future__ import annotations

from typing import Any

import optax

from tighter._checks import require
from tighter._errors import InputError
from tighter._names import unknown
from tighter.bounds import Side, bound_from_name
from tighter.gradients import estimator_from_name
from tighter.objectives.closed_forms import AnalyticEntropy, AnalyticKL
from tighter.objectives.objective import Objective
from tighter.objectives.russian_roulette import SUMO
from tighter.runs.configuration import Configuration, ObjectiveConfiguration
from tighter.training import Trainable

CONTINUOUS_GRADIENT, DISCRETE_GRADIENT = "doubly-reparameterized", "vimco"
FORMS = ("log-weights", "entropy", "analytic-kl")


def build_objective(configuration: Configuration, *, num_steps: int = 0) -> Trainable:
    """The bound and its gradient; a warm-up takes a share of so many steps.

    Raises:
        InputError: If a name is unknown, a number out of range, or parts don't fit.
    """
    objective = configuration.objective
    try:
        built = _objective(objective, num_steps)
    except InputError:
        raise
    except (ValueError, TypeError) as error:
        raise InputError(f"[objective]: {error}") from None
    if isinstance(built, Objective) and built.bound.side is Side.UPPER:
        raise InputError(
            f"{objective.bound} is an upper bound on log p: maximizing it trains nothing; train "
            "with a lower bound (elbo, iwae, renyi:0.5)"
        )
    return built


def _objective(objective: ObjectiveConfiguration, num_steps: int) -> Trainable:
    gradient = estimator_from_name(objective.gradient or CONTINUOUS_GRADIENT)
    num_samples, chunk_size = objective.num_samples, objective.chunk_size
    if objective.form not in FORMS:
        raise unknown("form of the ELBO", objective.form, FORMS)
    require(
        0 <= objective.warm_up <= 1,
        f"objective.warm_up is a share of the training, 0 to 1, got {objective.warm_up}",
    )
    given, usual = vars(objective), vars(ObjectiveConfiguration())
    changed = [name for name in ("beta", "free_bits", "warm_up") if given[name] != usual[name]]
    require(
        not changed or objective.form == "analytic-kl",
        f"objective.{''.join(changed[:1])} is about the analytic KL: add --set "
        "objective.bound=elbo --set objective.form=analytic-kl",
    )
    alone = objective.form != "log-weights" or objective.bound == "sumo"
    require(
        not alone or (objective.num_outer == 1 and objective.num_backward is None),
        "objective.num_outer and objective.num_backward are for bounds of log weights: leave "
        f"them out with {objective.bound} as {objective.form}",
    )
    if objective.form == "log-weights" and objective.bound == "sumo":
        return SUMO(gradient, num_samples=num_samples)
    if objective.form == "log-weights":
        return Objective(
            bound=bound_from_name(objective.bound),
            gradient=gradient,
            num_samples=num_samples,
            num_outer=objective.num_outer,
            num_backward=objective.num_backward,
            chunk_size=chunk_size,
        )
    require(
        objective.bound == "elbo",
        f"objective.form={objective.form} is a form of the ELBO, got the bound "
        f"{objective.bound!r}: add --bound elbo",
    )
    if objective.form == "entropy":
        return AnalyticEntropy(gradient, num_samples, chunk_size)
    beta: Any = objective.beta
    rising = round(objective.warm_up * num_steps)
    if rising:
        beta = optax.linear_schedule(0.0, objective.beta, rising)
    AnalyticKL(objective.beta)  # refuses what a schedule would hide
    return AnalyticKL(beta, objective.free_bits, gradient, num_samples, chunk_size)
