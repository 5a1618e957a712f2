"""Pictures of experiments, each drawn from its folder's files alone."""

import importlib
import json
from pathlib import Path

from tighter._errors import InputError


def draw_experiment(path: Path) -> list[Path]:
    """Draw the pictures of whatever experiment a folder holds, into that folder.

    Returns:
        The pictures' files.

    Raises:
        InputError: If the folder holds no record that can be read.
    """
    try:
        name = json.loads((path / "record.json").read_text())["experiment"]
        module = importlib.import_module(f"tighter.report.figures.{name.replace('-', '_')}")
    except (OSError, ValueError, KeyError, TypeError, ModuleNotFoundError):
        raise InputError(f"{path} holds no record.json of an experiment") from None
    return module.draw(path)
