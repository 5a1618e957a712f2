import json

import numpy as np
import polars as pl
import pytest
from tests.oracles.tables import CODES, MIXED, told

from tighter.data import Column, Schema, infer_schema


def test_kinds_follow_from_the_types():
    schema = infer_schema(MIXED)
    assert [(c.kind, c.categories, c.dtype) for c in schema.columns] == [
        ("real", (), "Float64"),
        ("real", (), "Int64"),
        ("binary", ("f", "m"), "String"),
        ("categorical", ("blue", "green", "red"), "String"),
        ("binary", ("false", "true"), "Boolean"),
        ("binary", ("2", "4"), "Int64"),
    ]


def test_encoding_is_as_written_by_hand():
    x = infer_schema(MIXED).encode(MIXED)
    assert x.dtype == np.float64
    np.testing.assert_array_equal(x, np.array(CODES, float))


def test_columns_are_found_by_name():
    schema = infer_schema(MIXED)
    np.testing.assert_array_equal(
        schema.encode(MIXED.select(reversed(MIXED.columns))), schema.encode(MIXED)
    )


def test_decoding_restores_types_names_and_order():
    schema = infer_schema(MIXED)
    assert schema.decode(np.array(CODES)).equals(MIXED)
    assert schema.decode(np.array(CODES)).schema == MIXED.schema


def test_what_a_model_fills_in_is_rounded_to_the_type():
    schema = infer_schema(MIXED)
    frame = schema.decode(np.array([[1.23, 6.6, 0.4, 1.6, 0.7, 0.2]], np.float32))
    assert frame.row(0) == (1.23, 7, "f", "red", True, 2)


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [
        (pl.UInt8, 0, 255),
        (pl.Int16, -(2**15), 2**15 - 1),
        (pl.UInt64, 0, 2**64 - 2048),
        (pl.Int64, -(2**63), 2**63 - 1024),
    ],
)
def test_what_a_model_fills_in_is_held_within_the_type(dtype, low, high):
    frame = pl.DataFrame({"a": pl.Series([1, 2, 3], dtype=dtype)})
    decoded = infer_schema(frame).decode(np.array([[-1e30], [1e30]]))
    assert decoded["a"].dtype == dtype
    assert decoded["a"].to_list() == [low, high]


def test_a_count_is_never_below_zero():
    frame = pl.DataFrame({"n": [0, 3, 5], "m": [0.0, 1.0, 2.0]})
    schema = infer_schema(frame, {"n": "count", "m": "count"})
    assert [column.kind for column in schema.columns] == ["count", "count"]
    assert schema.decode(np.array([[-0.6, 1.6]])).row(0) == (0, 2.0)


@pytest.mark.parametrize(
    "series",
    [
        pl.Series([1.5, 2.25, None, 3], dtype=pl.Float32),
        pl.Series(["1.50", "-2.25", None, "0.10"]).cast(pl.Decimal(10, 2)),
        pl.Series(["b", "a", None, "c"], dtype=pl.Categorical),
        pl.Series(["b", "a", None, "b"], dtype=pl.Enum(["c", "b", "a"])),
        pl.Series([5, 7, None, 9], dtype=pl.UInt8),
        pl.Series([5, 7, None, 7], dtype=pl.Int8),
    ],
)
def test_other_types_come_back_and_survive_json(series):
    frame = pl.DataFrame({"a": series, "b": [1.0, 2.0, 3.0, 4.0]})
    schema = infer_schema(frame)
    schema = Schema.from_dict(json.loads(json.dumps(schema.to_dict())))
    assert schema == infer_schema(frame)
    assert schema.decode(schema.encode(frame)).equals(frame)
    assert schema.decode(schema.encode(frame)).schema == frame.schema


def test_levels_are_the_same_whatever_the_type_of_the_numbers():
    schema = infer_schema(pl.DataFrame({"a": [3, 1, 2, 1]}), {"a": "categorical"})
    assert schema.columns[0].categories == ("1", "2", "3")
    x = schema.encode(pl.DataFrame({"a": [2.0, 3.0]}))
    np.testing.assert_array_equal(x, [[1], [2]])
    assert schema.decode(x)["a"].to_list() == [2, 3]


def test_nan_in_a_frame_is_missing():
    frame = pl.DataFrame({"a": [1.0, float("nan"), 2.0], "b": [1, 2, 3]})
    schema = infer_schema(frame)
    assert np.isnan(schema.encode(frame)[1, 0])
    assert schema.decode(schema.encode(frame))["a"].to_list() == [1.0, None, 2.0]


def changed(**columns) -> pl.DataFrame:
    return MIXED.with_columns(**{name: pl.Series(cells) for name, cells in columns.items()})


