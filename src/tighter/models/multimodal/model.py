"""Autoencoders of several modalities, any of which an example may lack."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key, PyTree

from tighter._checks import require
from tighter._errors import InputError
from tighter._examples import admitted
from tighter._names import check_known
from tighter.distributions import Posterior, draw
from tighter.models._composition import (
    check_fit,
    check_sizes,
    initialized_decoder,
    initialized_encoder,
    start_of,
)
from tighter.models._contexts import check_parts
from tighter.models._families import Space
from tighter.models._model import LatentVariableModel
from tighter.models.multimodal.joint import (
    JOINT_POSTERIORS,
    Example,
    JointLikelihood,
    JointPosterior,
    ProductOfExperts,
    filled,
)
from tighter.models.networks import MLP
from tighter.models.observations import Missing, Mixed, Observation, observation_from_name
from tighter.models.priors import PriorFamily, StandardNormal, prior_from_name

Network = Callable[[Array], Array]


class MultimodalVAE(LatentVariableModel):
    r"""Variational autoencoder of several modalities; an example is a dict of an array each.

    $p(x, z) = p(z) \prod_m p(x_m \mid z)$, with a decoder and an observation family a modality. An
    encoder a modality gives a diagonal Gaussian expert q(z|x_m), and the experts make q(z|x): by
    their product, their mixture, or the mixture of the products of all subsets.

    A modality that an example lacks, in training or later, is NaN throughout its array: its
    likelihood and its expert drop out, and log p is that of the modalities that are there. Single
    entries may be missing where the family is `Missing`.

    Attributes:
        encoders: By modality: features (`observation.features`) -> mean and log standard deviation
            of its expert, shape (2, latent).
        decoders: By modality: z -> its observation family's parameters.
        observations: By modality: its family p(x_m | decoder output).
        num_latent: Dimensions of z.
        joint: How the experts make q(z|x).
        prior_family: The family p(z); N(0, I) if left out.

    Raises:
        InputError: If the three dicts are of different modalities, there are too many for the joint
            posterior, or a family is `Mixed` and not `Missing(Mixed(…))`.

    Example:
        >>> model = MultimodalVAE.create({"image": (28, 28), "label": (1,)}, num_latent=20,
        ...     hidden=(200,), observations={"image": "bernoulli", "label": "categorical:10"},
        ...     posterior="product", key=jax.random.key(0)).initialized_from(examples)
        >>> model.cross({"image": nan_image, "label": label}, key)["image"]

    References:
        Wu & Goodman, "Multimodal generative models for scalable weakly-supervised learning", 2018;
        Shi, Siddharth, Paige & Torr, "Variational mixture-of-experts autoencoders for multi-modal
        deep generative models", 2019; Sutter, Daunhawer & Vogt, "Generalized multimodal ELBO",
        2021.
    """

    encoders: dict[str, Network]
    decoders: dict[str, Network]
    observations: dict[str, Observation]
    num_latent: int = eqx.field(static=True)
    joint: JointPosterior = ProductOfExperts()
    prior_family: PriorFamily | None = None

    def __check_init__(self) -> None:
        """Refuse parts that don't belong together."""
        names, *others = map(sorted, (self.observations, self.encoders, self.decoders))
        require(
            names and others == [names, names],
            f"a modality has an observation family, an encoder and a decoder, got observations of "
            f"{names}, encoders of {others[0]} and decoders of {others[1]}",
        )
        self.joint.check(len(names))
        for name, family in self.observations.items():
            require(
                not isinstance(family, Mixed),  # no one number is inside of all columns' supports
                f"{name} may be missing, and Mixed doesn't know how: give Missing(Mixed(…))",
            )

    @classmethod
    def create(
        cls,
        shapes: Mapping[str, Sequence[int]],
        *,
        num_latent: int = 20,
        hidden: Sequence[int] = (200, 200),
        activation: str = "tanh",
        observations: str | Observation | Mapping[str, str | Observation] = "bernoulli",
        posterior: str | JointPosterior = "product",
        prior: str | PriorFamily | None = None,
        key: Key[Array, ""],
    ) -> MultimodalVAE:
        """A model of MLPs; `initialized_from(examples)` then takes the data into account.

        Args:
            shapes: Shape of each modality, by name.
            num_latent: Dimensions of z.
            hidden: Widths of the encoders' hidden layers; the decoders have them in reverse.
            activation: A name of `ACTIVATIONS`.
            observations: The family p(x_m | decoder output) of each modality, or its name in
                `OBSERVATIONS`; or one for all.
            posterior: How the experts make q(z|x), or its name in `JOINT_POSTERIORS`: "product",
                "mixture" or "mixture-of-products".
            prior: The family p(z) over real numbers, or its name in `PRIORS`.
            key: Random key.

        Raises:
            InputError: If a name is unknown, a size is below one, families are given of other
                modalities than shapes, the prior isn't one of real numbers, or there are too many
                modalities for the posterior.
        """
        hidden, shapes = tuple(hidden), {name: tuple(shape) for name, shape in shapes.items()}
        require(shapes, "modalities are 1 or more, got none: give shapes by name")
        check_sizes(activation, shapes=shapes, num_latent=num_latent, hidden=hidden)
        if isinstance(posterior, str):
            check_known("posterior of several modalities", posterior, JOINT_POSTERIORS)
            posterior = JOINT_POSTERIORS[posterior]()
        prior_key, *keys = jax.random.split(key, 2 * len(shapes) + 1)
        if isinstance(prior, str):
            prior = prior_from_name(prior, num_latent, shape=(1,), key=prior_key)
        if prior is not None and prior.space is not Space.REAL:
            raise InputError(
                f"experts are Gaussians, and the prior {type(prior).__name__} is over "
                f"{prior.space.value}: take 'standard', 'mixture' or 'flow'"
            )
        if not isinstance(observations, Mapping):
            observations = dict.fromkeys(shapes, observations)
        require(
            set(observations) == set(shapes),
            f"each modality has an observation family, got shapes of {sorted(shapes)} and "
            f"observations of {sorted(observations)}",
        )
        families, encoders, decoders = {}, {}, {}
        for index, name in enumerate(sorted(shapes)):
            family, shape = observations[name], shapes[name]
            if isinstance(family, str):
                family = observation_from_name(family, shape)
            families[name] = family
            of_x = family.features_shape(shape), hidden, (2, num_latent)
            encoders[name] = MLP(*of_x, activation=activation, key=keys[2 * index])
            of_z = (num_latent,), hidden[::-1], family.output_shape(shape)
            decoders[name] = MLP(*of_z, activation=activation, key=keys[2 * index + 1])
        return cls(encoders, decoders, families, num_latent, posterior, prior)

    def initialized_from(
        self, examples: Example, *, key: Key[Array, ""] | None = None
    ) -> MultimodalVAE:
        """The same, started from the training examples instead of from nothing.

        The observation families take their locations and scales from them; the decoders start at
        their mean, the encoders' first layers see them centered on it, and the prior starts where
        they are encoded. For networks of this library.

        Args:
            examples: Training examples by modality (N, *shape); NaN where one is missing.
            key: Random key, for priors that choose among the examples.

        Raises:
            InputError: If the modalities are others or of other shapes, a modality is missing in
                all examples or all in an example, or values are outside of a family's support.
        """
        columns = {name: np.asarray(part) for name, part in self._parts(examples).items()}
        there = self._there(columns)
        for name, rows in there.items():
            num = len(rows)
            require(rows.any(), f"{name} is missing in all {num} examples: leave it out")
        families, encoders, decoders = {}, {}, {}
        for name, column in columns.items():
            decoder, z = self.decoders[name], jnp.zeros(self.num_latent)
            start = start_of(self.observations[name], decoder, z, column[there[name]])
            families[name] = start.observation
            encoders[name] = initialized_encoder(self.encoders[name], np.nan_to_num(start.features))
            decoders[name] = initialized_decoder(decoder, start.output)
        model = dataclasses.replace(
            self, observations=families, encoders=encoders, decoders=decoders
        )
        if self.prior_family is None:
            return model
        near, columns, _ = admitted(model, columns)
        rows = np.arange(len(next(iter(columns.values()))))
        by_row = _ByRow(near, jax.tree.map(jnp.asarray, columns))
        key = jax.random.key(0) if key is None else key
        prior = self.prior_family.initialized_from(by_row, rows, key=key)
        return dataclasses.replace(model, prior_family=prior)

    @property
    def origin(self) -> Any:
        """That of the observation family."""
        return {name: family.origin for name, family in self.observations.items()}

    def moved(self, by: Any) -> Any:
        """The model of examples + by."""
        moved = {name: family.moved(by[name]) for name, family in self.observations.items()}
        return dataclasses.replace(self, observations=moved)

    def check_examples(self, xs: Example) -> None:
        """Refuse examples that the modalities' families can't explain.

        Raises:
            InputError: If the modalities are others, all are missing in an example, single entries
                are of a family that doesn't take it, or values are outside of a family's support.
        """
        columns = {name: np.asarray(part) for name, part in self._parts(xs).items()}
        self._there(columns)
        for name, column in columns.items():
            try:
                z = jnp.zeros(self.num_latent)
                check_fit(self.observations[name], self.decoders[name], z, column)
            except InputError as error:
                raise InputError(f"{name}: {error}") from None

    @property
    def modalities(self) -> tuple[str, ...]:
        """Their names, in the order of the experts."""
        return tuple(sorted(self.observations))

    @property
    def prior(self) -> Any:
        """p(z)."""
        return self._of_z.distribution(self)

    def likelihood(self, z: Array) -> JointLikelihood:
        """p(x|z), a distribution of dicts."""
        outputs = {name: self.decoders[name](z) for name in self.modalities}
        return JointLikelihood({name: self.observations[name] for name in outputs}, outputs)

    def posterior(self, x: Example) -> Posterior:
        """q(z|x) of the experts that are there."""
        experts, there = [], []
        for name, part in self._parts(x).items():
            present, whole = filled(self.observations[name], part)
            expert = self.encoders[name](self.observations[name].features(whole))
            experts.append(jnp.where(present, expert, 0.0))
            there.append(present)
        return self.joint.distribution(jnp.stack(experts), jnp.stack(there))

    def log_joint(self, x: Example) -> Callable[[Array], Array]:
        """The function z -> log p(x, z) of the modalities that are there, in nats."""
        log_likelihood = self.log_likelihood(x)
        return lambda z: self._of_z.log_prob(self, z) + log_likelihood(z)

    def log_likelihood(self, x: Example) -> Callable[[Array], Array]:
        """The function z -> log p(x|z) of the modalities that are there, in nats."""
        parts = self._parts(x)
        return lambda z: self.likelihood(z).log_prob(parts)

    def mean(self, z: Array) -> dict[str, Float[Array, ...]]:
        """Mean of p(x|z), a dict of all modalities."""
        return self.likelihood(z).mean

    def cross(self, x: Example, key: Key[Array, ""], *, num: int = 1) -> dict[str, Array]:
        """Draws of all modalities given those that are there: z from q(z|x), x from p(x|z).

        Args:
            x: One example; NaN where a modality is to be told from the others.
            key: Random key.
            num: How many draws.

        Returns:
            By modality, shape (num, *shape). `reconstruct` gives means instead of draws.
        """
        posterior = self.posterior(x)

        def draw_once(key: Key[Array, ""]) -> dict[str, Array]:
            latent_key, observation_key = jax.random.split(key)
            return self.likelihood(draw(posterior, key=latent_key)).sample(observation_key)

        return jax.vmap(draw_once)(jax.random.split(key, num))

    @property
    def takes_missing(self) -> bool:
        """Whether modalities may be missing (NaN): they may."""
        return True

    @property
    def _of_z(self) -> PriorFamily:
        return StandardNormal(self.num_latent) if self.prior_family is None else self.prior_family

    def _parts(self, x: Example) -> dict[str, Any]:
        """The modalities in their order."""
        check_parts(x, self.modalities, "a modality that it lacks is NaN throughout")
        return {name: x[name] for name in self.modalities}

    def _there(self, columns: dict[str, np.ndarray]) -> dict[str, Bool[np.ndarray, " examples"]]:
        """Which examples have each modality.

        Raises:
            InputError: If an example has none, or single entries are missing of a family that
                doesn't take it.
        """
        sizes = {name: len(column) for name, column in columns.items()}
        alike = len(set(sizes.values())) == 1 and min(sizes.values()) > 0
        require(alike, f"the modalities have as many examples each, one or more, got {sizes}")
        there = {}
        for name, column in columns.items():
            missing = np.isnan(column).reshape(len(column), -1)
            there[name] = ~missing.all(axis=1)
            partly = missing.any(axis=1) & there[name]
            require(
                not partly.any() or isinstance(self.observations[name], Missing),
                f"{name} has missing entries in row {partly.argmax()} and is not missing "
                "altogether: make its observation family Missing(family)",
            )
        none = ~np.any(list(there.values()), axis=0)
        require(not none.any(), f"row {none.argmax()} has no modality: leave it out")
        return there


class _ByRow(eqx.Module):
    """A model whose examples are rows of a table, for priors that ask where examples are."""

    model: MultimodalVAE
    columns: PyTree

    def posterior(self, row: Array) -> Posterior:
        return self.model.posterior(jax.tree.map(lambda column: column[row], self.columns))
