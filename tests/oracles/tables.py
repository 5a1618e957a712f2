"""A table of every kind of column with gaps, its codes by hand, and refusals in one line."""

import numpy as np
import polars as pl
import pytest

from tighter._errors import InputError

# Real, whole, binary and categorical columns, entries missing in each.
MIXED = pl.DataFrame(
    {
        "height": [1.75, None, 0.1, -2.5],
        "age": [31, 7, None, 12],
        "sex": ["m", "f", None, "m"],
        "color": ["red", "green", "blue", None],
        "member": [True, None, False, True],
        "grade": [4, 2, 2, None],
    }
)
CODES = [
    [1.75, 31, 1, 2, 1, 1],
    [np.nan, 7, 0, 1, np.nan, 0],
    [0.1, np.nan, np.nan, 0, 0, 0],
    [-2.5, 12, 1, np.nan, 1, np.nan],
]


def told(call, *arguments, **options) -> str:
    """What a call that is refused says: one line."""
    with pytest.raises(InputError) as caught:
        call(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message
