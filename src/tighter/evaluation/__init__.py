"""How good a model is: log-likelihoods that carry their error."""

from tighter.evaluation.annealing import AnnealedLogLikelihood, annealed_log_likelihood
from tighter.evaluation.bidirectional import (
    Bidirectional,
    bidirectional,
    reverse_annealed_log_likelihood,
)
from tighter.evaluation.imputation import Imputation, impute
from tighter.evaluation.jensen_gap import JensenGap, fit_jensen_gap
from tighter.evaluation.log_likelihood import LogLikelihood, log_likelihood
from tighter.evaluation.psis import ParetoTail, pareto_k, pareto_tail
from tighter.evaluation.sandwich import Sandwich, sandwich

__all__ = [
    "AnnealedLogLikelihood",
    "Bidirectional",
    "Imputation",
    "JensenGap",
    "LogLikelihood",
    "ParetoTail",
    "Sandwich",
    "annealed_log_likelihood",
    "bidirectional",
    "fit_jensen_gap",
    "impute",
    "log_likelihood",
    "pareto_k",
    "pareto_tail",
    "reverse_annealed_log_likelihood",
    "sandwich",
]
