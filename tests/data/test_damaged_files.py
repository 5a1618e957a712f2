"""Files damaged at random, in every way and of every kind that is read: one line, or numbers."""

import json
import random

import numpy as np
import polars as pl
import pytest
from scipy import sparse

from tighter import InputError
from tighter.data import load
from tighter.data.counts import read_counts, read_vocabulary
from tighter.data.text import read_documents
from tighter.graph import DAG
from tighter.report.records import read_run
from tighter.runs.configuration import parse_settings, read_toml
from tighter.runs.folder import open_run

NUM = 40  # of each kind; `python -c` with thousands finds more
WORDS = tuple("abcde")


def _write(folder):
    """A sound file of each kind, by name."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 4)).astype(np.float32)
    np.save(folder / "x.npy", x)
    np.savez(folder / "x.npz", x=x, y=np.arange(30))
    np.savez_compressed(folder / "c.npz", x=x, y=np.arange(30))
    table = pl.DataFrame({"a": x[:, 0], "b": [f"t{i % 3}" for i in range(30)], "c": range(30)})
    table.write_csv(folder / "t.csv")
    table.write_parquet(folder / "t.parquet")
    table.write_parquet(folder / "u.parquet", compression="uncompressed")
    (folder / "mnist").mkdir(exist_ok=True)
    pixels = rng.integers(0, 256, (30, 3, 3), np.uint8)
    header = bytes([0, 0, 8, 3, 0, 0, 0, 30, 0, 0, 0, 3, 0, 0, 0, 3])
    (folder / "mnist" / "train-images-idx3-ubyte").write_bytes(header + pixels.tobytes())
    counts = rng.integers(1, 4, (6, 5)) * rng.integers(0, 2, (6, 5)) + np.eye(6, 5, dtype=int)
    counts[5, 0] = 1
    for kind in ("csr", "csc", "coo", "dia", "bsr"):
        matrix = sparse.csr_array(counts).asformat(kind)
        sparse.save_npz(folder / f"{kind}.npz", matrix, compressed=False)
    (folder / "words.json").write_text(json.dumps(WORDS))
    (folder / "texts.txt").write_text("one two three\n\nfour five six\n")
    (folder / "run.toml").write_text("[training]\nbatch_size = 20\nepochs = 1\n")
    (folder / "g.dot").write_text('digraph { a -> b [dir=back]; b [label=<<b>x</b>>]; "c" -> a }')
    dag = DAG([("a", "b"), ("b", "c")])
    (folder / "g.graphml").write_text(dag.to_graphml())
    run = folder / "run"
    run.mkdir(exist_ok=True)
    (run / "configuration.json").write_text(
        json.dumps({"shape": [4], "configuration": {"model": {"latent": 2, "hidden": [3]}}})
    )
    (run / "metrics.jsonl").write_text('{"epoch": 1, "step": 3, "bound": -1.5}\n' * 3)
    np.savez(run / "pictures.npz", prior_samples=x, encodings=x[:, :2])


def _text(path):
    return path.read_text("utf-8", "replace")


READERS = {
    "x.npy": load, "x.npz": load, "c.npz": load, "t.csv": load, "t.parquet": load,
    "u.parquet": load,
    "mnist/train-images-idx3-ubyte": lambda path: load(path.parent),
    **dict.fromkeys(
        [f"{kind}.npz" for kind in ("csr", "csc", "coo", "dia", "bsr")],
        lambda path: read_counts(path, words=WORDS),
    ),
    "words.json": read_vocabulary,
    "texts.txt": lambda path: read_documents([path]),
    "run.toml": read_toml,
    "g.dot": lambda path: DAG.from_text(_text(path)),
    "g.graphml": lambda path: DAG.from_graphml(_text(path)),
    "run/configuration.json": lambda path: (open_run(path.parent), read_run(path.parent)),
    "run/metrics.jsonl": lambda path: read_run(path.parent),
    "run/pictures.npz": lambda path: read_run(path.parent),
}  # fmt: skip
PIECES = [
    b"null", b"NaN", b"-1", b"1e999", b"9" * 30, b"[" * 2000, b"{" * 2000, b'{"a":' * 2000, b"\0",
    b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff\xff\xff\xff\xff", b"\x80", b'"', b"\n\n", b"true",
    b"<a>" * 2000, b"<!--", b"->", b"subgraph", b"edge [dir=none]",
]  # fmt: skip


def damaged(content: bytes, rng: random.Random) -> bytes:
    """The bytes with some of them changed, cut off, doubled or replaced."""
    for _ in range(rng.choice([1, 1, 1, 2, 6])):
        place, end = sorted(rng.randrange(len(content) + 1) for _ in range(2))
        way = rng.randrange(6)
        if way == 0:
            content = content[:place]
        elif way == 1:
            content = content[:place] + rng.choice(PIECES) + content[place:]
        elif way == 2:
            content = content[:place] + rng.choice(PIECES) + content[place + rng.randrange(9) :]
        elif way == 3:
            content = content[:end] + content[place:]
        elif content:
            place = rng.randrange(len(content))
            flipped = content[place] ^ (1 << rng.randrange(8)) if way == 4 else rng.randrange(256)
            content = content[:place] + bytes([flipped]) + content[place + 1 :]
    return content


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_refused_in_one_line_or_read(tmp_path, name, capfd):
    attack(tmp_path, name, NUM, seed=1)
    assert capfd.readouterr() == ("", "")


def attack(folder, name, num, *, seed):
    """Read many damaged copies of one file."""
    _write(folder)
    path, rng = folder / name, random.Random(f"{name} {seed}")
    sound = path.read_bytes()
    READERS[name](path)
    for _ in range(num):
        path.write_bytes(damaged(sound, rng))
        said = ""
        try:
            READERS[name](path)
        except InputError as error:
            said = str(error)
        assert "\n" not in said, said
        assert len(said) <= 1000, said


def test_settings_and_runs_of_topics(tmp_path):
    with pytest.raises(InputError, match="nested too deep"):
        parse_settings(["training.epochs=" + "[" * 9000])
    for content in ("[" * 9000, '{"kind": "topics", "configuration": {"data": 3}}', "null"):
        (tmp_path / "configuration.json").write_text(content)
        with pytest.raises(InputError, match="damaged"):
            open_run(tmp_path, of_topics=True)
