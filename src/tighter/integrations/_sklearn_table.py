"""Tables that a user of the scikit-learn interface hands in, checked."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import validate_data

from tighter._errors import InputError

# Of the digits that numbers came with, two are for what a column varies by.
_LEAST_VARIATION = 84


def table(estimator: Any, X: Any, *, reset: bool, least: int = 1) -> np.ndarray:
    """The numbers of a table (N, columns), in their own precision; missing entries NaN.

    Args:
        estimator: Whose columns they are to be.
        X: An array, or a data frame of numbers.
        reset: Whether the estimator takes number and names of the columns from it.
        least: How few rows will do.

    Raises:
        InputError: If a column holds text, or a number is too large for single precision.
        ValueError: scikit-learn's, for all else that is no table of numbers.
    """
    _refuse_text(X)
    values: Any = validate_data(
        estimator,
        X,
        reset=reset,
        dtype=(np.float64, np.float32),
        ensure_all_finite="allow-nan",
        ensure_min_samples=least,
    )
    if np.isinf(single(values)).any():
        raise InputError(
            f"X reaches {np.nanmax(np.abs(values)):g}, too large for single precision: rescale it"
        )
    return values


def single(values: np.ndarray) -> np.ndarray:
    """The same in single precision."""
    with np.errstate(over="ignore"):
        return np.asarray(values, np.float32)


def refuse_constant(values: np.ndarray, *, names: Any = None) -> None:
    """Refuse columns whose density has no bound: those that hardly change.

    Args:
        values: The table.
        names: The columns' names, if they have any.

    Raises:
        InputError: If a column is constant, or as good as constant in its own precision.
    """
    there = ~np.isnan(values)
    count = np.maximum(there.sum(axis=0), 1)
    mean = np.where(there, values, 0).sum(axis=0, dtype=np.float64) / count
    variance = np.where(there, values - mean, 0) ** 2
    scale = np.sqrt(variance.sum(axis=0, dtype=np.float64) / count)
    rounding = np.finfo(values.dtype).eps
    still = there.any(axis=0) & (scale <= _LEAST_VARIATION * rounding * np.abs(mean))
    if still.any():
        column = int(still.argmax())
        name = column if names is None else repr(str(names[column]))
        raise InputError(
            f"column {name} hardly changes ({mean[column]:g} ± {scale[column]:g}), so that its "
            "density has no bound: leave it out (VarianceThreshold), or subtract its mean "
            "(StandardScaler)"
        )


def framed(values: np.ndarray, X: Any) -> Any:
    """The numbers as a data frame of X's kind and columns, where X is one."""
    library = type(X).__module__.partition(".")[0]
    if library == "polars":
        return type(X)(values, schema=list(X.columns))
    if library == "pandas":
        return type(X)(values, columns=X.columns, index=X.index)
    return values


def _refuse_text(X: Any) -> None:
    if not hasattr(X, "dtypes"):  # as data frames alone have
        return
    for name in X.columns:
        column = np.asarray(X[name])
        if column.dtype.kind in "biufc":
            continue
        plain = column.dtype.kind == "O" and not any(isinstance(entry, str) for entry in column)
        if not plain:
            kind = "dates" if column.dtype.kind in "mM" else "text"
            raise InputError(
                f"column {name!r} holds {kind}, {str(column[0])!r} first: encode it as numbers "
                "(OneHotEncoder, OrdinalEncoder), or leave it out"
            )
