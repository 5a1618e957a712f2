"""The MNIST network and its IWAE steps as one would write them by hand, for one pair each.

784-200-200-50-200-200-784, tanh. Rows flattened, everything in functions of arrays. Each step is
written in several ways, which give the same numbers and not always the same speed; what is compared
with them is compared with the fastest:

- the Bernoulli likelihood "differentiated" as it is written, log1p form, or with its derivative
  x - sigmoid(l) "given";
- the doubly reparameterized gradient in two forward passes ("two": a surrogate, whose passes XLA
  may merge, which `matrix_products` tells), or in one ("one": pulled back by hand).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp

SIZES = {"encoder": (784, 200, 200, 100), "decoder": (50, 200, 200, 784)}
LATENT = 50


def initialize(key):
    """Glorot weights and zero biases."""
    params = {}
    for name, sizes in SIZES.items():
        layers = []
        for num_in, num_out in itertools.pairwise(sizes):
            key, layer_key = jax.random.split(key)
            limit = (6 / (num_in + num_out)) ** 0.5
            weight = jax.random.uniform(layer_key, (num_in, num_out), minval=-limit, maxval=limit)
            layers.append({"w": weight, "b": jnp.zeros(num_out)})
        params[name] = layers
    return params


def network(layers, x):
    """Tanh between the layers."""
    for layer in layers[:-1]:
        x = jnp.tanh(x @ layer["w"] + layer["b"])
    return x @ layers[-1]["w"] + layers[-1]["b"]


def differentiated(logits, x):
    """Log likelihood of each row, from logits (…, 784)."""
    softplus = jnp.maximum(logits, 0) + jnp.log1p(jnp.exp(-jnp.abs(logits)))
    return jnp.sum(x * logits - softplus, axis=-1)


@jax.custom_vjp
def given(logits, x):
    """The same, with its derivative computed from the logits on the way back."""
    return differentiated(logits, x)


given.defvjp(
    lambda logits, x: (differentiated(logits, x), (logits, x)),
    lambda held, ct: (ct[..., None] * (held[1] - jax.nn.sigmoid(held[0])), None),
)


LIKELIHOODS = {"differentiated": differentiated, "given": given}


@jax.custom_vjp
def scale_cotangent(z, factor):
    """Identity; the cotangent is multiplied by a factor."""
    return z


scale_cotangent.defvjp(lambda z, factor: (z, factor), lambda f, ct: (ct * f, jnp.zeros_like(f)))


def encode(encoder, x):
    """Means and log standard deviations, (B, 50) each."""
    return tuple(jnp.split(network(encoder, x), 2, axis=-1))


def log_weights(decoder, z, log_q, x, likelihood):
    """Log weights (K, B) of draws z (K, B, 50), up to a constant that p and q share."""
    logits = network(decoder, z.reshape(-1, LATENT)).reshape(*z.shape[:2], 784)
    return likelihood(logits, x) - 0.5 * jnp.sum(z**2, axis=-1) - log_q


def draws(key, num_samples, x):
    """Standard normal noise (K, B, 50)."""
    return jax.random.normal(key, (num_samples, x.shape[0], LATENT))


def loss_of(log_w):
    """Minus the mean of the bounds."""
    return -jnp.mean(jax.nn.logsumexp(log_w, axis=0) - jnp.log(log_w.shape[0]))


def log_density(z, mu, log_sigma):
    """Log q(z), up to a constant."""
    return -jnp.sum(0.5 * ((z - mu) * jnp.exp(-log_sigma)) ** 2 + log_sigma, axis=-1)


def plain(params, x, key, num_samples, likelihood=given):
    """IWAE, total derivative; log q from the noise, whose total derivative is that of log sigma."""
    eps = draws(key, num_samples, x)
    mu, log_sigma = encode(params["encoder"], x)
    log_q = -jnp.sum(0.5 * eps**2 + log_sigma, axis=-1)
    z = mu + jnp.exp(log_sigma) * eps
    return loss_of(log_weights(params["decoder"], z, log_q, x, likelihood))


def dreg(params, x, key, num_samples, likelihood=given):
    """IWAE, doubly reparameterized, in two forward passes and one backward pass."""
    eps = draws(key, num_samples, x)

    def weights(ratio=None):
        mu, log_sigma = encode(params["encoder"], x)
        z = mu + jnp.exp(log_sigma) * eps
        if ratio is not None:
            z = scale_cotangent(z, jnp.broadcast_to(ratio[..., None], z.shape))
        log_q = log_density(z, *jax.lax.stop_gradient((mu, log_sigma)))
        return log_weights(params["decoder"], z, log_q, x, likelihood)

    log_w = jax.lax.stop_gradient(weights())
    normalized = jax.nn.softmax(log_w, axis=0)
    surrogate = jnp.sum(normalized * weights(normalized)) / x.shape[0]
    return loss_of(log_w) - surrogate + jax.lax.stop_gradient(surrogate)


def dreg_in_one_pass(params, x, key, num_samples, likelihood=given):
    """Loss and gradient of the same, in one forward and one backward pass, pulled back by hand."""
    eps = draws(key, num_samples, x)
    (mu, log_sigma), pull_encoder = jax.vjp(lambda e: encode(e, x), params["encoder"])
    sigma = jnp.exp(log_sigma)

    def weights(decoder, z):
        return log_weights(decoder, z, log_density(z, mu, log_sigma), x, likelihood)

    log_w, pull = jax.vjp(weights, params["decoder"], mu + sigma * eps)
    normalized = jax.nn.softmax(log_w, axis=0)
    decoder, by_z = pull(-normalized / x.shape[0])
    by_z = by_z * normalized[..., None]
    by_mu, by_log_sigma = jnp.sum(by_z, axis=0), jnp.sum(by_z * eps, axis=0) * sigma
    (encoder,) = pull_encoder((by_mu, by_log_sigma))
    return loss_of(log_w), {"encoder": encoder, "decoder": decoder}


def variants(gradient: str, num_samples: int) -> dict[str, Callable]:
    """The ways of writing a step: name -> (params, x, key) -> (loss, gradient).

    Args:
        gradient: "reparameterized" or "doubly reparameterized".
        num_samples: K.
    """

    def bind(function, likelihood):
        return lambda params, x, key: function(params, x, key, num_samples, likelihood)

    steps = {}
    for name, likelihood in LIKELIHOODS.items():
        if gradient == "reparameterized":
            steps[name] = jax.value_and_grad(bind(plain, likelihood))
        else:
            steps[f"{name}, two"] = jax.value_and_grad(bind(dreg, likelihood))
            steps[f"{name}, one"] = bind(dreg_in_one_pass, likelihood)
    return steps
