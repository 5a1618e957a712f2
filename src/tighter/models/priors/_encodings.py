"""Where a model's posteriors put examples."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Key

from tighter._programs import compiled
from tighter.distributions import draw

# Examples through the encoder at a time, and draws where moments aren't known.
_EXAMPLES, _DRAWS = 1024, 16


def encodings(
    model: Any, xs: ArrayLike, *, key: Key[Array, ""]
) -> tuple[Float[Array, "examples ..."], Float[Array, "examples ..."]]:
    """Mean and variance of each example's posterior; over draws where they have no closed form.

    Args:
        model: Has `posterior(x)`.
        xs: Examples (N, *shape).
        key: Random key, for the draws.
    """
    return _all(model, jnp.asarray(xs), key)


@compiled
def _all(model: Any, xs: Array, key: Key[Array, ""]) -> tuple[Array, Array]:
    def one(given: tuple[Array, Key[Array, ""]]) -> tuple[Array, Array]:
        x, key = given
        posterior: Any = model.posterior(x)
        try:
            return posterior.mean, posterior.variance
        except (AttributeError, NotImplementedError):
            keys = jax.random.split(key, _DRAWS)
            zs = jax.vmap(lambda key: draw(posterior, key=key))(keys)
            return jnp.mean(zs, axis=0), jnp.var(zs, axis=0, ddof=1)

    return jax.lax.map(one, (xs, jax.random.split(key, xs.shape[0])), batch_size=_EXAMPLES)
