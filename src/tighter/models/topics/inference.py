"""Posteriors of a document's topic proportions: by an encoder, or by coordinate ascent."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from tighter.models.networks._layers import Linear
from tighter.models.topics.log_simplex import LogDirichlet, LogDirichletMixture, LogisticNormal
from tighter.models.topics.words import BatchNorm, Proportions, Vocab

Outputs = Float[Array, " outputs"]
Documents = Float[Array, "batch vocab"]

# Logarithms of factors by which an encoder corrects a guess; beyond, draws would overflow.
_FARTHEST = 8.0
# Steps of coordinate ascent from which an encoder goes on.
_STEPS_BEFORE_ENCODER = 5
# Weights of the parts of a defensive mixture, and their shares of what the words add to the prior.
_DEFENSIVE = ((0.5, 1.0), (0.2, 0.5), (0.2, 0.2), (0.1, 0.0))


class Inference(eqx.Module):
    """How q(log θ | x) of one document is found."""

    @abc.abstractmethod
    def posterior(self, model: Any, x: Vocab) -> Any:
        """q(log θ | x), a distribution with `mean_proportions`.

        Args:
            model: The topic model, with `alpha` and `words`.
            x: Counts of words.
        """

    def in_training(self, xs: Documents, *, key: Key[Array, ""]) -> Inference:
        """The same as one step of training sees it."""
        return self

    def after_step(self, in_training: Inference) -> Inference:
        """The same, its averages moved towards those of what the step saw."""
        return self


class ProportionsFamily(eqx.Module):
    """A family q(log θ | encoder output)."""

    @abc.abstractmethod
    def num_outputs(self, num_topics: int) -> int:
        """Numbers of the encoder's output."""

    @abc.abstractmethod
    def distribution(self, output: Outputs, *, guess: Proportions, alpha: float) -> Any:
        """q(log θ).

        Args:
            output: The encoder's.
            guess: Concentrations of a Dirichlet, which the output corrects; at zero there is
                nothing to correct.
            alpha: Concentration of the prior, of which no entry is less.
        """


class DirichletProportions(ProportionsFamily):
    r"""Dirichlet of concentrations $\alpha + e^{l_k} (g_k - \alpha)$, g the guess."""

    def num_outputs(self, num_topics: int) -> int:
        """One a topic, l."""
        return num_topics

    def distribution(self, output: Outputs, *, guess: Proportions, alpha: float) -> Any:
        """Dirichlet."""
        factor = jnp.exp(jnp.clip(output, -_FARTHEST, _FARTHEST))
        return LogDirichlet(alpha + factor * (guess - alpha))


class LogisticNormalProportions(ProportionsFamily):
    r"""Logistic-normal, $\mu_k = \log g_k + m_k$, $\sigma_k^2 = e^{v_k} / (1 + g_k)$, g the guess.

    For large g the moments of log θ under the guess, but for a shift. For small g those are so wide
    that draws of a normal would put all of θ on a topic that the document has not.
    """

    def num_outputs(self, num_topics: int) -> int:
        """Two a topic, m and v."""
        return 2 * num_topics

    def distribution(self, output: Outputs, *, guess: Proportions, alpha: float) -> Any:
        """Logistic-normal."""
        shift, log_factor = jnp.split(output, 2)
        log_factor = jnp.clip(log_factor, -_FARTHEST, _FARTHEST)
        return LogisticNormal(jnp.log(guess) + shift, 0.5 * (log_factor - jnp.log1p(guess)))


