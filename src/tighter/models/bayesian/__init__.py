"""Bayesian models written as a function: a log-likelihood of one datum, and a prior."""

from tighter.models.bayesian.model import BayesianModel
from tighter.models.bayesian.parameters import ParameterPosterior, ParameterPrior
from tighter.models.bayesian.posteriors import BAYESIAN_POSTERIORS
from tighter.models.bayesian.predictive import (
    LogPredictive,
    log_predictive,
    posterior_predictive,
)

__all__ = [
    "BAYESIAN_POSTERIORS",
    "BayesianModel",
    "LogPredictive",
    "ParameterPosterior",
    "ParameterPrior",
    "log_predictive",
    "posterior_predictive",
]
