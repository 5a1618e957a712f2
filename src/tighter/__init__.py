"""Every variational bound, every gradient estimator: `import tighter as tt`.

The parts are imported when they are first asked for, so that the command line answers at once.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tighter import (
        bounds,
        data,
        diagnostics,
        distributions,
        evaluation,
        gradients,
        graph,
        integrations,
        models,
        training,
    )
    from tighter._errors import InputError
    from tighter.evaluation import Imputation, LogLikelihood, impute, log_likelihood
    from tighter.expectations import expectation
    from tighter.objectives import (
        SUMO,
        AnalyticEntropy,
        AnalyticKL,
        EnumeratedLabels,
        Objective,
        WeightedSurgery,
    )
    from tighter.training import FitResult, fit

__version__ = "0.1.0"

__all__ = [
    "SUMO",
    "AnalyticEntropy",
    "AnalyticKL",
    "EnumeratedLabels",
    "FitResult",
    "Imputation",
    "InputError",
    "LogLikelihood",
    "Objective",
    "WeightedSurgery",
    "bounds",
    "data",
    "diagnostics",
    "distributions",
    "evaluation",
    "expectation",
    "fit",
    "gradients",
    "graph",
    "impute",
    "integrations",
    "log_likelihood",
    "models",
    "training",
]

_HOMES = {
    "AnalyticEntropy": "tighter.objectives",
    "AnalyticKL": "tighter.objectives",
    "EnumeratedLabels": "tighter.objectives",
    "FitResult": "tighter.training",
    "Imputation": "tighter.evaluation",
    "InputError": "tighter._errors",
    "LogLikelihood": "tighter.evaluation",
    "Objective": "tighter.objectives",
    "SUMO": "tighter.objectives",
    "WeightedSurgery": "tighter.objectives",
    "expectation": "tighter.expectations",
    "fit": "tighter.training",
    "impute": "tighter.evaluation",
    "log_likelihood": "tighter.evaluation",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in __all__:
        return importlib.import_module(f"tighter.{name}")
    raise AttributeError(f"module 'tighter' has no attribute {name!r}")


def __dir__() -> list[str]:
    return ["__version__", *__all__]
