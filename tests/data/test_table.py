import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tighter._errors import InputError
from tighter.data import Column, Schema, infer_schema, read_table, table, write_table

UCI = Path(__file__).parents[2].parent / "shared" / "data" / "uci"

# Name -> rows, columns, first line is a header, missing cells, sum of the last column, or of the
# one named: as the README beside the files says, and as numpy.genfromtxt reads them.
TABLES = {
    "banknote": (1372, 5, False, 0, 610),
    "boston": (506, 14, True, 0, 11401.6),
    "breast_cancer_wdbc": (569, 31, True, 0, 212),
    "breast_cancer_wisconsin": (699, 10, False, 16, 2 * 458 + 4 * 241),
    "concrete": (1030, 9, True, 0, 36892.78),
    "german_credit": (1000, 21, False, 0, 700 + 2 * 300),
    "horse_colic": (300, 28, False, 1605, None),
    "wine_quality_red": (1599, 12, False, 0, 9012),
    "wine_quality_white": (4898, 12, False, 0, 28790),
    "yacht": (308, 7, True, 0, 3232.58),
    "yeast": (1484, 9, False, 0, None),
}

MIXED = pl.DataFrame(
    {
        "height": [1.75, None, 0.1, -2.5],
        "age": [31, 7, None, 12],
        "sex": ["m", "f", None, "m"],
        "color": ["red", "green", "blue", None],
        "member": [True, None, False, True],
        "grade": [4, 2, 2, None],
    }
)
CODES = [
    [1.75, 31, 1, 2, 1, 1],
    [np.nan, 7, 0, 1, np.nan, 0],
    [0.1, np.nan, np.nan, 0, 0, 0],
    [-2.5, 12, 1, np.nan, 1, np.nan],
]


def written(tmp_path, text, name="a.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def told(call, *arguments, **options) -> str:
    with pytest.raises(InputError) as caught:
        call(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.skipif(not UCI.is_dir(), reason=f"no tables in {UCI}")
@pytest.mark.parametrize("name", TABLES)
def test_tables_of_the_archive(name):
    rows, columns, named, missing, total = TABLES[name]
    frame = read_table(UCI / f"{name}.csv")
    assert frame.shape == (rows, columns)
    assert (frame.columns[0] != "column_1") is named
    assert sum(frame.null_count().row(0)) == missing
    if total is not None:
        np.testing.assert_allclose(frame[:, -1].sum(), total, rtol=1e-5)
    expected = np.genfromtxt(
        UCI / f"{name}.csv", delimiter=",", skip_header=int(named), missing_values="?"
    )
    numeric = [i for i, dtype in enumerate(frame.dtypes) if dtype.is_numeric()]
    assert len(numeric) == (columns if name != "german_credit" else 8)
    np.testing.assert_array_equal(
        frame[:, numeric].cast(pl.Float64).to_numpy(), expected[:, numeric]
    )


@pytest.mark.skipif(not UCI.is_dir(), reason=f"no tables in {UCI}")
def test_whole_columns_of_the_archive_stay_whole():
    colic = read_table(UCI / "horse_colic.csv")
    assert colic["column_4"].dtype == pl.Float64
    assert colic["column_5"].dtype == pl.Int64
    assert colic["column_5"].null_count() > 0
    schema = infer_schema(read_table(UCI / "german_credit.csv"))
    kinds = [column.kind for column in schema.columns]
    assert kinds.count("real") == 6
    assert kinds[-1] == "binary"
    assert schema.columns[0].categories == ("A11", "A12", "A13", "A14")


@pytest.mark.skipif(not UCI.is_dir(), reason=f"no tables in {UCI}")
@pytest.mark.parametrize("name", sorted(set(TABLES) - {"wine_quality_red", "wine_quality_white"}))
def test_tables_of_the_archive_come_back(name):
    # The two left out have numbers of more digits than float32.
    frame = read_table(UCI / f"{name}.csv")
    schema = infer_schema(frame)
    assert schema.decode(schema.encode(frame)).equals(frame)


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
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, np.array(CODES, np.float32))


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


@pytest.mark.parametrize(
    ("text", "names", "rows"),
    [
        ("a,b\n1,2\n3,4\n", ["a", "b"], 2),
        ("1,2\n3,4\n", ["column_1", "column_2"], 2),
        ("1,2,class\n5.5,6.5,0\n7,8,1\n", ["1", "2", "class"], 2),  # numbers as names
        (",a\n0,1.5\n1,2.5\n", ["column_1", "a"], 2),  # row numbers without a name
        ("p,x\ne,y\np,y\n", ["column_1", "column_2"], 3),  # text alone, and a cell comes again
        ("name,color\nann,red\nbob,blue\n", ["name", "color"], 2),
        ("A11,6,x\nA12,7,y\n", ["column_1", "column_2", "column_3"], 2),
        ("?,2\n3,4\n", ["column_1", "column_2"], 2),
        ("x,1.5\n3,4\n", ["column_1", "column_2"], 2),  # no name is 1.5: a slip in the first row
    ],
)
def test_a_header_is_told_by_its_cells(tmp_path, text, names, rows):
    frame = read_table(written(tmp_path, text))
    assert frame.columns == names
    assert frame.height == rows


def test_the_header_can_be_said(tmp_path):
    path = written(tmp_path, "1,2\n3,4\n")
    assert read_table(path, header=True).columns == ["1", "2"]
    path = written(tmp_path, "a,b\nc,d\n")
    assert read_table(path, header=False).height == 2


@pytest.mark.parametrize(
    "text",
    [
        "a,b,c\n1,2.5,x\n,,y\n3,4.5,\n",
        "a;b;c\n1;2.5;x\n;?;y\n3;4.5;NA\n",
        "a;b;c\n1;2,5;x\n;;y\n3;4,5;\n",
        "a\tb\tc\n1\t2.5\tx\nN/A\tnan\ty\n3\t4.5\tnull\n",
        "a,b,c\r\n1,2.5,x\r\nNaN,NA,y\r\n3,4.5,?\r\n",
        '\ufeff"a","b","c"\n\n 1 ,2.5\t, "x"\n?, ? ,y \n3,4.5,\n\n',
    ],
)
def test_separators_line_ends_and_missing_cells(tmp_path, text):
    expected = pl.DataFrame({"a": [1, None, 3], "b": [2.5, None, 4.5], "c": ["x", "y", None]})
    frame = read_table(written(tmp_path, text))
    assert frame.equals(expected)
    assert frame.schema == expected.schema


def test_tsv_may_have_commas_in_cells(tmp_path):
    frame = read_table(written(tmp_path, "a\tb\n1,5\tx\n2,5\ty\n", "a.TSV"))
    assert frame["a"].to_list() == ["1,5", "2,5"]


def test_a_decimal_comma_is_no_separator_where_both_are_even(tmp_path):
    frame = read_table(written(tmp_path, "1,5;2,5\n3,5;4,5\n"))
    assert frame.rows() == [(1.5, 2.5), (3.5, 4.5)]


def test_a_long_file_is_read_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "_BLOCK", 3)
    for size in (2, 3, 4, 7):
        expected = pl.DataFrame({"a": range(size), "b": [f"t{row}" for row in range(size)]})
        write_table(expected, tmp_path / "a.csv")
        assert read_table(tmp_path / "a.csv").equals(expected)


