"""Posterior families: what turns an encoder's output into q(z|x)."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
from flowjax.bijections import AbstractBijection
from jaxtyping import Array, Float, Key
from numpyro.distributions import LowRankMultivariateNormal, MultivariateNormal, Normal

from tighter._errors import InputError
from tighter._names import unknown
from tighter.distributions import Flow, Posterior, flow_bijection
from tighter.models._space import Space


class PosteriorFamily(eqx.Module):
    """A family q(z | encoder output), for one example; reparameterized by all its parameters."""

    @property
    def space(self) -> Space:
        """Where z is."""
        return Space.REAL

    @abc.abstractmethod
    def shape(self, num_latent: int) -> tuple[int, ...]:
        """Shape of the encoder's output for a z of so many dimensions."""

    def latent_shape(self, num_latent: int) -> tuple[int, ...]:
        """Shape of one z of so many dimensions: what the decoder is given."""
        return (num_latent,)

    @abc.abstractmethod
    def distribution(self, output: Float[Array, ...]) -> Posterior:
        """q(z|x) given the encoder's output."""


class DiagonalGaussian(PosteriorFamily):
    """N(μ, diag σ²); the output's rows are μ and log σ."""

    def shape(self, num_latent: int) -> tuple[int, ...]:
        """(2, latent)."""
        return 2, num_latent

    def distribution(self, output: Float[Array, "2 latent"]) -> Posterior:
        """Independent normals."""
        mean, log_scale = output
        return Normal(mean, jnp.exp(log_scale), validate_args=False).to_event(1)


