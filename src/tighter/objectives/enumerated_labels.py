"""Semi-supervised training: labels that are known, and labels summed over."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from tighter._checks import require
from tighter.bounds import ELBO
from tighter.gradients import Bias
from tighter.objectives.base import AnyObjective
from tighter.objectives.objective import Objective

UNLABELED = -1


class EnumeratedLabels(AnyObjective):
    r"""A bound on log p(x, y) where the label is known, and on log p(x) where it isn't.

    $\mathcal L(x, y) + \log p(y) + \alpha \log q(y|x)$ and $\sum_y q(y|x)\, [\mathcal L(x, y) +
    \log p(y) - \log q(y|x)]$, with $\mathcal L$ a bound on log p(x|y). The labels are enumerated,
    so that the classifier q(y|x) has no noise of its own; α, for which the sum is no bound on
    log p(x, y), lets it learn from the labels directly.

    Args:
        objective: The bound on log p(x|y) and the estimator of its gradient.
        weight: α, at least 0.

    Raises:
        InputError: If the weight is negative.

    Example:
        >>> objective = EnumeratedLabels(Objective(ELBO()), weight=50.0)
        >>> model = SemiSupervisedVAE.create((28, 28), 10, key=jax.random.key(0))
        >>> tt.fit(model, {"x": xs, "label": labels}, objective, ...)

    References:
        Kingma, Rezende, Mohamed & Welling, "Semi-supervised learning with deep generative models",
        2014, eq. 6–9.
    """

    objective: Objective = Objective(ELBO())
    weight: float = eqx.field(default=1.0, static=True, converter=float)

    def __check_init__(self) -> None:
        """Refuse what can't be right, when it is built."""
        require(self.weight >= 0, f"the classifier's weight is at least 0, got {self.weight}")

    @property
    def num_samples(self) -> int:
        """Draws in a bound."""
        return self.objective.num_samples

    @property
    def num_outer(self) -> int:
        """Bounds averaged."""
        return self.objective.num_outer

    @property
    def bias(self) -> Bias:
        """What the estimator says of the bound on log p(x|y)."""
        return self.objective.bias

    def batch(
        self, model: Any, xs: dict[str, Array], *, key: Key[Array, ""]
    ) -> Float[Array, " batch"]:
        """The bound of each example, in nats.

        Args:
            model: Has `conditional` (a `ConditionalVAE` of x given a one-hot label),
                `log_classes(x)` (log q(y|x) of every class) and `log_frequencies` (log p(y)).
            xs: {"x": (B, *shape), "label": (B,)}; −1 where the label is not known.
            key: Random key.
        """
        x, labels = xs["x"], jnp.asarray(xs["label"], int)
        log_prior = model.log_frequencies
        num, num_classes = labels.shape[0], log_prior.shape[0]
        every = {
            "x": jnp.repeat(x, num_classes, axis=0),
            "context": jnp.tile(jnp.eye(num_classes, dtype=log_prior.dtype), (num, 1)),
        }
        bounds = self.objective.batch(model.conditional, every, key=key)
        joint = bounds.reshape(num, num_classes) + log_prior[None, :]
        log_classes = jax.vmap(model.log_classes)(x)
        known = jax.nn.one_hot(labels, num_classes, dtype=bool)
        # Chosen, not multiplied: another class may be impossible, and 0 · ∞ is not 0.
        labeled = jnp.sum(jnp.where(known, joint + self.weight * log_classes, 0), axis=1)
        unlabeled = jnp.sum(jnp.exp(log_classes) * (joint - log_classes), axis=1)
        return jnp.where(labels == UNLABELED, unlabeled, labeled)
