"""The bounds by name: adding one here enrols it in the tests, the command line and the docs."""

from __future__ import annotations

from collections.abc import Callable

from tighter._errors import InputError
from tighter._names import unknown
from tighter.bounds.bound import Bound
from tighter.bounds.combination import Combination
from tighter.bounds.jackknife import Jackknife
from tighter.bounds.power_means import CUBO, ELBO, IWAE, Renyi
from tighter.bounds.thermodynamic import Thermodynamic


def _ciwae(beta: float = 0.5) -> Combination:
    return Combination({ELBO(): beta, IWAE(): 1 - beta})  # pyright: ignore[reportUnhashable]


BOUNDS: dict[str, Callable[..., Bound]] = {
    "elbo": ELBO,
    "iwae": IWAE,
    "renyi": lambda alpha=0.5: Renyi(alpha),
    "cubo": CUBO,
    "jackknife": lambda order=1: Jackknife(int(order) if order == int(order) else order),
    "ciwae": _ciwae,
    "thermodynamic": lambda steps=4: Thermodynamic(int(steps)),
}


def bound_from_name(text: str) -> Bound:
    """A bound from its name and, after a colon, its one number: `iwae`, `renyi:0.5`.

    Raises:
        InputError: If there is no such bound, or the number isn't one that it takes.
    """
    name, _, argument = text.strip().partition(":")
    if name not in BOUNDS:
        raise unknown("bound", name, BOUNDS)
    if not argument:
        return BOUNDS[name]()
    try:
        return BOUNDS[name](float(argument))
    except TypeError:
        raise InputError(
            f"the bound {name!r} takes no number, got {text!r}: write {name!r}"
        ) from None
    except (ValueError, OverflowError) as error:
        raise InputError(f"bound {text!r}: {error}") from None
