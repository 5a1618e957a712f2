"""The looser bound of a mixture of experts: each expert's draws by themselves."""

from __future__ import annotations

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from tighter.bounds import Bound, Grouped, Side, as_bound
from tighter.distributions.structured import num_turns


class ExpertByExpert(Bound):
    r"""Mean over the experts of a bound of each one's draws, $\frac1P \sum_m F(\ell_{m1} \dots)$.

    For posteriors drawn in turn (`MixtureOfExperts`). Every draw is still weighed by the whole
    mixture, but the mean over experts is outside of the bound. With `IWAE` it is a mean of
    logarithms where `IWAE` of all draws is the logarithm of the mean: never larger, draw by draw
    (Jensen's inequality). With more draws it tends to
    $\frac1P \sum_m \log \mathrm E_{q_m}[p(x, z) / q(z \mid x)]$, below log p(x) where the experts
    differ in their mean weight. In return no expert is left to the others: each has to explain all
    modalities from its own.

    The draws fall into as many groups as there are turns of 1, …, M experts, each group of one
    expert, whichever modalities are missing: K draws are K over that number to a group.

    Args:
        bound: The bound within a group.
        num_modalities: M.

    Raises:
        ValueError: If there is no modality, or (when called) the draws don't divide into the turns.

    References:
        Shi, Siddharth, Paige & Torr, "Variational mixture-of-experts autoencoders for multi-modal
        deep generative models", 2019, sec. 3; `m_iwae_looser` of their program.
    """

    bound: Bound = eqx.field(converter=as_bound)
    num_modalities: int = eqx.field(static=True)

    def __check_init__(self) -> None:
        """Refuse what is no number of modalities."""
        if self.num_modalities < 1:
            raise ValueError(f"there is one modality or more, got {self.num_modalities}")

    def __call__(self, log_weights: Float[Array, " K"]) -> Float[Array, ""]:
        """Mean of the groups' bounds."""
        return self._grouped(log_weights[self._order(log_weights)])

    def weights(self, log_weights: Float[Array, " K"]) -> Float[Array, " K"]:
        """First derivatives within each group, over the number of groups."""
        order = self._order(log_weights)
        return self._grouped.weights(log_weights[order])[np.argsort(order)]

    def curvature(self, log_weights: Float[Array, " K"]) -> Float[Array, " K"]:
        """Second derivatives within each group, over the number of groups."""
        order = self._order(log_weights)
        return self._grouped.curvature(log_weights[order])[np.argsort(order)]

    @property
    def side(self) -> Side:
        """That of the bound within a group: a mean of means keeps below or above log p(x)."""
        return self.bound.side

    @property
    def is_linear(self) -> bool:
        """If the bound within a group is."""
        return self.bound.is_linear

    @property
    def min_samples(self) -> int:
        """What a group needs, times the groups."""
        return self._grouped.min_samples

    @property
    def _grouped(self) -> Grouped:
        return Grouped(self.bound, num_turns(self.num_modalities))

    def _order(self, log_weights: Float[Array, " K"]) -> np.ndarray:
        """The draws group by group."""
        turn = np.arange(log_weights.shape[0]) % num_turns(self.num_modalities)
        return np.argsort(turn, kind="stable")
