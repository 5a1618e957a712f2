"""The spaces that a latent lives in: a prior and a posterior go together if theirs is the same."""

from __future__ import annotations

import enum


class Space(enum.Enum):
    """Where z is."""

    REAL = "real numbers"
    BOX = "numbers between 0 and 1"
    SIMPLEX = "the simplex"
    BITS = "bits"
    CATEGORIES = "categories"
    ANY = "the posterior's space, whichever it is"
