import gzip
import os
import struct
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tighter._errors import InputError
from tighter.data import load, write_table

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def write_idx(path: Path, array: np.ndarray, *, zipped: bool) -> None:
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    content = header + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if zipped else content)


def pixels(size: int) -> np.ndarray:
    return np.random.default_rng(size).integers(0, 256, size=(size, 4, 3), dtype=np.uint8)


def refused(source, **options) -> str:
    with pytest.raises(InputError) as caught:
        load(source, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_digits():
    splits = load("digits")
    sizes = [len(part) for part in (splits.train, splits.validation, splits.test)]
    assert sizes == [1437, 180, 180]
    assert splits.train.shape == (8, 8)
    assert splits.train.name == "digits"
    assert (splits.train.x.min(), splits.train.x.max()) == (0, 1)
    assert splits.train.labels is not None
    assert set(splits.train.labels) == set(range(10))


def test_load_repeats_for_a_seed():
    first, again, other = (load("digits", seed=seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.test.x, again.test.x)
    assert not np.array_equal(first.test.x, other.test.x)


@pytest.mark.parametrize(
    ("pattern", "zipped"),
    [
        ("{}-{}-idx{}-ubyte.gz", True),
        ("{}-{}-idx{}-ubyte", False),
        ("{}-{}.idx{}-ubyte", False),
    ],
)
def test_a_folder_of_idx_keeps_the_official_test_set(tmp_path, pattern, zipped):
    for part, size in (("train", 20), ("t10k", 6)):
        images, labels = pixels(size), np.arange(size)
        write_idx(tmp_path / pattern.format(part, "images", 3), images, zipped=zipped)
        write_idx(tmp_path / pattern.format(part, "labels", 1), labels, zipped=zipped)
    (tmp_path / "readme.txt").write_text("beside them")
    splits = load(tmp_path, validation=0.25)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (15, 5, 6)
    np.testing.assert_array_equal(splits.test.x, pixels(6).astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(splits.test.labels, np.arange(6))
    aside = np.concatenate([splits.train.labels, splits.validation.labels])
    np.testing.assert_array_equal(np.sort(aside), np.arange(20))
    assert splits.train.name == tmp_path.name


def test_a_folder_of_train_images_alone_is_split(tmp_path):
    write_idx(tmp_path / "train-images-idx3-ubyte", pixels(20), zipped=False)
    splits = load(str(tmp_path))
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (16, 2, 2)
    assert splits.train.labels is None


def test_a_folder_under_the_name_of_a_file_is_passed_over(tmp_path):
    (tmp_path / "train-images-idx3-ubyte").mkdir()
    write_idx(tmp_path / "train-images.idx3-ubyte", pixels(20), zipped=False)
    assert len(load(tmp_path).train) == 16


def test_numpy_files(tmp_path):
    np.save(tmp_path / "a.npy", pixels(20))
    np.savez(tmp_path / "B.NPZ", x=pixels(20), y=np.arange(20))
    (tmp_path / "B.NPZ.npz").rename(tmp_path / "B.NPZ")
    plain, archived = load(tmp_path / "a.npy"), load(tmp_path / "B.NPZ")
    assert (plain.train.name, archived.train.name) == ("a", "B")
    np.testing.assert_array_equal(plain.train.x, archived.train.x)
    assert archived.train.labels is not None
    named = load(tmp_path / "B.NPZ", array="x")
    np.testing.assert_array_equal(named.test.x, archived.test.x)


def test_an_official_validation_set_is_kept(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, train=np.zeros((30, 2)), valid=np.ones((3, 2)), test=2 * np.ones((4, 2)))
    splits = load(path)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (30, 3, 4)
    np.testing.assert_array_equal(splits.validation.x, np.ones((3, 2)))


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    np.save(tmp_path / "a.npy", np.zeros((20, 2)))
    assert len(load("~/a.npy").train) == 16


@pytest.mark.parametrize("word", ["digit", "Digits", "digts", "didgits"])
def test_a_misspelled_word_is_mended(word):
    assert "did you mean 'digits'?" in refused(word)


@pytest.mark.parametrize("source", ["mnist", "no/such/file.npz", ""])
def test_a_path_that_is_not_there(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = refused(source)
    assert f"no file or folder {source!r}" in message
    assert "'digits'" in message
    assert "did you mean" not in message


def test_an_unknown_suffix_says_what_is_read(tmp_path):
    (tmp_path / "a.txt").write_text("1,2")
    message = refused(tmp_path / "a.txt")
    for word in (
        "'.txt'",
        ".npy, .npz, .csv, .tsv, .parquet",
        "folder of images, IDX or .npy files",
        "'digits'",
    ):
        assert word in message
    (tmp_path / "plain").write_text("1,2")
    assert "(none)" in refused(tmp_path / "plain")


def test_one_idx_file_asks_for_its_folder(tmp_path):
    path = tmp_path / "train-images-idx3-ubyte"
    write_idx(path, pixels(3), zipped=False)
    assert f"name its folder, {tmp_path}" in refused(path)


def test_a_folder_without_idx_says_what_it_holds(tmp_path):
    assert "holds no IDX files, but nothing" in refused(tmp_path)
    for n in range(7):
        (tmp_path / f"{n}.txt").touch()
    (tmp_path / "0raw").mkdir()
    message = refused(tmp_path)
    for word in ("0.txt, 0raw/, 1.txt", "and 3 more", "train-images-idx3-ubyte", "t10k", ".gz"):
        assert word in message


def test_labels_without_images(tmp_path):
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.arange(3), zipped=False)
    message = refused(tmp_path)
    assert "no train images, only train-labels-idx1-ubyte" in message
    assert "add train-images-idx3-ubyte" in message


def test_labels_that_do_not_match_the_images(tmp_path):
    write_idx(tmp_path / "train-images-idx3-ubyte", pixels(5), zipped=False)
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.arange(4), zipped=False)
    message = refused(tmp_path)
    assert "train-images-idx3-ubyte: 4 labels for 5 examples" in message


def test_a_gzip_cut_short(tmp_path):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    write_idx(path, pixels(50), zipped=True)
    path.write_bytes(path.read_bytes()[:200])
    assert f"{path} is cut short" in refused(tmp_path)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.array([[0.0, np.nan], [np.inf, 0.0]]), ["1 infinite", "row 1"]),
        (np.array([[0.0, 1.0], [np.nan, np.nan]]), ["1 of 2 rows", "missing: 1 (counted"]),
        (np.array([[0.0, np.nan], [1.0, np.nan]]), ["1 of 2 columns", "missing: 1 (counted"]),
        (np.zeros(9), ["(N, ...)", "(9,)"]),
        (np.zeros((0, 9)), ["empty"]),
        (np.array([["a", "b"]]), ["real numbers"]),
        (np.array([[None]]), ["Python objects", "pickle"]),
    ],
)
def test_a_bad_array_names_its_file(tmp_path, x, words):
    path = tmp_path / "a.npz"
    np.savez(path, x=x)
    message = refused(path)
    for word in [f"{path}['x']", *words]:
        assert word in message


