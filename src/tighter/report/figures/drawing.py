"""What the experiments' pictures share: reading their files, one look, one size of text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.figure import Figure

from tighter._errors import InputError
from tighter._files import read_archive, read_object
from tighter.report.theme import STYLE, SURFACE

# Okabe and Ito's, which stay apart under color blindness; black is for exact answers.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
EXACT = "#1d2733"


def read_record(path: Path) -> dict[str, Any]:
    """What the experiment found.

    Raises:
        InputError: If the folder holds no record that can be read.
    """
    if not (path / "record.json").exists():
        raise InputError(f"{path} holds no record.json of an experiment: name its folder")
    return read_object(path / "record.json")


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays beside the record.

    Raises:
        InputError: If there are none that can be read.
    """
    return read_archive(path / "arrays.npz")


def draw_picture(file: Path, size: tuple[float, float], paint: Callable[[Figure], None]) -> Path:
    """Paint a figure and store it.

    Args:
        file: Where; its suffix says the format.
        size: Width and height in inches, at 120 dots an inch.
        paint: Draws into an empty figure.

    Returns:
        The file.
    """
    style = {**STYLE, "figure.facecolor": SURFACE, "savefig.facecolor": SURFACE}
    with matplotlib.style.context(["default", style]):
        figure = Figure(figsize=size, layout="constrained")
        paint(figure)
        figure.savefig(file, dpi=120)
    return file
