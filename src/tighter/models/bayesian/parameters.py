"""Parameters in the prior's own space: a prior of several parts, and a posterior over them."""

from __future__ import annotations

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy.linalg as linalg
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key, PyTree
from numpyro.distributions import Delta, Distribution, ImproperUniform, biject_to

from tighter._checks import require
from tighter._errors import InputError
from tighter._protocols import PosteriorHooks
from tighter.distributions import Posterior, as_reparameterized, draw, stop_parameters
from tighter.models.bayesian._supports import from_support, to_support, without_numpyro_masks


class ParameterPrior(eqx.Module):
    r"""Independent distributions side by side, $\sum_i \log p_i(\theta_i)$, θ a pytree like them.

    A distribution's batch shape is part of its parameter's shape. `ImproperUniform` is a flat
    prior: it has a density and no draws.

    Args:
        parts: A numpyro distribution, or a pytree (a dict) of them.

    Raises:
        InputError: If there is none, something else is among them, one is discrete or a point
            mass, or has a support without a bijection from real numbers.

    Example:
        >>> ParameterPrior({"mean": dist.Normal(0.0, 10.0), "sd": dist.HalfCauchy(2.5)})
    """

    parts: PyTree = eqx.field(converter=without_numpyro_masks)

    def __check_init__(self) -> None:
        """Refuse what has no density over a continuum."""
        leaves = _leaves(self.parts)
        require(leaves, "a prior has one distribution or more, got none")
        for name, part in leaves:
            require(
                isinstance(part, Distribution),
                f"a prior is a numpyro distribution or a dict of them, got {part!r}"
                f"{f' as {name}' if name else ''}",
            )
            prior = f"the prior {type(part).__name__}{f' of {name}' if name else ''}"
            require(
                not part.support.is_discrete,
                f"{prior} is discrete: sum over its values in log_likelihood",
            )
            require(
                not _is_fixed(part),
                f"{prior} fixes its parameter: write the number in log_likelihood, and leave "
                "it out of the prior",
            )
            try:
                held = stop_parameters(part)
            except ValueError:
                raise InputError(
                    f"{prior} has a mask within: write .mask(...) after what is around it"
                ) from None
            try:
                # Some of numpyro's lose their support when they are taken apart as pytrees.
                for each in (part, held):
                    biject_to(each.support)
            except NotImplementedError:
                raise InputError(
                    f"the support of {prior} has no bijection from real numbers: write it as a "
                    "transformed distribution"
                ) from None

    @property
    def num_free(self) -> int:
        """Real numbers that a draw is made from."""
        return sum(math.prod(_free_shape(part)) for _, part in _leaves(self.parts))

    def log_prob(self, value: PyTree) -> Float[Array, ""]:
        """Log density of one set of parameters, in nats."""
        densities = self._each(lambda part, value: jnp.sum(part.log_prob(value)), value)
        return jnp.sum(jnp.stack(jax.tree.leaves(densities)))

    def sample(self, key: Key[Array, ""], sample_shape: tuple[int, ...] = ()) -> PyTree:
        """Draws.

        Raises:
            InputError: If a part is flat.
        """
        leaves = _leaves(self.parts)
        flat = [name for name, part in leaves if isinstance(part, ImproperUniform)]
        require(not flat, f"a flat prior has no draws, and that of {', '.join(flat)} is flat")
        keys = jax.tree.unflatten(self._structure, list(jax.random.split(key, len(leaves))))
        return self._each(lambda part, key: part.sample(key, sample_shape), keys)

    def constrained(self, free: Float[Array, " free"]) -> tuple[PyTree, Float[Array, ""]]:
        """Parameters from real numbers, and the log determinant of the map's derivative."""
        values, total, start = [], jnp.zeros(()), 0
        for _, part in _leaves(self.parts):
            shape = _free_shape(part)
            stop = start + math.prod(shape)
            value, log_det = to_support(part.support, free[start:stop].reshape(shape))
            values.append(value)
            total, start = total + log_det, stop
        return jax.tree.unflatten(self._structure, values), total

    def free(self, value: PyTree) -> tuple[Float[Array, " free"], Float[Array, ""]]:
        """The real numbers that make the parameters, and the log determinant there."""
        both = self._each(lambda part, value: from_support(part.support, value), value)
        pairs = self._structure.flatten_up_to(both)
        flat, _ = ravel_pytree([free for free, _ in pairs])
        return flat, jnp.sum(jnp.stack([log_det for _, log_det in pairs]))

    def checked(self, value: PyTree, name: str) -> PyTree:
        """Parameters as floating-point arrays.

        Raises:
            InputError: If they have not the prior's parts and shapes.
        """
        try:
            values = self._structure.flatten_up_to(value)
        except (ValueError, TypeError, KeyError):
            parts = ", ".join(part or "an array" for part, _ in _leaves(self.parts))
            raise InputError(
                f"{name} has the prior's parts, {parts}, got {jax.tree.structure(value)}"
            ) from None
        for (place, part), each in zip(_leaves(self.parts), values, strict=True):
            require(
                jnp.shape(each) == _shape(part),
                f"{name}{place} has the prior's shape {_shape(part)}, got {jnp.shape(each)}",
            )
            require(
                not isinstance(each, str) and jnp.isrealobj(each),
                f"{name}{place} is of real numbers, got {each!r}",
            )
        arrays = [jnp.asarray(each, jnp.result_type(float)) for each in values]
        return jax.tree.unflatten(self._structure, arrays)

    @property
    def _structure(self) -> Any:
        return jax.tree.structure(self.parts, is_leaf=_is_distribution)

    def _each(self, function: Any, values: PyTree) -> PyTree:
        return jax.tree.map(function, self.parts, values, is_leaf=_is_distribution)


