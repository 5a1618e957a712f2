"""Observations of tables: each column with a family of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key
from numpyro.distributions import Distribution

from tighter._errors import InputError
from tighter._names import unknown
from tighter.models.observations._distribution import FamilyDistribution
from tighter.models.observations._observation import Factorized, Observation, Support
from tighter.models.observations.categorical import Categorical
from tighter.models.observations.standardized import Standardized
from tighter.models.observations.table import observation_from_name


class _Column(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> str: ...

    @property
    def categories(self) -> Sequence[str]: ...


class Mixed(Observation):
    r"""A vector whose entries have families of their own: $\log p = \sum_d \log f_d(x_d \mid z)$.

    Columns of one family make a group that is evaluated once. The output is flat: group after
    group, in the order of their first columns. Families over all numbers are standardized, that is
    in units of the training data's means and standard deviations.

    Args:
        columns: The family's name in `OBSERVATIONS` for each column's name, in the order of x.
        groups: The families, if they have been fitted.

    Raises:
        InputError: If there is no column, a name is unknown, or a family's entries are not
            independent.

    Example:
        >>> observation = Mixed({"age": "student-t", "smokes": "bernoulli", "job": "categorical:9"})

    References:
        Nazabal et al., "Handling incomplete heterogeneous data using VAEs", 2020.
    """

    columns: tuple[tuple[str, str], ...] = eqx.field(static=True)
    groups: tuple[Observation, ...]

    def __init__(self, columns: Mapping[str, str], groups: Sequence[Observation] | None = None):
        if not columns:
            raise InputError("a table has one column at least, got none: name columns and families")
        self.columns = tuple((name, family.strip()) for name, family in columns.items())
        if groups is None:
            groups = [_group(name, len(places)) for name, places in self._places.items()]
        self.groups = tuple(groups)

    @classmethod
    def from_schema(
        cls, schema: Sequence[_Column] | Any, overrides: Mapping[str, str] = {}
    ) -> Mixed:
        """The usual family for each column's kind.

        real: Student's t, which bears outliers; positive: log-normal; unit: Beta; count: negative
        binomial; binary: Bernoulli; categorical: categorical.

        Args:
            schema: The columns, or what has them as `columns`: objects with `name`, `kind` and
                `categories`.
            overrides: Other families, by column: names in `OBSERVATIONS`.

        Raises:
            InputError: If an override names no column, or a kind or family is unknown.
        """
        columns: Sequence[_Column] = getattr(schema, "columns", schema)
        names = [column.name for column in columns]
        for name in overrides:
            if name not in names:
                raise unknown("column", name, names)
        families = {}
        for column in columns:
            if column.kind not in _OF_KIND:
                raise unknown("kind", column.kind, _OF_KIND)
            usual = _OF_KIND[column.kind].format(len(column.categories))
            families[column.name] = overrides.get(column.name, usual)
        return cls(families)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names."""
        return tuple(name for name, _ in self.columns)

    def output_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The numbers of all columns."""
        self._check_shape(shape)
        return (sum(size for _, size in self._sizes()),)

    def distribution(self, output: Float[Array, ...]) -> Distribution:
        """The product of the columns'."""
        return FamilyDistribution(self, output, (len(self.columns),))

    def log_probs(
        self, output: Float[Array, " numbers"], x: Float[Array, " columns"]
    ) -> Float[Array, " columns"]:
        """Log density of each column, in nats."""
        return self._joined(lambda family, part, x: family.log_probs(part, x), output, x)

    def log_prob(
        self, output: Float[Array, " numbers"], x: Float[Array, " columns"]
    ) -> Float[Array, ""]:
        """Log density of x in nats."""
        terms = [
            family.log_prob(part, x[places])
            for (family, places), part in zip(self._members(), self._parts(output), strict=True)
        ]
        return sum(terms[1:], start=terms[0])

    def log_prob_observed(
        self,
        output: Float[Array, " numbers"],
        x: Float[Array, " columns"],
        observed: Bool[Array, " columns"],
    ) -> Float[Array, ""]:
        """Log density of the observed columns, in nats; what `x` has at others doesn't matter."""
        inside = np.zeros(len(self.columns), np.float32)
        for family, places in self._members():
            inside[places] = family.support.inside
        filled = jnp.where(observed, x, inside.astype(x.dtype))
        return jnp.sum(jnp.where(observed, self.log_probs(output, filled), 0.0))

    def sample(self, output: Float[Array, " numbers"], *, key: Key[Array, ""]) -> Array:
        """One draw."""
        keys = jax.random.split(key, len(self.groups))
        draws = [
            jnp.asarray(family.distribution(part).sample(key), output.dtype)
            for family, part, key in zip(self.groups, self._parts(output), keys, strict=True)
        ]
        return jnp.concatenate(draws)[self._order()]

    def mean(self, output: Float[Array, " numbers"]) -> Float[Array, " columns"]:
        """The columns' means; of categories, of their codes."""
        return self._joined(lambda family, part, _: family.mean(part), output, None)

    def statistic(
        self,
        output: Float[Array, " numbers"],
        x: Float[Array, " columns"],
        observed: Bool[Array, " columns"],
    ) -> Float[Array, " statistics"]:
        """The groups' statistics, side by side: means, and probabilities of categories."""
        return jnp.concatenate(
            [
                family.statistic(part, x[places], observed[places]).reshape(-1)
                for (family, places), part in zip(self._members(), self._parts(output), strict=True)
            ]
        )

    def point(self, statistic: Float[Array, " statistics"]) -> Float[Array, " columns"]:
        """Means, and codes of the likeliest categories."""
        values, start = [], 0
        for family, places in self._members():
            num = family.num_categories if isinstance(family, Categorical) else 1
            size = num * len(places)
            part = statistic[start : start + size].reshape(-1, num)
            values.append(family.point(part) if num > 1 else part[:, 0])
            start += size
        return jnp.concatenate(values)[self._order()]

    def features(self, x: Float[Array, " columns"]) -> Float[Array, " features"]:
        """The groups' features: one-hot codes, standardized numbers."""
        return jnp.concatenate([family.features(x[places]) for family, places in self._members()])

    def features_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Those of all groups."""
        self._check_shape(shape)
        return (
            sum(family.features_shape((len(places),))[0] for family, places in self._members()),
        )

    def initial_output(self, xs: np.ndarray) -> np.ndarray:
        """Those of the groups."""
        return np.concatenate(
            [
                np.asarray(family.initial_output(xs[:, places])).reshape(-1)
                for family, places in self._members()
            ]
        )

    def initialized_from(self, xs: np.ndarray) -> Mixed:
        """With every group fitted to its columns."""
        groups = [family.initialized_from(xs[:, places]) for family, places in self._members()]
        return Mixed(dict(self.columns), groups)

    @property
    def origin(self) -> np.ndarray:
        """Those of the groups, by column."""
        origin = np.zeros(len(self.columns))
        for family, places in self._members():
            origin[places] = family.origin
        return origin

    def moved(self, by: Any) -> Mixed:
        """The families of x + by."""
        by = np.broadcast_to(by, len(self.columns))
        groups = [family.moved(by[places]) for family, places in self._members()]
        return Mixed(dict(self.columns), groups)

    def check(self, xs: np.ndarray, *, names: Sequence[str] = ()) -> None:
        """Refuse columns that their families can't explain; they are named."""
        self._check_shape(xs.shape[1:])
        known = tuple(names) or self.names
        for family, places in self._members():
            family.check(xs[:, places], names=[known[place] for place in places.tolist()])

    @property
    def support(self) -> Support:
        """Numbers: `check` knows each column's."""
        return Support()

    @property
    def _places(self) -> dict[str, list[int]]:
        """The columns of each family."""
        places: dict[str, list[int]] = {}
        for place, (_, family) in enumerate(self.columns):
            places.setdefault(family, []).append(place)
        return places

    def _members(self) -> list[tuple[Observation, np.ndarray]]:
        """Each group's family and its columns."""
        places = map(np.asarray, self._places.values())
        return list(zip(self.groups, places, strict=True))

    def _order(self) -> np.ndarray:
        """Where each column is when groups stand side by side."""
        return np.argsort(np.concatenate([places for _, places in self._members()]))

    def _sizes(self) -> list[tuple[tuple[int, ...], int]]:
        """Shape and size of each group's output."""
        shapes = [family.output_shape((len(places),)) for family, places in self._members()]
        return [(shape, int(np.prod(shape))) for shape in shapes]

    def _parts(self, output: Float[Array, " numbers"]) -> list[Array]:
        sizes = self._sizes()
        parts = jnp.split(output, np.cumsum([size for _, size in sizes])[:-1])
        return [part.reshape(shape) for part, (shape, _) in zip(parts, sizes, strict=True)]

    def _joined(
        self, function: Callable[..., Array], output: Array, x: Array | None
    ) -> Float[Array, " columns"]:
        """A number a column from every group, in the order of x."""
        values = [
            function(family, part, None if x is None else x[places])
            for (family, places), part in zip(self._members(), self._parts(output), strict=True)
        ]
        return jnp.concatenate(values)[self._order()]

    def _check_shape(self, shape: Sequence[int]) -> None:
        if tuple(shape) != (len(self.columns),):
            raise InputError(
                f"a table of {len(self.columns)} columns has examples of shape "
                f"({len(self.columns)},), got {tuple(shape)}: name each column's family once"
            )


_OF_KIND = {
    "real": "student-t",
    "positive": "log-normal",
    "unit": "beta",
    "count": "negative-binomial",
    "binary": "bernoulli",
    "categorical": "categorical:{}",
}


def _group(name: str, size: int) -> Observation:
    family = observation_from_name(name, (size,))
    if not isinstance(family, Factorized):
        raise InputError(
            f"a column's family is one of independent entries, and those of {name!r} are not: take "
            "another"
        )
    return Standardized(family, (size,)) if family.support == Support() else family
