"""How good a model is: log-likelihoods that carry their error."""

from tighter.evaluation.log_likelihood import LogLikelihood, log_likelihood
from tighter.evaluation.psis import pareto_k

__all__ = ["LogLikelihood", "log_likelihood", "pareto_k"]
