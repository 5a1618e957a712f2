"""Whether an importance-sampling estimate is to be trusted, in words."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float

# Above this k̂ errors are not what they say at any number of draws that one can afford; above one
# the weights have no mean (Vehtari et al., 2024, sec. 3.2.4).
TRUSTED = 0.7

# Up to this share of examples that are not to be trusted, their mean is still worth reading.
_FEW = 0.05

Level = Literal["good", "fair", "poor", "unknown"]


class Verdict(str):
    """A sentence on whether a number can be quoted, with the level that pictures need of it.

    Attributes:
        level: "good": it can be; "fair": but for some examples; "poor": it can't; "unknown".
    """

    __slots__ = ("level",)

    level: Level

    def __new__(cls, sentence: str, level: Level) -> Verdict:
        """The sentence with its level."""
        verdict = super().__new__(cls, sentence)
        verdict.level = level
        return verdict


def verdict(
    pareto_k: Float[np.ndarray, " batch"],
    standard_error: Float[np.ndarray, " batch"],
    value: Float[np.ndarray, " batch"] | None = None,
) -> Verdict:
    """One sentence or two on all examples, with what to do.

    Args:
        pareto_k: k̂ of each example's weights; NaN where it couldn't be told.
        standard_error: Of each log-likelihood, in nats.
        value: The log-likelihoods, in nats, to be looked at for ones that are not finite.

    Returns:
        The verdict, its reason, and what would help.
    """
    if value is not None and not np.isfinite(value).all():
        wrong = ~np.isfinite(value)
        return Verdict(
            f"{wrong.sum():,} of {value.size:,} log-likelihoods, row {wrong.argmax()} first, not "
            "finite: not to be trusted; look for data that the model holds impossible",
            "poor",
        )
    known = pareto_k[~np.isnan(pareto_k)]
    if not known.size:
        return Verdict(
            "k̂ is not known: 25 draws or more tell whether the weights are to be trusted",
            "unknown",
        )
    bad = known[known > TRUSTED]
    worst = _told(known.max())
    if not bad.size:
        trust = f"k̂ = {worst}{'' if known.size == 1 else ' at most'}: to be trusted; "
        if np.isnan(standard_error).all():
            unknown = f"{trust}its error is not known: two turns of all experts or more tell it"
            return Verdict(unknown, "unknown")
        error = np.nanmax(standard_error)
        return Verdict(
            f"{trust}the error is "
            f"{error:.2g} nats{'' if known.size == 1 else ' at most'}, and falls with the root of "
            "the number of draws",
            "good",
        )
    share = bad.size / known.size
    if known.size == 1:
        subject = f"k̂ = {worst}: not to be trusted"
    else:
        subject = (
            f"k̂ is above {TRUSTED} for {bad.size:,} of {known.size:,} examples "
            f"({100 * share:.1f} %), {worst} at worst: not to be trusted there"
        )
    if bad.max() <= 1:
        advice = "more samples will hardly help, a wider posterior will"
    else:
        advice = "more samples will not help, a wider posterior or annealing will"
    return Verdict(f"{subject}; {advice}", "fair" if share <= _FEW else "poor")


def _told(shape: float) -> str:
    return "∞" if np.isinf(shape) else f"{shape:.2f}".lstrip("0")
