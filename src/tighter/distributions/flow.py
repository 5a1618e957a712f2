"""Normalizing flows on a Gaussian, as posteriors: on flowjax, with layers of our own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from flowjax.bijections import AbstractBijection, Chain, Coupling, Flip
from jaxtyping import Array, Float, Key

from tighter._checks import check_counts, require
from tighter._names import unknown
from tighter._protocols import PosteriorHooks
from tighter.distributions._flow_layers import Affine, Autoregressive, Spline, glorot


class Flow(PosteriorHooks, eqx.Module):
    r"""$z = \mu + \sigma \odot T(\varepsilon; c)$ with $\varepsilon \sim \mathrm N(0, I)$.

    $\log q(z) = \log \mathrm N(\varepsilon; 0, I) - \log |\det T'(\varepsilon)| - \sum \log \sigma$
    at $\varepsilon = T^{-1}((z - \mu) / \sigma; c)$. The flow sees whitened numbers whatever the
    location and the scale, and where it is the identity this is a diagonal Gaussian.

    All arrays are parameters. Those of the bijection are held as they were given, so that the
    posteriors of a batch share a model's.

    Args:
        bijection: T, a flowjax bijection of vectors; `flow_bijection` makes one.
        loc: μ, shape (D,).
        scale: σ, shape (D,).
        context: c, what T is conditioned on; None for a T without condition.

    References:
        Rezende & Mohamed, "Variational inference with normalizing flows", 2015, eq. 5; Kingma et
        al., "Improved variational inference with inverse autoregressive flow", 2016, sec. 3.
    """

    bijection: AbstractBijection
    loc: Float[Array, " latent"]
    scale: Float[Array, " latent"]
    context: Float[Array, " context"] | None = None

    def rsample(self, key: Key[Array, ""], sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws with the derivative of every parameter, shape (*sample_shape, D)."""
        noise = jax.random.normal(key, (math.prod(sample_shape), self.loc.size), self.loc.dtype)
        return jax.vmap(self.from_noise)(noise).reshape(*sample_shape, self.loc.size)

    sample = rsample

    def from_noise(self, noise: Float[Array, " latent"]) -> Float[Array, " latent"]:
        """The draw that standard normal numbers make."""
        return self.loc + self.scale * self.bijection.transform(noise, self.context)

    def log_prob(self, value: Float[Array, " latent"]) -> Float[Array, ""]:
        """Log density of one z, in nats."""
        whitened = (value - self.loc) / self.scale
        noise, log_det = self.bijection.inverse_and_log_det(whitened, self.context)
        log_base = -0.5 * (jnp.sum(noise**2) + noise.size * math.log(2 * math.pi))
        return log_base + log_det - jnp.sum(jnp.log(self.scale))


def flow_bijection(
    kind: str,
    num_latent: int,
    *,
    num_context: int = 0,
    num_layers: int = 4,
    width: int = 64,
    key: Key[Array, ""],
) -> AbstractBijection:
    """Layers of one kind, each followed by reversing the order: T, at its start the identity.

    Every layer has a network of one hidden layer, whose last weights start at zero. Drawing takes
    one pass for all kinds; so does the density, but for the autoregressive ones, whose inverse
    finds the D numbers of a layer one after another: as many operations as one pass, in D steps.

    Args:
        kind: "coupling" (affine), "masked-autoregressive" (affine) or "neural-spline" (coupling
            with monotonic rational-quadratic splines of eight bins on [-5, 5]).
        num_latent: D, dimensions of z.
        num_context: Numbers that the flow is conditioned on.
        num_layers: How many layers.
        width: Units of a layer's network; of an autoregressive one rounded up to a multiple of D.
        key: Random key.

    Returns:
        A bijection of shape (D,), with condition shape (num_context,), or None for no context.

    Raises:
        InputError: If the kind is unknown, there is one latent dimension, or a number is too low.

    References:
        Dinh, Sohl-Dickstein & Bengio, "Density estimation using Real NVP", 2017; Kingma et al.,
        "Improved variational inference with inverse autoregressive flow", 2016; Durkan et al.,
        "Neural spline flows", 2019.
    """
    if kind not in FLOWS:
        raise unknown("flow", kind, FLOWS)
    require(
        num_latent >= 2,
        f"a {kind} flow moves some dimensions by others: it takes 2 latent dimensions or more, "
        f"got {num_latent}",
    )
    check_counts(num_layers=num_layers, width=width)
    check_counts(least=0, num_context=num_context)
    bijections = []
    for layer_key in jax.random.split(key, num_layers):
        # No random permutation: the flow is the same function of its arrays whatever the key.
        layer = FLOWS[kind](num_latent, num_context, width, key=layer_key)
        bijections += [layer, Flip((num_latent,))]
    return Chain(bijections)


def _coupling(transformer: Any) -> Callable[..., AbstractBijection]:
    def make(
        num_latent: int, num_context: int, width: int, *, key: Key[Array, ""]
    ) -> AbstractBijection:
        layer = Coupling(
            key,
            transformer=transformer(jnp.zeros(transformer.num_parameters)),
            untransformed_dim=num_latent // 2,
            dim=num_latent,
            cond_dim=num_context or None,
            nn_width=width,
            nn_depth=1,
            nn_activation=jnp.tanh,
        )
        weight = glorot(layer.conditioner.layers[0].weight.shape, key=key)
        layer = jax.tree.map(
            lambda leaf: jnp.zeros_like(leaf) if eqx.is_inexact_array(leaf) else leaf, layer
        )
        # flowjax's own constructor is a closure over arrays: it would not outlive a compiled
        # program that makes the layer, and be another one in each model.
        return eqx.tree_at(
            lambda layer: (layer.conditioner.layers[0].weight, layer.transformer_constructor),
            layer,
            (weight, transformer),
        )

    return make


# A layer of each kind, from the dimensions of z and of the context, the width, and a key.
FLOWS: dict[str, Callable[..., AbstractBijection]] = {
    "coupling": _coupling(Affine),
    "masked-autoregressive": Autoregressive,
    "neural-spline": _coupling(Spline),
}
