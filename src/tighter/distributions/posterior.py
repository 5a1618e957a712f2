"""Drawing from any posterior, and stopping its parameters."""

from __future__ import annotations

import equinox as eqx
import jax
from jaxtyping import Array, Key, PyTree
from numpyro.distributions import Distribution

from tighter._protocols import Posterior, as_posterior
from tighter.distributions.reparameterization import as_reparameterized


def is_reparameterizable(posterior: Posterior) -> bool:
    """Whether draws carry a derivative with respect to all of the posterior's parameters.

    For a numpyro distribution its family answers (Gamma, Beta, Dirichlet, VonMises and mixtures of
    location-scale families get our draws); any other posterior says so by having `rsample`.
    """
    return as_reparameterized(posterior) is not None


def check_posterior(posterior: Posterior, *, needs_path: bool, estimator: str) -> None:
    """Refuse a posterior with which the gradient can't be right.

    Args:
        posterior: The posterior of one example.
        needs_path: Whether the estimator differentiates through the draws.
        estimator: Its name, for the message.

    Raises:
        TypeError: If the posterior has no density or draws, isn't a pytree, or has no path where
            the estimator needs one.
        ValueError: If a numpyro posterior has a batch shape.
    """
    name = type(posterior).__name__
    as_posterior(posterior)
    if any(leaf is posterior for leaf in jax.tree.leaves(posterior)):
        raise TypeError(
            f"the posterior {name} is no pytree, so that its parameters can't be told from the "
            "rest: make it an equinox.Module, or register it with jax.tree_util"
        )
    if isinstance(posterior, Distribution) and posterior.batch_shape != ():
        raise ValueError(
            f"the posterior {name} has batch shape {posterior.batch_shape}, a bound is over one "
            "example with one latent: write .to_event() for a vector, vmap for a batch"
        )
    if needs_path and not is_reparameterizable(posterior):
        raise TypeError(
            f"{estimator} differentiates through the draws, and {name} has no reparameterized "
            "ones (rsample): use ScoreFunction, VIMCO or WakePhi"
        )


def draw(posterior: Posterior, *, key: Key[Array, ""]) -> PyTree:
    """One latent, with a derivative where the posterior has one."""
    moving = as_reparameterized(posterior)
    if moving is not None:
        return moving.rsample(key, ())
    return jax.lax.stop_gradient(posterior.sample(key, ()))  # type: ignore[attr-defined]


def stop_parameters(tree: PyTree) -> PyTree:
    """The same pytree with no derivative through its arrays."""
    # Leaf by leaf and not by two trees of halves: a masked distribution's halves would not fit.
    return jax.tree.map(
        lambda leaf: jax.lax.stop_gradient(leaf) if eqx.is_array(leaf) else leaf, tree
    )