class FullCovarianceGaussian(PosteriorFamily):
    r"""N(μ, LLᵀ) with $L = \mathrm{diag}(\sigma)(I + N / \sqrt D)$, N strictly lower triangular.

    The output is μ, log σ and the D(D − 1)/2 numbers of N. Divided by √D, they start with as much
    variance in all of a row as a single output has.
    """

    def shape(self, num_latent: int) -> tuple[int, ...]:
        """(latent (latent + 3) / 2,)."""
        return (num_latent * (num_latent + 3) // 2,)

    def distribution(self, output: Float[Array, " numbers"]) -> Posterior:
        """Multivariate normal by its Cholesky factor."""
        num_latent = (math.isqrt(9 + 8 * output.size) - 3) // 2
        mean, log_scale, free = jnp.split(output, (num_latent, 2 * num_latent))
        unit = jnp.eye(num_latent, dtype=output.dtype)
        unit = unit + _strictly_lower(free, num_latent) / math.sqrt(num_latent)
        factor = jnp.exp(log_scale)[:, None] * unit
        return MultivariateNormal(mean, scale_tril=factor, validate_args=False)


class LowRankGaussian(PosteriorFamily):
    r"""N(μ, S(I + VVᵀ/r)S) with $S = \mathrm{diag}(\sigma)$ and V of r columns.

    The output's rows are μ, log σ and the columns of V. In units of σ the covariance has no
    eigenvalue below 1, so that float32 holds however small σ is.

    Args:
        rank: r, from 1 to the dimensions of z.

    Raises:
        InputError: If the rank is below 1; by `shape`, if it is above the dimensions of z.
    """

    rank: int = eqx.field(static=True)

    def __check_init__(self) -> None:
        """Refuse what is no rank."""
        if self.rank < 1:
            raise InputError(f"a low-rank posterior has a rank of 1 or more, got {self.rank}")

    def shape(self, num_latent: int) -> tuple[int, ...]:
        """(2 + rank, latent)."""
        if self.rank > num_latent:
            raise InputError(
                f"a low-rank posterior has at most the rank of z's dimensions, got {self.rank} of "
                f"{num_latent}: lower it, or take 'full'"
            )
        return 2 + self.rank, num_latent

    def distribution(self, output: Float[Array, "rows latent"]) -> Posterior:
        """Multivariate normal of low rank."""
        mean, log_scale, *columns = output
        scale = jnp.exp(log_scale)
        factor = scale[:, None] * jnp.stack(columns, axis=1) / math.sqrt(self.rank)
        return LowRankMultivariateNormal(mean, factor, scale**2, validate_args=False)


class FlowPosterior(PosteriorFamily):
    r"""A normalizing flow in whitened numbers, $z = \mu + \sigma \odot T(\varepsilon; c)$.

    The output is μ, log σ and the context c. T's networks are the model's own arrays, trained with
    it and shared by all examples; at the start T is the identity, and q a diagonal Gaussian.

    Attributes:
        bijection: T.

    Example:
        >>> family = FlowPosterior.create("coupling", 20, key=jax.random.key(0))
        >>> VAE.create((28, 28), num_latent=20, posterior=family, key=jax.random.key(1))
    """

    bijection: AbstractBijection

    @classmethod
    def create(
        cls,
        kind: str,
        num_latent: int,
        *,
        num_context: int = 32,
        num_layers: int = 4,
        width: int = 64,
        key: Key[Array, ""],
    ) -> FlowPosterior:
        """A flow ready to train.

        Args:
            kind: "coupling", "masked-autoregressive" or "neural-spline".
            num_latent: Dimensions of z.
            num_context: Numbers of the encoder's output that condition T, beside μ and σ.
            num_layers: Layers of T.
            width: Units of the network of each layer.
            key: Random key.

        Raises:
            InputError: If the kind is unknown, z has one dimension, or a number is too low.
        """
        return cls(
            flow_bijection(
                kind,
                num_latent,
                num_context=num_context,
                num_layers=num_layers,
                width=width,
                key=key,
            )
        )

    def shape(self, num_latent: int) -> tuple[int, ...]:
        """(2 latent + context,)."""
        (of_flow,) = self.bijection.shape
        if num_latent != of_flow:
            raise InputError(
                f"the flow was made for {of_flow} latent dimensions, got {num_latent}: give both "
                "the same number"
            )
        return (2 * num_latent + sum(self.bijection.cond_shape or ()),)

    def distribution(self, output: Float[Array, " numbers"]) -> Posterior:
        """The flow with this example's location, scale and context."""
        (num_latent,) = self.bijection.shape
        loc, log_scale, context = jnp.split(output, (num_latent, 2 * num_latent))
        given = context if self.bijection.cond_shape is not None else None
        return Flow(self.bijection, loc, jnp.exp(log_scale), given)


def posterior_from_name(text: str, num_latent: int, *, key: Key[Array, ""]) -> PosteriorFamily:
    """A posterior family from its name and, after a colon, its one number: `full`, `low-rank:5`.

    The number is the rank of a low-rank Gaussian, and the layers of a flow.

    Args:
        text: A name of `POSTERIORS`, or such a name, a colon and a whole number.
        num_latent: Dimensions of z.
        key: Random key, for families with networks of their own.

    Raises:
        InputError: If there is no such family, or the number isn't one that it takes.
    """
    name, _, argument = text.strip().partition(":")
    if name not in POSTERIORS:
        raise unknown("posterior", name, POSTERIORS)
    if not argument:
        return POSTERIORS[name](num_latent, key=key)
    if not argument.isdecimal():
        raise InputError(f"posterior {text!r}: {argument!r} is no whole number: write {name}:2")
    if name in ("diagonal", "full"):
        raise InputError(f"the posterior {name!r} takes no number, got {text!r}: write {name!r}")
    return POSTERIORS[name](num_latent, int(argument), key=key)


def _strictly_lower(free: Float[Array, " numbers"], size: int) -> Float[Array, "size size"]:
    """All numbers once, below the diagonal; by slices, as a scatter takes far longer.

    Of the n(n + 1)/2 numbers of a triangle n = size − 1, those after the first n, then all in
    reverse, make n² numbers whose lower triangle has each once.
    """
    num = size - 1
    square = jnp.concatenate([free[num:], free[::-1]]).reshape(num, num)
    return jnp.pad(jnp.tril(square), ((1, 0), (0, 1)))


def _flow(kind: str) -> Callable[..., PosteriorFamily]:
    def make(num_latent: int, num_layers: int = 4, *, key: Key[Array, ""]) -> PosteriorFamily:
        return FlowPosterior.create(kind, num_latent, num_layers=num_layers, key=key)

    return make


def _low_rank(num_latent: int, rank: int | None = None, *, key: Key[Array, ""]) -> PosteriorFamily:
    return LowRankGaussian(min(5, num_latent) if rank is None else rank)


# Called with the dimensions of z, perhaps a number, and a key. Adding a family here enrols it in
# the tests.
POSTERIORS: dict[str, Callable[..., PosteriorFamily]] = {
    "diagonal": lambda num_latent, *, key: DiagonalGaussian(),
    "full": lambda num_latent, *, key: FullCovarianceGaussian(),
    "low-rank": _low_rank,
    "coupling": _flow("coupling"),
    "masked-autoregressive": _flow("masked-autoregressive"),
    "neural-spline": _flow("neural-spline"),
}
