"""Steps of training in one compiled loop: the only place where a bound becomes a loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from tighter._errors import InputError
from tighter._examples import as_floating
from tighter._mesh import layout, over, spread
from tighter._precision import multiplied_in
from tighter._programs import compiled
from tighter._protocols import as_model, untrained_fields
from tighter.objectives.objective import Objective
from tighter.training.feed import Block

if TYPE_CHECKING:
    from optax import GradientTransformation
else:  # imported by who makes the optimizer
    GradientTransformation = Any

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
        average: Exponential moving average of the arrays; None where none is asked for.
    """

    arrays: PyTree
    optimizer: PyTree
    step: Int[Array, ""]
    bound_sum: Float[Array, ""]
    average: PyTree = None

    @property
    def reported(self) -> PyTree:
        """The arrays that are validated, kept and given back: the average, where there is one."""
        return self.arrays if self.average is None else self.average


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
        num_examples: Size of the data set.
        num_steps: Steps of the whole run.
        keys: Random keys.
        average: Decay of the moving average of the arrays, in [0, 1); None for no average.
        mesh: Devices that examples, draws and wide layers are spread over; None for one device.
        precision: Of the products in networks.

    A model's own part in a step is in `ModelHooks`: `in_training`, `after_step` and
    `minibatch_log_joint`; a model, or a module within it, names the fields that no optimizer moves
    (`untrained_fields`).
    """

    static: PyTree
    objective: Trainable
    optimizer: GradientTransformation
    transform: Transform | None
    batch_size: int = eqx.field(static=True)
    num_examples: int = eqx.field(static=True)
    num_steps: Int[Array, ""]
    keys: Keys
    average: float | None = eqx.field(static=True, default=None)
    mesh: Mesh | None = eqx.field(static=True, default=None)
    precision: str = eqx.field(static=True, default="float32")

    @property
    def per_epoch(self) -> int:
        """Steps in a pass over the data."""
        return self.num_examples // self.batch_size

    @compiled
    def initial(self, arrays: PyTree) -> State:
        """The state before the first step."""
        dtype = jnp.result_type(float)
        average = None if self.average is None else arrays
        optimizer = self.optimizer.init(arrays)
        return self._laid_out(
            State(arrays, optimizer, jnp.asarray(0), jnp.zeros((), dtype), average)
        )

    @compiled
    def run(
        self, state: State, block: Block, until: Int[Array, ""]
    ) -> tuple[State, Bool[Array, ""]]:
        """Take steps within one epoch until the step asked for, or to the first of no finite bound.

        Parameters, and what the optimizer keeps, are looked at after the last step alone, which
        every step would pay for: what is not finite stays so.

        Args:
            state: Where to start.
            block: Holds the examples of the steps to take.
            until: Where to stop: a step of the same epoch, or the first of the next.

        Returns:
            The state, and whether bounds, parameters and what the optimizer keeps (if it was so at
            the start) are finite. If not, a step of these was at
            fault (`before_fault` finds it) and the state is of no use.
        """

        def step(carry: tuple[State, Bool[Array, ""]]) -> tuple[State, Bool[Array, ""]]:
            state, _ = carry
            xs, key = self.batch(block, state.step)
            objective = self.objective.at(state.step)

            def loss_of(arrays: PyTree) -> Float[Array, ""]:
                model = eqx.combine(arrays, self.static)
                return -jnp.mean(training_bounds(model, objective, xs, self.num_examples, key=key))

            loss, gradient = jax.value_and_grad(loss_of)(state.arrays)
            updates, optimizer = self.optimizer.update(gradient, state.optimizer, state.arrays)
            # An optimizer may move what has no gradient: weight decay does.
            updates = jax.tree.map(
                lambda alone, update: jnp.zeros_like(update) if alone else update,
                left_alone(state.arrays), updates,
            )  # fmt: skip
            arrays = self._moved_on(eqx.apply_updates(state.arrays, updates), xs, key)
            average = self._averaged(state.average, arrays, state.step)
            state = State(arrays, optimizer, state.step + 1, state.bound_sum - loss, average)
            return self._laid_out(state), jnp.isfinite(loss)

        def going(carry: tuple[State, Bool[Array, ""]]) -> Bool[Array, ""]:
            return (carry[0].step < until) & carry[1]

        was_finite = all_finite(state.optimizer)
        starts_epoch = state.step % self.per_epoch == 0
        state = state._replace(bound_sum=jnp.where(starts_epoch, 0.0, state.bound_sum))
        with over(self.mesh), multiplied_in(self.precision):
            state, finite = jax.lax.while_loop(going, step, (state, jnp.isfinite(state.bound_sum)))
        kept = all_finite(state.optimizer) | ~was_finite
        return state, finite & kept & all_finite(state.arrays)

    def before_fault(self, state: State, block: Block, reached: int) -> State:
        """The state before the first step that is not finite, found by halving.

        Args:
            state: A good one of the same block.
            block: Holds the examples of the steps.
            reached: The step after which all was not finite.
        """
        good = int(state.step)
        while reached - good > 1:
            middle = (good + reached) // 2
            tried, finite = self.run(state, block, jnp.asarray(middle))
            if finite:
                state, good = tried, middle
            else:
                reached = middle
        return state

    @compiled
    def mean_bound(self, arrays: PyTree, data: PyTree) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Mean of the objective's bound over some examples, and its standard error (NaN of one).

        The draws are the same at every call.

        Where the objective changes with the step, it is that of the last step, so that epochs can
        be compared.
        """
        objective = self.objective.at(self.num_steps)
        model = eqx.combine(arrays, self.static)
        transform_key, key = jax.random.split(self.keys.validation)
        data = self.transformed(data, transform_key)
        num = leading_size(data)
        size = min(self.batch_size, num)
        full = num // size

        def of_batch(batch: tuple[PyTree, Array]) -> tuple[Array, Array]:
            """The sum, and the sum of squares about the mean."""
            bounds = objective.batch(model, batch[0], key=batch[1])
            total = jnp.sum(bounds)
            return total, jnp.sum((bounds - total / bounds.shape[0]) ** 2)

        keys = jax.random.split(key, full + 1)
        batches = jax.tree.map(
            lambda part: part[: full * size].reshape(full, size, *part.shape[1:]), data
        )
        totals, squares = jax.lax.map(of_batch, (batches, keys[:-1]))
        total, within, sizes = jnp.sum(totals), jnp.sum(squares), jnp.full(full, size)
        if full * size < num:
            rest = jax.tree.map(lambda part: part[full * size :], data)
            last, more = of_batch((rest, keys[-1]))
            total, within = total + last, within + more
            totals, sizes = jnp.append(totals, last), jnp.append(sizes, num - full * size)
        mean = total / num
        between = jnp.sum(sizes * (totals / sizes - mean) ** 2)
        if num == 1:
            return mean, jnp.full_like(mean, jnp.nan)
        return mean, jnp.sqrt((within + between) / (num * (num - 1)))

    def mean_bound_by_rows(self, arrays: PyTree, source: Any, num: int) -> tuple[float, float]:
        """The same of examples that are read by rows, a batch at a time.

        Args:
            arrays: The model's trainable arrays.
            source: Gives the examples of rows.
            num: How many there are.
        """
        size = min(self.batch_size, num)
        parts = [
            self._bounds(
                arrays, source[np.arange(start, min(start + size, num))], jnp.asarray(start)
            )
            for start in range(0, num, size)
        ]
        bounds = np.concatenate([np.asarray(part, np.float64) for part in parts])
        error = bounds.std(ddof=1) / np.sqrt(num) if num > 1 else np.nan
        return float(bounds.mean()), float(error)

    @compiled
    def _bounds(self, arrays: PyTree, xs: PyTree, start: Int[Array, ""]) -> Float[Array, " batch"]:
        """Bounds of some held-out examples, from the one at `start` on."""
        transform_key, key = jax.random.split(jax.random.fold_in(self.keys.validation, start))
        with over(self.mesh):
            xs = self.transformed(spread(xs, "data"), transform_key)
            objective = self.objective.at(self.num_steps)
            bounds = objective.batch(eqx.combine(arrays, self.static), xs, key=key)
        return self._laid_out(bounds)

    def batch(self, block: Block, step: Int[Array, ""]) -> tuple[PyTree, Key[Array, ""]]:
        """The examples of a step, and the key of its draws."""
        both = jnp.stack([self.keys.transform, self.keys.draws])
        transform_key, key = jax.vmap(jax.random.fold_in, (0, None))(both, step)
        position = step - block.first
        if block.order is None:
            xs = jax.tree.map(lambda part: part[position], block.data)
        else:
            start = position * self.batch_size
            rows = jax.lax.dynamic_slice(block.order, (start,), (self.batch_size,))
            xs = jax.tree.map(lambda part: part[rows], block.data)
        return self.transformed(spread(xs, "data"), transform_key), key

    def transformed(self, xs: PyTree, key: Key[Array, ""]) -> PyTree:
        """Examples as floating-point numbers, transformed as the run does."""
        xs = jax.tree.map(as_floating, xs)
        return xs if self.transform is None else self.transform(xs, key=key)

    def _laid_out(self, tree: PyTree) -> PyTree:
        """Parameters, and what is of their shape, where they lie in the mesh."""
        if self.mesh is None:
            return tree
        return jax.lax.with_sharding_constraint(tree, layout(self.mesh, tree))

    def _moved_on(self, arrays: PyTree, xs: PyTree, key: Key[Array, ""]) -> PyTree:
        model = eqx.combine(arrays, self.static)
        moved = as_model(model).after_step(xs, key=_model_key(key))
        if moved is model:
            return arrays
        return jax.lax.stop_gradient(eqx.filter(moved, eqx.is_inexact_array))

    def _averaged(self, average: PyTree, arrays: PyTree, step: Int[Array, ""]) -> PyTree:
        """The average with a decay that grows to its own, so that the start is soon forgotten."""
        if self.average is None:
            return None
        decay = jnp.minimum(self.average, (1 + step) / (10 + step))
        return jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, average, arrays)


