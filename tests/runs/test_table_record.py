"""What a table's page is drawn from, against counts made by hand."""

import json

import numpy as np
import pytest

from tighter.data import Column, Schema
from tighter.runs import table_record

SCHEMA = Schema((
    Column("whole", "real", dtype="Int64"),
    Column("word", "categorical", ("a", "b", "c"), "String"),
    Column("many", "categorical", tuple(f"level {i}" for i in range(500)), "String"),
    Column("free", "real"),
))  # fmt: skip


def test_marginals_are_counts_in_the_columns_own_units():
    data = np.array([1, 2, 2, 4, np.nan], np.float32)
    told = table_record._marginal(SCHEMA, 0, data, np.array([1.2, 3.6, 9.0], np.float32))
    assert told["edges"] == [0.5, 1.5, 2.5, 3.5, 4.5]
    assert told["data"] == [1, 2, 0, 1, 0, 0]
    assert told["samples"] == [1, 0, 0, 1, 0, 1]
    assert told["missing"] == pytest.approx(0.2)
    # |1/4 − 1/3| + |2/4| + |1/4 − 1/3| + 1/3, halved.
    assert told["distance"] == pytest.approx(0.5)


def test_categories_are_counted_by_their_words():
    told = table_record._marginal(SCHEMA, 1, np.float32([1, 1, 0]), np.float32([2, 1, 1]))
    assert told["levels"] == ["b", "a", "c"]
    assert (told["data"], told["samples"]) == ([2, 1, 0, 0], [2, 0, 1, 0])
    data = np.repeat(np.arange(500, dtype=np.float32), np.arange(500) + 1)
    told = table_record._marginal(SCHEMA, 2, data, data)
    assert told["levels"][0] == "level 499"
    assert (len(told["levels"]), told["rest"]) == (12, 488)
    assert sum(told["data"]) == len(data)
    assert told["distance"] == 0


def test_chance_is_what_equal_frequencies_give():
    rng = np.random.default_rng(0)
    shares = np.array([0.5, 0.3, 0.15, 0.05])
    told = [
        table_record._apart(rng.multinomial(800, shares), rng.multinomial(1000, shares))
        for _ in range(400)
    ]
    distances = np.array([one["distance"] for one in told])
    chance = np.mean([one["chance"] for one in told])
    assert abs(distances.mean() - chance) < 5 * distances.std() / 20 + 0.02 * chance


def test_the_pair_that_is_wrong_together_is_found():
    rng = np.random.default_rng(0)
    z = rng.normal(size=1000)
    word = rng.integers(0, 3, 1000)
    many = rng.integers(0, 5, 1000)

    def rows(free):
        return np.column_stack([np.rint(3 * z), word, many, free]).astype(np.float32)

    # Each column by itself is as in the data; "whole" and "free" go together in the data alone.
    data, drawn = rows(z), rows(rng.permutation(z))
    pairs = table_record._pairs(SCHEMA, data, drawn)
    assert pairs[0]["columns"] == [0, 3]
    assert pairs[0]["distance"] > 0.5
    assert max(pairs[0]["alone"]) < 0.01
    assert len(pairs) <= 6
    assert len(pairs[0]["data"]) <= 250
    assert table_record._pairs(SCHEMA, data, data) == []


def test_reconstructions_have_units_and_errors():
    data = np.float32([1, 2, 3, 4, 100])
    told = table_record._reconstruction(SCHEMA, 0, data, np.float32([1, 5]), np.float32([1.5, 4]))
    assert told["error"] == pytest.approx(0.75)
    assert told["plain_error"] == pytest.approx(2.0)
    assert told["standard_error"] == pytest.approx(0.25)
    words = np.float32([0, 0, 1])
    told = table_record._reconstruction(SCHEMA, 1, words, np.float32([0, 1]), np.float32([0.2, 2]))
    assert (told["error"], told["plain_error"]) == (0.5, 0.5)


def test_the_strangest_examples_name_their_cells():
    xs = np.float32([[1, 0, 0, 0.5], [1, 1, 0, 9.0], [1, np.nan, 0, 0.1]])
    costs = np.array([[1.0, 1, 1, 1], [1, 2, 1, 8], [1, np.nan, 1, 0]])
    scored = {"value": np.array([-3.0, -9.0, -5.0]), "standard_error": np.array([0.1, 0.2, 0.3])}
    told = table_record._strangest(SCHEMA, xs, scored, xs + 0.25, costs)
    assert [row["row"] for row in told] == [1, 2, 0]
    assert told[0]["standard_error"] == pytest.approx(0.2)
    first = told[0]["cells"][0]
    assert (first["column"], first["value"], first["expected"]) == ("free", "9", "9.25")
    assert first["nats"] == pytest.approx(5.0)
    assert told[0]["cells"][1]["value"] == "b"
    assert json.dumps(told)
