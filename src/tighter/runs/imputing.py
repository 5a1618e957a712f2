"""A table with its missing entries filled in: train on it, or take a run, then impute."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from tighter._errors import InputError
from tighter.data import Schema
from tighter.evaluation import impute
from tighter.runs.kind import Announce, check_seed

if TYPE_CHECKING:
    import polars


@dataclasses.dataclass(frozen=True)
class Completed:
    """What an imputation came to.

    Attributes:
        table: The table with each missing entry's expectation, or most probable category.
        draws: Tables with draws of all missing entries together.
        record: How much was missing, by column, and how good the weights were.
    """

    table: polars.DataFrame
    draws: list[polars.DataFrame]
    record: dict[str, Any]


def impute_table(
    model: Any,
    schema: Schema,
    table: polars.DataFrame,
    *,
    num_samples: int = 1000,
    num_draws: int = 0,
    seed: int = 0,
    announce: Announce = lambda line: None,
) -> Completed:
    """Fill in a table's missing entries; those that are there, and other columns, stay as they are.

    Args:
        model: A model of the schema's columns, for which entries may be missing.
        schema: The columns that the model knows.
        table: A table that has them.
        num_samples: K, draws of the latent a row.
        num_draws: Multiple imputations.
        seed: Of all draws.
        announce: Told what is going on.

    Raises:
        InputError: If nothing is missing, or the table doesn't fit the schema.
    """
    absent = [name for name in schema.names if name not in table.columns]
    if absent:
        raise InputError(
            f"the table has no column {absent[0]!r}, which the model was trained on: its columns "
            f"are {', '.join(table.columns)}"
        )
    import polars

    xs = schema.encode(table.select(schema.names))
    check_gaps(table, schema.names)
    missing = np.isnan(xs)
    rows = np.flatnonzero(missing.any(axis=1))
    announce(
        f"imputing {missing.sum()} entries in {len(rows)} of {len(xs)} rows, K = {num_samples}"
    )
    imputed = impute(
        model,
        xs[rows],
        num_samples=num_samples,
        num_draws=num_draws,
        key=jax.random.key(check_seed(seed)),
    )

    def merged(values: np.ndarray) -> polars.DataFrame:
        whole = xs.copy()
        whole[rows] = values
        # A row that was whole stays so; its own cells are taken from the table in any case.
        decoded = schema.decode(whole)
        gaps = {name: polars.Series(missing[:, j]) for j, name in enumerate(schema.names)}
        filled = [table[name].zip_with(~gap, decoded[name]) for name, gap in gaps.items()]
        return table.with_columns(filled)

    counts = zip(schema.names, missing.sum(axis=0).tolist(), strict=True)
    record = {
        "num_entries": int(missing.sum()),
        "num_rows": len(rows),
        "missing": {name: count for name, count in counts if count},
        "num_samples": num_samples,
        "num_draws": num_draws,
        "verdict": imputed.verdict,
        "median_ess": float(np.median(imputed.ess)),
        "least_ess": float(imputed.ess.min()),
    }
    return Completed(merged(imputed.values), [merged(draw) for draw in imputed.draws], record)


def check_gaps(table: polars.DataFrame, names: Sequence[str]) -> None:
    """Refuse a table with nothing to fill in.

    Raises:
        InputError: If no entry of the columns is missing.
    """
    gaps = [table[name].is_null() for name in names]
    gaps += [table[name].is_nan() for name in names if table[name].dtype.is_float()]
    if not any(gap.any() for gap in gaps):
        raise InputError("the table has no missing entry: there is nothing to fill in")
