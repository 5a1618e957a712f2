"""A batch of examples whose draws are evaluated as rows, all by one vmap."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key, PyTree

from tighter._chunks import map_chunks
from tighter._errors import InputError
from tighter._mesh import spread_rows
from tighter._protocols import as_model, as_posterior


class Rows(eqx.Module):
    """B examples, their posteriors and keys; a draw of an example is a row.

    Draw i of an example has the key `fold_in(key of the example, i)`, so that it can be drawn
    again, alone or in any chunk.

    Attributes:
        log_joint_of: x -> (z -> log p(x, z)).
        xs: Examples, arrays with leading axis B, or None.
        batched: The posteriors' arrays with leading axis B; None where a leaf isn't batched.
        shared: The posteriors' remaining leaves, the same for every example.
        keys: A key an example.
    """

    log_joint_of: Callable[[Any], Callable[[Any], Array]]
    xs: PyTree
    batched: PyTree
    shared: PyTree
    keys: Key[Array, " batch"]

    def evaluate(
        self, function: Callable[..., PyTree], draws: Int[Array, "batch draws"], *columns: Array
    ) -> PyTree:
        """One function of every draw named, flattened to rows.

        Args:
            function: (log_joint_of, x, posterior, key, *column entries) -> array, or several.
            draws: Indices of draws, for each example.
            columns: Further arguments, shape (batch, draws) each.

        Returns:
            Shape (batch, draws, *shape of the function's value).
        """

        def row(x: PyTree, batched: PyTree, key: Array, draw: Array, *entries: Array) -> PyTree:
            posterior = eqx.combine(batched, self.shared)
            posterior = as_posterior(posterior).stratum(draw)
            return function(
                self.log_joint_of, x, posterior, jax.random.fold_in(key, draw), *entries
            )

        def repeated(leaf: Array) -> Array:
            of_draws = jnp.broadcast_to(leaf[:, None], (*draws.shape, *leaf.shape[1:]))
            return of_draws.reshape(-1, *leaf.shape[1:])

        per_example = jax.tree.map(repeated, (self.xs, self.batched, self.keys))
        per_draw = tuple(column.reshape(-1) for column in (draws, *columns))
        values = jax.vmap(row)(*spread_rows((*per_example, *per_draw), *draws.shape))
        return jax.tree.map(lambda leaf: leaf.reshape(*draws.shape, *leaf.shape[1:]), values)

    def in_chunks(
        self,
        function: Callable[..., PyTree],
        draws: Int[Array, "batch draws"],
        *columns: Array,
        chunk_size: int | None,
    ) -> PyTree:
        """`evaluate`, a chunk of draws (of all examples) at a time; so on the way back too."""

        def chunk(positions: Int[Array, " chunk"]) -> PyTree:
            taken = (column[:, positions] for column in columns)
            values = self.evaluate(function, draws[:, positions], *taken)
            return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), values)

        num = draws.shape[1]
        if chunk_size is not None and chunk_size < num:
            chunk = jax.checkpoint(chunk)
        values = map_chunks(chunk, num, chunk_size)
        return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), values)

    def take(self, examples: Int[Array, " some"]) -> Rows:
        """Some of the examples."""
        xs, batched, keys = jax.tree.map(
            lambda leaf: leaf[examples], (self.xs, self.batched, self.keys)
        )
        return Rows(self.log_joint_of, xs, batched, self.shared, keys)

    @property
    def num_strata(self) -> int:
        """What a number of draws is a multiple of: 1, or more where experts are drawn in turn."""
        return as_posterior(self.example_posterior()).num_strata or 1

    def check_turns(self, num_samples: int) -> None:
        """Refuse a number of draws in which some experts would have more turns than others.

        Raises:
            InputError: If it is no whole number of turns.
        """
        if num_samples % self.num_strata:
            raise InputError(
                f"draws are of experts in turn: num_samples is a multiple of {self.num_strata}, "
                f"got {num_samples}"
            )

    @property
    def longest_turn(self) -> int:
        """Draws in a turn at most: 1 where draws are independent, else one an expert."""
        return as_posterior(self.example_posterior()).num_experts

    def turns(self) -> Int[Array, " batch"]:
        """Draws in a turn of each example: one an expert that it has."""

        def turn(_: Array, batched: PyTree) -> Array:
            return jnp.asarray(as_posterior(eqx.combine(batched, self.shared)).turn)

        return jax.vmap(turn)(self.keys, self.batched)

    def example_posterior(self) -> Any:
        """The posterior of the first example."""
        return eqx.combine(jax.tree.map(lambda leaf: leaf[0], self.batched), self.shared)


def rows_of_batch(model: Any, xs: PyTree, *, key: Key[Array, ...]) -> Rows:
    """Posteriors of a batch by one vmap, each example with a key of its own.

    The key is split for the examples, or holds theirs already.

    Arrays that a posterior takes from the model as they are (the weights of a network that it
    carries, a shared scale) are not copied for each example.

    Raises:
        InputError: If the batch is empty or its arrays' leading axes differ, or the model is none.
    """
    hooks = as_model(model)
    sizes = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(xs)}
    if len(sizes) != 1 or sizes <= {(), (0,)}:
        raise InputError(
            "a batch is one or more arrays with the same leading axis of at least 1, got leading "
            f"axes {sorted(sizes)}"
        )
    xs = jax.tree.map(jnp.asarray, xs)
    of_model = {id(leaf) for leaf in jax.tree.leaves(model)}
    shared = []

    def batched_part(x: PyTree) -> PyTree:
        check_density(hooks.log_joint(x))
        batched, rest = eqx.partition(
            hooks.posterior(x), lambda leaf: eqx.is_array(leaf) and id(leaf) not in of_model
        )
        shared.append(rest)
        return batched

    batched = jax.vmap(batched_part)(xs)
    keys = key if key.ndim else jax.random.split(key, next(iter(sizes))[0])
    return Rows(hooks.log_joint, xs, batched, shared[0], keys)


def check_density(log_joint: Any) -> None:
    """Refuse what is no function of a latent.

    Raises:
        InputError: With what it is to be.
    """
    if not callable(log_joint):
        kind = "an array" if eqx.is_array(log_joint) else type(log_joint).__name__
        raise InputError(
            "log_joint(x) returns a function z -> log p(x, z), got "
            f"{kind}: write `return lambda z: ...`"
        )


def check_scalar(value: Array, name: str, mend: str) -> Array:
    """A log density of one example.

    Raises:
        ValueError: If it is no scalar.
    """
    if jnp.shape(value) != ():
        raise ValueError(
            f"{name} is a scalar for one example, got shape {jnp.shape(value)}: {mend}"
        )
    return value
