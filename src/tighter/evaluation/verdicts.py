"""Whether an importance-sampling estimate is to be trusted, in words."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

# Above this k̂ errors are not what they say at any number of draws that one can afford; above one
# the weights have no mean (Vehtari et al., 2024, sec. 3.2.4).
TRUSTED = 0.7


def verdict(
    pareto_k: Float[np.ndarray, " batch"], standard_error: Float[np.ndarray, " batch"]
) -> str:
    """One sentence or two on all examples, with what to do.

    Args:
        pareto_k: k̂ of each example's weights; NaN where it couldn't be told.
        standard_error: Of each log-likelihood, in nats.

    Returns:
        The verdict, its reason, and what would help.
    """
    known = pareto_k[~np.isnan(pareto_k)]
    if not known.size:
        return "k̂ is not known: 25 draws or more tell whether the weights are to be trusted"
    bad = known[known > TRUSTED]
    worst = _told(known.max())
    if not bad.size:
        error = np.nanmax(standard_error)
        return (
            f"k̂ = {worst}{'' if known.size == 1 else ' at most'}: to be trusted; the error is "
            f"{error:.2g} nats{'' if known.size == 1 else ' at most'}, and falls with the root of "
            "the number of draws"
        )
    if known.size == 1:
        subject = f"k̂ = {worst}: not to be trusted"
    else:
        share = bad.size / known.size
        subject = (
            f"k̂ is above {TRUSTED} for {bad.size:,} of {known.size:,} examples "
            f"({100 * share:.1f} %), {worst} at worst: not to be trusted there"
        )
    if bad.max() <= 1:
        return f"{subject}; more samples will hardly help, a wider posterior will"
    return f"{subject}; more samples will not help, a wider posterior or annealing will"


def _told(shape: float) -> str:
    return "∞" if np.isinf(shape) else f"{shape:.2f}".lstrip("0")
