"""The MNIST network and its IWAE steps as one would write them by hand, for one pair each.

784-200-200-50-200-200-784, tanh. Rows flattened, log1p form, everything in one function of arrays.
"""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp

SIZES = {"encoder": (784, 200, 200, 100), "decoder": (50, 200, 200, 784)}


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


@jax.custom_vjp
def scale_cotangent(z, factor):
    """Identity; the cotangent is multiplied by a factor."""
    return z


scale_cotangent.defvjp(lambda z, factor: (z, factor), lambda f, ct: (ct * f, jnp.zeros_like(f)))


def log_weights(params, x, eps, ratio=None):
    """Log weights (K, B); with a ratio, log q's parameters stopped and z's cotangent scaled."""
    mu, log_sigma = jnp.split(network(params["encoder"], x), 2, axis=-1)
    z = mu + jnp.exp(log_sigma) * eps
    if ratio is not None:
        z = scale_cotangent(z, jnp.broadcast_to(ratio[..., None], z.shape))
        mu, log_sigma = jax.lax.stop_gradient((mu, log_sigma))
    num_samples, batch, latent = z.shape
    logits = network(params["decoder"], z.reshape(-1, latent)).reshape(num_samples, batch, 784)
    softplus = jnp.maximum(logits, 0) + jnp.log1p(jnp.exp(-jnp.abs(logits)))
    log_likelihood = jnp.sum(x * logits - softplus, axis=-1)
    log_prior_over_q = jnp.sum(
        -0.5 * z**2 + 0.5 * ((z - mu) * jnp.exp(-log_sigma)) ** 2 + log_sigma, axis=-1
    )
    return log_likelihood + log_prior_over_q


def plain(params, x, key, num_samples):
    """IWAE, total derivative."""
    eps = jax.random.normal(key, (num_samples, x.shape[0], 50))
    log_w = log_weights(params, x, eps)
    return -jnp.mean(jax.nn.logsumexp(log_w, axis=0) - jnp.log(num_samples))


def dreg(params, x, key, num_samples):
    """IWAE, doubly reparameterized, in one backward pass."""
    eps = jax.random.normal(key, (num_samples, x.shape[0], 50))
    log_w = jax.lax.stop_gradient(log_weights(params, x, eps))
    normalized = jax.nn.softmax(log_w, axis=0)
    surrogate = jnp.sum(normalized * log_weights(params, x, eps, ratio=normalized)) / x.shape[0]
    value = -jnp.mean(jax.nn.logsumexp(log_w, axis=0) - jnp.log(num_samples))
    return value - surrogate + jax.lax.stop_gradient(surrogate)
