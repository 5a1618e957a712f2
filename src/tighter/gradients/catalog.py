"""The estimators by name, and what each needs, costs and is worth.

Adding one to `ESTIMATORS` enrols it in the tests, the command line and the docs, whose table is
made from the estimators themselves.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from tighter._names import unknown
from tighter.bounds import BOUNDS, ELBO
from tighter.gradients.composition import doubly_reparameterize
from tighter.gradients.estimator import BiasKind, Estimator
from tighter.gradients.expectations import GumbelSoftmax
from tighter.gradients.pathwise import (
    DoublyReparameterized,
    GeneralizedDoublyReparameterized,
    Reparameterized,
    StickingTheLanding,
)
from tighter.gradients.score_function import OVIS, VIMCO, LeaveOneOut, ScoreFunction, WakePhi

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


SIGNS = {
    BiasKind.UNBIASED: "✓",
    BiasKind.BIASED: "biased",
    BiasKind.OTHER_OBJECTIVE: "≠",
}


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of the table.

    Attributes:
        name: The estimator's name.
        needs: What it asks of the posterior (or distribution), and of the number of draws.
        forward: Evaluations of log p (or f) on the way forward.
        backward: Of these, differentiated with respect to z (or w); m is `num_backward`.
        bias: A sign for each bound, θ and φ together; under "expectation" for a plain expectation.
    """

    name: str
    needs: str
    forward: str
    backward: str
    bias: dict[str, str]


def of_bounds() -> list[Line]:
    """The estimators of a bound's gradient."""
    return [_line(name, make()) for name, make in ESTIMATORS.items()]


def of_expectations() -> list[Line]:
    """The estimators that `tighter.expectation` takes."""
    unbiased, biased = SIGNS[BiasKind.UNBIASED], SIGNS[GumbelSoftmax().bias().kind]
    rows = [
        ("ScoreFunction", "any distribution", "n", "0", unbiased),
        ("Reparameterized", "draws with a derivative", "n", "n", unbiased),
        ("MeasureValued", "a family with known parts", "n (1 + 2 a coordinate and parameter)", "0",
         unbiased),
        ("Enumerated", "a finite support", "the support's points", "0", unbiased),
        ("DisARM", "Bernoulli vectors", "n, in pairs", "0", unbiased),
        ("ARM", "Bernoulli vectors", "n, in pairs", "0", unbiased),
        ("GumbelSoftmax", "Bernoulli, Categorical; f of relaxed values", "n", "n", biased),
    ]  # fmt: skip
    return [
        Line(name, needs, forward, backward, {"expectation": sign})
        for name, needs, forward, backward, sign in rows
    ]


def markdown() -> str:
    """Both tables, as they stand in docs/estimators.md."""
    return "\n\n".join(_markdown(lines) for lines in (of_bounds(), of_expectations()))


def _line(name: str, estimator: Estimator) -> Line:
    least = estimator.min_samples(ELBO())
    needs = "q with a path" if estimator.uses_path else "any q"
    return Line(
        name,
        needs + (f", K ≥ {least}" if least > 1 else ""),
        "K",
        "K or m" if estimator.uses_path else "0",
        {bound: SIGNS[estimator.bias(make()).kind] for bound, make in BOUNDS.items()},
    )


def _markdown(lines: list[Line]) -> str:
    header = ["estimator", "needs", "forward", "backward", *lines[0].bias]
    rows = [header, ["---"] * len(header)]
    rows += [
        [f"`{line.name}`", line.needs, line.forward, line.backward, *line.bias.values()]
        for line in lines
    ]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
