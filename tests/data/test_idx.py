import gzip
import struct

import numpy as np
import pytest

from tighter._errors import InputError
from tighter.data.arrays import read_idx


def encode(array: np.ndarray, code: int) -> bytes:
    header = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
CONTENT = encode(IMAGES, 0x08)


@pytest.mark.parametrize(
    ("code", "dtype"),
    [(0x08, "u1"), (0x09, "i1"), (0x0B, "i2"), (0x0C, "i4"), (0x0D, "f4"), (0x0E, "f8")],
)
def test_every_type_survives(tmp_path, code, dtype):
    array = np.array([[-3, 1, 7], [100, 0, 5]]).astype(dtype)
    path = tmp_path / "file"
    path.write_bytes(encode(array, code))
    read = read_idx(path)
    assert read.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize("name", ["file", "file.gz"])
@pytest.mark.parametrize("zipped", [True, False])
def test_gzip_is_told_by_the_content(tmp_path, name, zipped):
    path = tmp_path / name
    path.write_bytes(gzip.compress(CONTENT, mtime=0) if zipped else CONTENT)
    np.testing.assert_array_equal(read_idx(path), IMAGES)


def damaged(content: bytes) -> bytes:
    return content[:-8] + bytes(4) + content[-4:]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["cut short", "0 bytes"]),
        (CONTENT[:3], ["cut short", "3 bytes"]),
        (CONTENT[:9], ["cut short", "9 bytes", "rank 3", "16"]),
        (CONTENT[:-5], ["cut short", "(2, 3, 4)", "24 bytes", "got 19"]),
        (CONTENT + b"\0", ["longer", "24 bytes", "got 25"]),
        (b"<html>", ["not an IDX file", "3c68746d", "00000803"]),
        (b"\0\0\x0a\1", ["not an IDX file", "00000a01"]),
        (b"\0\0\x08\0", ["not an IDX file", "00000800"]),
        (bytes([0, 0, 8, 2]) + b"\xff" * 8, ["cut short", "18446744065119617025 bytes"]),
        (gzip.compress(CONTENT, mtime=0)[:-12], ["cut short", "gzip stream ends early"]),
        (gzip.compress(CONTENT, mtime=0)[:12], ["cut short", "gzip stream ends early"]),
        (damaged(gzip.compress(CONTENT, mtime=0)), ["damaged gzip", "CRC"]),
        (
            gzip.compress(CONTENT, mtime=0)[:10] + b"\xff" * 20,
            ["damaged gzip", "download it again"],
        ),
    ],
)
def test_a_damaged_file_says_how(tmp_path, content, words):
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_idx(path)
    assert "\n" not in str(caught.value)
    for word in [str(path), *words]:
        assert word in str(caught.value)
