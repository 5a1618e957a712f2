"""The variational diffusion model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Key
from numpyro.distributions import Distribution, Normal

from tighter._errors import InputError
from tighter._names import unknown
from tighter.models._model import LatentVariableModel
from tighter.models.diffusion.chain import Known, ReverseChain
from tighter.models.diffusion.denoisers import Denoiser, denoiser_from_name
from tighter.models.diffusion.imputation import Completed, complete
from tighter.models.diffusion.predictions import Prediction, prediction_from_name
from tighter.models.diffusion.sampling import (
    SAMPLERS,
    check_levels,
    check_steps,
    log_snrs_of,
    optional_steps,
    samples,
    steps_or_own,
)
from tighter.models.diffusion.schedules import (
    Schedule,
    as_schedule,
    check_times,
    signal_and_noise,
)


class DiffusionModel(LatentVariableModel):
    r"""Variational diffusion model: a chain of noisier and noisier latents, its posterior fixed.

    $z_t = \alpha_t u + \sigma_t \varepsilon$ with u the standardized example. The model's step
    $p(z_s \mid z_t) = q(z_s \mid z_t, \hat u(z_t))$ is the posterior's, with the denoised latent in
    place of the example; $p(u \mid z_0) = \mathrm N(z_0 / \alpha_0, \sigma_0^2 / \alpha_0^2)$.

    With `num_steps` T, z is the whole chain, shape (T + 1, *shape), z_0 first, and every objective
    and log-likelihood of this library holds. Without, time is continuous: `DiffusionBound` trains
    and measures it, and `discretized(T)` is the model of a finite chain.

    Attributes:
        denoiser: (z_t, log SNR) -> what `prediction` says, in the shape of x.
        schedule: log SNR of the time.
        prediction: What the denoiser's output says: the noise, x or the velocity.
        location: Of the data, in the shape of x; not trained.
        scale: Of the data, in the shape of x; not trained.
        num_steps: T; None for continuous time.

    Example:
        >>> model = DiffusionModel.create((2,), key=jax.random.key(0)).initialized_from(xs)
        >>> result = tt.fit(model, xs, DiffusionBound(), …)
        >>> result.model.sample(jax.random.key(1), 100, num_steps=50, method="ddim")

    References:
        Kingma, Salimans, Poole & Ho, "Variational diffusion models", 2021.
    """

    untrained: ClassVar[tuple[str, ...]] = ("location", "scale")

    denoiser: Denoiser
    schedule: Schedule
    prediction: Prediction
    location: Float[Array, ...]
    scale: Float[Array, ...]
    num_steps: int | None = eqx.field(default=None, static=True, converter=optional_steps)

    @classmethod
    def create(
        cls,
        shape: Sequence[int],
        *,
        schedule: str | Schedule | Callable[[Array], Array] = "linear",
        prediction: str = "v",
        num_steps: Any = None,
        denoiser: str | Denoiser = "mlp",
        hidden: Sequence[int] | None = None,
        fourier: Sequence[int] = (),
        activation: str = "silu",
        key: Key[Array, ""],
    ) -> DiffusionModel:
        """A diffusion model; `initialized_from(xs)` then takes the data's location and scale.

        Args:
            shape: Shape of one example.
            schedule: A name of `SCHEDULES` ("linear", "cosine", "learned"), or a falling function
                of the time.
            prediction: A name of `PREDICTIONS`: "epsilon", "x" or "v".
            num_steps: T; None for continuous time.
            denoiser: A name of `DENOISERS` ("mlp", for images "unet"), or any callable (z, log SNR)
                -> output (an `eqx.Module` where it has parameters).
            hidden: Widths of the MLP's hidden layers, or channels of the U-Net's resolutions.
            fourier: Exponents n of Fourier features sin 2ⁿπz, cos 2ⁿπz of the input.
            activation: A name of `ACTIVATIONS`.
            key: Random key.

        Raises:
            InputError: If a name is unknown, a size below one, the schedule does not fall, or the
                denoiser's output has another shape than z.
        """
        denoiser_key, schedule_key = jax.random.split(key)
        if isinstance(denoiser, str):
            denoiser = denoiser_from_name(
                denoiser, shape, hidden, fourier=fourier, activation=activation, key=denoiser_key
            )
        model = cls(
            denoiser,
            as_schedule(schedule, key=schedule_key),
            prediction_from_name(prediction),
            jnp.zeros(tuple(shape)),
            jnp.ones(tuple(shape)),
        )
        output = jax.eval_shape(denoiser, model.location, jnp.zeros(()))
        if getattr(output, "shape", None) != model.location.shape:
            raise InputError(
                f"a denoiser's output has the shape of z, {model.location.shape}, got "
                f"{getattr(output, 'shape', output)}: mend the denoiser"
            )
        return model if num_steps is None else model.discretized(num_steps)

    def initialized_from(self, xs: Any) -> DiffusionModel:
        """The same with the training examples' location and scale, densities staying in x's units.

        Vectors have a location and a scale for each entry; images, whose pixels are of one unit,
        one of each for all.

        Args:
            xs: Training examples (N, *shape).

        Raises:
            InputError: If the examples have another shape, or are not finite.
        """
        xs = np.asarray(xs)
        self.check_examples(xs)
        if not np.isfinite(xs).all():
            raise InputError(
                "training examples hold entries that are not finite: drop or fill them"
            )
        axes = 0 if xs.ndim == 2 else None
        location = np.mean(xs, axis=axes, dtype=np.float64)
        scale = np.std(xs, axis=axes, dtype=np.float64)
        shape, dtype = self.location.shape, self.location.dtype
        return dataclasses.replace(
            self,
            location=jnp.asarray(np.broadcast_to(location, shape), dtype),
            scale=jnp.asarray(np.broadcast_to(np.where(scale > 0, scale, 1.0), shape), dtype),
        )

    def discretized(self, num_steps: Any) -> DiffusionModel:
        """The same model with a chain of T steps.

        Raises:
            InputError: If T is no whole number of at least 1, or the schedule doesn't fall at a
                step.
        """
        num_steps = check_steps(num_steps)
        check_levels(log_snrs_of(self.schedule, num_steps))
        return dataclasses.replace(self, num_steps=num_steps)

    @property
    def prior(self) -> ReverseChain:
        """p(z), the whole chain.

        Raises:
            InputError: In continuous time.
        """
        zeros = jnp.zeros_like(self.location)
        return ReverseChain(self.denoised, self._chain_levels(), zeros, jnp.ones(()))

    def likelihood(self, z: Float[Array, ...]) -> Distribution:
        """p(x|z_0), of a whole chain z."""
        return self._given_first(z[0])

    def posterior(self, x: Float[Array, ...]) -> ReverseChain:
        """q(z|x), which is fixed.

        Raises:
            InputError: In continuous time.
        """
        log_snrs, u = self._chain_levels(), self.standardized(x)
        alpha, sigma = signal_and_noise(log_snrs[-1])
        return ReverseChain(Known(u), log_snrs, alpha * u, sigma)

    def log_joint(self, x: Float[Array, ...]) -> Callable[[Array], Array]:
        """The function z -> log p(x, z), in nats."""
        prior = self.prior
        return lambda z: prior.log_prob(z) + self.likelihood(z).log_prob(x)

    def diffused(self, x: Float[Array, ...], time: ArrayLike) -> Distribution:
        """q(z_t|x) at one time.

        Raises:
            InputError: If the time is outside [0, 1].
        """
        alpha, sigma = signal_and_noise(self.schedule(check_times(time)))
        mean = alpha * self.standardized(x)
        return Normal(mean, sigma, validate_args=False).to_event(mean.ndim)

    def denoised(self, z: Float[Array, ...], log_snr: Float[Array, ""]) -> Float[Array, ...]:
        """The estimate of the standardized example from a latent at a level of noise."""
        return self.prediction.clean(z, self.denoiser(z, log_snr), log_snr)

    def sample(
        self,
        key: Key[Array, ""],
        n: Any,
        *,
        num_steps: Any = None,
        method: str = "ancestral",
        schedule: str | Schedule | Callable[[Array], Array] | None = None,
    ) -> Float[Array, "n ..."]:
        """`n` draws of x.

        With the model's own steps and "ancestral", draws of the model itself; other steps and
        "ddim" are of other chains that end near it.

        Args:
            key: Random key.
            n: How many.
            num_steps: Steps; the model's if left out, or 256 in continuous time.
            method: A name of `SAMPLERS`: "ancestral", or "ddim" (few steps, no noise on the way).
            schedule: Levels gone through, between the ends of the model's schedule; the model's if
                left out. With few steps "cosine" spends more of them where shapes are decided.

        Returns:
            Shape (n, *shape of x).

        Raises:
            InputError: If a number is below 1, or a name unknown.
        """
        if method not in SAMPLERS:
            raise unknown("sampler", method, SAMPLERS)
        n, num_steps = check_steps(n, "n"), steps_or_own(num_steps, self)
        log_snrs = log_snrs_of(self.levels(schedule), num_steps)
        chain_key, last_key = jax.random.split(key)
        firsts = samples(self, log_snrs, SAMPLERS[method], n, chain_key)
        alpha, sigma = signal_and_noise(log_snrs[0])
        if method == "ancestral":
            firsts = firsts + sigma * jax.random.normal(last_key, firsts.shape, firsts.dtype)
        return jax.vmap(self.restored)(firsts / alpha)

    def complete(self, xs: ArrayLike, **options: Any) -> Completed:
        """Missing entries (NaN) drawn given the others: `complete` with its options."""
        return complete(self, xs, **options)

    def standardized(self, x: Float[Array, ...]) -> Float[Array, ...]:
        """An example in units of the data's location and scale."""
        location, scale = self.units
        return (x - location) / scale

    def restored(self, u: Float[Array, ...]) -> Float[Array, ...]:
        """An example in x's units, from standard ones."""
        location, scale = self.units
        return location + scale * u

    def levels(self, schedule: Any) -> Schedule:
        """The model's schedule, or another between its ends."""
        if schedule is None:
            return self.schedule
        with jax.ensure_compile_time_eval():
            first, last = (float(self.schedule.log_snr(jnp.asarray(end))) for end in (0.0, 1.0))
        return as_schedule(schedule, largest=first, smallest=last)

    def check_examples(self, xs: Any) -> None:
        """Refuse what is no batch of examples.

        Raises:
            InputError: If it is empty, or of another shape than the model.
        """
        shape = tuple(np.shape(xs))
        if not shape or shape[0] == 0 or shape[1:] != self.location.shape:
            raise InputError(
                f"a batch is an array (N, *{self.location.shape}) of one example or more, got "
                f"shape {shape}: make the model for the examples' shape"
            )

    @property
    def units(self) -> tuple[Float[Array, ...], Float[Array, ...]]:
        """Location and scale of the data, without a derivative."""
        return jax.lax.stop_gradient((self.location, self.scale))

    @property
    def log_volume(self) -> Float[Array, ""]:
        """Sum of the logarithms of the scale, which brings densities back to x's units."""
        return jnp.sum(jnp.log(self.units[1]))

    def _given_first(self, first: Float[Array, ...]) -> Distribution:
        alpha, sigma = signal_and_noise(self.schedule.log_snr(jnp.asarray(0.0)))
        _, scale = self.units
        mean = self.restored(first / alpha)
        return Normal(mean, scale * sigma / alpha, validate_args=False).to_event(mean.ndim)

    def _chain_levels(self) -> Float[Array, " levels"]:
        if self.num_steps is None:
            raise InputError(
                "in continuous time the chain has no finite number of steps: take "
                "model.discretized(T), or DiffusionBound and diffusion_terms, which need none"
            )
        return log_snrs_of(self.schedule, self.num_steps)