@pytest.mark.parametrize(
    ("frame", "kinds", "words"),
    [
        (MIXED.clear(), {}, ["no rows"]),
        (changed(age=[None] * 4), {}, ["'age'", "missing", "drop=['age']"]),
        (changed(height=[float("nan")] * 4), {}, ["'height'", "missing"]),
        (
            changed(age=[3, None, 3, 3], sex=["m"] * 4),
            {},
            ["'age', 'sex'", "same value", "drop=['age', 'sex']"],
        ),
        (changed(height=[1.0, float("inf"), 2, 3]), {}, ["'height'", "infinite", "inf", "row 1"]),
        (
            changed(height=[None, 1.0, float("-inf"), 3]),
            {"height": "categorical"},
            ["'height'", "infinite", "-inf", "row 2"],
        ),
        (changed(age=pl.Series([1, 2, 3, 4]).cast(pl.Date)), {}, ["'age'", "Date", "drop it"]),
        (changed(height=[1.0, 2, 1e300, 3]), {}, ["'height'", "1e+300", "row 2", "float32"]),
        (changed(age=["1", "2", "x", "3"]), {}, ["'age'", "'x'", "row 2", "kinds={'age'"]),
        (changed(age=[[1], [2], [3], [4]]), {}, ["'age'", "List(Int64)"]),
        (MIXED, {"agee": "count"}, ["kinds=", "'agee'", "did you mean 'age'?"]),
        (MIXED, {"age": "counts"}, ["'counts'", "did you mean 'count'?", "categorical"]),
        (MIXED, {"sex": "real"}, ["'sex'", "kind real", "'m'", "row 0"]),
        (MIXED, {"member": "count"}, ["'member'", "kind count"]),
        (MIXED, {"height": "positive"}, ["'height'", "above 0", "-2.5", "row 3"]),
        (MIXED, {"height": "unit"}, ["'height'", "[0, 1]", "1.75", "row 0 and 1 more"]),
        (MIXED, {"height": "count"}, ["'height'", "whole numbers", "1.75", "row 0"]),
        (MIXED, {"age": "binary"}, ["'age'", "3 levels", "categorical"]),
    ],
)
def test_a_table_that_cannot_be_data(frame, kinds, words):
    message = told(infer_schema, frame, kinds)
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (MIXED.clear(), ["no rows"]),
        (MIXED.drop("age"), ["lacks 'age'"]),
        (MIXED.with_columns(extra=pl.lit(1)), ["has 'extra' besides"]),
        (MIXED.rename({"age": "agee"}), ["lacks 'age'", "has 'agee' besides"]),
        (changed(color=["red", "pink", "blue", "mauve"]), ["'color'", "'pink'", "row 1 and 1"]),
        (changed(grade=[4, 2, 3, 2]), ["'grade'", "'3'", "row 2", "'2', '4'"]),
        (changed(age=["1", "old", None, "3"]), ["'age'", "'old'", "row 1"]),
        (changed(height=[1.0, 2, float("-inf"), 3]), ["'height'", "-inf", "row 2"]),
        (
            pl.concat([MIXED, *[MIXED.select(pl.all().first().shift())] * 7]),
            ["7 of 11 rows", "4, 5, 6, 7, 8, …"],
        ),
    ],
)
def test_a_new_table_that_does_not_fit(frame, words):
    message = told(infer_schema(MIXED).encode, frame)
    for word in words:
        assert word in message


def test_a_new_table_may_be_of_one_row_and_miss_a_column_of_values():
    x = infer_schema(MIXED).encode(changed(age=[None] * 4).head(1))
    np.testing.assert_array_equal(x, [[1.75, np.nan, 1, 2, 1, 1]])


def test_an_array_that_does_not_fit_the_schema():
    schema = infer_schema(MIXED)
    assert "(N, 6)" in told(schema.decode, np.zeros((2, 5)))
    codes = np.array(CODES)
    codes[2, 3] = 3
    message = told(schema.decode, codes)
    for word in ("'color'", "code 3", "row 2", "0 to 2"):
        assert word in message


@pytest.mark.parametrize(
    "content",
    [{}, {"columns": [{"name": "a"}]}, {"columns": [{"nom": 1, "categories": []}]}, {"columns": 3}],
)
def test_a_record_that_is_no_schema(content):
    assert "no record of a schema" in told(Schema.from_dict, content)


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "rael"},
        {"kind": "real", "dtype": "read_csv"},
        {"kind": "real", "dtype": "String"},
        {"kind": "real", "categories": ("a", "b")},
        {"kind": "categorical", "categories": ("a",)},
        {"kind": "binary", "categories": ("a", "a")},
        {"kind": "binary", "categories": ("a", "b", "c")},
    ],
)
def test_a_column_that_cannot_be(options):
    told(Column, "a", **options)


def test_a_schema_has_columns_of_different_names():
    told(Schema, ())
    assert "'a'" in told(Schema, (Column("a", "real"), Column("a", "unit")))
