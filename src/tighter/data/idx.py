"""Reading one IDX file, the format that MNIST is shipped in.

An IDX file is a magic number (two zero bytes, a code for the type, the rank), the dimensions as
big-endian 32-bit numbers, and the values, row-major and big-endian.
"""

import gzip
import math
from pathlib import Path

import numpy as np

from tighter._errors import InputError
from tighter._files import reading

_DTYPES = {
    0x08: np.dtype("u1"),
    0x09: np.dtype("i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
_GZIP_MAGIC = b"\x1f\x8b"


def read_idx(path: Path) -> np.ndarray:
    """Read one IDX file, gzipped or not (told by its first bytes, not by its name).

    Args:
        path: The file.

    Returns:
        The array that the header describes, in the machine's byte order.

    Raises:
        InputError: If the file is not IDX, is cut short, or is longer than its header says.
        OSError: If the file cannot be opened.

    References:
        LeCun, Cortes & Burges, "The MNIST database of handwritten digits", section on the format.
    """
    content = _content(path)
    if len(content) < 4:
        raise InputError(
            f"{path} is cut short: {len(content)} bytes, less than an IDX header; download it again"
        )
    dtype = _DTYPES.get(content[2])
    rank = content[3]
    if content[:2] != b"\0\0" or dtype is None or rank == 0:
        raise InputError(
            f"{path} is not an IDX file: its magic number is {content[:4].hex()}, where 0000, a "
            "type (08, 09, 0b to 0e) and a rank were expected, as in 00000803; download it again"
        )
    start = 4 + 4 * rank
    if len(content) < start:
        raise InputError(
            f"{path} is cut short: {len(content)} bytes, where its header of rank {rank} "
            f"alone has {start}; download it again"
        )
    # Python integers: a damaged header must not overflow into a size that fits.
    shape = tuple(int(n) for n in np.frombuffer(content, ">u4", count=rank, offset=4))
    expected = math.prod(shape) * dtype.itemsize
    got = len(content) - start
    if got != expected:
        fault = "is cut short" if got < expected else "is longer than its header says"
        raise InputError(
            f"{path} {fault}: shape {shape} of {dtype.name} takes {expected} bytes, got {got}; "
            "download it again"
        )
    with reading(path, "{origin} is no IDX file that can be read ({cause}); download it again"):
        values = np.frombuffer(content, dtype, offset=start).reshape(shape)
        return values.astype(dtype.newbyteorder("="))


def _content(path: Path) -> bytes:
    content = path.read_bytes()
    if not content.startswith(_GZIP_MAGIC):
        return content
    with reading(path, "{origin} is a damaged gzip file ({cause}); download it again"):
        try:
            return gzip.decompress(content)
        except EOFError as error:
            raise InputError(
                f"{path} is cut short: its gzip stream ends early; download it again"
            ) from error
