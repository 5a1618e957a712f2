"""Drawing examples from a diffusion model, in any number of steps."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Key

from tighter._chunks import map_chunks
from tighter._errors import InputError
from tighter._programs import compiled
from tighter.models.diffusion.chain import step_between
from tighter.models.diffusion.schedules import Schedule, signal_and_noise

if TYPE_CHECKING:
    from tighter.models.diffusion.model import DiffusionModel

_IMAGES = 128
STEPS_IN_CONTINUOUS_TIME = 256

# (model, z_t, log SNR at t, at s, key) -> z_s.
StepDown = Callable[..., Array]


def ancestral(
    model: DiffusionModel,
    z: Float[Array, ...],
    later: Float[Array, ""],
    earlier: Float[Array, ""],
    key: Key[Array, ""],
) -> Float[Array, ...]:
    """A draw of p(z_s|z_t): with the model's own steps, a draw of the model.

    References:
        Ho, Jain & Abbeel, "Denoising diffusion probabilistic models", 2020, algorithm 2.
    """
    step = step_between(later, earlier)
    noise = jax.random.normal(key, z.shape, z.dtype)
    return step.keep * z + step.add * model.denoised(z, later) + step.scale * noise


def ddim(
    model: DiffusionModel,
    z: Float[Array, ...],
    later: Float[Array, ""],
    earlier: Float[Array, ""],
    key: Key[Array, ""],
) -> Float[Array, ...]:
    r"""$z_s = \alpha_s \hat x + \sigma_s \hat\varepsilon$: no noise but that of the start.

    References:
        Song, Meng & Ermon, "Denoising diffusion implicit models", 2021, eq. 12 with η = 0.
    """
    output = model.denoiser(z, later)
    alpha, sigma = signal_and_noise(earlier)
    clean = model.prediction.clean(z, output, later)
    return alpha * clean + sigma * model.prediction.noise(z, output, later)


# Adding one here enrolls it.
SAMPLERS: dict[str, StepDown] = {"ancestral": ancestral, "ddim": ddim}


def check_steps(num_steps: Any, name: str = "num_steps") -> int:
    """A number of steps.

    Raises:
        InputError: If it is no whole number of at least 1.
    """
    try:
        whole = 0 if isinstance(num_steps, bool | np.bool_) else operator.index(num_steps)
    except TypeError:
        whole = 0
    if whole < 1:
        raise InputError(f"{name} is a whole number of at least 1, got {num_steps!r}")
    return whole


def optional_steps(num_steps: Any) -> int | None:
    """A number of steps, or None for continuous time.

    Raises:
        InputError: If it is no whole number of at least 1.
    """
    return None if num_steps is None else check_steps(num_steps)


def steps_or_own(num_steps: Any, model: DiffusionModel) -> int:
    """A number of steps that was given, or else the model's, or else that of continuous time."""
    steps = model.num_steps if num_steps is None else check_steps(num_steps)
    return STEPS_IN_CONTINUOUS_TIME if steps is None else steps


def check_levels(log_snrs: Float[Array, " levels"]) -> Float[Array, " levels"]:
    """The levels of a chain, where they are known before the program runs.

    Raises:
        InputError: If two are the same, between which there is no step.
    """
    if not isinstance(log_snrs, Tracer):
        values = np.asarray(log_snrs)
        same = np.flatnonzero(~(np.diff(values) < 0))
        if same.size:
            raise InputError(
                f"a chain's log signal-to-noise ratio falls at every step, and step {same[0] + 1} "
                f"of {values.size - 1} leaves it at {values[same[0]]:g}: take fewer steps, or a "
                "schedule that falls there"
            )
    return log_snrs


def log_snrs_of(schedule: Schedule, num_steps: int) -> Float[Array, " levels"]:
    """Log SNR at t = 0, 1/T, …, 1."""
    return jax.vmap(schedule.log_snr)(jnp.linspace(0.0, 1.0, num_steps + 1))


@compiled
def samples(
    model: DiffusionModel,
    log_snrs: Float[Array, " levels"],
    step_down: StepDown,
    num: int,
    key: Key[Array, ""],
) -> Float[Array, "num ..."]:
    """Draws of z_0 from the standard normal z_1 down, in standard units, a block at a time."""

    def one(key: Key[Array, ""]) -> Float[Array, ...]:
        first_key, key = jax.random.split(key)

        def down(z: Array, inputs: tuple[Array, Array, Array]) -> tuple[Array, None]:
            return step_down(model, z, *inputs), None

        keys = jax.random.split(key, log_snrs.shape[0] - 1)
        last = jax.random.normal(first_key, model.location.shape, model.location.dtype)
        z, _ = jax.lax.scan(down, last, (log_snrs[1:], log_snrs[:-1], keys), reverse=True)
        return z

    keys = jax.random.split(key, num)
    return map_chunks(lambda rows: jax.vmap(one)(keys[rows]), num, _IMAGES)
