"""The command line called in the process, and files that it should and shouldn't like."""

import contextlib
import gzip
import io
import struct
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from tighter.cli import main

TINY = [
    "--latent=2",
    "--num-samples=2",
    "--epochs=2",
    "--set=model.hidden=[8]",
    "--set=evaluation.num_samples=30",
    "--set=evaluation.num_examples=12",
]


@pytest.fixture(autouse=True, scope="module")
def programs(keep_every_program) -> Iterator[None]:
    """What is compiled once serves every test below: compiling takes most of the time here."""
    with keep_every_program():
        yield


class Answer(NamedTuple):
    """What a command came to."""

    status: int | str | None
    out: str
    err: str


def tighter(*words: object) -> Answer:
    """Run `tighter WORDS`."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setattr(sys, "argv", ["tighter", *(str(word) for word in words)])
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            pytest.raises(SystemExit) as left,
        ):
            main()
    return Answer(left.value.code, out.getvalue(), err.getvalue())


def write_idx(path: Path, array: np.ndarray) -> None:
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes()))


@pytest.fixture(scope="session")
def call() -> Callable[..., Answer]:
    """`call("train", "--latent", 2)` runs `tighter train --latent 2`."""
    return tighter


@pytest.fixture(scope="session")
def refused() -> Callable[..., str]:
    """A command's one line of complaint, after checking that there is nothing else."""

    def refuse(*words: object) -> str:
        answer = tighter(*words)
        assert answer.status == 2, answer
        assert answer.err.count("\n") == 1, answer.err
        assert answer.err.startswith("error: ")
        assert "Traceback" not in answer.err
        assert answer.out == ""
        return answer.err.removeprefix("error: ").rstrip("\n")

    return refuse


@pytest.fixture(scope="session")
def tiny() -> list[str]:
    """Options that make a run small."""
    return TINY


@pytest.fixture(scope="session")
def files(tmp_path_factory) -> Path:
    """Data of every kind, sound and unsound."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    floats = rng.normal(size=(60, 4, 3)).astype(np.float32)
    pixels = rng.integers(0, 256, size=(60, 6, 5))
    infinite = floats.copy()
    infinite[7, 0, 0] = np.inf
    arrays = {
        "floats": floats,
        "ten": (floats[:10] > 0).astype(np.float32),
        "volumes": (rng.random((60, 2, 2, 2, 2)) > 0.5).astype(np.float32),
        "infinite": infinite,
        "rank": floats[:, 0, 0],
        "strings": np.array(["a", "b"]),
        "empty": floats[:0],
        "large": np.abs(floats) + 2,
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    np.save(folder / "objects.npy", np.array([{}, 1], dtype=object), allow_pickle=True)
    np.savez(folder / "labels.npz", x=floats, y=np.arange(59))
    np.savez(folder / "several.npz", a=floats, b=floats)
    content = (folder / "floats.npy").read_bytes()
    (folder / "cut.npy").write_bytes(content[:300])
    (folder / "table.txt").write_text("1,2\n")
    _write_tables(folder)
    images, labels = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"
    write_idx(folder / "my images" / images, pixels)
    write_idx(folder / "my images" / labels, np.arange(60) % 10)
    write_idx(folder / "few_labels" / images, pixels)
    write_idx(folder / "few_labels" / labels, np.arange(59) % 10)
    write_idx(folder / "only_labels" / labels, np.arange(60) % 10)
    write_idx(folder / "cut" / images, pixels)
    path = folder / "cut" / images
    path.write_bytes(path.read_bytes()[:500])
    (folder / "no_idx").mkdir()
    (folder / "no_idx" / "notes.txt").write_text("nothing here")
    for name, text in {
        "section": "[trainin]\nepochs = 2\n",
        "key": "[training]\nepoch = 2\n",
        "type": '[training]\nepochs = "two"\n',
        "broken": "[training\nepochs = 2",
        "flat": "epochs = 2\n",
        "sound": "[training]\nbatch_size = 20\nepochs = 1\n",
    }.items():
        (folder / f"{name}.toml").write_text(text)
    return folder


def _write_tables(folder: Path) -> None:
    """A table with gaps, and tables that are wrong somewhere."""
    rng = np.random.default_rng(3)
    length = rng.normal(50, 9, size=70)
    rows = [
        [f"{x:.2f}", f"{2 * x + rng.normal():.1f}", int(x > 50), "tall" if x > 55 else "short"]
        for x in length
    ]
    gaps = [row.copy() for row in rows]
    for i in range(0, 70, 7):
        gaps[i][i % 4] = ""
    spoiled = {
        "whole": rows,
        "gaps": gaps,
        "unseen": [*rows[:9], [*rows[9][:3], "huge"]],
        "constant": [[*row[:2], 1, row[3]] for row in rows],
        "no column": [["", *row[1:]] for row in rows],
        "no row": [*rows[:4], ["", "", "", ""], *rows[4:]],
    }
    for name, lines in spoiled.items():
        text = "\n".join(",".join(map(str, line)) for line in lines)
        (folder / f"{name}.csv").write_text(f"length,twice,long,size\n{text}\n")


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> tuple[Path, Answer]:
    """A finished run on digits, and what the command said; not to be changed."""
    run = tmp_path_factory.mktemp("runs") / "digits"
    return run, tighter("train", run, *TINY)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch) -> None:
    """Nothing is written to the checkout."""
    monkeypatch.chdir(tmp_path)
