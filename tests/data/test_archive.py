import pickle

import numpy as np
import pytest

from tighter._errors import InputError
from tighter.data.arrays import read_archive

X = np.arange(12, dtype=np.float64).reshape(4, 3)
Y = np.arange(4)


def saved(tmp_path, **arrays):
    path = tmp_path / "file.npz"
    np.savez_compressed(path, **arrays)
    return path


def refused(path, **options) -> str:
    with pytest.raises(InputError) as caught:
        read_archive(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_npy(tmp_path):
    np.save(tmp_path / "x.npy", X)
    parts = read_archive(tmp_path / "x.npy")
    assert list(parts) == ["train"]
    np.testing.assert_array_equal(parts["train"].x, X)
    assert parts["train"].labels is None


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        ({"train": "x"}, {"train": "y"}),
        ({"train": "X"}, {"train": "Y"}),
        ({"train": "images"}, {"train": "labels"}),
        ({"train": "data"}, {"train": "targets"}),
        ({"train": "x_train", "test": "x_test"}, {"train": "y_train", "test": "y_test"}),
        ({"train": "X-train", "test": "Xtest"}, {}),
        ({"train": "train_images", "test": "test_images"}, {"train": "train_labels"}),
        ({"train": "x", "test": "x_test"}, {"train": "y", "test": "y_test"}),
        ({"train": "train", "validation": "valid", "test": "test"}, {}),
        ({"train": "train", "validation": "validation", "test": "test"}, {}),
        ({"train": "x_train", "validation": "x_val"}, {"validation": "y_val"}),
        ({"train": "anything"}, {}),
    ],
)
def test_names_are_understood(tmp_path, names, labels):
    offsets = {"train": 0, "validation": 100, "test": 200}
    arrays = {key: X + offsets[part] for part, key in names.items()}
    arrays |= {key: Y + offsets[part] for part, key in labels.items()}
    parts = read_archive(saved(tmp_path, **arrays))
    assert set(parts) == set(names)
    for part, raw in parts.items():
        np.testing.assert_array_equal(raw.x, X + offsets[part])
        if part in labels:
            np.testing.assert_array_equal(raw.labels, Y + offsets[part])
        else:
            assert raw.labels is None


def test_other_arrays_are_left_alone(tmp_path):
    path = saved(tmp_path, images=X, class_names=np.array(["a", "b"]))
    assert list(read_archive(path)) == ["train"]


@pytest.mark.parametrize("keys", [("a", "b"), ("x", "x_train"), ("x", "images"), ("x_test", "b")])
def test_names_that_leave_a_doubt_are_listed(tmp_path, keys):
    message = refused(saved(tmp_path, **dict.fromkeys(keys, X)))
    assert "array=" in message
    assert "--set data.array=KEY" in message
    for key in keys:
        assert f"{key} (4, 3)" in message


def test_two_sets_of_labels_leave_a_doubt(tmp_path):
    assert "array=" in refused(saved(tmp_path, x=X, y=Y, labels=Y))


def test_a_long_list_is_cut(tmp_path):
    assert "and 4 more" in refused(saved(tmp_path, **{f"a{n}": X for n in range(20)}))


def test_an_empty_archive(tmp_path):
    assert "no array" in refused(saved(tmp_path))


def test_array_is_taken_alone(tmp_path):
    path = saved(tmp_path, x=X, y=Y, other=X + 1)
    (raw,) = read_archive(path, array="other").values()
    np.testing.assert_array_equal(raw.x, X + 1)
    assert raw.labels is None


def test_array_that_is_not_there_gets_the_nearest_name(tmp_path):
    message = refused(saved(tmp_path, images=X, labels=Y), array="imagse")
    assert "no array 'imagse'" in message
    assert "did you mean 'images'?" in message
    assert "images, labels" in message
    assert "did you mean" not in refused(saved(tmp_path, images=X), array="zzz")


def test_array_for_a_npy_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", X)
    assert "single array" in refused(tmp_path / "x.npy", array="x")


def test_objects_are_refused(tmp_path):
    objects = np.array([[1, None]], dtype=object)
    np.save(tmp_path / "x.npy", objects)
    for path in (tmp_path / "x.npy", saved(tmp_path, x=objects)):
        message = refused(path)
        assert "Python objects" in message
        assert "can run code" in message


def test_objects_in_a_list_of_arrays_are_no_crash(tmp_path):
    message = refused(saved(tmp_path, a=X, b=np.array([None])))
    assert "a (4, 3), b (unreadable)" in message


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_a_pickle_is_refused(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(pickle.dumps([1, 2]))
    message = refused(path)
    assert "not a numpy file" in message
    assert "pickle is refused" in message


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
@pytest.mark.parametrize("content", [b"", b"hello, this is text"])
def test_what_is_no_numpy_file_is_refused(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    message = refused(path)
    assert "not a numpy file" in message or "cut short" in message


def test_every_cut_is_an_input_error(tmp_path):
    np.save(tmp_path / "x.npy", X)
    archive = saved(tmp_path, x=X, y=Y)
    for path in (tmp_path / "x.npy", archive):
        content = path.read_bytes()
        for size in range(len(content)):
            path.write_bytes(content[:size])
            message = refused(path)
            assert "cut short" in message or "not a numpy file" in message
        path.write_bytes(content[: len(content) // 2])
        assert "cut short" in refused(path)


def test_a_damaged_member_is_an_input_error(tmp_path):
    path = saved(tmp_path, x=X)
    content = bytearray(path.read_bytes())
    content[60:80] = bytes(20)
    path.write_bytes(content)
    assert "cut short or damaged" in refused(path)


def test_a_member_that_is_no_array_is_refused(tmp_path):
    import zipfile

    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x", "text")
    assert "not an array" in refused(path)


def test_a_header_that_promises_too_much(tmp_path):
    path = tmp_path / "x.npy"
    header = {"descr": "<f8", "fortran_order": False, "shape": (10**15, 10)}
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
    message = refused(path)
    assert "memory" in message or "cut short" in message
