"""Distributions, and what a posterior has to be able to do."""

from tighter.distributions.posterior import (
    Posterior,
    check_posterior,
    draw,
    is_reparameterizable,
    stop_parameters,
)

__all__ = ["Posterior", "check_posterior", "draw", "is_reparameterizable", "stop_parameters"]
