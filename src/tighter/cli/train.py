"""tighter train."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tighter.cli._options import Json, placed
from tighter.cli._output import doubts, print_json, print_lines, score_line
from tighter.cli._training import check_same, train_run

# Option on the command line -> its place in the configuration.
_PLACES = {
    "data": ("data", "source"),
    "size": ("data", "size"),
    "target": ("data", "target"),
    "model": ("model", "kind"),
    "bound": ("objective", "bound"),
    "gradient": ("objective", "gradient"),
    "num_samples": ("objective", "num_samples"),
    "num_backward": ("objective", "num_backward"),
    "observation": ("model", "observation"),
    "prior": ("model", "prior"),
    "posterior": ("model", "posterior"),
    "latent": ("model", "latent"),
    "epochs": ("training", "epochs"),
    "seed": ("training", "seed"),
}


def train(
    run: Annotated[
        Path | None,
        typer.Argument(help="Folder of the run [runs/DATA-BOUND-N]", show_default=False),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="digits, a folder of images, IDX or .npy, or .npy, .npz, .csv, .parquet [digits]"
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(help="Pixels a side of the images of a folder [as they are]"),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            help="Column of a table that is no part of x but its label", show_default=False
        ),
    ] = None,
    model: Annotated[str | None, typer.Option(help="vae or diffusion [vae]")] = None,
    bound: Annotated[str | None, typer.Option(help="elbo, iwae, renyi:0.5, … [iwae]")] = None,
    gradient: Annotated[
        str | None,
        typer.Option(help="Gradient estimator [doubly-reparameterized; vimco for discrete z]"),
    ] = None,
    observation: Annotated[
        str | None,
        typer.Option(
            help="Family p(x|z): gaussian:0.1, student-t, … [bernoulli; mixed for tables]"
        ),
    ] = None,
    prior: Annotated[
        str | None, typer.Option(help="Family p(z): mixture:10, vampprior, flow, … [standard]")
    ] = None,
    posterior: Annotated[
        str | None, typer.Option(help="Family q(z|x): full, flow, bernoulli, … [diagonal]")
    ] = None,
    num_samples: Annotated[int | None, typer.Option(help="Draws in a bound, K [8]")] = None,
    num_backward: Annotated[
        int | None, typer.Option(help="Of the K draws, how many are backpropagated [all]")
    ] = None,
    latent: Annotated[int | None, typer.Option(help="Dimensions of z [20]")] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the data [20; more below 5,000 examples]")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random [0]")] = None,
    config: Annotated[Path | None, typer.Option(help="Configuration in TOML")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Any key: --set training.batch_size=20")
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with a stopped run (the newest, if none is named)"),
    ] = False,
    devices: Annotated[
        str | None,
        typer.Option(help="Devices to spread the examples over: a number, or all [1]"),
    ] = None,
    distributed: Annotated[
        bool,
        typer.Option("--distributed", help="One of several processes, as SLURM, MPI, … say"),
    ] = False,
    coordinator: Annotated[
        str | None, typer.Option(help="HOST:PORT of process 0", show_default=False)
    ] = None,
    num_processes: Annotated[
        int | None, typer.Option(help="How many processes there are", show_default=False)
    ] = None,
    process_id: Annotated[
        int | None, typer.Option(help="Which of them this is, from 0", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Train a variational autoencoder or a diffusion model, score it, and draw a report.

    Examples:
      tighter train

      tighter train --data mnist/ --bound iwae --num-samples 50 --num-backward 8

      tighter train --data photos/ --size 64 --set model.network=convolutional

      tighter train --data wine.csv --target quality --prior mixture:10 --posterior flow

      tighter train --data mnist/ --model diffusion --epochs 10

      tighter train runs/two --latent 2 --set training.batch_size=100

      tighter train --resume runs/two

      tighter train runs/many --devices all

      tighter train runs/many --coordinator 10.0.0.1:1234 --num-processes 2 --process-id 0
    """
    from tighter._checks import require
    from tighter.runs.configuration import Configuration, parse_settings, read_toml
    from tighter.runs.folder import newest_run, open_run
    from tighter.runs.training_run import new_run_path

    options = placed(locals(), _PLACES)
    if resume and run is None:
        run = newest_run()
    stored = open_run(run).configuration if resume and run else None
    configuration = stored or Configuration()
    if config is not None:
        configuration = configuration.updated(read_toml(config), where=str(config))
    configuration = configuration.updated(parse_settings(settings or []), where="--set")
    configuration = configuration.updated(options, where="options")
    source = configuration.data.source
    if source not in ("digits", "") and Path(source).exists():
        # So that the run can be evaluated and resumed from any folder.
        absolute = str(Path(source).resolve())
        configuration = configuration.updated({"data": {"source": absolute}}, where="--data")
    if run and stored:
        check_same(run, configuration, stored, otherwise="name another folder")
    if distributed or coordinator is not None or num_processes is not None:
        from tighter.training.processes import initialize

        initialize(coordinator, num_processes, process_id)
        require(
            run is not None, "several processes write to one folder: name it, tighter train RUN"
        )
    path = run or new_run_path(configuration)
    outcome = train_run(configuration, path, resume=resume, command="train", devices=devices)
    if outcome is None:  # the first of several processes says the rest
        return
    # matplotlib, which training need not wait for
    from tighter.report import result_lines, write_report

    page = write_report(path)
    if json:
        print_json({"run": str(path), "report": str(page)} | outcome.evaluation)
        return
    print_lines(
        score_line(outcome.evaluation),
        *doubts(outcome.evaluation),
        f"report {page}",
        *result_lines(path),
    )
