"""Pictures of experiments, each drawn from its folder's files alone."""

import importlib
from pathlib import Path

from tighter._errors import InputError
from tighter._files import read_object


def draw_experiment(path: Path) -> list[Path]:
    """Draw the pictures of whatever experiment a folder holds, into that folder.

    Returns:
        The pictures' files.

    Raises:
        InputError: If the folder holds no record that can be read.
    """
    record = read_object(path / "record.json")
    try:
        name = record["experiment"]
        module = importlib.import_module(f"tighter.report.figures.{name.replace('-', '_')}")
    except (KeyError, AttributeError, ModuleNotFoundError):
        raise InputError(f"{path} holds no record.json of an experiment") from None
    return module.draw(path)
