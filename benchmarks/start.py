"""Seconds from the command to its answer: `tighter --help`, and the first step of `tighter train`.

uv run python -m benchmarks.start [--rounds 5]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time

HELP = "from tighter.cli import main; main()"
# The command itself, told to stop at the first report of progress.
FIRST_STEP = """
import os
from tighter.cli import main

def stop(*arguments, **options):
    os._exit(0)

import tighter.training.progress as progress
progress.ProgressDisplay.update = stop
main()
"""


def seconds(program: str, *arguments: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", program, *arguments], check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    helps = [seconds(HELP, "--help") for _ in range(rounds)]
    firsts = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            firsts.append(seconds(FIRST_STEP, "train", f"{folder}/run"))
    print(f"tighter --help: {statistics.median(helps):.2f} s")
    print(f"first step of tighter train: {statistics.median(firsts):.2f} s")


if __name__ == "__main__":
    main()
