"""Two processes that train one model: as one does it, and what they say when one is gone."""

import os
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import safetensors.numpy

import tighter as tt
from tighter.training.processes import agreed, by_first, initialize, told_by_first


def start(run, place, port, *words, number=2):
    """A process of `tighter train`."""
    several = [f"--coordinator=127.0.0.1:{port}", f"--num-processes={number}"]
    return subprocess.Popen(
        [
            sys.executable, "-m", "tighter", "train", run, "--set=model.hidden=[8]", "--latent=2",
            "--set=evaluation.num_samples=5", "--set=evaluation.num_examples=4", *words,
            *(several if number > 1 else ()), *([f"--process-id={place}"] if number > 1 else ()),
        ],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "XLA_FLAGS": ""},
    )  # fmt: skip


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def together(run, *words):
    port = free_port()
    processes = [start(run, place, port, *words) for place in range(2)]
    said = [process.communicate(timeout=200)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    return said


def parameters(run):
    arrays = safetensors.numpy.load_file(run / "last.safetensors")
    return np.concatenate([array.ravel() for _, array in sorted(arrays.items())])


def test_killed_in_mid_run_and_resumed_it_comes_to_the_same(tmp_path):
    """One goes by SIGKILL: the other says so in a line and how to go on; by one process it does."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    first, second = together(whole, "--epochs=4")
    assert "test log-likelihood" not in second
    assert "4 epochs; run folder" in first
    port = free_port()
    processes = [start(broken, place, port, "--epochs=100000") for place in range(2)]
    until = time.monotonic() + 100
    metrics = broken / "metrics.jsonl"
    while not metrics.exists() or len(metrics.read_text().splitlines()) < 2:
        assert time.monotonic() < until
        time.sleep(0.1)
    processes[1].send_signal(signal.SIGKILL)
    began = time.monotonic()
    _, said = processes[0].communicate(timeout=60)
    processes[1].communicate()
    assert time.monotonic() - began < 60
    assert processes[0].returncode == 2
    lines = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert re.search(r"process 0 of 2 stops, .*tighter train --resume .*broken", lines[0])
    # With two processes as with one, to rounding.
    alone = start(tmp_path / "alone", 0, 0, "--epochs=4", number=1)
    assert alone.wait(timeout=100) == 0
    apart = parameters(whole) - parameters(tmp_path / "alone")
    assert np.linalg.norm(apart) < 1e-4 * np.linalg.norm(parameters(whole))


def test_in_one_process_nothing_is_asked():
    assert agreed(3, 0, 1) == [3, 0, 1]
    assert by_first(lambda: 5) == 5
    assert told_by_first({"a": 1}) == {"a": 1}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("localhost:1", 2, None), "give all or none"),
        (("localhost", 2, 1), "a coordinator is HOST:PORT"),
        (("localhost:99", 2, 2), "each has a number from 0, got 2"),
        (("127.0.0.1:9", 2, 1), r"can't be reached within 0.1 s \(.*\): is process 0 running"),
    ],
)
def test_who_can_not_come_together(given, message):
    with pytest.raises(tt.InputError, match=message):
        initialize(*given, timeout=0.1)
