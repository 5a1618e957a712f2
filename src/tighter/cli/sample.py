"""tighter sample."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from tighter.cli._options import Json, Run, check_least
from tighter.cli._output import print_json

_MOST = 2**28  # numbers, a gigabyte of them


def sample(
    run: Run,
    num: Annotated[int, typer.Option(help="How many")] = 64,
    seed: Annotated[int, typer.Option(help="Seed of the draws")] = 0,
    means: Annotated[
        bool, typer.Option("--means", help="Means of p(x|z) in place of draws of x")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="File to write [samples.npz in the run's folder]")
    ] = None,
    json: Json = False,
) -> None:
    """Draw examples from a trained model: an array, and a picture where they are images.

    Examples:
      tighter sample runs/digits-iwae-1 --num 100

      tighter sample runs/digits-iwae-1 --means --out means.npz
    """
    import jax
    import numpy as np

    from tighter._checks import require
    from tighter.report import write_picture
    from tighter.runs.build import check_autoencoder, check_seed, load_model
    from tighter.runs.folder import open_run, write_arrays
    from tighter.runs.pictures import sample_means

    check_least(num=num)
    opened = open_run(run)
    path = out or run / "samples.npz"
    require(
        path.suffix == ".npz" and path.parent.is_dir(),
        f"--out is a .npz file in a folder that exists, got {path} (a picture is put beside it)",
    )
    numbers = num * math.prod(opened.shape)
    require(
        numbers <= _MOST,
        f"--num {num} examples of shape {opened.shape} are {numbers} numbers, and {_MOST} can be "
        "drawn at once: draw fewer, with several seeds",
    )
    if means:
        check_autoencoder(opened.configuration, "--means")
    model = load_model(opened)
    key = jax.random.key(check_seed(seed))
    origin = model.origin
    near = model.moved(np.negative(origin)) if np.any(origin) else model
    drawn = np.asarray(sample_means(near, key, num) if means else near.sample(key, num))
    drawn = drawn + origin if np.any(origin) else drawn
    write_arrays(path, {"samples": drawn})
    written = [str(path)]
    if drawn.ndim in (3, 4):
        written.append(str(write_picture(drawn, path.with_suffix(".png"))))
    if json:
        print_json({"run": str(run), "shape": list(drawn.shape), "files": written})
    else:
        print(f"{num} samples of shape {drawn.shape[1:]}: {', '.join(written)}")
