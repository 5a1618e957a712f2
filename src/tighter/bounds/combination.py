"""Weighted sums of bounds, and means over groups of draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tighter.bounds.bound import Bound, Side, as_bound, num_draws


class Combination(Bound):
    r"""Weighted sum of bounds over the same draws, $F = \sum_i c_i F_i$, in nats.

    With weights that add up to one and are not negative, a combination of lower bounds is a lower
    bound: `Combination({ELBO(): 0.5, IWAE(): 0.5})` is CIWAE with $\beta = ½$.

    Args:
        terms: The weight of each bound (or callable).

    Raises:
        ValueError: If there is no term, a weight is not finite, or they don't add up to one.

    References:
        Rainforth et al., "Tighter variational bounds are not necessarily better", 2018, sec. 4.
    """

    bounds: tuple[Bound, ...]
    coefficients: tuple[float, ...] = eqx.field(static=True)

    def __init__(self, terms: Mapping[Bound | Callable, float]):
        self.bounds = tuple(as_bound(bound) for bound in terms)
        self.coefficients = tuple(float(weight) for weight in terms.values())

    def __check_init__(self) -> None:
        """Refuse what would be no bound on log p."""
        if not self.bounds:
            raise ValueError("a combination of bounds needs at least one, got an empty mapping")
        if not math.isclose(math.fsum(self.coefficients), 1, rel_tol=1e-6):
            raise ValueError(
                f"the weights of a combination of bounds add up to 1, got {self.coefficients}: "
                "divide them by their sum"
            )

    def __call__(self, log_weights: Float[Array, " K"]) -> Float[Array, ""]:
        """Weighted sum of the bounds."""
        return self._sum([bound(log_weights) for bound in self.bounds])

    def weights(self, log_weights: Float[Array, " K"]) -> Float[Array, " K"]:
        """Weighted sum of the first derivatives."""
        return self._sum([bound.weights(log_weights) for bound in self.bounds])

    def curvature(self, log_weights: Float[Array, " K"]) -> Float[Array, " K"]:
        """Weighted sum of the second derivatives."""
        return self._sum([bound.curvature(log_weights) for bound in self.bounds])

    @property
    def side(self) -> Side:
        """The side that all terms share, if no weight is negative."""
        sides = {b.side for b, c in zip(self.bounds, self.coefficients, strict=True) if c != 0}
        one_sided = len(sides) == 1 and min(self.coefficients) >= 0
        return sides.pop() if one_sided else Side.NEITHER

    @property
    def is_linear(self) -> bool:
        """If every term with a weight is."""
        terms = zip(self.bounds, self.coefficients, strict=True)
        return all(bound.is_linear for bound, weight in terms if weight != 0)

    @property
    def min_samples(self) -> int:
        """The most that any term needs."""
        return max(bound.min_samples for bound in self.bounds)

    def kept_together(self, num: int) -> int:
        """What every term keeps."""
        return math.gcd(*(bound.kept_together(num) for bound in self.bounds))

    def _sum(self, terms: list[Array]) -> Array:
        # A term without a weight does not count, were it infinite.
        weighted = zip(self.coefficients, terms, strict=True)
        return sum((c * term for c, term in weighted if c != 0), start=jnp.zeros_like(terms[0]))


class Grouped(Bound):
    r"""Mean of a bound over G equal groups of the draws, $F = \frac1G \sum_g F_0(\ell_{g})$.

    Over the draws in their order: the first K/G are the first group. With `IWAE` this is MIWAE as
    a function of all the draws; together with `Split` it makes PIWAE, where the model follows the
    IWAE bound of all draws and the posterior that of small groups.

    Args:
        bound: The bound within a group.
        num_groups: G, which has to divide the number of draws.

    Raises:
        ValueError: If there is no group, or (when called) the draws don't divide into them.

    References:
        Rainforth et al., "Tighter variational bounds are not necessarily better", 2018, sec. 4.
    """

    bound: Bound = eqx.field(converter=as_bound)
    num_groups: int = eqx.field(static=True)

    def __check_init__(self) -> None:
        """Refuse what is no number of groups."""
        if self.num_groups < 1:
            raise ValueError(f"draws fall into one group or more, got {self.num_groups}")

    def __call__(self, log_weights: Float[Array, " K"]) -> Float[Array, ""]:
        """Mean of the groups' bounds."""
        return jnp.mean(jax.vmap(self.bound)(self._groups(log_weights)))

    def weights(self, log_weights: Float[Array, " K"]) -> Float[Array, " K"]:
        """First derivatives within each group, over G."""
        groups = self._groups(log_weights)
        return jax.vmap(self.bound.weights)(groups).reshape(-1) / self.num_groups

    def curvature(self, log_weights: Float[Array, " K"]) -> Float[Array, " K"]:
        """Second derivatives within each group, over G."""
        groups = self._groups(log_weights)
        return jax.vmap(self.bound.curvature)(groups).reshape(-1) / self.num_groups

    @property
    def side(self) -> Side:
        """That of the bound within a group."""
        return self.bound.side

    @property
    def is_linear(self) -> bool:
        """If the bound within a group is."""
        return self.bound.is_linear

    @property
    def min_samples(self) -> int:
        """What a group needs, times the groups."""
        return self.num_groups * self.bound.min_samples

    def kept_together(self, num: int) -> int:
        """What the bound within a group keeps; all where groups make no difference."""
        return num if self.is_linear else self.bound.kept_together(num // self.num_groups)

    def _groups(self, log_weights: Float[Array, " K"]) -> Float[Array, "G k"]:
        num = num_draws(log_weights, at_least=self.min_samples)
        if num % self.num_groups:
            raise ValueError(
                f"{num} draws don't divide into {self.num_groups} equal groups: "
                "take a multiple as num_samples, and a baseline that leaves no draw out (VIMCO)"
            )
        return log_weights.reshape(self.num_groups, -1)
