"""What is read by rows: any kind of array or data set, in any order of rows."""

import numpy as np
import polars as pl
import pytest
import scipy.sparse

import tighter as tt
from tighter.data.source import Arrays, OneByOne, as_source

X = np.arange(60, dtype=np.uint8).reshape(20, 3)
ROWS = np.asarray([7, 0, 19, 7])


class ByRows:
    """What takes an array of rows."""

    def __len__(self):
        return len(X)

    def __getitem__(self, rows):
        return {"x": X[rows], "y": X[rows, 0]}


class OneAtATime:
    """What takes one whole number, and no more."""

    def __len__(self):
        return len(X)

    def __getitem__(self, row):
        if not isinstance(row, int):
            raise TypeError("one row")
        return X[row]


class AscendingOnly:
    """As HDF5 does it: rows ascend, and each comes once."""

    shape, dtype = X.shape, X.dtype

    def __getitem__(self, rows):
        if (np.diff(rows) <= 0).any():
            raise TypeError("Indexing elements must be in increasing order")
        return X[rows]


def test_arrays_in_memory_need_no_source():
    assert as_source(X) is None
    assert as_source({"x": X, "y": X[:, 0]}) is None
    assert as_source([1.0, 2.0]) is None
    # Tables mean other things by their rows.
    assert as_source(pl.DataFrame(X)) is None
    assert as_source(pl.Series(X[:, 0])) is None
    assert as_source({"y": pl.Series(X[:, 0])}) is None


def test_every_kind_gives_the_rows_asked_for(tmp_path):
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    for data in (mapped, scipy.sparse.csr_matrix(X), AscendingOnly(), OneAtATime()):
        source = as_source(data)
        assert len(source) == 20
        got = source[ROWS]
        np.testing.assert_array_equal(got, X[ROWS])
        assert got.dtype == np.uint8
    both = as_source({"x": mapped, "y": X[:, 0]})
    np.testing.assert_array_equal(both[ROWS]["y"], X[ROWS, 0])
    assert as_source(ByRows())[ROWS]["x"].shape == (4, 3)


PARTS = {
    "whole": lambda a: a, "tail": lambda a: a[7:], "every second": lambda a: a[::2],
    "columns": lambda a: a[:, 1:], "reversed": lambda a: a[::-1], "shaped": lambda a: a[..., None],
}  # fmt: skip


@pytest.mark.parametrize("part", PARTS)
def test_parts_of_maps_of_any_kind(tmp_path, part):
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "columns.npy", np.asfortranarray(X))
    (tmp_path / "raw").write_bytes(bytes(4100) + X.tobytes())
    maps = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("x", "columns")]
    maps.append(np.memmap(tmp_path / "raw", np.uint8, "r", offset=4100, shape=X.shape))
    for mapped in maps:
        got = as_source(PARTS[part](mapped))[np.asarray([3, 0, 9, 3])]
        np.testing.assert_array_equal(got, PARTS[part](X)[[3, 0, 9, 3]])


def test_a_map_that_was_changed_in_memory(tmp_path):
    np.save(tmp_path / "x.npy", X)
    copied = np.load(tmp_path / "x.npy", mmap_mode="c")
    copied[3] = 0
    assert (as_source(copied)[np.asarray([3])] == 0).all()


def test_a_file_that_is_cut_short_while_it_is_read(tmp_path):
    np.save(tmp_path / "x.npy", X)
    source = as_source(np.load(tmp_path / "x.npy", mmap_mode="r"))
    with (tmp_path / "x.npy").open("r+b") as file:
        file.truncate(150)
    with pytest.raises(tt.InputError, match="was cut short while it was read"):
        source[np.asarray([19])]


def test_a_data_set_with_getitems_is_asked_once():
    calls = []

    class Torch(OneAtATime):
        def __getitems__(self, rows):
            calls.append(rows)
            return [X[row] for row in rows]

    np.testing.assert_array_equal(OneByOne(Torch())[ROWS], X[ROWS])
    assert calls == [[7, 0, 19, 7]]


def test_what_is_no_source(tmp_path):
    with pytest.raises(tt.InputError, match="a stream"):
        as_source(iter(X))
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    with pytest.raises(tt.InputError, match=r"data\['x'\] has 20, data\['y'\] has 19"):
        Arrays({"x": mapped, "y": X[:19]})

    class Ragged(OneAtATime):
        def __getitem__(self, row):
            return np.zeros(row + 1)

    with pytest.raises(tt.InputError, match="differ in shape"):
        OneByOne(Ragged())[ROWS]
