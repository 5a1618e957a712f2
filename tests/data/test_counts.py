"""Archives of counts: each number that says where a count stands is looked at before it is used."""

import zipfile

import numpy as np
import pytest
from scipy import sparse

from tighter import InputError
from tighter.data.counts import read_counts

WORDS = tuple("abcde")
X = np.array([[1, 0, 0, 2, 0], [0, 3, 0, 0, 4], [0, 0, 5, 0, 0], [6, 0, 0, 0, 7]])


def _arrays(kind):
    """What `scipy.sparse.save_npz` stores of X."""
    matrix = sparse.bsr_array(X, blocksize=(2, 1)) if kind == "bsr" else sparse.csr_array(X)
    matrix = matrix if kind == "bsr" else matrix.asformat(kind)
    parts = {
        "csr": ("indices", "indptr"), "csc": ("indices", "indptr"), "bsr": ("indices", "indptr"),
        "coo": ("row", "col"), "dia": ("offsets",),
    }  # fmt: skip
    arrays = {name: getattr(matrix, name) for name in (*parts[kind], "data")}
    return {**arrays, "format": np.array(kind.encode()), "shape": np.array(X.shape)}


@pytest.mark.parametrize("kind", ["csr", "csc", "bsr", "coo", "dia"])
def test_every_format_that_scipy_stores(tmp_path, kind):
    matrix = sparse.bsr_array(X, blocksize=(2, 1)) if kind == "bsr" else sparse.csr_array(X)
    sparse.save_npz(tmp_path / "x.npz", matrix if kind == "bsr" else matrix.asformat(kind))
    np.testing.assert_array_equal(read_counts(tmp_path / "x.npz", words=WORDS).dense(), X)
    np.savez(tmp_path / "y.npz", **_arrays(kind))
    np.testing.assert_array_equal(read_counts(tmp_path / "y.npz", words=WORDS).dense(), X)


def _with(name, place, value):
    def change(arrays):
        array = arrays[name].astype(np.int64)
        array.reshape(-1)[place] = value
        return {name: array}

    return change


def _is(name, value):
    return lambda _: {name: np.array(value)}


OUTSIDE = "stands in row"
FAULTS = {
    "a column beyond the last": ("csr", _with("indices", 1, 7), "2 stands in row 0, column 7"),
    "a column of 2^30": ("csr", _with("indices", 1, 2**30), OUTSIDE),
    "a negative column": ("csr", _with("indices", 1, -1), OUTSIDE),
    "a row beyond the last": ("csc", _with("indices", 0, 4), OUTSIDE),
    "rows that fall": ("csr", _with("indptr", 1, 5), "indptr does not rise"),
    "rows from the middle": ("csr", _with("indptr", 0, 1), "indptr does not rise"),
    "rows beyond the end": ("csr", _with("indptr", -1, 2**40), "indptr does not rise"),
    "columns that fall": ("csc", _with("indptr", 2, -9), "indptr does not rise"),
    "blocks that fall": ("bsr", _with("indptr", 1, 2**30), "indptr does not rise"),
    "a block beyond the last": ("bsr", _with("indices", 0, 5), OUTSIDE),
    "a block of 2^30": ("bsr", _with("indices", 0, 2**30), OUTSIDE),
    "blocks that don't fill it": ("bsr", _is("shape", [5, 5]), "do not fill"),
    "flat blocks": ("bsr", lambda arrays: {"data": arrays["data"].ravel()}, "do not fill"),
    "a place beyond the last row": ("coo", _with("row", 2, 4), OUTSIDE),
    "a place beyond the last column": ("coo", _with("col", 2, 2**62), OUTSIDE),
    "more places than counts": ("coo", lambda arrays: {"data": arrays["data"][1:]}, "as many"),
    "a place in a float": ("coo", lambda arrays: {"row": arrays["row"] + 0.5}, "without a point"),
    "one diagonal twice": ("dia", _with("offsets", 0, 0), "an offset of its own"),
    "a diagonal too few": ("dia", lambda arrays: {"offsets": arrays["offsets"][1:]}, "as many"),
    "no indices": ("csr", lambda arrays: {"indices": None}, "it has no 'indices'"),
    "rows of no one": ("csr", _is("shape", [2**50, 5]), "indptr does not rise"),
    "rows of no one, coo": ("coo", _is("shape", [2**50, 5]), r"1125899906842620 of .* no word"),
    "a cube": ("coo", _is("shape", [4, 5, 1]), r"got shape \(4, 5, 1\)"),
    "a negative shape": ("coo", _is("shape", [-4, 5]), r"got shape \(-4, 5\)"),
    "a format that isn't stored": ("csr", _is("format", b"lil"), "the format 'lil' is none of csr"),
    "a format that isn't": ("csr", _is("format", 7), "the format '7' is none of csr"),
    "more than can be counted": ("csr", lambda arrays: {"data": arrays["data"] * 1e300}, "whole"),
    "bytes at the end": ("csr", lambda arrays: {"data": arrays["data"].astype("S4")}, "row of num"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_damaged_is_refused_before_it_is_used(tmp_path, fault):
    kind, change, said = FAULTS[fault]
    arrays = _arrays(kind)
    arrays |= change(arrays)
    np.savez(
        tmp_path / "x.npz", **{name: array for name, array in arrays.items() if array is not None}
    )
    with pytest.raises(InputError, match=said) as caught:
        read_counts(tmp_path / "x.npz", words=WORDS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("train_indices", [0, -1, 1], OUTSIDE),
        ("train_indices", [0, 2**40, 1], "counts 1099511627777"),
        ("train_indptr", [0, 9, 3], "indptr does not rise"),
        ("train_counts", [1, 2], "as many places as values"),
    ],
)
def test_compressed_rows_that_are_damaged(tmp_path, name, value, said):
    arrays = {"train_indptr": [0, 2, 3], "train_indices": [0, 2, 1], "train_counts": [1, 2, 3]}
    np.savez(tmp_path / "x.npz", **(arrays | {name: value}), vocab=["a", "b", "c"])
    with pytest.raises(InputError, match=said):
        read_counts(tmp_path / "x.npz")


def test_a_member_of_an_unknown_compression(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, **_arrays("csr"))
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        place = archive.getinfo("data.npy").header_offset
    content[place + 8] = 99
    for start in range(len(content) - 10):  # the same in the directory
        if content[start : start + 4] == b"PK\x01\x02":
            content[start + 10] = 99
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"no archive of counts .*compression"):
        read_counts(path, words=WORDS)
