"""One epoch of training that begins where another one left off, its optimizer's state included."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Key, PyTree

from tighter._errors import NonFiniteError
from tighter.models import VAE
from tighter.objectives.objective import Objective
from tighter.training.steps import State, Steps, keys_of


class Epoch(NamedTuple):
    """What an epoch leaves behind.

    Attributes:
        model: The model.
        optimizer_state: The optimizer's state.
        bound: Mean bound of the epoch, in nats an example.
    """

    model: VAE
    optimizer_state: PyTree
    bound: float


def one_epoch(
    model: VAE,
    xs: np.ndarray,
    objective: Objective,
    *,
    optimizer: optax.GradientTransformation,
    optimizer_state: PyTree,
    batch_size: int,
    key: Key[Array, ""],
) -> Epoch:
    """Train for one epoch; `optimizer_state` is None before the first.

    Raises:
        NonFiniteError: If a bound or a gradient is not finite.
    """
    arrays, static = eqx.partition(model, eqx.is_inexact_array)
    num_steps = len(xs) // batch_size
    until = jnp.asarray(num_steps)
    steps = Steps(static, objective, optimizer, None, batch_size, until, keys_of(key))
    state = steps.initial(arrays)
    if optimizer_state is not None:
        state = State(arrays, optimizer_state, state.step, state.bound_sum)
    start, data, order = state, jnp.asarray(xs), jnp.asarray(steps.order(0, len(xs)))
    state, finite = steps.run(start, data, order, until)
    if not finite:
        good = steps.before_fault(start, data, order, int(state.step))
        raise NonFiniteError(
            f"step {int(good.step) + 1} of the epoch: a value that is not finite; the parameters "
            "are as before; try a smaller learning rate, or look at these rows"
        )
    bound = float(state.bound_sum) / num_steps
    return Epoch(eqx.combine(state.arrays, static), state.optimizer, bound)
