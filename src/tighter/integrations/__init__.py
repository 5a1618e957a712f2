"""Other libraries' interfaces to the models here, each imported when it is first asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tighter.integrations import arviz, numpyro, sklearn

__all__ = ["arviz", "numpyro", "sklearn"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return importlib.import_module(f"tighter.integrations.{name}")
    raise AttributeError(f"module 'tighter.integrations' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
