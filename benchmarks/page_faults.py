"""Page faults of a training step in a loop, and what huge pages for malloc make of its time.

    uv run python -m benchmarks.page_faults [--rounds 5] [--shape 50,100] [--calls 6]

Large buffers that malloc takes from the system and gives back are mapped, zeroed and faulted in
again at the next step. Each process trains the MNIST network in a compiled loop (IWAE, doubly
reparameterized), by hand or by `objective.batch`, and counts its minor faults (`ru_minflt`) after
the first call; a child process each, in turn as it is and with `GLIBC_TUNABLES` set to
`glibc.malloc.hugetlb=1` (transparent huge pages, where the kernel has them by `madvise`). Medians
over processes, and the ratio of the medians with huge pages over without. Faults by the thousand a
step say that a good part of it is the kernel's; ratios near 1 that pages are not the matter.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time

import jax

from benchmarks._timing import TrainingLoop
from benchmarks.training_step import GRADIENTS, SHAPES, hand_loops, our_loop, random_batches
from tighter import Objective
from tighter.bounds import IWAE

GRADIENT = "doubly reparameterized"
WAYS = ("given, one", "ours")
HUGE = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}


def loop_of(way: str, num_samples: int, batch: int) -> TrainingLoop:
    """The loop by hand, or ours."""
    batches = random_batches(max(8, 10_000 // (num_samples * batch)), batch)
    if way == "ours":
        return our_loop(Objective(IWAE(), GRADIENTS[GRADIENT], num_samples=num_samples), batches)
    return hand_loops(GRADIENT, num_samples, batches)[way]


def child(way: str, num_samples: int, batch: int, calls: int) -> None:
    """Print the milliseconds and the faults of a step."""
    loop = loop_of(way, num_samples, batch)
    jax.block_until_ready(loop())
    before, seconds = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, []
    for _ in range(calls):
        start = time.perf_counter()
        jax.block_until_ready(loop())
        seconds.append(time.perf_counter() - start)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    steps = loop.num_steps
    print(
        json.dumps(
            {"ms": 1e3 * statistics.median(seconds) / steps, "faults": faults / (calls * steps)}
        )
    )


def process(way: str, shape: str, calls: int, environment: dict[str, str]) -> dict[str, float]:
    """What a child process measures."""
    command = [sys.executable, "-m", "benchmarks.page_faults", "--child", way]
    command += ["--shape", shape, "--calls", str(calls)]
    output = subprocess.run(
        command, env=os.environ | environment, check=True, capture_output=True, text=True
    ).stdout
    return json.loads(output.splitlines()[-1])


def main() -> None:
    """Print the table, or be a child."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="processes of each kind")
    parser.add_argument("--calls", type=int, default=6, help="loops a process")
    parser.add_argument("--shape", action="append", help="K,batch; all four if left out")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    shapes = arguments.shape or [f"{num},{batch}" for num, batch in SHAPES]
    if arguments.child is not None:
        child(arguments.child, *map(int, shapes[0].split(",")), arguments.calls)
        return
    print("| K, batch | step | ms | faults a step | with huge pages: ms | faults | ms, ratio |")
    print("|---|---|---|---|---|---|---|")
    for shape in shapes:
        cells = {(way, huge): [] for way in WAYS for huge in (False, True)}
        for _ in range(arguments.rounds):
            for (way, huge), found in cells.items():
                found.append(process(way, shape, arguments.calls, HUGE if huge else {}))
        for way in WAYS:
            (ms, faults), (huge_ms, huge_faults) = (
                [
                    statistics.median(one[name] for one in cells[way, huge])
                    for name in ("ms", "faults")
                ]
                for huge in (False, True)
            )
            label = "ours" if way == "ours" else f"by hand ({way})"
            print(
                f"| {shape.replace(',', ', ')} | {label} | {ms:.2f} | {faults:.0f} "
                f"| {huge_ms:.2f} | {huge_faults:.0f} | {huge_ms / ms:.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
