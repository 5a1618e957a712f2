"""The estimators by name: adding one here enrols it in the tests, the command line and the docs."""

from __future__ import annotations

from collections.abc import Callable

from tighter._names import unknown
from tighter.gradients._estimator import Estimator
from tighter.gradients.composition import doubly_reparameterize
from tighter.gradients.ovis import OVIS
from tighter.gradients.pathwise import (
    DoublyReparameterized,
    GeneralizedDoublyReparameterized,
    Reparameterized,
    StickingTheLanding,
)
from tighter.gradients.score_function import VIMCO, LeaveOneOut, ScoreFunction
from tighter.gradients.wake_phi import WakePhi

ESTIMATORS: dict[str, Callable[[], Estimator]] = {
    "reparameterized": Reparameterized,
    "sticking-the-landing": StickingTheLanding,
    "doubly-reparameterized": DoublyReparameterized,
    "generalized-doubly-reparameterized": GeneralizedDoublyReparameterized,
    "score-function": ScoreFunction,
    "score-function-leave-one-out": lambda: ScoreFunction(baseline=LeaveOneOut()),
    "vimco": VIMCO,
    "ovis": OVIS,
    "ovis-monte-carlo": lambda: OVIS(monte_carlo=True),
    "wake-phi": WakePhi,
    "wake-phi-doubly-reparameterized": lambda: doubly_reparameterize(WakePhi()),
}

SHORT_NAMES = {
    "stl": "sticking-the-landing",
    "dreg": "doubly-reparameterized",
    "reinforce": "score-function",
    "rws": "wake-phi",
}


def estimator_from_name(name: str) -> Estimator:
    """An estimator from its name or short name: `doubly-reparameterized`, `dreg`.

    Raises:
        InputError: If there is no such estimator.
    """
    name = name.strip()
    full = SHORT_NAMES.get(name, name)
    if full not in ESTIMATORS:
        raise unknown("gradient estimator", name, [*ESTIMATORS, *SHORT_NAMES])
    return ESTIMATORS[full]()
