"""tighter impute."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tighter.cli._options import Json, check_table, placed
from tighter.cli._output import announce, print_json
from tighter.cli._training import train_run

# Option on the command line -> its place in the configuration.
_PLACES = {
    "observation": ("model", "observation"),
    "mask": ("model", "mask"),
    "epochs": ("training", "epochs"),
    "seed": ("training", "seed"),
}


def impute(
    table: Annotated[Path, typer.Argument(help="A .csv, .tsv or .parquet file with gaps")],
    out: Annotated[
        Path | None, typer.Option(help="File to write [TABLE-completed, of the same type]")
    ] = None,
    draws: Annotated[
        int, typer.Option(help="Multiple imputations: further files OUT-1, OUT-2, …")
    ] = 0,
    run: Annotated[
        Path | None,
        typer.Option(help="A run trained on such a table [train on this one]", show_default=False),
    ] = None,
    num_samples: Annotated[int, typer.Option(help="Draws of the latent a row, K")] = 1000,
    observation: Annotated[
        str | None, typer.Option(help="One family for all columns [mixed: each has its own]")
    ] = None,
    mask: Annotated[
        str | None,
        typer.Option(help="self-masking, above, below, linear: missing not at random"),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the table [as many as it takes]")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random")] = 0,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Any key of training: --set model.latent=5")
    ] = None,
    json: Json = False,
) -> None:
    """Fill in a table's missing entries: expectations, and draws that carry the uncertainty.

    Entries that are there stay as they are, to the byte where table and output are both .csv or
    both .tsv, and column types are kept.

    Examples:
      tighter impute table.csv --out completed.csv

      tighter impute table.parquet --out completed.parquet --draws 5

      tighter impute new.csv --run runs/table-iwae-1
    """
    from tighter._checks import require
    from tighter._errors import InputError
    from tighter.data import fill_csv, read_table, write_table
    from tighter.runs.build import check_autoencoder, load_model
    from tighter.runs.folder import open_run
    from tighter.runs.imputing import impute_table

    path = out or table.with_name(f"{table.stem}-completed{table.suffix}")
    check_table(path)
    require(
        draws >= 0 and num_samples >= 1,
        f"--draws is at least 0 and --num-samples at least 1, got {draws} and {num_samples}",
    )
    if run is None:
        run, model = _trained(table, placed(locals(), _PLACES), settings or [])
    else:
        require(
            not (observation or mask or epochs or settings),
            "--run takes a model as it was trained: leave out --observation, --mask, --epochs and "
            "--set",
        )
        check_autoencoder(open_run(run).configuration, "tighter impute")
        model = load_model(open_run(run))
    opened = open_run(run)
    schema = opened.schema
    if schema is None:
        raise InputError(f"{run} was not trained on a table: name a run on a .csv or .parquet file")
    data = opened.configuration.data
    frame = read_table(table, header=data.header, missing_words=data.missing_words)
    completed = impute_table(
        model,
        schema,
        frame,
        num_samples=num_samples,
        num_draws=draws,
        seed=seed,
        announce=announce,
    )
    written = []
    for number, filled in enumerate([completed.table, *completed.draws]):
        written.append(path.with_name(f"{path.stem}-{number}{path.suffix}") if number else path)
        if table.suffix.lower() == path.suffix.lower() != ".parquet":
            fill_csv(table, frame, filled, written[-1])
        else:
            write_table(filled, written[-1])
    record = completed.record
    if "not to be trusted" in record["verdict"]:
        announce(f"warning: {record['verdict']}")
    files = [str(file) for file in written]
    if json:
        print_json({"run": str(run), "files": files, **record})
        return
    most = ", ".join(f"{name} {count}" for name, count in list(record["missing"].items())[:8])
    more = ", …" if len(record["missing"]) > 8 else ""
    print(
        f"filled {record['num_entries']} entries in {record['num_rows']} rows ({most}{more}); "
        f"median ESS {record['median_ess']:.0f} of {num_samples}"
    )
    print(", ".join(files))


def _trained(
    table: Path, options: dict[str, dict[str, Any]], settings: list[str]
) -> tuple[Path, Any]:
    """A model trained on the table itself, and the folder of its run."""
    from tighter._checks import require
    from tighter.data import read_table
    from tighter.runs.configuration import Configuration, parse_settings
    from tighter.runs.imputing import check_gaps
    from tighter.runs.training_run import new_run_path

    require(table.is_file(), f"there is no file {table}")
    own = {"data": {"source": str(table.resolve())}, "model": {"missing": True}}
    configuration = Configuration().updated(parse_settings(settings), where="--set")
    configuration = configuration.updated(own, where="options").updated(options, where="options")
    data = configuration.data
    frame = read_table(table, header=data.header, missing_words=data.missing_words)
    check_gaps(frame, [name for name in frame.columns if name not in data.drop])
    run = new_run_path(configuration)
    return run, train_run(configuration, run, resume=False, command="train").fit.best_model
