"""Learning rates over a run, as optax schedules of the step."""

from __future__ import annotations

import math
from collections.abc import Callable

import optax


def constant(learning_rate: float, num_steps: int) -> optax.Schedule:
    """The same learning rate throughout."""
    return optax.constant_schedule(learning_rate)


def cosine(learning_rate: float, num_steps: int) -> optax.Schedule:
    """Half a cosine, from the learning rate down to a hundredth of it."""
    return optax.cosine_decay_schedule(learning_rate, max(num_steps, 1), alpha=0.01)


def steps(learning_rate: float, num_steps: int) -> optax.Schedule:
    """The learning rate, times 0.3 at 60 % and again at 85 % of the steps."""
    boundaries = {int(0.6 * num_steps): 0.3, int(0.85 * num_steps): 0.3}
    return optax.piecewise_constant_schedule(learning_rate, boundaries)


def iwae(learning_rate: float, num_steps: int) -> optax.Schedule:
    r"""Stages i = 0, 1, … of $3^i$ epochs at learning rate times $10^{-i/7}$, fitted to the run.

    Burda et al. take eight stages, 3280 epochs in all, from 0.001. A shorter run takes the same
    eight stages, shrunk in proportion.

    References:
        Burda, Grosse & Salakhutdinov, "Importance weighted autoencoders", 2016, sec. 5.
    """
    stages = 8
    total = (3**stages - 1) // 2
    ends = [math.floor(num_steps * ((3 ** (i + 1) - 1) // 2) / total) for i in range(stages)]
    rates = [optax.constant_schedule(learning_rate * 10 ** (-i / 7)) for i in range(stages)]
    return optax.join_schedules(rates, ends[:-1])


SCHEDULES: dict[str, Callable[[float, int], optax.Schedule]] = {
    "constant": constant,
    "cosine": cosine,
    "steps": steps,
    "iwae": iwae,
}
