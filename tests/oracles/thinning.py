"""Which cases of a long list CI runs."""

from collections.abc import Iterable
from typing import Any

import pytest


def every(step: int, cases: Iterable[Any]) -> list[Any]:
    """Every `step`-th case; the others are left to `-m slow`."""
    return [
        pytest.param(
            *(case if isinstance(case, tuple) else (case,)),
            marks=[] if i % step == 0 else pytest.mark.slow,
        )
        for i, case in enumerate(cases)
    ]
