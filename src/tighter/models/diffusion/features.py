"""What a denoiser sees: the level of noise as waves, and fine waves of the input."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

EMBEDDED = 32
# Radians a nat: from waves longer than the whole range of log SNRs to changes within a nat.
_FREQUENCIES = np.geomspace(0.05, 2.0, EMBEDDED // 2).astype(np.float32)


def embedded_log_snr(log_snr: Float[Array, ""]) -> Float[Array, " embedded"]:
    """Sines and cosines of the log SNR, which say the level of noise whatever the schedule."""
    angles = log_snr * _FREQUENCIES
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)])


def fourier_features(z: Float[Array, ...], exponents: Sequence[int]) -> Float[Array, ...]:
    """The input and sin 2ⁿπz, cos 2ⁿπz for each exponent n, along the last axis.

    Where the density has details far finer than the data's spread (pixels of 256 levels), networks
    see them thereby.

    References:
        Kingma, Salimans, Poole & Ho, "Variational diffusion models", 2021, app. C.
    """
    waves = [wave(2.0**n * np.pi * z) for n in exponents for wave in (jnp.sin, jnp.cos)]
    return jnp.concatenate([z, *waves], axis=-1)
