"""Expected bounds, exactly: by Gauss-Hermite quadrature over noise, or by enumeration.

The expectation is a differentiable function of the parameters, so that its gradient is the exact
gradient of the expected bound.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np


def by_quadrature(bound, log_weight, *, num_noise, num_samples, num_nodes):
    """E F(l_1..l_K) with l_k = log_weight(noise_k), noise_k standard normal of `num_noise` numbers.

    A tensor grid over the noise of one draw, and over K draws of it.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(num_nodes)
    log_mass = np.log(weights / weights.sum())
    grid = np.stack(np.meshgrid(*[nodes] * num_noise, indexing="ij"), -1).reshape(-1, num_noise)
    mass = sum(np.meshgrid(*[log_mass] * num_noise, indexing="ij")).reshape(-1)
    return _over_tuples(bound, jax.vmap(log_weight)(jnp.asarray(grid)), mass, num_samples)


def by_enumeration(bound, log_weights, log_probabilities, *, num_samples):
    """E F(l_1..l_K) for z_k on a finite support, given l and log q at each of its points."""
    return _over_tuples(bound, log_weights, log_probabilities, num_samples)


def _over_tuples(bound, log_weights, log_mass, num_samples):
    # Bounds are symmetric, so that each multiset of points stands for all of its orders.
    count = len(log_mass)
    tuples = np.array(list(itertools.combinations_with_replacement(range(count), num_samples)))
    orders = np.ones(len(tuples))
    for k in range(num_samples):
        # The product of (k + 1) / (how many of the first k + 1 equal the last) is the multinomial.
        seen = (tuples[:, : k + 1] == tuples[:, k : k + 1]).sum(-1)
        orders *= (k + 1) / seen
    joint = jnp.sum(jnp.asarray(log_mass)[tuples], axis=1)
    return jnp.sum(orders * jnp.exp(joint) * jax.vmap(bound)(log_weights[tuples]))