def left_alone(tree: PyTree) -> PyTree:
    """Whether each leaf is of a field that its module names in `untrained`."""

    def names_some(node: Any) -> bool:
        return node is not tree and bool(untrained_fields(node))

    within = jax.tree.map(
        lambda node: left_alone(node) if names_some(node) else False, tree, is_leaf=names_some
    )
    names = untrained_fields(tree)
    if not names:
        return within
    whole = [jax.tree.map(lambda _: True, vars(tree)[name]) for name in names]
    return eqx.tree_at(lambda module: [vars(module)[name] for name in names], within, whole)


def training_bounds(
    model: Any, objective: Trainable, xs: PyTree, num_examples: int, *, key: Key[Array, ""]
) -> Float[Array, " bounds"]:
    """What a step maximizes the mean of: a bound an example, or one for the whole data set.

    Args:
        model: The model.
        objective: What is maximized.
        xs: The step's batch.
        num_examples: Size of the data set that it is of.
        key: The key of the step's draws.

    Returns:
        The bounds in nats.
    """
    model = as_model(model).in_training(xs, key=_model_key(key))
    minibatch_log_joint = as_model(model).minibatch_log_joint
    if minibatch_log_joint is None:
        return objective.batch(model, xs, key=key)
    if not isinstance(objective, Objective):
        raise InputError(
            f"{type(model).__name__} is trained by an Objective (its latents belong to the whole "
            f"data set), got {type(objective).__name__}"
        )
    log_joint = minibatch_log_joint(xs, num_examples)
    return objective(log_joint, model.posterior(xs), key=key)[None]


def _model_key(key: Key[Array, ""]) -> Key[Array, ""]:
    """A key for the model's own chance in a step; the draws' are split from the step's key."""
    return jax.random.fold_in(key, 2**32 - 1)


def leading_size(xs: PyTree) -> int:
    """How many examples there are."""
    return jax.tree.leaves(xs)[0].shape[0]


def all_finite(tree: PyTree) -> Bool[Array, ""]:
    """Whether every entry of every array is finite."""
    flags = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]
    return jnp.all(jnp.stack(flags)) if flags else jnp.asarray(True)  # noqa: FBT003