def test_parts_of_different_shapes(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=np.zeros((20, 2, 2)), x_test=np.zeros((5, 4)))
    assert "(2, 2), those of the test set (4,)" in refused(tmp_path / "a.npz")


@pytest.mark.parametrize("source", ["digits", Path()])
def test_array_for_what_is_no_archive(source):
    assert "array='x'" in refused(source, array="x")


def test_shares_are_checked_before_anything_is_read():
    assert "validation" in refused("no such file", validation=1.5)
    assert "test" in refused("no such file", test=-1.0)


def test_too_small_a_share():
    assert "validation set would be empty" in refused("digits", validation=0.0001)


def test_an_error_of_the_system_is_an_input_error(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", np.zeros((20, 2)))

    def denied(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    message = refused(tmp_path / "a.npy")
    assert "cannot read" in message
    assert "Permission denied" in message
    assert "permissions" in message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permission(tmp_path):
    folder = tmp_path / "closed"
    folder.mkdir(mode=0)
    assert "Permission denied" in refused(folder)


def test_a_name_too_long_for_the_system():
    refused("a" * 5000 + ".npy")


@pytest.mark.skipif(not (SHARED / "mnist").is_dir(), reason=f"no MNIST in {SHARED}")
def test_mnist():
    splits = load(SHARED / "mnist")
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (54000, 6000, 10000)
    assert splits.train.shape == (28, 28)
    assert splits.train.labels is not None
    total = splits.train.x.sum(dtype=np.float64) + splits.validation.x.sum(dtype=np.float64)
    np.testing.assert_allclose(total / (60000 * 784), 0.1307, atol=5e-5)
    np.testing.assert_allclose(splits.test.x.mean(dtype=np.float64), 0.1325, atol=5e-5)


def test_an_array_with_gaps_says_so_in_all_parts(tmp_path):
    x = np.zeros((20, 3, 2))
    x[4, 1] = np.nan
    np.savez(tmp_path / "a.npz", x_train=x, x_test=np.ones((5, 3, 2)))
    splits = load(tmp_path / "a.npz")
    assert splits.train.missing
    assert splits.validation.missing
    assert splits.test.missing
    np.savez(tmp_path / "b.npz", x_train=np.ones((20, 3, 2)), x_test=x)
    assert load(tmp_path / "b.npz").train.missing
    np.save(tmp_path / "c.npy", np.ones((20, 2)))
    assert not load(tmp_path / "c.npy").train.missing


def table(tmp_path, suffix=".csv"):
    frame = pl.DataFrame(
        {
            "id": [f"r{row}" for row in range(20)],
            "size": [row / 4 for row in range(19)] + [None],
            "number": [row % 7 for row in range(20)],
            "color": ["red", "green", "blue", None] * 5,
        }
    )
    path = tmp_path / f"shop{suffix}"
    write_table(frame, path)
    return frame, path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_a_table_comes_with_its_schema(tmp_path, suffix):
    frame, path = table(tmp_path, suffix)
    splits = load(path, drop=["id"], kinds={"number": "count"}, seed=3)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [16, 2, 2]
    schema = splits.train.schema
    assert schema is not None
    assert [column.kind for column in schema.columns] == ["real", "count", "categorical"]
    assert splits.train.name == "shop"
    assert splits.train.missing
    rows = [schema.decode(part.x) for part in (splits.train, splits.validation, splits.test)]
    order = ["size", "number", "color"]
    assert pl.concat(rows).sort(order).equals(frame.drop("id").sort(order))
    assert not load(path, drop=["id", "size", "color"]).train.missing


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"drop": ["colour"]}, ["drop=", "'colour'", "did you mean 'color'?"]),
        ({"drop": ["id", "size", "number", "color"]}, ["leaves no column"]),
        ({"drop": ["size"], "kinds": {"size": "unit"}}, ["kinds=", "'size'"]),
        ({"kinds": {"size": "unit"}}, ["'size'", "1.25", "row 5"]),
        ({"array": "x"}, ["array='x'"]),
    ],
)
def test_a_table_that_cannot_be_data_names_its_file(tmp_path, options, words):
    _, path = table(tmp_path)
    message = refused(path, **options)
    for word in [str(path), *words]:
        assert word in message