class DocumentEncoder(Inference):
    """A network from log(1 + counts) to a correction of a guess of q(log θ | x).

    The guess is that of a few steps of coordinate ascent, where there is one. Without it the
    topics of a mixture collapse into one.

    Attributes:
        layers: Hidden layers, softplus after each.
        head: From the last to the parameters.
        family: Whose parameters they are.
        normalization: Batch normalization of the parameters, or None.
        keep: Share of the last layer's units kept by dropout, in training.
        dropout: Key of the units dropped; None where all are kept.
    """

    layers: tuple[Linear, ...]
    head: Linear
    family: ProportionsFamily
    normalization: BatchNorm | None
    keep: float = eqx.field(static=True, default=1.0)
    dropout: Key[Array, ""] | None = None

    @classmethod
    def create(
        cls,
        vocabulary_size: int,
        num_topics: int,
        hidden: Sequence[int],
        *,
        family: ProportionsFamily,
        normalized: bool,
        keep: float,
        key: Key[Array, ""],
    ) -> DocumentEncoder:
        """Random weights.

        Args:
            vocabulary_size: Words of the vocabulary.
            num_topics: Topics.
            hidden: Widths of the hidden layers.
            family: The family of q.
            normalized: Whether its parameters are batch-normalized.
            keep: Share of units kept in training.
            key: Random key.
        """
        sizes, num_outputs = [vocabulary_size, *hidden], family.num_outputs(num_topics)
        keys = jax.random.split(key, len(sizes))
        layers = tuple(Linear(sizes[i], sizes[i + 1], key=keys[i]) for i in range(len(sizes) - 1))
        head = Linear(sizes[-1], num_outputs, key=keys[-1])
        if not normalized:  # starts at the guess
            head = eqx.tree_at(lambda layer: layer.weight, head, jnp.zeros_like(head.weight))
        normalization = BatchNorm.create((num_outputs,)) if normalized else None
        return cls(layers, head, family, normalization, keep)

    def posterior(self, model: Any, x: Vocab) -> Any:
        """The family's distribution."""
        guess = model.words.guess(x, alpha=model.alpha, num_steps=_STEPS_BEFORE_ENCODER)
        return self.family.distribution(self.normalized(x), guess=guess, alpha=model.alpha)

    def in_training(self, xs: Documents, *, key: Key[Array, ""]) -> DocumentEncoder:
        """With dropout, and normalized by the batch."""
        dropped = dataclasses.replace(self, dropout=key) if self.keep < 1 else self
        if self.normalization is None:
            return dropped
        outputs = jax.vmap(dropped._output)(xs)
        statistics = jnp.mean(outputs, axis=0), jnp.var(outputs, axis=0)
        return dataclasses.replace(dropped, normalization=self.normalization.of_batch(*statistics))

    def after_step(self, in_training: Any) -> DocumentEncoder:
        """With the normalization's averages moved."""
        if self.normalization is None:
            return self
        moved = self.normalization.moved(in_training.normalization)
        return dataclasses.replace(self, normalization=moved)

    def normalized(self, x: Vocab) -> Outputs:
        """The family's parameters."""
        output = self._output(x)
        return output if self.normalization is None else self.normalization(output)

    def _output(self, x: Vocab) -> Outputs:
        return self.head(self._hidden(x))

    def _hidden(self, x: Vocab) -> Float[Array, " hidden"]:
        hidden = jnp.log1p(x)
        for layer in self.layers:
            hidden = jax.nn.softplus(layer(hidden))
        if self.dropout is not None:
            # A document's own counts make its key: units differ from document to document.
            place = jnp.sin(jnp.arange(x.size, dtype=x.dtype))
            seed = jax.lax.bitcast_convert_type((x @ place).astype(jnp.float32), jnp.uint32)
            kept = jax.random.bernoulli(
                jax.random.fold_in(self.dropout, seed), self.keep, hidden.shape
            )
            hidden = jnp.where(kept, hidden / self.keep, 0)
        return hidden


class CoordinateAscent(Inference):
    r"""Dirichlet by coordinate ascent (`Mixture.guess`), with no network.

    No derivative goes through it: a step of training on β takes q as it is.

    Attributes:
        num_steps: At most so many steps.
    """

    num_steps: int = eqx.field(static=True, default=20)

    def posterior(self, model: Any, x: Vocab) -> LogDirichlet:
        """Dirichlet after the steps."""
        return LogDirichlet(model.words.guess(x, alpha=model.alpha, num_steps=self.num_steps))


class DefensiveCoordinateAscent(Inference):
    r"""The same mixed with wider ones, of $\alpha + t(\gamma - \alpha)$, the prior among them.

    For evaluation. Mean field is too sure of what a document is about, and its weights have no
    variance where α is small; with the prior in the mixture they are bounded.

    Attributes:
        num_steps: At most so many steps.

    References:
        Hesterberg, "Weighted average importance sampling and defensive mixture distributions",
        1995.
    """

    num_steps: int = eqx.field(static=True, default=100)

    def posterior(self, model: Any, x: Vocab) -> LogDirichletMixture:
        """Mixture of Dirichlets."""
        gamma = model.words.guess(x, alpha=model.alpha, num_steps=self.num_steps)
        weights, shares = zip(*_DEFENSIVE, strict=True)
        above = jnp.asarray(shares)[:, None] * (gamma - model.alpha)[None]
        return LogDirichletMixture(jnp.asarray(weights), model.alpha + above)
