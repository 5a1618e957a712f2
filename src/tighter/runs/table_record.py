"""What the page of a table is drawn from: each column of the data beside the model's samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from tighter.data import Schema, Splits
from tighter.data.columns import WITH_LEVELS
from tighter.distributions import draw
from tighter.models import (
    VAE,
    Factorized,
    Missing,
    MissingNotAtRandom,
    Mixed,
    SemiAmortized,
    Standardized,
)
from tighter.runs.kind import error_of_mean

# A record is of bounded size, whatever the table: rows, columns, levels, letters.
_ROWS, _COLUMNS, _SEARCHED, _LEVELS, _WORDS, _LETTERS = 4000, 200, 60, 12, 600, 80
_BINS, _COARSE, _PAIRS, _POINTS, _STRANGE, _WORST, _TESTED, _DRAWS = 24, 6, 6, 250, 8, 3, 500, 32


def table_record(
    model: Any, splits: Splits, scored: Mapping[str, np.ndarray], *, key: Key[Array, ""]
) -> dict[str, Any]:
    """Columns, pairs of columns, reconstructions and strange examples, in the file's own units.

    Args:
        model: The trained model.
        splits: A table's data.
        scored: log p of the first test examples in nats, "value" with "standard_error", if any.
        key: Random key.

    Returns:
        Plain numbers and words.
    """
    schema = splits.train.schema
    assert schema is not None
    sample_key, posterior_key = jax.random.split(key)
    data = splits.train.x[:_ROWS]
    num = min(_ROWS, max(len(data), 1000))
    base = model.vae if isinstance(model, MissingNotAtRandom | SemiAmortized) else model
    drawn = np.asarray(eqx.filter_jit(lambda m, k: m.sample(k, num))(base, sample_key))
    columns = [
        _marginal(schema, place, data[:, place], drawn[:, place])
        for place in range(min(_COLUMNS, len(schema.columns)))
    ]
    record = {
        "num_rows": len(data),
        "num_samples": num,
        "num_columns": len(schema.columns),
        "num_searched": min(_SEARCHED, len(schema.columns)),
        "columns": columns,
        "pairs": _pairs(schema, data, drawn),
    }
    if not isinstance(base, VAE):
        return record
    xs = splits.test.x[:_TESTED]
    means, costs = _explained(base, model, jnp.asarray(xs), posterior_key)
    for place, column in enumerate(columns):
        known = ~np.isnan(xs[:, place])
        truth, guess = xs[known, place], np.asarray(means)[known, place]
        column["reconstruction"] = _reconstruction(schema, place, data[:, place], truth, guess)
    if "value" in scored and "standard_error" in scored:
        record["strange"] = _strangest(schema, xs, scored, np.asarray(means), np.asarray(costs))
    return record


@eqx.filter_jit
def _explained(
    base: Any, model: Any, xs: Float[Array, "N D"], key: Key[Array, ""]
) -> tuple[Float[Array, "N D"], Float[Array, "N D"]]:
    """Of each example and column: what q expects, and −log p of what is there, NaN if unknown."""
    family = base.observation
    inner: Any = family.family if isinstance(family, Missing) else family
    # Where missing entries are latents as well, z is the part to look at.
    encoder = base if isinstance(model, MissingNotAtRandom) else model

    def of_one(x: Float[Array, " D"], key: Key[Array, ""]) -> tuple[Array, Array]:
        observed: Bool[Array, " D"] = ~jnp.isnan(x)
        filled = jnp.where(observed, x, family.support.inside)
        posterior = encoder.posterior(x)
        zs = jax.vmap(lambda key: draw(posterior, key=key))(jax.random.split(key, _DRAWS))
        outputs = jax.vmap(base.decoder)(zs)
        none = jnp.zeros(x.shape, bool)
        statistics = jax.vmap(lambda out: inner.statistic(out, filled, none))(outputs)
        if not isinstance(inner, Factorized | Mixed | Standardized):
            return inner.point(statistics.mean(axis=0)), jnp.full(x.shape, jnp.nan)
        costs = -jax.vmap(lambda out: inner.log_probs(out, filled))(outputs).mean(axis=0)
        return inner.point(statistics.mean(axis=0)), jnp.where(observed, costs, jnp.nan)

    return jax.vmap(of_one)(xs, jax.random.split(key, len(xs)))


def _numbers(schema: Schema, place: int, values: np.ndarray, *, whole: bool = True) -> np.ndarray:
    """A column's values in the file's unit; codes of levels as they are; NaN where unknown.

    Whole columns are rounded, as a table of samples is, unless `whole` is off.
    """
    column = schema.columns[place]
    if column.kind in WITH_LEVELS:
        # A mean of codes stands for the nearest level.
        return np.clip(np.rint(values.astype(np.float64)), 0, len(column.categories) - 1)
    import polars as pl

    if not whole:
        column = dataclasses.replace(column, kind="real", dtype="Float64")
    decoded = Schema((column,)).decode(values[:, None])[column.name]
    return decoded.cast(pl.Float64).to_numpy().astype(np.float64)


def _cell(schema: Schema, place: int, value: float) -> str:
    """One cell in words."""
    if np.isnan(value):
        return "missing"
    column = schema.columns[place]
    if column.kind in WITH_LEVELS:
        return _short(column.categories[int(value)])
    plain = float(value).is_integer() or abs(value) >= 1000
    return f"{value:,.0f}" if plain and abs(value) < 1e15 else f"{value:.4g}"


def _short(word: str) -> str:
    return word if len(word) <= _LETTERS else f"{word[: _LETTERS - 1]}…"


def _marginal(schema: Schema, place: int, data: np.ndarray, drawn: np.ndarray) -> dict[str, Any]:
    column = schema.columns[place]
    ours, theirs = (_numbers(schema, place, values) for values in (data, drawn))
    missing = float(np.isnan(ours).mean())
    ours, theirs = ours[np.isfinite(ours)], theirs[np.isfinite(theirs)]
    record: dict[str, Any] = {"name": _short(column.name), "kind": column.kind, "missing": missing}
    if column.kind in WITH_LEVELS:
        number = len(column.categories)
        counts = [np.bincount(part.astype(int), minlength=number) for part in (ours, theirs)]
        order = np.argsort(-counts[0], kind="stable")
        kept = order if number <= _LEVELS + 1 else order[:_LEVELS]
        # In the order of the codes, for the axes of pairs; many are of no use there.
        record["words"] = [_short(word) for word in column.categories[:_WORDS]]
        record["levels"] = [_short(column.categories[code]) for code in kept]
        record["rest"] = number - len(kept)
        shown = [[*part[kept].tolist(), int(part.sum() - part[kept].sum())] for part in counts]
    else:
        edges = _edges(ours)
        record["edges"] = edges.tolist()
        shown = [_counts(part, edges) for part in (ours, theirs)]
    record["data"], record["samples"] = shown
    return record | _apart(*shown)


def _edges(values: np.ndarray) -> np.ndarray:
    """Bins over what is usual: whole numbers apart if they are few."""
    low, high = float(values.min()), float(values.max())
    if (values == np.rint(values)).all() and high - low < _BINS:
        return np.arange(low - 0.5, high + 1.0)
    usual = np.quantile(values, [0.005, 0.995])
    reach = 0.5 * (usual[1] - usual[0])
    if reach > 0:
        low, high = max(low, usual[0] - reach), min(high, usual[1] + reach)
    return np.linspace(low, high, _BINS + 1)


def _counts(values: np.ndarray, edges: np.ndarray) -> list[int]:
    """In each bin, then below the first and above the last."""
    inside, _ = np.histogram(values, edges)
    below, above = int((values < edges[0]).sum()), int((values > edges[-1]).sum())
    return [*inside.tolist(), below, above]


def _apart(ours: Any, theirs: Any) -> dict[str, float]:
    """Total variation distance of two counts, and what chance alone would make it."""
    ours, theirs = np.asarray(ours, float), np.asarray(theirs, float)
    num = ours.sum(), theirs.sum()
    if min(num) == 0:
        return {"distance": float("nan"), "chance": float("nan")}
    pooled = (ours + theirs) / sum(num)
    spread = np.sqrt(pooled * (1 - pooled) * (1 / num[0] + 1 / num[1]))
    return {
        "distance": float(np.abs(ours / num[0] - theirs / num[1]).sum() / 2),
        "chance": float(np.sqrt(2 / np.pi) * spread.sum() / 2),
    }


def _pairs(schema: Schema, data: np.ndarray, drawn: np.ndarray) -> list[dict[str, Any]]:
    """The pairs of columns whose joint frequencies differ most, beyond those of each alone."""
    places = range(min(_SEARCHED, len(schema.columns)))
    values = [[_numbers(schema, p, part[:, p]) for p in places] for part in (data, drawn)]
    codes = [_coarse(schema, p, values[0][p], values[1][p]) for p in places]
    found = []
    for a in places:
        for b in range(a):
            joint, alone = [], []
            for which in (0, 1):
                left, right = codes[a][which], codes[b][which]
                known = (left >= 0) & (right >= 0)
                counts = np.zeros((_LEVELS + 1, _LEVELS + 1))
                np.add.at(counts, (left[known], right[known]), 1)
                joint.append(counts.ravel())
                alone.append((counts.sum(axis=1), counts.sum(axis=0)))
            both = _apart(*joint)
            each = [_apart(alone[0][i], alone[1][i])["distance"] for i in (0, 1)]
            found.append((both["distance"] - max(each) - both["chance"], a, b, both, each))
    found = sorted((entry for entry in found if entry[0] > 0), key=lambda entry: -entry[0])
    return [
        {
            "columns": [b, a],
            **both,
            "alone": each[::-1],
            **{
                name: _points(values[which][b], values[which][a])
                for which, name in enumerate(("data", "samples"))
            },
        }
        for _, a, b, both, each in found[:_PAIRS]
    ]


def _coarse(
    schema: Schema, place: int, ours: np.ndarray, theirs: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A few groups of a column's values, −1 where unknown: levels, or sixths of the data."""
    known = ours[np.isfinite(ours)]
    if schema.columns[place].kind in WITH_LEVELS:
        found, counts = np.unique(known, return_counts=True)
        common = np.sort(found[np.argsort(-counts, kind="stable")[:_LEVELS]])

        def group(values: np.ndarray) -> np.ndarray:
            at = np.minimum(np.searchsorted(common, values), len(common) - 1)
            return np.where(common[at] == values, at, len(common))
    else:
        ends = np.unique(np.quantile(known, np.arange(1, _COARSE) / _COARSE))

        def group(values: np.ndarray) -> np.ndarray:
            return np.searchsorted(ends, values)

    return tuple(np.where(np.isfinite(part), group(part), -1) for part in (ours, theirs))  # type: ignore[return-value]


