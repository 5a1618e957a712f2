"""Steps of training in one compiled loop: the only place where a bound becomes a loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

Transform = Callable[..., Array]


@runtime_checkable
class Trainable(Protocol):
    """What can be maximized: an `Objective`, or an ELBO in closed form."""

    @property
    def num_samples(self) -> int:
        """Draws in a bound."""
        ...

    @property
    def num_outer(self) -> int:
        """Bounds averaged."""
        ...

    def at(self, step: Any) -> Trainable:
        """The objective at a step of training, where it changes with the step."""
        ...

    def batch(self, model: Any, xs: PyTree, *, key: Key[Array, ""]) -> Float[Array, " batch"]:
        """The bound for each example, in nats."""
        ...


class State(NamedTuple):
    """What the next step needs.

    Attributes:
        arrays: The model's trainable arrays.
        optimizer: The optimizer's state.
        step: Steps taken.
        bound_sum: Sum of the steps' mean bounds since the epoch began.
    """

    arrays: PyTree
    optimizer: PyTree
    step: Int[Array, ""]
    bound_sum: Float[Array, ""]


class Keys(NamedTuple):
    """Keys from which those of every epoch and step are derived."""

    permutation: Key[Array, ""]
    transform: Key[Array, ""]
    draws: Key[Array, ""]
    validation: Key[Array, ""]


@jax.jit
def keys_of(key: Key[Array, ""]) -> Keys:
    """The keys of a run, from its one key."""
    return Keys(*jax.random.split(key, 4))


class Steps(eqx.Module):
    """The compiled loop, and what it does not change.

    The loop's length is an argument of the program and not part of it, so that a run in chunks of
    any length makes the same numbers.

    Attributes:
        static: The model without its trainable arrays.
        objective: What is maximized.
        optimizer: An optax transformation.
        transform: (batch, key) -> batch, anew at each step; None for none.
        batch_size: Examples a step.
        num_steps: Steps of the whole run.
        keys: Random keys.
    """

    static: PyTree
    objective: Trainable
    optimizer: optax.GradientTransformation = eqx.field(static=True)
    transform: Transform | None
    batch_size: int = eqx.field(static=True)
    num_steps: Int[Array, ""]
    keys: Keys

    @eqx.filter_jit
    def initial(self, arrays: PyTree) -> State:
        """The state before the first step."""
        dtype = jnp.result_type(float)
        return State(arrays, self.optimizer.init(arrays), jnp.asarray(0), jnp.zeros((), dtype))

    @eqx.filter_jit
    def run(
        self, state: State, data: PyTree, until: Int[Array, ""]
    ) -> tuple[State, Bool[Array, ""]]:
        """Take steps within one epoch until the step asked for, or to the first that is not finite.

        Args:
            state: Where to start.
            data: All examples.
            until: Where to stop: a step of the same epoch, or the first of the next.

        Returns:
            The state, and whether all was finite. If not, the last step taken is the one at fault
            and the state is of no use.
        """
        num_examples = jax.tree.leaves(data)[0].shape[0]
        per_epoch = num_examples // self.batch_size
        epoch = state.step // per_epoch
        order = jax.random.permutation(
            jax.random.fold_in(self.keys.permutation, epoch), num_examples
        )

        def step(carry: tuple[State, Bool[Array, ""]]) -> tuple[State, Bool[Array, ""]]:
            state, _ = carry
            start = (state.step % per_epoch) * self.batch_size
            rows = jax.lax.dynamic_slice(order, (start,), (self.batch_size,))
            xs, key = self.batch(data, rows, state.step)
            objective = self.objective.at(state.step)
            loss, gradient = jax.value_and_grad(self._loss)(state.arrays, objective, xs, key)
            updates, optimizer = self.optimizer.update(gradient, state.optimizer, state.arrays)
            arrays = eqx.apply_updates(state.arrays, updates)
            finite = jnp.isfinite(loss) & all_finite((gradient, arrays))
            state = State(
                arrays,
                optimizer,
                state.step + 1,
                state.bound_sum - loss,
            )
            return state, finite

        def going(carry: tuple[State, Bool[Array, ""]]) -> Bool[Array, ""]:
            return (carry[0].step < until) & carry[1]

        starts_epoch = state.step % per_epoch == 0
        state = state._replace(bound_sum=jnp.where(starts_epoch, 0.0, state.bound_sum))
        return jax.lax.while_loop(going, step, (state, jnp.isfinite(state.bound_sum)))

    @eqx.filter_jit
    def mean_bound(self, arrays: PyTree, data: PyTree) -> Float[Array, ""]:
        """Mean of the objective's bound over some examples, with the same draws at every call.

        Where the objective changes with the step, it is that of the last step, so that epochs can
        be compared.
        """
        objective = self.objective.at(self.num_steps)
        model = eqx.combine(arrays, self.static)
        transform_key, key = jax.random.split(self.keys.validation)
        if self.transform is not None:
            data = self.transform(data, key=transform_key)
        num = jax.tree.leaves(data)[0].shape[0]
        size = min(self.batch_size, num)
        full = num // size

        def of_batch(batch: tuple[PyTree, Array]) -> Float[Array, ""]:
            return jnp.sum(objective.batch(model, batch[0], key=batch[1]))

        keys = jax.random.split(key, full + 1)
        batches = jax.tree.map(
            lambda part: part[: full * size].reshape(full, size, *part.shape[1:]), data
        )
        total = jnp.sum(jax.lax.map(of_batch, (batches, keys[:-1])))
        if full * size < num:
            rest = jax.tree.map(lambda part: part[full * size :], data)
            total = total + of_batch((rest, keys[-1]))
        return total / num

    def batch(
        self, data: PyTree, rows: Int[Array, " batch"], step: Int[Array, ""]
    ) -> tuple[PyTree, Key[Array, ""]]:
        """The examples of a step, and the key of its draws."""
        both = jnp.stack([self.keys.transform, self.keys.draws])
        transform_key, key = jax.vmap(jax.random.fold_in, (0, None))(both, step)
        xs = jax.tree.map(lambda part: part[rows], data)
        if self.transform is not None:
            xs = self.transform(xs, key=transform_key)
        return xs, key

    def rows_of(self, step: int, num_examples: int) -> Int[Array, " batch"]:
        """Which examples a step takes."""
        epoch, within = divmod(step, num_examples // self.batch_size)
        key = jax.random.fold_in(self.keys.permutation, epoch)
        order = jax.random.permutation(key, num_examples)
        return order[within * self.batch_size : (within + 1) * self.batch_size]

    def _loss(
        self, arrays: PyTree, objective: Trainable, xs: Any, key: Key[Array, ""]
    ) -> Float[Array, ""]:
        """Minus the mean bound."""
        model = eqx.combine(arrays, self.static)
        return -jnp.mean(objective.batch(model, xs, key=key))


def all_finite(tree: PyTree) -> Bool[Array, ""]:
    """Whether every entry of every array is finite."""
    flags = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]
    return jnp.all(jnp.stack(flags)) if flags else jnp.asarray(True)  # noqa: FBT003