class ParameterPosterior(PosteriorHooks, eqx.Module):
    r"""$\theta = T(m + S v)$ with v from a distribution over real numbers and T onto the support.

    $\log q(\theta) = \log q(v) - \log |\det S| - \log |\det T'|$.

    Args:
        base: The distribution of v, over vectors.
        location: m, held.
        scale: S, held: its diagonal, or a lower triangle.
        prior: Whose support it is over.
    """

    base: Posterior
    location: Float[Array, " free"]
    scale: Float[Array, " free"] | Float[Array, "free free"]
    prior: ParameterPrior

    @property
    def has_rsample(self) -> bool:
        """Whether draws carry the derivative of all of the base's parameters."""
        return as_reparameterized(self.base) is not None

    def sample(self, key: Key[Array, ""], sample_shape: tuple[int, ...] = ()) -> PyTree:
        """Draws, arrays with leading axes `sample_shape`."""
        return self.rsample(key, sample_shape)

    def rsample(self, key: Key[Array, ""], sample_shape: tuple[int, ...] = ()) -> PyTree:
        """Draws with derivatives, arrays with leading axes `sample_shape`."""
        if sample_shape:
            keys = jax.random.split(key, sample_shape[0])
            return jax.vmap(lambda key: self.rsample(key, sample_shape[1:]))(keys)
        return self.prior.constrained(self.free(draw(self.base, key=key)))[0]

    def free(self, unit: Float[Array, " free"]) -> Float[Array, " free"]:
        """The real numbers m + S v that the parameters are made from."""
        scaled = self.scale * unit if self.scale.ndim == 1 else self.scale @ unit
        return self.location + scaled

    def log_prob(self, value: PyTree) -> Float[Array, ""]:
        """Log density of one set of parameters, in nats."""
        free, log_det = self.prior.free(value)
        centered = free - self.location
        if self.scale.ndim == 1:
            unit, widths = centered / self.scale, self.scale
        else:
            unit = linalg.solve_triangular(self.scale, centered, lower=True)
            widths = jnp.diagonal(self.scale)
        return self.base.log_prob(unit) - jnp.sum(jnp.log(jnp.abs(widths))) - log_det


def leading_axis(arrays: PyTree, what: str) -> int:
    """The size of the one leading axis that all arrays have.

    Args:
        arrays: A pytree of arrays.
        what: What messages say that they are.

    Raises:
        InputError: If there is no array, or the axes are empty or differ.
    """
    axes = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(arrays)}
    require(
        len(axes) == 1 and not axes <= {(), (0,)},
        f"{what} with the same leading axis of at least 1, got leading axes {sorted(axes)}",
    )
    return next(iter(axes))[0]


def _is_distribution(part: Any) -> bool:
    return isinstance(part, Distribution)


def _is_fixed(part: Any) -> bool:
    while not isinstance(part, Delta):
        within = (getattr(part, name, None) for name in ("base_dist", "base"))
        part = next((each for each in within if isinstance(each, Distribution)), None)
        if part is None:
            return False
    return True


def _leaves(parts: PyTree) -> list[tuple[str, Any]]:
    leaves, _ = jax.tree.flatten_with_path(parts, is_leaf=_is_distribution)
    return [(jax.tree_util.keystr(path), part) for path, part in leaves]


def _shape(part: Distribution) -> tuple[int, ...]:
    return part.batch_shape + part.event_shape


def _free_shape(part: Distribution) -> tuple[int, ...]:
    return biject_to(part.support).inverse_shape(_shape(part))
