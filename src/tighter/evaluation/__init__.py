"""How good a model is: log-likelihoods that carry their error."""

from tighter.evaluation.annealing import AnnealedLogLikelihood, annealed_log_likelihood
from tighter.evaluation.bidirectional import (
    Bidirectional,
    bidirectional,
    reverse_annealed_log_likelihood,
)
from tighter.evaluation.imputation import Imputation, impute
from tighter.evaluation.jensen_gap import JensenGap, fit_jensen_gap
from tighter.evaluation.leave_one_out import (
    LeaveOneOut,
    leave_one_out,
    leave_one_out_from_draws,
)
from tighter.evaluation.log_likelihood import LogLikelihood, log_likelihood
from tighter.evaluation.perplexity import Perplexity, document_completion, perplexity
from tighter.evaluation.posterior_check import PosteriorCheck, posterior_check
from tighter.evaluation.psis import ParetoTail, pareto_k, pareto_tail
from tighter.evaluation.sandwich import Sandwich, sandwich

__all__ = [
    "AnnealedLogLikelihood",
    "Bidirectional",
    "Imputation",
    "JensenGap",
    "LeaveOneOut",
    "LogLikelihood",
    "ParetoTail",
    "Perplexity",
    "PosteriorCheck",
    "Sandwich",
    "annealed_log_likelihood",
    "bidirectional",
    "document_completion",
    "fit_jensen_gap",
    "impute",
    "leave_one_out",
    "leave_one_out_from_draws",
    "log_likelihood",
    "pareto_k",
    "pareto_tail",
    "perplexity",
    "posterior_check",
    "reverse_annealed_log_likelihood",
    "sandwich",
]
