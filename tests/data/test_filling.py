"""CSV files with gaps filled in: what was there stays, byte for byte."""

import polars as pl
import pytest
from tests.oracles.tables import told

from tighter.data import fill_csv, read_table

FILLED = {
    "zip codes, cents and quotes": (
        'zip,price,name\n02210,34.20,"Ann, B."\n,,"say ""a"""\n10001,7.00,\n',
        {"zip": [2210, 1234, 10001], "price": [34.2, 5.5, 7.0], "name": ["Ann, B.", "x", "o, p"]},
        'zip,price,name\n02210,34.20,"Ann, B."\n01234,5.5,"say ""a"""\n10001,7.00,"o, p"\n',
    ),
    "no header, line ends of two letters, a mark of the byte order, no last line end": (
        "\ufeff1.50,a\r\n?,b\r\n\r\n 3 , NULL",
        {"column_1": [1.5, 2.25, 3.0], "column_2": ["a", "b", "c"]},
        "\ufeff1.50,a\r\n2.25,b\r\n\r\n 3 ,c",
    ),
    "semicolons and decimal commas": (
        "a;b\n1,50;x\nNA;y\n-3,0;\n",
        {"a": [1.5, 2.25, -3.0], "b": ["x", "y", "x"]},
        "a;b\n1,50;x\n2,25;y\n-3,0;x\n",
    ),
    "tabs, and a line end in a cell": (
        'a\tb\n1.0\t"x\ny"\n-\tz\n+5\t\n',
        {"a": [1.0, 2.5, 5.0], "b": ["x\ny", "z", "z"]},
        'a\tb\n1.0\t"x\ny"\n2.5\tz\n+5\t"z"\n',
    ),
    "all cells in quotes": (
        '"a","b"\n"1","x"\n"","y"\n"3",""\n',
        {"a": [1, 2, 3], "b": ["x", "y", "x"]},
        '"a","b"\n"1","x"\n"2","y"\n"3","x"\n',
    ),
}


@pytest.mark.parametrize("name", FILLED)
def test_what_was_there_stays_to_the_byte(tmp_path, name):
    before, values, after = FILLED[name]
    path, out = tmp_path / "a.csv", tmp_path / "done.csv"
    path.write_bytes(before.encode())
    table = read_table(path)
    filled = pl.DataFrame(values)
    assert filled.columns == table.columns
    fill_csv(path, table, filled, out)
    assert out.read_bytes().decode() == after
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.csv", "done.csv"]


def test_a_file_that_has_changed_is_told(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a,b\n1,x\n,y\n")
    table = read_table(path)
    path.write_text("a,b\n1,x\n")
    assert "has changed" in told(fill_csv, path, table, table, tmp_path / "b.csv")
    assert not (tmp_path / "b.csv").exists()
