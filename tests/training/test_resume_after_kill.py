"""A run killed at any moment resumes to the same parameters, bit for bit, as one never stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

EPOCHS, STEPS_AN_EPOCH = 16, 4

# Run in processes of their own: some are killed, one is never stopped.
SCRIPT = """
import functools
import sys
from pathlib import Path

import jax
import numpy as np
import optax

import tighter as tt
from tighter.data import Binarization, binarize


def main(directory, data, *, resume):
    xs = np.load(data)
    model = tt.models.VAE.create((8, 8), num_latent=2, hidden=(8,), key=jax.random.key(0))
    model = model.initialized_from(xs)
    return tt.fit(
        model,
        xs[20:],
        tt.Objective(tt.bounds.IWAE(), num_samples=2),
        optimizer=optax.adam(optax.cosine_decay_schedule(1e-2, 64)),
        num_epochs=16,
        batch_size=20,
        key=jax.random.key(1),
        validation=xs[:20],
        directory=directory,
        resume=resume,
        transform=functools.partial(binarize, binarization=Binarization.STOCHASTIC),
        checkpoint_seconds=0.0,
        show_progress=False,
    )


if __name__ == "__main__":
    result = main(Path(sys.argv[1]), sys.argv[2], resume=True)
    print("interrupted" if result.interrupted else "finished")
"""


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    from sklearn.datasets import load_digits

    folder = tmp_path_factory.mktemp("killed")
    xs = load_digits().images[:100].astype(np.float32) / 16
    np.save(folder / "digits.npy", xs)
    (folder / "train.py").write_text(SCRIPT)
    return folder


@pytest.fixture(scope="module")
def never_stopped(workplace) -> Path:
    process = start(workplace, "whole")
    _, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    rows = (workplace / "whole" / "metrics.jsonl").read_text().splitlines()
    assert len(rows) == EPOCHS
    return workplace / "whole"


def start(workplace: Path, directory: str = "run") -> subprocess.Popen:
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONWARNINGS": "default"}
    # One program for all the processes, or compiling takes most of the test's time.
    environment["JAX_COMPILATION_CACHE_DIR"] = str(workplace / "programs")
    environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    return subprocess.Popen(
        [sys.executable, "train.py", directory, "digits.npy"],
        cwd=workplace,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def newest(checkpoints: Path) -> int:
    """The step of the newest finished checkpoint, or -1."""
    names = os.listdir(checkpoints) if checkpoints.exists() else []
    return max((int(name) for name in names if name.isdecimal()), default=-1)


def wait_for(process: subprocess.Popen, happened) -> None:
    end = time.monotonic() + 120
    while not happened():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end, "nothing happened for two minutes"
        time.sleep(0.0005)


def being_written(checkpoints: Path) -> bool:
    return any("tmp" in name for name in os.listdir(checkpoints))


def test_killed_four_times(workplace, never_stopped):
    checkpoints = workplace / "run" / "checkpoints"
    rng = np.random.default_rng(0)
    killed_while_writing, reached = 0, [-1]
    for stop in ("before", "writing", "any moment", "writing"):
        process = start(workplace)
        if stop == "before":  # while it compiles, or takes its first steps
            wait_for(process, checkpoints.exists)
            time.sleep(rng.uniform(0, 0.5))
        else:
            goal = newest(checkpoints) + int(rng.integers(4, 9))
            wait_for(process, lambda goal=goal: newest(checkpoints) >= goal)
            if stop == "writing":
                wait_for(process, lambda: being_written(checkpoints))
            else:
                time.sleep(rng.uniform(0, 0.1))
        process.kill()
        process.communicate(timeout=120)
        assert process.returncode == -signal.SIGKILL
        killed_while_writing += checkpoints.exists() and being_written(checkpoints)
        reached.append(newest(checkpoints))
    assert killed_while_writing >= 1
    assert reached == sorted(reached)
    assert 12 <= reached[-1] < EPOCHS * STEPS_AN_EPOCH

    process = start(workplace)
    out, err = process.communicate(timeout=120)
    assert (out, err) == ("finished\n", "")
    compare(workplace / "run", never_stopped)
    assert not being_written(checkpoints), "half-written checkpoints are left behind"


def compare(resumed: Path, whole: Path) -> None:
    for name in ("last.safetensors", "best.safetensors"):
        found, expected = (safetensors.numpy.load_file(run / name) for run in (resumed, whole))
        assert found.keys() == expected.keys()
        for key, array in expected.items():
            np.testing.assert_array_equal(found[key], array, err_msg=f"{name}: {key}")
    rows, expected = (
        [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        for run in (resumed, whole)
    )
    assert [row["epoch"] for row in rows] == list(range(1, EPOCHS + 1))
    for name in ("epoch", "step", "bound", "validation_bound"):
        assert [row[name] for row in rows] == [row[name] for row in expected]
    seconds = [row["seconds"] for row in rows]
    assert seconds == sorted(seconds)
    assert {path.name for path in resumed.iterdir()} == {path.name for path in whole.iterdir()}
