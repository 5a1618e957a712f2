"""Reading `.npy` and `.npz` files, and telling examples from labels by the names of the arrays."""

import contextlib
import difflib
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.lib.npyio import NpzFile

from tighter._errors import InputError
from tighter._files import member, reading, refuse_more
from tighter.data.raw import Part, Raw

_EXAMPLES = ("x", "images", "data")
_LABELS = ("y", "labels", "targets")
_SPELLINGS: dict[Part, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("validation", "valid", "val"),
    "test": ("test",),
}
_MOST_LISTED = 16


def _roles() -> dict[str, tuple[Part | None, str]]:
    """Every name that is understood, without its separators -> (part, "x" or "labels")."""
    roles: dict[str, tuple[Part | None, str]] = {}
    for kind, nouns in (("x", _EXAMPLES), ("labels", _LABELS)):
        for noun in nouns:
            roles[noun] = (None, kind)
            for part, spellings in _SPELLINGS.items():
                for spelling in spellings:
                    roles[noun + spelling] = roles[spelling + noun] = (part, kind)
                    roles[spelling] = (part, "x")
    return roles


_ROLES = _roles()


def read_archive(path: Path, *, array: str | None = None) -> dict[Part, Raw]:
    """Read a `.npy` or `.npz` file, never a pickle.

    In an `.npz`, names such as x and y, images and labels, x_train, y_train and x_test,
    train_images and train_labels, or train, valid and test are understood, whatever their case
    and separators. Other arrays beside them are left alone. An array that stands alone is taken
    under any name.

    Args:
        path: The file.
        array: The one array of an `.npz` to take, without labels; none to go by the names.

    Returns:
        The parts that the file tells apart; "train" alone where it tells none.

    Raises:
        InputError: If the file is damaged or holds objects, or if it cannot be told what to take.
        OSError: If the file cannot be opened.
    """
    with path.open("rb") as stream:
        with _reading(str(path)):
            content = np.load(stream, allow_pickle=False)
            if not isinstance(content, NpzFile):
                refuse_more(stream)
        if not isinstance(content, NpzFile):
            if array is not None:
                raise InputError(f"{path} is a single array; leave array={array!r} out")
            return {"train": Raw(content, None, str(path))}
        if array is not None:
            _check_key(path, content, array)
            return {"train": Raw(_member(path, content, array), None, _origin(path, array))}
        return {
            part: Raw(
                _member(path, content, key),
                None if label_key is None else _member(path, content, label_key),
                _origin(path, key),
            )
            for part, (key, label_key) in _choose(path, content).items()
        }


def _choose(path: Path, content: NpzFile) -> dict[Part, tuple[str, str | None]]:
    found: dict[tuple[Part | None, str], list[str]] = defaultdict(list)
    for key in content.files:
        role = _ROLES.get(re.sub(r"[^a-z0-9]", "", key.lower()))
        if role is not None:
            found[role].append(key)
    # x beside x_test is the train set, but x beside x_train is anyone's guess.
    for kind in ("x", "labels"):
        found[("train", kind)] += found.pop((None, kind), [])
    parts: dict[Part, tuple[str, str | None]] = {}
    for part in _SPELLINGS:
        keys, label_keys = found[(part, "x")], found[(part, "labels")]
        if len(keys) == 1 and len(label_keys) <= 1:
            parts[part] = (keys[0], label_keys[0] if label_keys else None)
        elif len(keys) > 1 or (keys and len(label_keys) > 1):
            raise _cannot_tell(path, content)
    if "train" in parts:
        return parts
    if len(content.files) == 1:
        return {"train": (content.files[0], None)}
    raise _cannot_tell(path, content)


def _cannot_tell(path: Path, content: NpzFile) -> InputError:
    if not content.files:
        return InputError(f"{path} holds no array; save one with np.savez(path, x=...)")
    listed = [_described(path, content, key) for key in content.files[:_MOST_LISTED]]
    if len(content.files) > _MOST_LISTED:
        listed.append(f"and {len(content.files) - _MOST_LISTED} more")
    return InputError(
        f"{path} does not say which array holds the examples; name it with array= "
        f"(on the command line, --set data.array=KEY); it holds {', '.join(listed)}"
    )


def _described(path: Path, content: NpzFile, key: str) -> str:
    try:
        return f"{key} {_member(path, content, key).shape}"
    except InputError:
        return f"{key} (unreadable)"


def _check_key(path: Path, content: NpzFile, array: str) -> None:
    if array in content.files:
        return
    nearest = difflib.get_close_matches(array, content.files, n=1)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    listed = ", ".join(content.files[:_MOST_LISTED]) or "nothing"
    raise InputError(f"{path} has no array {array!r}; {hint}it holds {listed}")


def _member(path: Path, content: NpzFile, key: str) -> np.ndarray:
    with _reading(_origin(path, key)):
        return member(content, key)


def _origin(path: Path, key: str) -> str:
    return f"{path}[{key!r}]"


@contextlib.contextmanager
def _reading(origin: str) -> Iterator[None]:
    """Say what numpy says of pickles in our words."""
    with reading(origin):
        try:
            yield
        except ValueError as error:
            if "Object arrays" in str(error):
                raise InputError(
                    f"{origin} holds Python objects, which would have to be unpickled: refused, as "
                    "a pickle can run code; save one dense array of numbers"
                ) from error
            if "pickle" in str(error):
                raise InputError(
                    f"{origin} is not a numpy file (a pickle is refused, as it can run code); "
                    "save it again with np.save or np.savez"
                ) from error
            raise