def _points(across: np.ndarray, up: np.ndarray) -> list[list[float]]:
    known = np.flatnonzero(np.isfinite(across) & np.isfinite(up))
    return [[float(across[i]), float(up[i])] for i in known[:_POINTS]]


def _reconstruction(
    schema: Schema, place: int, data: np.ndarray, truth: np.ndarray, guess: np.ndarray
) -> dict[str, Any]:
    """Error of a column's reconstruction, and of one guess for all: the median, or the commonest.

    In the column's unit; of levels, the share that is wrong.
    """
    seen, truth = (_numbers(schema, place, values) for values in (data, truth))
    guess = _numbers(schema, place, guess, whole=False)
    if schema.columns[place].kind in WITH_LEVELS:
        found, counts = np.unique(seen[np.isfinite(seen)], return_counts=True)
        errors = (truth != guess).astype(float)
        plain = (truth != found[counts.argmax()]).astype(float)
    else:
        errors, plain = np.abs(truth - guess), np.abs(truth - np.nanmedian(seen))
    if not errors.size:
        return {}
    return {
        "error": float(errors.mean()),
        "standard_error": error_of_mean(errors),
        "plain_error": float(plain.mean()),
        "plain_standard_error": error_of_mean(plain),
    }


def _strangest(
    schema: Schema,
    xs: np.ndarray,
    scored: Mapping[str, np.ndarray],
    means: np.ndarray,
    costs: np.ndarray,
) -> list[dict[str, Any]]:
    """The examples of the lowest log p, and the cells that cost more nats than is usual."""
    places = range(min(_COLUMNS, len(schema.columns)))
    cells = [_numbers(schema, p, xs[:, p]) for p in places]
    expected = [_numbers(schema, p, means[: len(xs), p], whole=False) for p in places]
    known = ~np.isnan(costs)
    usual = np.where(known, costs, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    values, errors = (scored[name][: len(xs)] for name in ("value", "standard_error"))
    record = []
    for row in np.argsort(values, kind="stable")[:_STRANGE]:
        excess = np.nan_to_num(costs[row] - usual, nan=-np.inf)[: len(cells)]
        worst = [int(p) for p in np.argsort(-excess, kind="stable")[:_WORST] if excess[p] > 0]
        record.append(
            {
                "row": int(row),
                "log_likelihood": float(values[row]),
                "standard_error": float(errors[row]),
                "cells": [
                    {
                        "column": _short(schema.columns[p].name),
                        "value": _cell(schema, p, float(cells[p][row])),
                        "expected": _cell(schema, p, float(expected[p][row])),
                        "nats": float(excess[p]),
                    }
                    for p in worst
                ],
            }
        )
    return record
