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

from tighter._checks import check_counts, require
from tighter._errors import InputError
from tighter._examples import check_finite
from tighter._names import unknown
from tighter.models._model import LatentVariableModel
from tighter.models.diffusion.chain import Known, ReverseChain, Units
from tighter.models.diffusion.denoisers import Denoiser, denoiser_from_name
from tighter.models.diffusion.imputation import Completed, filtered
from tighter.models.diffusion.predictions import PREDICTIONS, Prediction
from tighter.models.diffusion.sampling import SAMPLERS, STEPS_IN_CONTINUOUS_TIME, Denoised, samples
from tighter.models.diffusion.schedules import (
    Example,
    Scalar,
    Schedule,
    as_schedule,
    check_levels,
    check_times,
    log_snrs_of,
    signal_and_noise,
)


def _count(number: Any, name: str = "num_steps") -> int:
    require(number is not None, f"{name} is a whole number of at least 1, got None")
    check_counts(**{name: number})
    return int(number)


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
    location: Example
    scale: Example
    num_steps: int | None = eqx.field(
        default=None, static=True, converter=lambda steps: None if steps is None else _count(steps)
    )

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
        if prediction not in PREDICTIONS:
            raise unknown("prediction", prediction, PREDICTIONS)
        denoiser_key, schedule_key = jax.random.split(key)
        if isinstance(denoiser, str):
            denoiser = denoiser_from_name(
                denoiser, shape, hidden, fourier=fourier, activation=activation, key=denoiser_key
            )
        model = cls(
            denoiser,
            as_schedule(schedule, key=schedule_key),
            PREDICTIONS[prediction],
            jnp.zeros(tuple(shape)),
            jnp.ones(tuple(shape)),
        )
        output = jax.eval_shape(denoiser, model.location, jnp.zeros(()))
        shape = output.shape if isinstance(output, jax.ShapeDtypeStruct) else output
        require(
            shape == model.location.shape,
            f"a denoiser's output has the shape of z, {model.location.shape}, got {shape}: mend "
            "the denoiser",
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
        check_finite(xs, "xs", missing=False)
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
        num_steps = _count(num_steps)
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

    def likelihood(self, z: Example) -> Distribution:
        """p(x|z_0), of a whole chain z."""
        alpha, sigma = signal_and_noise(self.schedule.log_snr(jnp.asarray(0.0)))
        mean = self.restored(z[0] / alpha)
        return Normal(mean, self.units.scale * sigma / alpha, validate_args=False).to_event(
            mean.ndim
        )

    def posterior(self, x: Example) -> ReverseChain:
        """q(z|x), which is fixed.

        Raises:
            InputError: In continuous time.
        """
        log_snrs, u = self._chain_levels(), self.standardized(x)
        alpha, sigma = signal_and_noise(log_snrs[-1])
        return ReverseChain(Known(u), log_snrs, alpha * u, sigma)

    def log_joint(self, x: Example) -> Callable[[Array], Array]:
        """The function z -> log p(x, z), in nats."""
        prior = self.prior
        return lambda z: prior.log_prob(z) + self.likelihood(z).log_prob(x)

    def diffused(self, x: Example, time: ArrayLike) -> Distribution:
        """q(z_t|x) at one time.

        Raises:
            InputError: If the time is outside [0, 1].
        """
        alpha, sigma = signal_and_noise(self.schedule(check_times(time)))
        mean = alpha * self.standardized(x)
        return Normal(mean, sigma, validate_args=False).to_event(mean.ndim)

    def denoised(self, z: Example, log_snr: Scalar) -> Example:
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
        num, log_snrs = _count(n, "n"), self._levels(schedule, num_steps)
        chain_key, last_key = jax.random.split(key)
        denoised = Denoised(self.denoiser, self.prediction)
        firsts = samples(denoised, self.location, log_snrs, SAMPLERS[method], num, chain_key)
        alpha, sigma = signal_and_noise(log_snrs[0])
        if method == "ancestral":
            firsts = firsts + sigma * jax.random.normal(last_key, firsts.shape, firsts.dtype)
        return jax.vmap(self.restored)(firsts / alpha)

    def complete(
        self,
        xs: ArrayLike,
        *,
        num_particles: int = 64,
        num_steps: Any = None,
        schedule: Any = None,
        key: Key[Array, ""],
    ) -> Completed:
        """Draw the missing entries of examples given the others (inpainting), by a particle filter.

        What it is: exact in the limit of many particles where the model's chain is the one that its
        data would have (a denoiser without error, many steps). What it is not: exact for any
        denoiser; nor, with one particle, more than the replacement of the observed entries, which
        does not look ahead and is biased however many the steps. The likelihood's estimate is
        unbiased for any.

        Args:
            xs: Examples (N, *shape); missing entries NaN.
            num_particles: Particles an example.
            num_steps: Steps of the chain; the model's if left out, or 256 in continuous time.
            schedule: Name or function of the levels gone through; the model's if left out.
            key: Random key.

        Raises:
            InputError: If a number is below 1, or examples don't fit the model.

        References:
            Trippe et al., "Diffusion probabilistic modeling of protein backbones in 3D for the
            motif-scaffolding problem", 2023, algorithm 2 (SMCDiff).
        """
        num_particles = _count(num_particles, "num_particles")
        xs = jnp.asarray(xs, float)
        self.check_examples(xs)
        require(
            not jnp.any(jnp.isinf(xs)),
            "examples hold infinite entries: write NaN for what is missing",
        )
        log_snrs = check_levels(self._levels(schedule, num_steps))
        draws, ess, log_likelihood = map(
            np.asarray, filtered(self.denoised, self.units, xs, log_snrs, num_particles, key)
        )
        draws = np.moveaxis(draws, 1, 0)
        values = np.where(np.isnan(xs), draws.mean(axis=0), xs)
        return Completed(values, draws, ess, log_likelihood)

    def standardized(self, x: Example) -> Example:
        """An example in units of the data's location and scale."""
        return self.units.standardized(x)

    def restored(self, u: Example) -> Example:
        """An example in x's units, from standard ones."""
        return self.units.restored(u)

    def check_examples(self, xs: Any) -> None:
        """Refuse what is no batch of examples.

        Raises:
            InputError: If it is empty, or of another shape than the model.
        """
        shape = tuple(np.shape(xs))
        require(
            shape and shape[0] > 0 and shape[1:] == self.location.shape,
            f"a batch is an array (N, *{self.location.shape}) of one example or more, got "
            f"shape {shape}: make the model for the examples' shape",
        )

    @property
    def units(self) -> Units:
        """Location and scale of the data, without a derivative."""
        return jax.lax.stop_gradient(Units(self.location, self.scale))

    @property
    def log_volume(self) -> Scalar:
        """Sum of the logarithms of the scale, which brings densities back to x's units."""
        return jnp.sum(jnp.log(self.units.scale))

    def _chain_levels(self) -> Float[Array, " levels"]:
        if self.num_steps is None:
            raise InputError(
                "in continuous time the chain has no finite number of steps: take "
                "model.discretized(T), or DiffusionBound and diffusion_terms, which need none"
            )
        return log_snrs_of(self.schedule, self.num_steps)

    def _levels(self, schedule: Any, num_steps: Any) -> Float[Array, " levels"]:
        """Levels of a schedule between the ends of the model's, or of the model's own."""
        own = self.num_steps or STEPS_IN_CONTINUOUS_TIME
        steps = own if num_steps is None else _count(num_steps)
        if schedule is None:
            return log_snrs_of(self.schedule, steps)
        with jax.ensure_compile_time_eval():
            first, last = (float(self.schedule.log_snr(jnp.asarray(end))) for end in (0.0, 1.0))
        return log_snrs_of(as_schedule(schedule, largest=first, smallest=last), steps)
