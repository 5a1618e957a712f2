"""Posteriors of several parts: chains of conditionals, and experts that take turns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key
from numpyro.distributions import Distribution

from tighter._errors import InputError
from tighter._protocols import Posterior, PosteriorHooks
from tighter.distributions._conditionals import location_scale
from tighter.distributions.mixture import Mixture
from tighter.distributions.posterior import as_reparameterized, draw

Part = Any
Latents = dict[str, Any]

# Log weight of a component that isn't there: its weight is 0, and no infinity meets a derivative.
ABSENT = -1e30


class Chain(PosteriorHooks, eqx.Module):
    r"""Chain of conditionals, $q(z_1)\, q(z_2 \mid z_1) \cdots$; z is a dict by name.

    A part is a distribution, or a function from the dict of the latents before it to one. Parts
    that ask for nothing are independent factors. What a function closes over becomes part of the
    chain, so that a copy with stopped parameters stops them, and not the latents passed on.

    Args:
        parts: Distributions and functions by the latents' names, in order.

    Raises:
        InputError: If there is no part.

    Example:
        >>> Chain({"a": dist.Normal(0.0, 1.0), "b": lambda z: dist.Normal(z["a"], 0.5)})
    """

    names: tuple[str, ...] = eqx.field(static=True)
    parts: tuple[Part, ...]
    has_rsample: bool = eqx.field(static=True)

    def __init__(self, parts: Mapping[str, Part]):
        if not parts:
            raise InputError("a chain has one part or more, got none")
        converted, moving = [], []

        def first(key: Key[Array, ""]) -> Latents:
            z: Latents = {}
            for name, part in parts.items():
                if callable(part) and not isinstance(part, eqx.Module | Distribution):
                    part = eqx.filter_closure_convert(part, z)
                converted.append(part)
                posterior = _given(part, z)
                moving.append(as_reparameterized(posterior) is not None)
                z = {**z, name: draw(posterior, key=key)}
            return z

        first(jax.random.key(0))
        self.names, self.parts = tuple(parts), tuple(converted)
        self.has_rsample = all(moving)

    def rsample(self, key: Key[Array, ""], sample_shape: tuple[int, ...] = ()) -> Latents:
        """A draw of every latent, with the derivatives that pass down the chain."""
        if sample_shape:
            keys = jax.random.split(key, sample_shape[0])
            return jax.vmap(lambda key: self.rsample(key, sample_shape[1:]))(keys)
        z: Latents = {}
        for name, part, part_key in zip(
            self.names, self.parts, jax.random.split(key, len(self.parts)), strict=True
        ):
            z = {**z, name: draw(_given(part, z), key=part_key)}
        return z

    sample = rsample

    def given(self, z: Latents) -> dict[str, Any]:
        """The distribution of each latent, given those before it."""
        before = [{name: z[name] for name in self.names[:i]} for i in range(len(self.names))]
        return dict(zip(self.names, map(_given, self.parts, before), strict=True))

    def log_prob(self, value: Latents) -> Float[Array, ""]:
        """Sum of the conditional log densities, in nats."""
        z: Latents = {}
        total = jnp.zeros(())
        for name, part in zip(self.names, self.parts, strict=True):
            total = total + _given(part, z).log_prob(value[name])
            z = {**z, name: value[name]}
        return total


def _given(part: Part, z: Latents) -> Any:
    return part if isinstance(part, Posterior) else part(z)


class Experts(PosteriorHooks, eqx.Module):
    r"""Mixture of C experts with equal weights, drawn in turn: draw i is of expert i mod C.

    Every draw is weighed by the whole mixture, $\ell = \log p - \log \frac1C \sum_c q_c$. With K a
    multiple of C (stratified) the bounds hold, and are less noisy than with experts drawn at
    random. A draw's own density is not the one it is weighed by, which rules out the plain double
    reparameterization and the plain score function; `GeneralizedDoublyReparameterized` and
    `Reparameterized` hold.

    Which experts are there may be told by values, different from example to example in one
    compiled program. Then draw i is of present expert i mod P, the mixture that of the P present,
    and K a multiple of every P that can be (`num_turns`).

    Args:
        components: As in `Mixture`: a numpyro distribution of batch shape (C,); finite where an
            expert is absent.
        present: Which experts there are; all if left out, and where none is.

    References:
        Shi, Siddharth, Paige & Torr, "Variational mixture-of-experts autoencoders for multi-modal
        deep generative models", 2019, sec. 3; Morningstar et al., "Automatic differentiation
        variational inference with mixtures", 2021.
    """

    components: Any
    present: Bool[Array, " C"] | None

    def __init__(self, components: Distribution, *, present: Bool[Array, " C"] | None = None):
        if len(components.batch_shape) != 1:
            raise InputError(
                f"experts are a distribution of batch shape (C,), got {components.batch_shape}: "
                "write .to_event(1) for vectors"
            )
        if present is not None and present.shape != components.batch_shape:
            raise InputError(
                f"present says of each of {components.batch_shape[0]} experts whether it is there, "
                f"got shape {present.shape}"
            )
        location_scale(components)  # refuses other families
        self.components = components
        self.present = None if present is None else present | ~jnp.any(present)

    @property
    def num_experts(self) -> int:
        """C, those that are not there among them."""
        return self.components.batch_shape[0]

    @property
    def num_strata(self) -> int:
        """What the number of draws is a multiple of."""
        return self.num_experts if self.present is None else num_turns(self.num_experts)

    @property
    def turn(self) -> Int[Array, ""]:
        """Draws until every expert that is there has come once."""
        return jnp.asarray(self.num_experts if self.present is None else jnp.sum(self.present))

    @property
    def mixture(self) -> Mixture:
        """The density that every draw is weighed by."""
        logits = jnp.zeros(self.num_experts)
        if self.present is not None:
            logits = jnp.where(self.present, logits, ABSENT)
        return Mixture(logits, self.components)

    def stratum(self, index: Int[Array, ""]) -> ExpertInTurn:
        """The expert whose turn it is."""
        place = index % self.turn
        if self.present is not None:  # the present ones first, in their order
            place = jnp.argsort(~self.present)[place]
        return ExpertInTurn(self, place)

    def log_prob(self, value: Array) -> Array:
        """Log density of the mixture, in nats."""
        return self.mixture.log_prob(value)

    def rsample(self, key: Key[Array, ""], sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws of the mixture, experts at random."""
        return self.mixture.rsample(key, sample_shape)


class ExpertInTurn(PosteriorHooks, eqx.Module):
    """A draw's posterior: drawn from one expert, weighed by the mixture."""

    experts: Experts
    index: Int[Array, ""]

    def rsample(self, key: Key[Array, ""], sample_shape: tuple[int, ...] = ()) -> Array:
        """A draw of the expert, moving with its parameters."""
        return self.experts.components.rsample(key, sample_shape)[self.index]

    def log_prob(self, value: Array) -> Array:
        """Log density of the mixture, in nats."""
        return self.experts.log_prob(value)

    def drawn_log_prob(self, value: Array) -> Array:
        """Log density of the expert, in nats."""
        return self.experts.components.log_prob(value[None])[self.index]

    def carry(self, value: Array) -> Array:
        """The value, moving as a draw of the mixture would."""
        return self.experts.mixture.carry(value)


def num_turns(num_experts: int) -> int:
    """The least number of draws in which any count of present experts has equal turns."""
    return math.lcm(*range(1, num_experts + 1))
