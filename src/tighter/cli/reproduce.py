"""tighter reproduce."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import shlex
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Protocol, runtime_checkable

import typer

from tighter.cli._output import announce, print_json

# Of a clone, beside src; what else is installed may name modules in the group of entry points.
CLONE, GROUP = Path(__file__).resolve().parents[3], "tighter.papers"


@runtime_checkable
class Paper(Protocol):
    """The module of a paper; its docstring says the paper, the command and what to expect."""

    run: Callable[..., dict[str, Any]]
    """Measures into a folder: (path, *, seed, announce) and settings of its own, to its record."""
    summary: Callable[[dict[str, Any]], list[str]]
    """What came out, in a few lines, of the record."""
    draw: Callable[[Path], list[Path]]
    """The pictures, from the folder's files alone and into it."""


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
    from tighter._lock import alone_in

    papers = find_papers()
    if list_ or what is None:
        lines = {name: docstring(module).partition("\n")[0] for name, module in papers.items()}
        if json:
            print_json(lines)
            return
        for name, line in lines.items():
            print(f"{name:22} {line}")
        return
    module = module_of(what, papers)
    if about:
        print(docstring(module))
        return
    from tighter.runs.build import check_seed

    paper: Paper = importlib.import_module(module)  # type: ignore[assignment]
    options = {"data": data, "epochs": epochs}
    settings = settings_of(paper, what, options)
    path = folder or _free_folder(what)
    try:
        with alone_in(path):
            record = paper.run(path, seed=check_seed(seed), announce=announce, **settings)
    except KeyboardInterrupt:
        if not path.is_dir() or not any(path.iterdir()):
            raise
        options["seed"] = seed or None
        words = [f"--{name}={value}" for name, value in options.items() if value is not None]
        again = shlex.join(["tighter", "reproduce", what, str(path), *words])
        announce(f"stopped; what was trained is stored; go on with:  {again}")
        sys.exit(130)
    pictures = paper.draw(path)
    if json:
        print_json(record)
        return
    for line in paper.summary(record):
        print(line)
    for file in pictures:
        print(f"picture {file}")


def find_papers() -> dict[str, str]:
    """Modules by the names of papers: those of a clone, and those that other packages have.

    Raises:
        InputError: If there are none.
    """
    from tighter._errors import InputError

    files = sorted((CLONE / "papers").glob("[a-z]*.py"))
    papers = {file.stem.replace("_", "-"): f"papers.{file.stem}" for file in files}
    if papers and str(CLONE) not in sys.path:
        sys.path.insert(0, str(CLONE))
    papers |= {point.name: point.value for point in metadata.entry_points(group=GROUP)}
    if not papers:
        raise InputError(
            "the papers are not part of the installed package: clone the repository of tighter "
            "and call `uv run tighter reproduce` there"
        )
    return papers


def module_of(name: str, papers: dict[str, str]) -> str:
    """The module of a paper.

    Raises:
        InputError: If there is none of this name.
    """
    from tighter._names import unknown

    if name not in papers:
        raise unknown("experiment", name, papers)
    return papers[name]


def docstring(module: str) -> str:
    """A module's docstring, which its file has without loading JAX."""
    spec = importlib.util.find_spec(module)
    text = Path(spec.origin).read_text(encoding="utf-8") if spec and spec.origin else ""
    return ast.get_docstring(ast.parse(text)) or ""


def settings_of(paper: Paper, name: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given.

    Raises:
        InputError: If the paper takes no such option, or its value is out of range.
    """
    from tighter._errors import InputError

    epochs = options["epochs"]
    if epochs is not None and epochs < 1:
        raise InputError(f"--epochs is at least 1, got {epochs}")
    taken = inspect.signature(paper.run).parameters
    settings = {key: value for key, value in options.items() if value is not None}
    for key in settings:
        if key not in taken:
            can = ", ".join(f"--{option}" for option in options if option in taken)
            raise InputError(
                f"the experiment {name!r} takes no --{key}" + (f" (it takes: {can})" if can else "")
            )
    return settings


def _free_folder(what: str) -> Path:
    number = 1
    while (Path("runs") / f"{what}-{number}").exists():
        number += 1
    return Path("runs") / f"{what}-{number}"