def test_a_table_whose_rows_are_missing(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a,b\n1,2\n,\n2,3\n?,NA\n")
    assert f"{path}: nothing is known of 2 of 4 rows, all of them missing: 1, 3" in refused(path)


def test_a_table_that_is_not_there(tmp_path):
    assert "No such file" in refused(tmp_path / "a.csv", drop=["a"])


@pytest.mark.parametrize("options", [{"drop": ["a"]}, {"kinds": {"a": "real"}}, {"header": True}])
def test_options_of_tables_for_what_is_none(options):
    (name,) = options
    assert f"{name}= is said of a .csv, .tsv, .parquet table" in refused("digits", **options)


def test_the_header_of_a_table_can_be_said(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("\n".join(f"{row},{row / 2}" for row in range(20)))
    assert len(load(path).train) == 16
    schema = load(path, header=True).train.schema
    assert schema is not None
    assert schema.names == ("0", "0.0")


def test_the_target_of_a_table_is_its_label(tmp_path):
    lines = [f"{i / 7},{'yn'[i % 2]},{i % 3},{'' if i == 4 else 'abc'[i % 3]}" for i in range(40)]
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["x,word,number,gaps", *lines]))
    for target, kind in (("word", "U"), ("number", "i"), ("gaps", "U")):
        train = load(path, target=target).train
        assert target not in train.schema.names
        assert train.labels.dtype.kind == kind
        assert train.missing == (target != "gaps")
    whole = load(path, target="number")
    np.testing.assert_array_equal(
        np.sort(
            np.concatenate([part.labels for part in (whole.train, whole.validation, whole.test)])
        ),
        np.sort(np.arange(40) % 3),
    )
    assert "target= names 'wrod', and there is no such column; did you mean 'word'?" in refused(
        path, target="wrod"
    )
    assert "target= is said of a" in refused("digits", target="x")
