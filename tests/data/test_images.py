"""Folders of images, and arrays too large for memory, as data sets."""

import importlib

import numpy as np
import pytest
from PIL import Image

import tighter as tt
from tighter.data import load
from tighter.data.images import Images

sources = importlib.import_module("tighter.data.sources")


def save(path, array, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **more)


@pytest.fixture
def folder(tmp_path):
    """30 gray images of two labels, a color one's place in each pixel."""
    for number in range(30):
        image = np.full((6, 6), number, np.uint8)
        save(tmp_path / ("cats", "dogs")[number % 2] / f"{number:02}.png", image)
    return tmp_path


def test_images_in_the_order_of_their_names(folder):
    images = Images(folder)
    assert images.shape == (30, 6, 6)
    first = images[np.asarray([0, 29, 1])]
    assert first[:, 0, 0].tolist() == [0, 29, 2]
    assert images.labels[[0, 29]].tolist() == ["cats", "dogs"]


def test_a_folder_is_a_data_set_of_pixels(folder):
    splits = load(folder)
    assert splits.train.shape == (6, 6)
    assert splits.train.x.dtype == np.float32
    assert splits.train.x.max() <= 29 / 255 + 1e-6
    assert set(splits.train.labels.tolist()) == {"cats", "dogs"}


def test_the_middle_is_brought_to_a_size(tmp_path):
    """Of a wide image its middle square; of each block of pixels the mean."""
    wide = np.zeros((4, 8), np.uint8)
    wide[:, 2:6] = np.arange(0, 160, 10).reshape(4, 4)
    save(tmp_path / "a.png", wide)
    save(tmp_path / "b.png", np.full((2, 2), 7, np.uint8))
    images = Images(tmp_path, size=2)[np.arange(2)]
    means = wide[:, 2:6].reshape(2, 2, 2, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(images[0], means, atol=0.5)  # whole levels: half of one
    assert (images[1] == 7).all()


def test_a_camera_that_was_turned(tmp_path):
    image = np.zeros((16, 32, 3), np.uint8)
    image[:, :16, 0] = 200
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees, clockwise
    save(tmp_path / "a.jpg", image, exif=exif)
    images = Images(tmp_path)
    assert images.shape == (1, 32, 16, 3)
    red = images[:][0, :, :, 0].mean(axis=1)
    assert red[:12].min() > 150
    assert red[20:].max() < 50


def test_gray_ones_become_colored_beside_colored_ones(folder):
    save(folder / "cats" / "x.jpg", np.full((6, 6, 3), 9, np.uint8))
    assert Images(folder).shape == (31, 6, 6, 3)


def test_broken_files_are_named_and_counted(folder):
    (folder / "dogs" / "broken.png").write_bytes(b"no image")
    with pytest.warns(UserWarning, match=r"1 of 31 images .* left out: dogs/broken.png"):
        assert len(Images(folder)) == 30
    cut = folder / "cats" / "00.png"
    save(cut, np.random.default_rng(0).integers(0, 255, (6, 6)).astype(np.uint8))
    cut.write_bytes(cut.read_bytes()[:60])
    (folder / "dogs" / "broken.png").unlink()
    with pytest.raises(tt.InputError, match=r"00.png can't be read"):
        Images(folder)[:]
    with pytest.warns(UserWarning, match=r"1 of 30 images .* left out: cats/00.png"):
        assert sum(len(part.x) for part in vars(load(folder)).values()) == 29


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: save(f / "cats" / "z.png", np.zeros((3, 9), np.uint8)),
         r"have 2 shapes: 30 are 6x6, 1 9x3 \(cats/z.png\): give one size"),
        (lambda f: [file.write_bytes(b"") for file in f.rglob("*.png")], "no image of .* can be"),
        (lambda f: [file.unlink() for file in f.rglob("*.png")], "holds no IDX files"),
    ],
)  # fmt: skip
def test_folders_that_are_refused(folder, make, message):
    make(folder)
    with pytest.raises(tt.InputError, match=message):
        load(folder)


def test_a_size_is_of_images(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((4, 3)))
    with pytest.raises(tt.InputError, match="size=8 is of a folder of images"):
        load(tmp_path / "x.npy", size=8)
    with pytest.raises(tt.InputError, match="holds arrays"):
        load(tmp_path, size=8)
    with pytest.raises(tt.InputError, match="1 pixel a side or more"):
        Images(tmp_path, size=0)


def test_shards_are_one_array(tmp_path):
    x = np.arange(60, dtype=np.uint8).reshape(20, 3)
    np.save(tmp_path / "a.npy", x[:8])
    np.save(tmp_path / "b.npy", x[8:])
    splits = load(tmp_path, seed=3)
    both = np.concatenate([part.x for part in (splits.train, splits.validation, splits.test)])
    np.testing.assert_allclose(np.sort(both[:, 0]) * 255, x[:, 0], rtol=1e-6)
    np.save(tmp_path / "c.npy", x[:, :2])
    with pytest.raises(tt.InputError, match=r"c.npy holds examples of uint8\(2,\), .*a.npy of"):
        load(tmp_path)


def test_what_is_large_is_read_by_rows(folder, tmp_path_factory, monkeypatch):
    """The same numbers as in memory."""
    tmp_path = tmp_path_factory.mktemp("arrays")
    np.save(tmp_path / "x.npy", np.arange(80).reshape(40, 2) / 7)
    np.save(tmp_path / "bytes.npy", np.arange(80, dtype=np.uint8).reshape(40, 2))
    for source in (folder, tmp_path / "x.npy", tmp_path / "bytes.npy"):
        with monkeypatch.context() as patch:
            whole = load(source, seed=1)
            patch.setattr(sources, "_IN_MEMORY", 0)
            stored = load(source, seed=1)
        assert not isinstance(stored.train.x, np.ndarray)
        assert stored.train.shape == whole.train.shape
        np.testing.assert_allclose(stored.train.sample(), whole.train.x, rtol=1e-6)
        np.testing.assert_allclose(stored.test[np.arange(2)], whole.test.x[:2], rtol=1e-6)
        some = stored.train.take([0, -1])
        np.testing.assert_allclose(some.x[:], whole.train.x[[0, -1]], rtol=1e-6)
