"""One line for results that hold arrays: what `repr` shows; the arrays stay where they are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

_LONGEST = 60


def summary(result: object, *parts: str) -> str:
    """The type's name and the parts that say something, in one line."""
    return f"{type(result).__name__}({'; '.join(part for part in parts if part)})"


def quantity(value: Any, error: Any = math.nan) -> str:
    """A number to two digits of its error, with the error: "-20.12 ± 0.43"."""
    given, value, error = value, _array(value), _array(error)
    if value is None or value.size != 1:
        return _shown(given)
    if error is None or error.size != 1 or not (np.isfinite(error) and error > 0):
        return f"{value.item():.4g}"
    places = min(6, max(0, 1 - math.floor(math.log10(error.item()))))
    return f"{value.item():.{places}f} ± {error.item():.{places}f}"


def mean_of(values: Any, errors: Any = None, of: str = "examples") -> str:
    """Mean of one number an example and its standard error, or the one number and its own error.

    Args:
        values: One an example, in nats.
        errors: Monte Carlo errors of each, in nats.
        of: What they are of.
    """
    given, values, errors = values, _array(values), _array(errors)
    if values is None or values.ndim != 1 or values.size == 0:
        return _shown(given)
    noise = math.nan if errors is None else float(np.sqrt((errors**2).sum())) / values.size
    if values.size == 1:
        return f"{quantity(values[0], noise)} nats, of 1 {of.removesuffix('s')}"
    with np.errstate(invalid="ignore"):
        mean = quantity(values.mean(), values.std(ddof=1) / math.sqrt(values.size))
    beside = f", Monte Carlo error {noise:.2g}" if math.isfinite(noise) else ""
    return f"{mean} nats, mean of {values.size:,} {of}{beside}"


def fields_of(result: Any) -> str:
    """All fields of a named tuple, arrays by their shapes."""
    parts = (f"{name}={_shown(value)}" for name, value in result._asdict().items())
    return f"{type(result).__name__}({', '.join(parts)})"


def _array(value: Any) -> np.ndarray | None:
    """Numbers on the host; None of what has none, such as arrays within a transformation."""
    try:
        return np.asarray(value, float)
    except Exception:
        return None


def _shown(value: Any) -> str:
    if not isinstance(value, list | tuple) and (shape := np.shape(value)):
        return f"array {shape}"
    text = repr(value)
    return text if len(text) <= _LONGEST and "\n" not in text else f"{type(value).__name__}(…)"
