"""The posteriors of all examples, and their units: what the diagnostics start from."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Int, Key, PyTree

from tighter._checks import require
from tighter._examples import admitted
from tighter._programs import compiled
from tighter._protocols import prior_if_any
from tighter._rows import Rows, check_scalar, rows_of_batch
from tighter.distributions import draw

# Examples through the encoder at a time: what it keeps in between is for so many.
_EXAMPLES = 4096


def posteriors_of_all(model: Any, x: PyTree, *, key: Key[Array, ""]) -> Rows:
    """The posteriors of all examples, in bounded memory; example i has a key of its own.

    Raises:
        InputError: If there are no examples, or their arrays' leading axes differ.
    """
    model, x, _ = admitted(model, x)
    eqx.filter_eval_shape(_checked_rows, model, x, key=key)  # before anything is computed
    num = jax.tree.leaves(x)[0].shape[0]
    block = min(num, _EXAMPLES)
    encode = compiled(rows_of_batch)
    parts = []
    for start in range(0, num, block):
        first = min(start, num - block)  # the last block goes back, so that one program serves all
        rows = encode(model, jax.tree.map(lambda leaf: leaf[first : first + block], x), key=key)  # noqa: B023
        parts.append(jax.tree.map(lambda leaf: leaf[start - first :], rows.batched))  # noqa: B023
    batched = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)
    xs = jax.tree.map(jnp.asarray, x)
    return Rows(rows.log_joint_of, xs, batched, rows.shared, jax.random.split(key, num))


def _checked_rows(model: Any, x: PyTree, *, key: Key[Array, ""]) -> Rows:
    """The rows, where the batch is one and densities are scalars."""
    rows = rows_of_batch(model, x, key=key)
    posterior = rows.example_posterior()
    z = draw(posterior, key=key)
    first = jax.tree.map(lambda leaf: leaf[0], rows.xs)
    check_scalar(posterior.log_prob(z), "posterior.log_prob(z)", "write .to_event() for a vector")
    check_scalar(rows.log_joint_of(first)(z), "log_joint(z)", "sum the log densities")
    return rows


def posterior_of(rows: Rows, batched: PyTree) -> Any:
    """One example's posterior from its own arrays."""
    return eqx.combine(batched, rows.shared)


def draw_of(rows: Rows, batched: PyTree, key: Key[Array, ""], index: Int[Array, ""]) -> PyTree:
    """Draw `index` of one example, without a derivative."""
    return jax.lax.stop_gradient(
        draw(posterior_of(rows, batched), key=jax.random.fold_in(key, index))
    )


def units_of(distribution: Any) -> Any:
    """The distributions of single units, of the event's shape; None if they aren't independent."""
    base = distribution
    while isinstance(base, dist.Independent):
        base = base.base_dist
    if not isinstance(base, dist.Distribution) or base.event_shape != ():
        return None
    return base if base.batch_shape == distribution.event_shape else None


def unit_pair(posterior: Any, prior: Any) -> tuple[Any, Any] | None:
    """Posterior and prior of single units, where both are factorized."""
    units = units_of(posterior), units_of(prior)
    return None if None in units or posterior.event_shape != prior.event_shape else units


def prior_of(model: Any) -> Any:
    """The model's prior.

    Raises:
        InputError: If it has none.
    """
    prior = prior_if_any(model)
    require(
        prior is not None,
        f"{type(model).__name__} has no prior, and without it posteriors have nothing to be "
        "compared with: give the model a property `prior`, as LatentVariableModel has",
    )
    return prior


def check_every_row(good: Any, what: str, mend: str) -> None:
    """Require something of every example.

    Args:
        good: Whether it holds, a bool an example.
        what: What doesn't, where it is false.
        mend: What to do about it.

    Raises:
        InputError: With how many it doesn't hold for, and the first of them.
    """
    bad = np.flatnonzero(~good)
    require(
        not bad.size,
        f"{what} for {bad.size} of {good.size} examples, the first of them x[{bad[:1].sum()}]: "
        f"{mend}",
    )
