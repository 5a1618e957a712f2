"""Observations of tables: each column with a family of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpyro.distributions import Distribution

from tighter._checks import require
from tighter._names import check_known
from tighter.models.observations.categorical import Categorical
from tighter.models.observations.observation import (
    Drawn,
    Factorized,
    FamilyDistribution,
    Flags,
    Numbers,
    Observation,
    RandomKey,
)
from tighter.models.observations.support import Support
from tighter.models.observations.table import observation_from_name
from tighter.models.observations.wrapped import Standardized


class Mixed(Drawn):
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

    support: ClassVar[Support] = Support()

    columns: tuple[tuple[str, str], ...] = eqx.field(static=True)
    groups: tuple[Observation, ...]

    def __init__(self, columns: Mapping[str, str], groups: Sequence[Observation] | None = None):
        require(columns, "a table has one column at least, got none: name columns and families")
        self.columns = tuple((name, family.strip()) for name, family in columns.items())
        if groups is None:
            groups = [_group(name, len(places)) for name, places in self._places.items()]
        self.groups = tuple(groups)

    @classmethod
    def from_schema(cls, schema: Sequence[Any] | Any, overrides: Mapping[str, str] = {}) -> Mixed:
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
        columns = schema if isinstance(schema, Sequence) else schema.columns
        for name in overrides:
            check_known("column", name, [column.name for column in columns])
        families = {}
        for column in columns:
            check_known("kind", column.kind, _OF_KIND)
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
        return (sum(math.prod(inner) for inner in self._output_shapes()),)

    def distribution(self, output: Numbers) -> Distribution:
        """The product of the columns'."""
        return FamilyDistribution(self, output, (len(self.columns),))

    def log_probs(self, output: Numbers, x: Numbers) -> Numbers:
        """Log density of each column, in nats."""
        split = self._split(output)
        return self._in_order([f.log_probs(part, x[places]) for f, places, part in split])

    def log_prob(self, output: Numbers, x: Numbers) -> Float[Array, ""]:
        """Log density of x in nats."""
        split = self._split(output)
        terms: list[Array] = [family.log_prob(part, x[places]) for family, places, part in split]
        return sum(terms[1:], terms[0])

    def log_prob_observed(self, output: Numbers, x: Numbers, observed: Flags) -> Float[Array, ""]:
        """Log density of the observed columns, in nats; what `x` has at others doesn't matter."""
        inside = np.zeros(len(self.columns), np.float32)
        for family, places in self._members():
            inside[places] = family.support.inside
        filled = jnp.where(observed, x, inside.astype(x.dtype))
        return jnp.sum(jnp.where(observed, self.log_probs(output, filled), 0.0))

    def sample(self, output: Numbers, *, key: RandomKey) -> Numbers:
        """One draw."""
        keys = jax.random.split(key, len(self.groups))
        draws = [
            jnp.asarray(family.distribution(part).sample(key), output.dtype)
            for (family, _, part), key in zip(self._split(output), keys, strict=True)
        ]
        return self._in_order(draws)

    def mean(self, output: Numbers) -> Numbers:
        """The columns' means; of categories, of their codes."""
        return self._in_order([family.mean(part) for family, _, part in self._split(output)])

    def statistic(self, output: Numbers, x: Numbers, observed: Flags) -> Numbers:
        """The groups' statistics, side by side: means, and probabilities of categories."""
        statistics = [
            family.statistic(part, x[places], observed[places]).reshape(-1)
            for family, places, part in self._split(output)
        ]
        return jnp.concatenate(statistics)

    def point(self, statistic: Numbers) -> Numbers:
        """Means, and codes of the likeliest categories."""
        values, start = [], 0
        for family, places in self._members():
            num = family.num_categories if isinstance(family, Categorical) else 1
            size = num * len(places)
            part = statistic[start : start + size].reshape(-1, num)
            values.append(family.point(part) if num > 1 else part[:, 0])
            start += size
        return self._in_order(values)

    def features(self, x: Numbers) -> Numbers:
        """The groups' features: one-hot codes, standardized numbers."""
        return jnp.concatenate([family.features(x[places]) for family, places in self._members()])

    def features_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Those of all groups."""
        self._check_shape(shape)
        members = self._members()
        return (sum(family.features_shape((len(places),))[0] for family, places in members),)

    def initial_output(self, xs: np.ndarray) -> np.ndarray:
        """Those of the groups."""
        members = self._members()
        outputs = [family.initial_output(xs[:, places]) for family, places in members]
        return np.concatenate([np.asarray(output).reshape(-1) for output in outputs])

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
    def _places(self) -> dict[str, np.ndarray]:
        """The columns of each family, in the order of their first ones."""
        names = np.array([family for _, family in self.columns])
        return {name: np.flatnonzero(names == name) for name in dict.fromkeys(names.tolist())}

    def _members(self) -> list[tuple[Observation, np.ndarray]]:
        """Each group's family and its columns."""
        return list(zip(self.groups, self._places.values(), strict=True))

    def _output_shapes(self) -> list[tuple[int, ...]]:
        return [family.output_shape((len(places),)) for family, places in self._members()]

    def _split(self, output: Numbers) -> list[tuple[Any, np.ndarray, Array]]:
        """Each group's family, its columns and its part of the output."""
        shapes = self._output_shapes()
        parts = jnp.split(output, np.cumsum([math.prod(shape) for shape in shapes])[:-1])
        return [
            (family, places, part.reshape(shape))
            for (family, places), part, shape in zip(self._members(), parts, shapes, strict=True)
        ]

    def _in_order(self, values: Sequence[Array]) -> Numbers:
        """A number a column from every group, in the order of x."""
        order = np.argsort(np.concatenate([places for _, places in self._members()]))
        return jnp.concatenate(values)[order]

    def _check_shape(self, shape: Sequence[int]) -> None:
        num = len(self.columns)
        require(
            tuple(shape) == (num,),
            f"a table of {num} columns has examples of shape ({num},), got {tuple(shape)}: name "
            "each column's family once",
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
    require(
        isinstance(family, Factorized),
        f"a column's family is one of independent entries, and those of {name!r} are not: take "
        "another",
    )
    return Standardized(family, (size,)) if family.support == Support() else family
