"""Entries whose being missing depends on what they are."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from tighter._checks import require
from tighter._errors import InputError
from tighter._names import check_known
from tighter._protocols import PosteriorHooks
from tighter.distributions import draw, is_reparameterizable
from tighter.models._model import Completion, ModelOnVAE
from tighter.models.networks._layers import Linear
from tighter.models.observations import Missing
from tighter.models.vae import VAE

MASKS = ("self-masking", "above", "below", "linear")

Latents = dict[str, Array]


class MissingNotAtRandom(ModelOnVAE):
    r"""A VAE with a model of its mask: $p(z)\, p(x \mid z)\, p(s \mid x)$, s what is observed.

    Of x and s the observed entries and the whole mask are known, so that the latents are z and the
    missing entries; these are proposed from p(x_missing|z), and the log weight is

    $\log p(z) + \log p(x_o \mid x_m, z) + \log p(s \mid x_o, x_m) - \log q(z \mid x_o)$.

    Attributes:
        vae: The model of x, with a `Missing` observation family.
        mask: Features of a complete x -> logits of being observed, an entry each.

    Example:
        >>> vae = VAE.create((8,), observation=Missing(Standardized(Gaussian(), (8,))), key=key)
        >>> model = MissingNotAtRandom.create(vae, (8,), key=key)

    References:
        Ipsen, Mattei & Frellsen, "not-MIWAE: deep generative modelling with missing not at random
        data", 2021, eq. 9.
    """

    vae: VAE
    mask: Callable[[Array], Array]

    @classmethod
    def create(
        cls,
        vae: VAE,
        shape: tuple[int, ...],
        *,
        mask: str = "self-masking",
        key: Key[Array, ""],
    ) -> MissingNotAtRandom:
        """The model with a mask that starts as independent of x.

        Args:
            vae: The model of x.
            shape: Shape of one example.
            mask: "self-masking", where an entry's being observed depends on its own value;
                "above" or "below", where it is known besides that large, or small, values go
                missing; or "linear", where it depends on all values.
            key: Random key.

        Raises:
            InputError: If the model takes no missing entries, its draws of x have no derivative,
                or the mask is unknown.
        """
        family = vae.observation.family if isinstance(vae.observation, Missing) else None
        if family is None:
            raise InputError("a model of missing entries has observation=Missing(...) for its VAE")
        check_known("mask", mask, MASKS)
        require(
            family.features_shape(shape) == tuple(shape),
            f"a mask is modeled where features are x's own entries, and those of "
            f"{type(family).__name__} are not: take a family of numbers",
        )
        size = math.prod(shape)
        if mask == "linear":
            layer = Linear(size, size, key=key)
            still = jnp.zeros_like(layer.weight)
            return cls(vae, eqx.tree_at(lambda linear: linear.weight, layer, still))
        return cls(vae, SelfMasking(size, {"above": -1, "below": 1}.get(mask, 0)))

    def initialized_from(self, xs: Any, *, key: Key[Array, ""] | None = None) -> MissingNotAtRandom:
        """The same with the VAE started from the training examples."""
        return dataclasses.replace(self, vae=self.vae.initialized_from(xs, key=key))

    def reconstruct(self, x: Float[Array, ...], key: Key[Array, ""]) -> Float[Array, ...]:
        """Mean of p(x|z) at one draw z from q(z|x)."""
        return self.vae.reconstruct(x, key)

    def posterior(self, x: Float[Array, ...]) -> MissingPosterior:
        """q(z|x) and p(x_missing|z)."""
        return MissingPosterior(self.vae.posterior(x), self.vae, x)

    def log_joint(self, x: Float[Array, ...]) -> Callable[[Latents], Array]:
        """The function {"z", "x"} -> log p(x_observed, x_missing, s, z), in nats."""
        observed, family = ~jnp.isnan(x), self._family

        def log_joint(latents: Latents) -> Float[Array, ""]:
            z, complete = latents["z"], self._completed(x, latents)
            logits = self.mask(family.features(complete).reshape(-1))
            log_mask = -jnp.sum(jax.nn.softplus(jnp.where(observed.reshape(-1), -logits, logits)))
            # Of x as a whole: entries that are there may tell of those that are missing.
            log_likelihood = family.log_prob(self.vae.decoder(z), complete)
            return self.prior.log_prob(z) + log_likelihood + log_mask

        return log_joint

    def log_prior(self, x: Float[Array, ...]) -> Callable[[Latents], Array]:
        """The function {"z", "x"} -> log p(z), in nats."""
        return lambda latents: self.prior.log_prob(latents["z"])

    def log_likelihood(self, x: Float[Array, ...]) -> Callable[[Latents], Array]:
        """The function {"z", "x"} -> log p(x, s|z), in nats."""
        joint, log_prior = self.log_joint(x), self.log_prior(x)
        return lambda latents: joint(latents) - log_prior(latents)

    def completion(self, x: Float[Array, ...]) -> Completion:
        """How missing entries are filled in: by those that the weights were made with."""
        return Completion(
            lambda latents: self._completed(x, latents),
            lambda average: jnp.where(jnp.isnan(x), average, x),
            lambda latents, key: self._completed(x, latents),
        )

    @property
    def _family(self) -> Any:
        observation = self.vae.observation
        return observation.family if isinstance(observation, Missing) else observation

    def _completed(self, x: Float[Array, ...], latents: Latents) -> Float[Array, ...]:
        return jnp.where(jnp.isnan(x), latents["x"], x)


class MissingPosterior(PosteriorHooks, eqx.Module):
    """q(z|x) p(x_missing|z); the draw of x has unused numbers at observed entries too."""

    of_z: Any
    vae: VAE
    x: Float[Array, ...]

    @property
    def has_rsample(self) -> bool:
        """Whether z and x both have reparameterized draws."""
        z = jax.eval_shape(lambda: draw(self.of_z, key=jax.random.key(0)))
        likelihood = self.vae.likelihood(jnp.zeros(z.shape, z.dtype))
        return is_reparameterizable(self.of_z) and is_reparameterizable(likelihood)

    def sample(self, key: Key[Array, ""], sample_shape: tuple[int, ...] = ()) -> Latents:
        """A draw of z and x."""
        return self.rsample(key, sample_shape)

    def rsample(self, key: Key[Array, ""], sample_shape: tuple[int, ...] = ()) -> Latents:
        """A draw of z, and of x given z, with the derivatives that there are."""
        if sample_shape:
            keys = jax.random.split(key, sample_shape[0])
            return jax.vmap(lambda key: self.rsample(key, sample_shape[1:]))(keys)
        of_z, of_x = jax.random.split(key)
        z = draw(self.of_z, key=of_z)
        return {"z": z, "x": draw(self.vae.likelihood(z), key=of_x)}

    def log_prob(self, value: Latents) -> Float[Array, ""]:
        """Log density of z and the missing entries, in nats."""
        missing = jnp.isnan(self.x)
        complete = jnp.where(missing, value["x"], self.x)
        output = self.vae.decoder(value["z"])
        of_missing = self.vae.observation.log_prob_observed(output, complete, missing)
        return self.of_z.log_prob(value["z"]) + of_missing


class SelfMasking(eqx.Module):
    r"""Logit of entry i being observed: $a_i + b_i x_i$, or $a_i \pm \mathrm{softplus}(b_i)\, x_i$.

    Args:
        size: Entries of x.
        sign: Of the slopes, where it is known: 1 or −1; 0 where it isn't, and they start at zero.
    """

    intercept: Float[Array, " entries"]
    slope: Float[Array, " entries"]
    sign: int = eqx.field(static=True)

    def __init__(self, size: int, sign: int = 0):
        self.intercept = self.slope = jnp.zeros(size)
        self.sign = sign

    def __call__(self, x: Float[Array, " entries"]) -> Float[Array, " entries"]:
        """Logits of one x."""
        slope = self.sign * jax.nn.softplus(self.slope) if self.sign else self.slope
        return self.intercept + slope * x
