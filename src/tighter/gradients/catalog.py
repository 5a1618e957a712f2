"""What each estimator needs, costs and is worth: one table, made from the estimators themselves."""

from __future__ import annotations

import dataclasses

from tighter.bounds import BOUNDS, ELBO
from tighter.gradients._estimator import BiasKind, Estimator
from tighter.gradients.expectations import (
    ARM,
    DisARM,
    Enumerated,
    ExpectationEstimator,
    GumbelSoftmax,
    MeasureValued,
)
from tighter.gradients.table import ESTIMATORS

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
    told = [
        ("ScoreFunction", "any distribution", "n", "0", None),
        ("Reparameterized", "draws with a derivative", "n", "n", None),
        ("MeasureValued", "a family with known parts", "n (1 + 2 a coordinate and parameter)", "0",
         MeasureValued()),
        ("Enumerated", "a finite support", "the support's points", "0", Enumerated()),
        ("DisARM", "Bernoulli vectors", "n, in pairs", "0", DisARM()),
        ("ARM", "Bernoulli vectors", "n, in pairs", "0", ARM()),
        ("GumbelSoftmax", "Bernoulli, Categorical; f of relaxed values", "n", "n", GumbelSoftmax()),
    ]  # fmt: skip
    return [
        Line(name, needs, forward, backward, {"expectation": _sign(estimator)})
        for name, needs, forward, backward, estimator in told
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


def _sign(estimator: ExpectationEstimator | None) -> str:
    return "✓" if estimator is None else SIGNS[estimator.bias().kind]


def _markdown(lines: list[Line]) -> str:
    header = ["estimator", "needs", "forward", "backward", *lines[0].bias]
    rows = [header, ["---"] * len(header)]
    rows += [
        [f"`{line.name}`", line.needs, line.forward, line.backward, *line.bias.values()]
        for line in lines
    ]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
