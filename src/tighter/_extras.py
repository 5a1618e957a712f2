"""Packages that not everyone installs: which extra brings each, said where one is missing."""

from __future__ import annotations

import importlib.util
import sys

from tighter._errors import InputError

# The extras of pyproject.toml, by the modules that they bring.
_EXTRAS = {
    "PIL": "cli",
    "arviz": "arviz",
    "blackjax": "bayesian",
    "flowjax": "flows",
    "matplotlib": "cli",
    "networkx": "graph",
    "polars": "cli",
    "rich": "cli",
    "sklearn": "sklearn",
    "typer": "cli",
}
_PACKAGES = {"PIL": "pillow", "sklearn": "scikit-learn"}  # those not named like their module


def check_installed(*modules: str) -> None:
    """Require what an extra brings, before it is imported.

    Raises:
        InputError: With the command that installs the first that is missing.
    """
    for module in modules:
        if sys.modules.get(module) is None and importlib.util.find_spec(module) is None:
            raise InputError(missing_extra(module))


def missing_extra(module: str | None) -> str:
    """The line for a module that isn't there; empty where no extra brings it."""
    root = (module or "").partition(".")[0]
    if root not in _EXTRAS:
        return ""
    package, extra = _PACKAGES.get(root, root), _EXTRAS[root]
    return f'{package} is not installed, and this needs it: pip install "tighter[{extra}]"'
