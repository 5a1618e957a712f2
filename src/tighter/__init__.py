"""Every variational bound, every gradient estimator: `import tighter as tt`.

The parts are imported when they are first asked for, so that the command line answers at once.
"""

from __future__ import annotations

import gc
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
    from tighter._citation import citation
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
    "citation",
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
    "citation": "tighter._citation",
    "expectation": "tighter.expectations",
    "fit": "tighter.training",
    "impute": "tighter.evaluation",
    "log_likelihood": "tighter.evaluation",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'tighter' has no attribute {name!r}")
    collecting = gc.isenabled()
    gc.disable()  # imports make many objects, and none of them is garbage
    try:
        module = importlib.import_module(_HOMES.get(name, f"tighter.{name}"))
    finally:
        if collecting:
            gc.enable()
    return vars(module)[name] if name in _HOMES else module


def __dir__() -> list[str]:
    return ["__version__", *__all__]
