"""Linear regression with a known noise, in which everything is exact."""

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from scipy.stats import multivariate_normal, norm

from tighter.models.bayesian import BayesianModel

NOISE, WIDTH = 0.7, 1.5
_RNG = np.random.default_rng(4)
X = _RNG.uniform(-1, 1, size=(14, 2)) + 0.3
Y = X @ np.array([1.0, -0.5]) + NOISE * _RNG.normal(size=14)
DATA = {"x": X.astype(np.float32), "y": Y.astype(np.float32)}


def log_likelihood(parameters, datum):
    return dist.Normal(datum["x"] @ parameters["slopes"], NOISE).log_prob(datum["y"])


def model(posterior="full-rank", **options):
    prior = {"slopes": dist.Normal(jnp.zeros(2), WIDTH)}
    return BayesianModel(log_likelihood, prior, posterior=posterior, **options)


def posterior(x=X, y=Y):
    """Mean and covariance."""
    covariance = np.linalg.inv(x.T @ x / NOISE**2 + np.eye(2) / WIDTH**2)
    return covariance @ x.T @ y / NOISE**2, covariance


def log_evidence():
    return multivariate_normal(cov=WIDTH**2 * X @ X.T + NOISE**2 * np.eye(len(X))).logpdf(Y)


def predictive(x, y, x_given=X, y_given=Y):
    """Log density of each of some data given others."""
    mean, covariance = posterior(x_given, y_given)
    spread = np.sqrt(np.einsum("ni,ij,nj->n", x, covariance, x) + NOISE**2)
    return norm(x @ mean, spread).logpdf(y)


def left_out():
    """Of each datum given the others."""
    rows = np.arange(len(X))
    return np.array([predictive(X[[n]], Y[[n]], X[rows != n], Y[rows != n]).item() for n in rows])
