"""Posterior families of bits and of categories, whose draws have no derivative."""

from __future__ import annotations

import equinox as eqx
from jaxtyping import Array, Float

from tighter.distributions import Posterior
from tighter.models._families import PosteriorFamily, check_count
from tighter.models._one_hot import Bits, OneHot
from tighter.models._space import Space


class BernoulliPosterior(PosteriorFamily):
    """Independent bits, 0.0 or 1.0; the output is their log odds.

    For estimators without a path (VIMCO, the score function, wake-phi).
    """

    @property
    def space(self) -> Space:
        """Where z is."""
        return Space.BITS

    def shape(self, num_latent: int) -> tuple[int, ...]:
        """(latent,)."""
        return (num_latent,)

    def distribution(self, output: Float[Array, " latent"]) -> Posterior:
        """Independent Bernoullis."""
        return Bits(output, validate_args=False).to_event(1)


class CategoricalPosterior(PosteriorFamily):
    """Independent categories, each a row of zeros and a one; the output is their logits.

    For estimators without a path (VIMCO, the score function, wake-phi).

    Args:
        num_categories: C, two or more.

    Raises:
        InputError: If there are fewer.
    """

    num_categories: int = eqx.field(static=True)

    def __check_init__(self) -> None:
        """Refuse what leaves no choice."""
        check_count("the number of categories of a latent", self.num_categories, least=2)

    @property
    def space(self) -> Space:
        """Where z is."""
        return Space.CATEGORIES

    def shape(self, num_latent: int) -> tuple[int, ...]:
        """(latent, categories)."""
        return num_latent, self.num_categories

    def latent_shape(self, num_latent: int) -> tuple[int, ...]:
        """(latent, categories)."""
        return num_latent, self.num_categories

    def distribution(self, output: Float[Array, "latent categories"]) -> Posterior:
        """Independent categoricals."""
        return OneHot(output).to_event(1)
