"""Normalizing flows as priors."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from flowjax.bijections import AbstractBijection, Invert
from jaxtyping import Array, Float, Key

from tighter.distributions import Flow, flow_bijection
from tighter.models._families import PriorFamily


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
