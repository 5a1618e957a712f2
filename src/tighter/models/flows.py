"""Normalizing flows as posteriors and as priors; they need the extra "flows"."""

from __future__ import annotations

from typing import Any, ClassVar

import jax.numpy as jnp
from flowjax.bijections import AbstractBijection, Invert
from jaxtyping import Array, Float, Key

from tighter._checks import require
from tighter.distributions import Posterior
from tighter.distributions.flow import Flow, flow_bijection
from tighter.models._families import PosteriorFamily, PriorFamily


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

    takes_any_map: ClassVar[bool] = True

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
        sizes = {"num_context": num_context, "num_layers": num_layers, "width": width}
        return cls(flow_bijection(kind, num_latent, **sizes, key=key))

    def shape(self, num_latent: int) -> tuple[int, ...]:
        """(2 latent + context,)."""
        (of_flow,) = self.bijection.shape
        require(
            num_latent == of_flow,
            f"the flow was made for {of_flow} latent dimensions, got {num_latent}: give both the "
            "same number",
        )
        return (2 * num_latent + sum(self.bijection.cond_shape or ()),)

    def distribution(self, output: Float[Array, " numbers"]) -> Posterior:
        """The flow with this example's location, scale and context."""
        (num_latent,) = self.bijection.shape
        loc, log_scale, context = jnp.split(output, (num_latent, 2 * num_latent))
        given = context if self.bijection.cond_shape is not None else None
        return Flow(self.bijection, loc, jnp.exp(log_scale), given)


class FlowPrior(PriorFamily):
    r"""$z = \mu + \sigma \odot T(\varepsilon)$ with $\varepsilon \sim \mathrm N(0, I)$, learned.

    At its start N(0, I). Training asks for the density alone, so that an autoregressive T is taken
    in the direction in which its inverse is one pass, and drawing the one number after another.

    Attributes:
        bijection: T.
        loc: μ.
        log_scale: log σ.

    References:
        Chen et al., "Variational lossy autoencoder", 2017, sec. 3.2.
    """

    bijection: AbstractBijection
    loc: Float[Array, " latent"]
    log_scale: Float[Array, " latent"]

    @classmethod
    def create(
        cls,
        kind: str,
        num_latent: int,
        *,
        num_layers: int = 4,
        width: int = 64,
        key: Key[Array, ""],
    ) -> FlowPrior:
        """A flow ready to train.

        Args:
            kind: "coupling", "masked-autoregressive" or "neural-spline".
            num_latent: Dimensions of z.
            num_layers: Layers of T.
            width: Units of the network of each layer.
            key: Random key.

        Raises:
            InputError: If the kind is unknown, z has one dimension, or a number is too low.
        """
        bijection = flow_bijection(kind, num_latent, num_layers=num_layers, width=width, key=key)
        if kind == "masked-autoregressive":
            bijection = Invert(bijection)
        return cls(bijection, jnp.zeros(num_latent), jnp.zeros(num_latent))

    def distribution(self, model: Any) -> Flow:
        """The flow."""
        return Flow(self.bijection, self.loc, jnp.exp(self.log_scale))
