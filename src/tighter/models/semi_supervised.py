"""A conditional VAE of x given its label, and a classifier for the labels that are not known."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from tighter._checks import require
from tighter._errors import InputError
from tighter._examples import admitted
from tighter._protocols import PosteriorHooks
from tighter.data.dataset import relabeled
from tighter.distributions import draw
from tighter.models._composition import initialized_encoder
from tighter.models._contexts import check_parts
from tighter.models._model import LatentVariableModel
from tighter.models.conditional import ConditionalVAE
from tighter.models.networks import MLP

Latents = dict[str, Array]


class SemiSupervisedVAE(LatentVariableModel):
    r"""$p(y)\, p(z)\, p(x \mid z, y)$ with $q(y \mid x)\, q(z \mid x, y)$; some labels are known.

    An example is {"x": x, "label": y}, −1 where the label is not known. `EnumeratedLabels` trains
    it; log-likelihoods are of x, or of x and y where y is known.

    Attributes:
        conditional: The model of x given a one-hot label.
        classifier: Features of x -> logits of the classes.
        log_frequencies: log p(y), shape (classes,).

    Example:
        >>> model = SemiSupervisedVAE.create((28, 28), 10, key=jax.random.key(0))

    References:
        Kingma, Rezende, Mohamed & Welling, "Semi-supervised learning with deep generative models",
        2014 (M2).
    """

    conditional: ConditionalVAE
    classifier: Callable[[Array], Array]
    frequencies: tuple[float, ...] = eqx.field(static=True)

    @classmethod
    def create(
        cls,
        shape: Sequence[int],
        num_classes: int,
        *,
        hidden: Sequence[int] = (200, 200),
        activation: str = "tanh",
        key: Key[Array, ""],
        **options: Any,
    ) -> SemiSupervisedVAE:
        """A model of MLPs, all classes as frequent.

        Args:
            shape: Shape of x.
            num_classes: How many classes, 2 or more.
            hidden: Widths of the hidden layers of encoder and classifier.
            activation: A name of `ACTIVATIONS`.
            key: Random key.
            options: As in `ConditionalVAE.create`: num_latent, observation, posterior, prior.

        Raises:
            InputError: If there are fewer than two classes.
        """
        require(num_classes >= 2, f"a classifier has 2 classes or more, got {num_classes}")
        conditional_key, classifier_key = jax.random.split(key)
        conditional = ConditionalVAE.create(
            shape, (num_classes,), hidden=hidden, activation=activation, key=conditional_key,
            **options,
        )  # fmt: skip
        features = conditional.observation.features_shape(shape)
        of_x = features, hidden, (num_classes,)
        classifier = MLP(*of_x, activation=activation, key=classifier_key)
        return cls(conditional, classifier, (1 / num_classes,) * num_classes)

    def initialized_from(
        self, examples: dict[str, Any], *, key: Key[Array, ""] | None = None
    ) -> Any:
        """The same, started from the training examples.

        Raises:
            InputError: If a label is no class and not −1, or none is known.
        """
        self.check_examples(examples)
        labels, num = np.asarray(examples["label"]), len(self.frequencies)
        require((labels >= 0).any(), "no label is known: give some, or take a VAE")
        contexts = np.eye(num, dtype=np.float32)[np.where(labels < 0, 0, labels).astype(int)]
        parts = {"x": examples["x"], "context": contexts}
        conditional = self.conditional.initialized_from(parts, key=key)
        near, parts, _ = admitted(conditional, parts)
        features = np.asarray(jax.vmap(near.observation.features)(jnp.asarray(parts["x"])))
        return dataclasses.replace(
            self, conditional=conditional, classifier=initialized_encoder(self.classifier, features)
        )

    @property
    def origin(self) -> Any:
        """That of the observation family."""
        return self.conditional.origin

    def moved(self, by: Any) -> Any:
        """The model of examples + by."""
        return dataclasses.replace(self, conditional=self.conditional.moved(by))

    def check_examples(self, xs: dict[str, Any]) -> None:
        """Refuse what are no examples with labels.

        Raises:
            InputError: If a label is no class and not −1, or x is outside the observation family's
                support.
        """
        advice = "give {'x': …, 'label': …}, -1 where a label is not known"
        check_parts(xs, ("x", "label"), advice)
        labels, num = np.asarray(xs["label"]), len(self.frequencies)
        if labels.ndim != 1:
            raise InputError(
                f"labels are one number an example, shape (N,), got {labels.shape}: give "
                f"{relabeled(labels)}"
            )
        wrong = (labels != np.round(labels)) | (labels < -1) | (labels >= num)
        if wrong.any():
            raise InputError(
                f"labels are 0 to {num - 1}, or -1 where not known, got {labels[wrong][0]} in row "
                f"{wrong.argmax()}"
            )
        self.conditional.check_own(np.asarray(xs["x"]))

    @property
    def log_frequencies(self) -> Float[Array, " classes"]:
        """Log p(y)."""
        return jnp.log(jnp.asarray(self.frequencies))

    def log_classes(self, x: Float[Array, ...]) -> Float[Array, " classes"]:
        """Log q(y|x) of every class."""
        return jax.nn.log_softmax(self.classifier(self.conditional.observation.features(x)))

    def classify(self, xs: Any) -> Int[Array, " examples"]:
        """The most probable class of each of some examples (N, *shape)."""
        most = lambda x: jnp.argmax(self.log_classes(x))  # noqa: E731
        return jax.vmap(most)(jnp.asarray(np.asarray(xs), float))

    @property
    def prior(self) -> Any:
        """p(z)."""
        return self.conditional.prior

    def likelihood(self, z: Latents) -> Any:
        """p(x|z, y)."""
        return self.conditional.likelihood(z["z"], self._one_hot(z["label"]))

    def posterior(self, x: dict[str, Array]) -> Any:
        """q(y|x) q(z|x, y); of a known label, q(z|x, y)."""
        return LabelAndLatent(self, x["x"], jnp.asarray(x["label"], int))

    def log_joint(self, x: dict[str, Array]) -> Callable[[Latents], Array]:
        """The function {"z", "label"} -> log p(x, z, y), in nats."""
        log_prior, log_likelihood = self.log_prior(x), self.log_likelihood(x)
        return lambda latents: log_prior(latents) + log_likelihood(latents)

    def log_prior(self, x: dict[str, Array]) -> Callable[[Latents], Array]:
        """The function {"z", "label"} -> log p(z) + log p(y), in nats."""

        def log_prior(latents: Latents) -> Float[Array, ""]:
            log_label = jnp.sum(self._one_hot(latents["label"]) * self.log_frequencies)
            return self.prior.log_prob(latents["z"]) + log_label

        return log_prior

    def log_likelihood(self, x: dict[str, Array]) -> Callable[[Latents], Array]:
        """The function {"z", "label"} -> log p(x|z, y), in nats."""

        def log_likelihood(latents: Latents) -> Float[Array, ""]:
            example = {"x": x["x"], "context": self._one_hot(latents["label"])}
            return self.conditional.log_likelihood(example)(latents["z"])

        return log_likelihood

    def _one_hot(self, label: Array) -> Float[Array, " classes"]:
        return jax.nn.one_hot(label, len(self.frequencies))


class LabelAndLatent(PosteriorHooks, eqx.Module):
    """q(y|x) q(z|x, y), the label held where it is known; no path, as labels are discrete."""

    model: SemiSupervisedVAE
    x: Float[Array, ...]
    label: Int[Array, ""]

    def sample(self, key: Key[Array, ""], sample_shape: tuple[int, ...] = ()) -> Latents:
        """Draws of label and latent."""
        if sample_shape:
            keys = jax.random.split(key, sample_shape[0])
            return jax.vmap(lambda key: self.sample(key, sample_shape[1:]))(keys)
        of_label, of_z = jax.random.split(key)
        drawn = jax.random.categorical(of_label, self.model.log_classes(self.x))
        label = jnp.where(self.label < 0, drawn, self.label)
        return {"z": draw(self._given(label), key=of_z), "label": label}

    def log_prob(self, value: Latents) -> Float[Array, ""]:
        """Log density of latent and, where it is not known, label, in nats."""
        log_label = self.model.log_classes(self.x)[value["label"]]
        log_z = self._given(value["label"]).log_prob(value["z"])
        return log_z + jnp.where(self.label < 0, log_label, 0.0)

    def _given(self, label: Array) -> Any:
        context = jax.nn.one_hot(label, len(self.model.frequencies))
        return self.model.conditional.posterior({"x": self.x, "context": context})
