"""Training on data that are read by rows: memory by their number, and steps a second beside memory.

    uv run python -m benchmarks.streaming [--rows 100000 1000000 10000000] [--rounds 3]

Every run is a process of its own: rows of 784 bytes, a VAE 784-200-200-50, batch 100. Memory is the
peak above that before `fit`, in MB. Images are PNG files of 32 × 32, in color, brought to 32.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

PIXELS, BATCH = 784, 100


def made(path: Path, num: int) -> Path:
    """A file of so many rows of bits."""
    if not path.exists():
        rng, rows = np.random.default_rng(0), 20_000
        bits = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(num, PIXELS))
        for start in range(0, num, rows):
            some = bits[start : start + rows]
            some[:] = rng.random(some.shape, dtype=np.float32) < 0.13
        bits.flush()
    return path


def made_images(folder: Path, num: int) -> Path:
    """So many PNG files."""
    from PIL import Image

    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for number in range(len(list(folder.iterdir())), num):
        pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:06}.png")
    return folder


def peak() -> float:
    """The most memory that this process has had, in MB."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in x)
    return int(line.split()[1]) / 1024


def worker(path: str, how: str, num_samples: int, num_steps: int) -> None:
    """One run, told as JSON."""
    import jax
    import optax

    import tighter as tt
    from tighter.data.images import Images
    from tighter.training.progress import ProgressDisplay

    times: list[tuple[int, float]] = []

    def note(self: Any, step: int, *rest: Any, **more: Any) -> None:
        times.append((step, time.monotonic()))
        if step >= num_steps:
            raise KeyboardInterrupt

    ProgressDisplay.update = note  # type: ignore[method-assign]
    images = Path(path).is_dir()
    data: Any = Images(Path(path)) if images else np.load(path, mmap_mode="r")
    if how == "memory":
        data = data[:] if images else np.array(data)
    shape, observation = data.shape[1:], "gaussian" if images else "bernoulli"
    model = tt.models.VAE.create(
        shape, num_latent=50, hidden=(200, 200), observation=observation, key=jax.random.key(0)
    )
    objective = tt.Objective(tt.bounds.IWAE(), num_samples=num_samples)
    before = peak()
    with contextlib.suppress(KeyboardInterrupt):
        tt.fit(
            model, data, objective, optimizer=optax.adam(1e-3), num_epochs=1000, batch_size=BATCH,
            key=jax.random.key(1), show_progress=False,
        )  # fmt: skip
    (first, began), (last, ended) = times[2], times[-1]
    print(json.dumps({"rate": (last - first) / (ended - began), "peak": peak() - before}))


def run(path: Path, how: str, num_samples: int, num_steps: int) -> dict[str, float]:
    """A worker's answer."""
    words = [str(path), how, str(num_samples), str(num_steps)]
    command = [sys.executable, "-m", "benchmarks.streaming", "--worker", *words]
    answer = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=os.environ)
    return json.loads(answer.stdout.splitlines()[-1])


def main() -> None:
    """Print peaks and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="*", default=[10**5, 10**6, 10**7])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "streaming")
    parser.add_argument("--worker", nargs=4, metavar=("PATH", "HOW", "DRAWS", "STEPS"))
    arguments = parser.parse_args()
    if arguments.worker:
        path, how, num_samples, num_steps = arguments.worker
        return worker(path, how, int(num_samples), int(num_steps))
    folder = arguments.folder
    folder.mkdir(exist_ok=True)
    for num in arguments.rows:
        path = made(folder / f"{num}.npy", num)
        peaks = [run(path, "map", 1, 6000)["peak"] for _ in range(arguments.rounds)]
        print(f"{num:10,} rows: peak {np.median(peaks):6.0f} MB above the start", flush=True)
    bits, images = made(folder / "100000.npy", 10**5), made_images(folder / "png", 5000)
    for name, path, num_samples, num_steps in (
        ("K = 1", bits, 1, 4000), ("K = 50", bits, 50, 250), ("PNG, K = 1", images, 1, 300),
    ):  # fmt: skip
        ratios = []
        for _ in range(arguments.rounds):
            rates = [run(path, how, num_samples, num_steps)["rate"] for how in ("map", "memory")]
            ratios.append(rates[0] / rates[1])
        print(f"{name:12} {rates[0]:6.1f} steps/s, {np.median(ratios):.2f} of memory", flush=True)
    return None


if __name__ == "__main__":
    main()
