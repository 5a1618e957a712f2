"""Drawing examples from a diffusion model, in any number of steps."""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
from jaxtyping import Array, Float, Key

from tighter._chunks import map_chunks
from tighter._programs import compiled
from tighter.models.diffusion.chain import step_between
from tighter.models.diffusion.denoisers import Denoiser
from tighter.models.diffusion.predictions import Prediction
from tighter.models.diffusion.schedules import Example, Scalar, signal_and_noise

_IMAGES = 128
STEPS_IN_CONTINUOUS_TIME = 256


class Denoised(eqx.Module):
    """x̂ and ε̂ of a latent at a level of noise: a network, and what its output says."""

    denoiser: Denoiser
    prediction: Prediction

    def __call__(self, z: Example, log_snr: Scalar) -> tuple[Example, Example]:
        """Both."""
        output = self.denoiser(z, log_snr)
        return (
            self.prediction.clean(z, output, log_snr),
            self.prediction.noise(z, output, log_snr),
        )


# (denoised, z_t, log SNR at t, at s, key) -> z_s.
StepDown = Callable[[Denoised, Example, Scalar, Scalar, Array], Example]


def ancestral(
    denoised: Denoised, z: Example, later: Scalar, earlier: Scalar, key: Key[Array, ""]
) -> Example:
    """A draw of p(z_s|z_t): with the model's own steps, a draw of the model.

    References:
        Ho, Jain & Abbeel, "Denoising diffusion probabilistic models", 2020, algorithm 2.
    """
    step = step_between(later, earlier)
    noise = jax.random.normal(key, z.shape, z.dtype)
    return step.keep * z + step.add * denoised(z, later)[0] + step.scale * noise


def ddim(
    denoised: Denoised, z: Example, later: Scalar, earlier: Scalar, key: Key[Array, ""]
) -> Example:
    r"""$z_s = \alpha_s \hat x + \sigma_s \hat\varepsilon$: no noise but that of the start.

    References:
        Song, Meng & Ermon, "Denoising diffusion implicit models", 2021, eq. 12 with η = 0.
    """
    alpha, sigma = signal_and_noise(earlier)
    clean, noise = denoised(z, later)
    return alpha * clean + sigma * noise


# Adding one here enrolls it.
SAMPLERS: dict[str, StepDown] = {"ancestral": ancestral, "ddim": ddim}


@compiled
def samples(
    denoised: Denoised,
    like: Example,
    log_snrs: Float[Array, " levels"],
    step_down: StepDown,
    num: int,
    key: Key[Array, ""],
) -> Float[Array, "num ..."]:
    """Draws of z_0 from the standard normal z_1 down, in standard units, a block at a time."""

    def draw_once(key: Key[Array, ""]) -> Example:
        first_key, key = jax.random.split(key)

        def down(z: Array, inputs: tuple[Array, Array, Array]) -> tuple[Array, None]:
            return step_down(denoised, z, *inputs), None

        keys = jax.random.split(key, log_snrs.shape[0] - 1)
        last = jax.random.normal(first_key, like.shape, like.dtype)
        z, _ = jax.lax.scan(down, last, (log_snrs[1:], log_snrs[:-1], keys), reverse=True)
        return z

    keys = jax.random.split(key, num)
    return map_chunks(lambda rows: jax.vmap(draw_once)(keys[rows]), num, _IMAGES)
