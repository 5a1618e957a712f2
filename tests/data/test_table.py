import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.oracles.tables import MIXED, told

from tighter.data import infer_schema, read_table, table, write_table

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


def written(tmp_path, text, name="a.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


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
    assert "can't be written" in message
    assert read_table(tmp_path / "a.csv").equals(MIXED)
    assert os.listdir(tmp_path) == ["a.csv"]
    assert "can't be written" in told(write_table, MIXED, tmp_path / "none" / "a.csv")
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


@pytest.mark.slow
def test_a_large_table_is_read_and_encoded_in_two_seconds(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "large.csv"
    pl.DataFrame(rng.normal(size=(100_000, 20))).write_csv(path)
    start = time.perf_counter()
    frame = read_table(path)
    infer_schema(frame).encode(frame)
    assert time.perf_counter() - start < 2


ANYWHERE = ("", "?", "NA", "N/A", "n/a", "<NA>", "NaN", "NaT", "NULL", "null", r"\N", "#N/A",
            "#DIV/0!", "#VALUE!", "#REF!", "#NUM!", "#NAME?")  # fmt: skip
AMONG_NUMBERS = ("None", "none", "nil", "-", "--", ".", "(null)", "missing", "NAN", "Unknown")


@pytest.mark.parametrize("word", [*ANYWHERE, *AMONG_NUMBERS])
@pytest.mark.parametrize("numbers", [("1.5", "-2", "1e3"), ("1", "2", "7")])
def test_a_missing_number_in_the_words_of_other_programs(tmp_path, word, numbers):
    cells = [numbers[0], word, *numbers[1:]]
    frame = read_table(written(tmp_path, "a,b\n" + "".join(f"{cell},x\n" for cell in cells)))
    assert frame["a"].to_list() == [float(numbers[0]), None, *map(float, numbers[1:])]


@pytest.mark.parametrize("word", ANYWHERE)
def test_a_missing_word_in_those_of_other_programs(tmp_path, word):
    frame = read_table(written(tmp_path, f"a,b\n1,x\n2,{word}\n3,y\n"))
    assert frame["b"].to_list() == ["x", None, "y"]


def test_a_word_that_may_be_a_category_stays_one_and_this_is_said(tmp_path):
    path = written(tmp_path, "a,alley\n1,None\n2,grvl\n3,pave\n")
    with pytest.warns(UserWarning, match=r"'alley' has 'None' .* missing_words=\['None'\]"):
        schema = infer_schema(read_table(path))
    assert schema.columns[1].categories == ("None", "grvl", "pave")
    assert read_table(path, missing_words=["None"])["alley"].null_count() == 1


def test_the_words_for_missing_cells_can_be_said(tmp_path):
    """NA is Namibia here, and -999 no temperature; both were once taken for what they are not."""
    path = written(tmp_path, "t,country\n-999,NA\n20.5,DE\n,FR\n")
    frame = read_table(path, missing_words=["-999"])
    assert frame["t"].to_list() == [None, 20.5, None]
    assert frame["country"].to_list() == ["NA", "DE", "FR"]
    write_table(pl.DataFrame({"a": [1, 2], "b": ["None", "x"]}), tmp_path / "a.parquet")
    assert read_table(tmp_path / "a.parquet", missing_words=["None"])["b"].to_list() == [None, "x"]


@pytest.mark.parametrize(
    "cells",
    [
        ("1,234", "2,345", "17"), ("45%", "7 %", "100%"), ("$11.50", "$3", "-$4.25"),
        ("1.234,5", "12,5", "7"), ("1 234", "17", "2 345 678"), ("€ 5", "6 €", "7"),
        ("(12)", "3", "4"),
    ],
)  # fmt: skip
def test_numbers_written_as_text_are_refused(tmp_path, cells):
    text = "a,b\n" + "".join(f'{row},"{cell}"\n' for row, cell in enumerate(cells))
    frame = read_table(written(tmp_path, text))
    message = told(infer_schema, frame)
    for word in ("'b'", repr(cells[0]), "row 0", "3 of its 3 values are numbers", "plain numbers"):
        assert word in message
    assert infer_schema(frame, {"b": "categorical"}).columns[1].categories


@pytest.mark.parametrize(
    "cells", [("1st", "2nd", "3rd"), ("A11", "A12", "6"), ("10-20", "20-30"), ("1.0.2", "1.0.3")]
)
def test_words_with_digits_are_words(tmp_path, cells):
    frame = read_table(written(tmp_path, "a,b\n" + "".join(f"1,{cell}\n" for cell in cells)))
    assert infer_schema(frame.drop("a")).columns[0].categories == tuple(sorted(cells))


@pytest.mark.parametrize(
    "cells",
    [
        ("01/02/2023", "13/02/2023", ""), ("2023-01-31", "2023-1-2", "2023-12-31"),
        ("2023-01-31T23:59:59Z", "2023-01-31 23:59", "2023-01-30 00:00:00.5"), ("3.4.21", "4.5.21"),
        ("31 Dec 2023", "1-Jan-24"), ("Dec 31, 2023", "Jan. 1 2024"), ("23:59", "0:01:12"),
    ],
)  # fmt: skip
def test_dates_are_no_words(tmp_path, cells):
    rows = "".join(f'{row},"{cell}"\n' for row, cell in enumerate(cells))
    frame = read_table(written(tmp_path, f"a,b\n{rows}"))
    message = told(infer_schema, frame)
    for word in ("'b'", repr(cells[0]), "values are dates or times", "drop=['b']", "days since"):
        assert word in message
    assert infer_schema(frame, {"b": "categorical"}).columns[1].categories


def test_points_beside_decimal_commas_are_not_guessed(tmp_path):
    """1.234 is a thousand or one beside 950,5; alone, and without commas, it is a number."""
    frame = read_table(written(tmp_path, "a;b;c\n1.234;1,5;1.234\n950,5;2;2.5\n"))
    assert "2 of its 2 values are numbers" in told(infer_schema, frame.select("a"))
    assert frame["b"].to_list() == [1.5, 2.0]
    assert frame["c"].to_list() == [1.234, 2.5]


@pytest.mark.parametrize(
    ("name", "start", "step"),
    [("", 0, 1), ("id", 1, 1), ("PassengerId", 7, 3), ("Order ID", 0, 2), ("Unnamed: 0", 0, 1)],
)
def test_whole_numbers_that_tell_rows_apart_are_refused(tmp_path, name, start, step):
    rows = "".join(f"{start + step * row},{row % 7 / 2}\n" for row in range(30))
    frame = read_table(written(tmp_path, f"{name},b\n{rows}"))
    shown = name or "column_1"
    message = told(infer_schema, frame)
    for word in (f"{shown!r} has 30 different numbers in 30 rows", f"drop=[{shown!r}]"):
        assert word in message
    assert infer_schema(frame, {shown: "real"}).columns[0].kind == "real"
    # Without such a name they are data, and so are numbers that come again.
    assert infer_schema(frame.rename({shown: "covid"})).columns[0].kind == "real"
    again = frame.with_columns(pl.lit(5).alias(shown)).vstack(frame.cast({shown: pl.Int32}))
    assert infer_schema(again).columns[0].kind == "real"


def test_two_whole_numbers_are_levels_whatever_their_type(tmp_path):
    """Data frames write whole numbers beside gaps as 1.0."""
    frame = read_table(written(tmp_path, "a,b\n1.0,0.5\n,1.0\n0.0,\n1.0,0.5\n"))
    schema = infer_schema(frame)
    assert [(column.kind, column.categories) for column in schema.columns] == [
        ("binary", ("0", "1")), ("real", ()),
    ]  # fmt: skip
    back = schema.decode(schema.encode(frame))
    assert back["a"].to_list() == [1.0, None, 0.0, 1.0]
    assert back["a"].dtype == pl.Float64


def test_texts_that_tell_rows_apart_are_refused(tmp_path):
    rows = range(30)
    frame = pl.DataFrame(
        {"id": [f"u{row}" for row in rows], "job": [f"j{row % 12}" for row in rows]}
    )
    message = told(infer_schema, frame)
    for word in ("'id'", "30 different texts in 30 rows", "'u0'", "drop=['id']", "kinds={'id'"):
        assert word in message
    assert len(infer_schema(frame, {"id": "categorical"}).columns[0].categories) == 30
    assert len(infer_schema(frame.drop("id")).columns[0].categories) == 12
