"""Whether a table agrees with a graph: partial correlations that ought to be zero."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tighter._errors import InputError
from tighter.graph.dag import DAG
from tighter.graph.independence import Independence


class PartialCorrelation(NamedTuple):
    """The correlation of two columns with the others' linear part taken out.

    Attributes:
        correlation: Between −1 and 1.
        p_value: How often independent Gaussian columns would correlate as much; under independence
            it is uniform.
        num_rows: Rows of the table.
    """

    correlation: float
    p_value: float
    num_rows: int


class Check(NamedTuple):
    """A statement of the graph, and what the table says of it.

    Attributes:
        statement: An independence of two nodes that the graph implies.
        correlation: Their partial correlation given the others.
        p_value: Of that correlation alone.
        adjusted_p_value: With regard to how many statements were checked (Holm): below 0.05 for any
            of them in 5 % of tables that agree.
    """

    statement: Independence
    correlation: float
    p_value: float
    adjusted_p_value: float


def partial_correlation(
    table: Mapping[Any, ArrayLike], a: Hashable, b: Hashable, given: Sequence[Hashable] = ()
) -> PartialCorrelation:
    r"""The partial correlation of two columns, with an exact p-value for Gaussian data.

    $t = r \sqrt{(n - 2 - k) / (1 - r^2)}$ has Student's distribution with n − 2 − k degrees of
    freedom, k columns given. It sees linear dependence alone.

    Args:
        table: A column of numbers for each name.
        a: A column's name.
        b: A column's name.
        given: Names of the columns to take out; a single name is one column.

    Raises:
        InputError: If a column is missing, constant, not finite, or there are too few rows.
    """
    given = (given,) if isinstance(given, str) else tuple(given)
    from scipy.special import stdtr  # imported late: graphs alone answer at once without it

    columns = _columns(table, [a, b, *given])
    num_rows, freedom = len(columns), len(columns) - 2 - len(given)
    if freedom < 1:
        raise InputError(
            f"a partial correlation given {len(given)} columns needs {len(given) + 3} rows at "
            f"least, got {num_rows}"
        )
    fixed = np.column_stack([np.ones(num_rows), columns[:, 2:]])
    basis, _ = np.linalg.qr(fixed)
    pair = columns[:, :2]
    rest = pair - basis @ (basis.T @ pair)
    norms = np.linalg.norm(rest, axis=0)
    flat = norms <= 1e-10 * np.maximum(np.linalg.norm(pair, axis=0), 1e-300)
    if flat.any():
        name = (a, b)[int(np.argmax(flat))]
        given_text = f" given {', '.join(map(str, given))}" if given else ""
        raise InputError(f"column {name} is constant{given_text}: it has no correlation")
    correlation = float(np.clip(rest[:, 0] @ rest[:, 1] / (norms[0] * norms[1]), -1, 1))
    spread = 1 - correlation**2
    t = math.inf if spread <= 0 else abs(correlation) * math.sqrt(freedom / spread)
    return PartialCorrelation(correlation, float(2 * stdtr(freedom, -t)), num_rows)


def check_table(dag: DAG, table: Mapping[Any, ArrayLike]) -> tuple[Check, ...]:
    """Each pair of nodes without an edge, given a smallest separator: is its correlation zero?

    Args:
        dag: The graph.
        table: A column of numbers for each node; columns of nodes that it hasn't are left alone.

    Returns:
        The statements, those least in agreement first.
    """
    nodes = dag.nodes
    found = []
    for i, b in enumerate(nodes):
        for a in nodes[:i]:
            given = dag.minimal_separator(a, b)
            if given is not None:
                ordered = tuple(node for node in nodes if node in given)
                score = partial_correlation(table, a, b, ordered)
                found.append((Independence((a,), (b,), ordered), score))
    found.sort(key=lambda pair: pair[1].p_value)
    checks, adjusted = [], 0.0
    for rank, (statement, score) in enumerate(found):
        adjusted = min(1.0, max(adjusted, (len(found) - rank) * score.p_value))
        checks.append(Check(statement, score.correlation, score.p_value, adjusted))
    return tuple(checks)


def _columns(table: Mapping[Any, ArrayLike], names: Sequence[Hashable]) -> np.ndarray:
    missing = [name for name in names if name not in table]
    if missing:
        raise InputError(
            f"the table has no column {missing[0]} (it has: {', '.join(map(str, table))})"
        )
    columns = []
    for name in names:
        try:
            columns.append(np.asarray(table[name], np.float64))
        except (TypeError, ValueError):
            raise InputError(f"column {name} is no numbers: encode it first") from None
    for name, column in zip(names, columns, strict=True):
        if column.ndim != 1 or len(column) != len(columns[0]):
            raise InputError(
                f"columns are one-dimensional and of one length, got {name} of shape {column.shape}"
            )
        if not np.isfinite(column).all():
            row = int(np.argmin(np.isfinite(column)))
            raise InputError(f"column {name} is not finite in row {row}: leave such rows out")
    return np.column_stack(columns)