def test_polars_is_imported_when_a_table_is_read():
    code = "import sys, tighter.data; sys.exit('polars' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_quoted_cells(tmp_path):
    frame = read_table(written(tmp_path, 'a,b\n"x, ""y""\nz",1\nw,2\n'))
    assert frame["a"].to_list() == ['x, "y"\nz', "w"]


def test_true_and_false_are_booleans_in_small_letters(tmp_path):
    frame = read_table(written(tmp_path, "a,b\ntrue,True\n,False\nfalse,True\n"))
    assert frame.dtypes == [pl.Boolean, pl.String]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_written_and_read_again(tmp_path, suffix):
    # polars would take one for a pattern and the other for a column.
    folder = tmp_path / "year=2020"
    folder.mkdir()
    path = folder / f"a[1]{suffix}"
    write_table(MIXED, path)
    write_table(MIXED, path)
    assert read_table(path).equals(MIXED)
    assert os.listdir(folder) == [path.name]


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    write_table(MIXED, tmp_path / "a.csv")
    message = told(write_table, pl.DataFrame({"a": [[1]]}), tmp_path / "a.csv")
    assert "cannot write" in message
    assert read_table(tmp_path / "a.csv").equals(MIXED)
    assert os.listdir(tmp_path) == ["a.csv"]
    assert "cannot write" in told(write_table, MIXED, tmp_path / "none" / "a.csv")
    assert "suffix '.xlsx'" in told(write_table, MIXED, tmp_path / "a.xlsx")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["is empty"]),
        ("\n\n", ["is empty"]),
        ("a,b\n", ["no rows"]),
        ("a,b\n1,2\n\n3\n", ["line 4 has 1 cells", "first has 2", "','"]),
        ("a;b\n1;2\n3;4;5\n", ["line 3 has 3 cells", "';'"]),
        ('a,b\n"x\ny",2\n3\n', ["line 4 has 1"]),
        ("a,b,a\n1,2,3\n", ["'a' is the name of several columns"]),
        ('a,b\n"x,2\n', ["no CSV file", "quotes"]),
        (b"a,b\n\xff\xe9,2\n", ["UTF-8"]),
    ],
)
def test_a_csv_that_cannot_be_read(tmp_path, text, words):
    path = written(tmp_path, text)
    message = told(read_table, path)
    for word in [str(path), *words]:
        assert word in message


def test_a_file_that_is_not_there(tmp_path):
    for suffix in (".csv", ".parquet"):
        assert "No such file" in told(read_table, tmp_path / f"a{suffix}")
        (tmp_path / f"folder{suffix}").mkdir()
        assert "Is a directory" in told(read_table, tmp_path / f"folder{suffix}")
    assert "suffix '.txt'" in told(read_table, tmp_path / "a.txt")


def test_every_cut_of_a_parquet_file_is_told(tmp_path):
    write_table(MIXED, tmp_path / "a.parquet")
    content = (tmp_path / "a.parquet").read_bytes()
    for size in range(0, len(content), 29):
        message = told(read_table, written(tmp_path, content[:size], "cut.parquet"))
        assert "cut short" in message
    assert "header=" in told(read_table, tmp_path / "a.parquet", header=True)


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


@pytest.mark.slow
def test_a_large_table_is_read_and_encoded_in_two_seconds(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "large.csv"
    pl.DataFrame(rng.normal(size=(100_000, 20))).write_csv(path)
    start = time.perf_counter()
    frame = read_table(path)
    infer_schema(frame).encode(frame)
    assert time.perf_counter() - start < 2
