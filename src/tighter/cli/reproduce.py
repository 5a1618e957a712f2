"""tighter reproduce."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from tighter.cli._output import announce, print_json


def reproduce(
    what: Annotated[
        str | None, typer.Argument(help="Name of the experiment", show_default=False)
    ] = None,
    folder: Annotated[
        Path | None, typer.Argument(help="Folder for it [runs/WHAT-N]", show_default=False)
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the experiments")] = False,
    about: Annotated[
        bool, typer.Option("--about", help="Say what it is and what to expect")
    ] = False,
    data: Annotated[
        str | None, typer.Option(help="Data, as for train, where it takes any [digits]")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the data, where it trains")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print the record as JSON")] = False,
) -> None:
    """Measure again what a paper's figure shows, beside the exact answers.

    Examples:
      tighter reproduce --list

      tighter reproduce gradients

      tighter reproduce surgery --data mnist/ --about
    """
    from tighter._errors import InputError
    from tighter.runs.catalog import (
        EXPERIMENTS,
        experiment_module,
        lines_of,
        run_experiment,
    )

    if list_ or what is None:
        if json:
            print_json(EXPERIMENTS)
            return
        for name, line in EXPERIMENTS.items():
            print(f"{name:22} {line}")
        return
    if about:
        print((experiment_module(what).__doc__ or "").strip())
        return
    from tighter.report.figures import draw_experiment
    from tighter.runs.build import check_seed

    if epochs is not None and epochs < 1:
        raise InputError(f"--epochs is at least 1, got {epochs}")
    experiment_module(what)
    path = folder or _free_folder(what)
    try:
        record = run_experiment(
            what, path, seed=check_seed(seed), announce=announce, data=data, epochs=epochs
        )
    except KeyboardInterrupt:
        if not path.is_dir() or not any(path.iterdir()):
            raise
        options = {"--data": data, "--epochs": epochs, "--seed": seed or None}
        words = [f"{name}={value}" for name, value in options.items() if value is not None]
        again = shlex.join(["tighter", "reproduce", what, str(path), *words])
        announce(f"stopped; what was trained is stored; go on with:  {again}")
        sys.exit(130)
    pictures = draw_experiment(path)
    if json:
        print_json(record)
        return
    for line in lines_of(what, record):
        print(line)
    for file in pictures:
        print(f"picture {file}")


def _free_folder(what: str) -> Path:
    number = 1
    while (Path("runs") / f"{what}-{number}").exists():
        number += 1
    return Path("runs") / f"{what}-{number}"
