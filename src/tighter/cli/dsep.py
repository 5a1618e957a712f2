"""tighter dsep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tighter.cli._options import Json
from tighter.cli._output import announce, print_json

_DIGITS = 300  # of a number


def dsep(
    graph: Annotated[
        str, typer.Argument(help="Edges, 'z -> x; z -> y', or a file of edges, DOT or GraphML")
    ],
    a: Annotated[
        str | None, typer.Argument(help="A node, or several: 'x,y'", show_default=False)
    ] = None,
    b: Annotated[str | None, typer.Argument(help="A node, or several", show_default=False)] = None,
    given: Annotated[
        list[str] | None, typer.Option(help="Nodes that are given, as often as wanted")
    ] = None,
    plate: Annotated[
        list[str] | None,
        typer.Option(help="Nodes to repeat: z,x=3 makes z[0], z[1], …", show_default=False),
    ] = None,
    all_statements: Annotated[
        bool, typer.Option("--all", help="List every independence of two nodes")
    ] = False,
    max_given: Annotated[
        int | None,
        typer.Option(help="Of --all: most nodes that are given [all others]", show_default=False),
    ] = None,
    max_paths: Annotated[int, typer.Option(help="Most paths to look at")] = 100,
    svg: Annotated[
        Path | None, typer.Option(help="File for a picture of the answer", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Tell whether nodes of a directed acyclic graph are d-separated, and prove it.

    Without two nodes: the independencies from which all others of the graph follow.

    Examples:
      tighter dsep "z -> x; z -> y" x y --given z

      tighter dsep "a -> c <- b; c -> d" a b --given d --svg answer.svg

      tighter dsep "z -> x" "z[0]" "z[1]" --plate z,x=2 --given "x[0],x[1]"

      tighter dsep model.dot --all
    """
    from tighter._errors import InputError

    if (a is None) != (b is None):
        raise InputError("two sides are needed: tighter dsep GRAPH A B")
    if a is None and given:
        raise InputError("--given is for a question: tighter dsep GRAPH A B --given C")
    if max_given is not None and (not all_statements or max_given < 0):
        raise InputError(f"--max-given is of --all, 0 or more, got {max_given}")
    if max_paths < 1:
        raise InputError(f"--max-paths is at least 1, got {max_paths}")
    if svg is not None and not svg.absolute().parent.is_dir():
        raise InputError(f"--svg is in a folder that exists, got {svg}")
    dag = _read(graph)
    groups = plate or [*(given or []), *([] if a is None or b is None else [a, b])]
    names = [name for words in groups for name in _nodes(dag, words.rpartition("=")[0] or words)]
    if not names or not all(name in dag.nodes for name in names):
        dag = dag.labeled()  # named as they are asked for
    dag = _unrolled(dag, plate or [])
    statements = None
    if a is None or all_statements:
        statements = dag.independencies(pairwise=all_statements, max_given=max_given)
    if a is None or b is None:
        _draw(dag, svg)
        _show(None, statements, json=json)
        return
    conditions = [node for words in given or [] for node in _nodes(dag, words)]
    answer = dag.d_separated(_nodes(dag, a), _nodes(dag, b), conditions, max_paths=max_paths)
    _draw(answer, svg)
    _show(answer, statements, json=json)


def _show(answer: Any, statements: Any, *, json: bool) -> None:
    """An answer, and a list of independencies, where they were asked for."""
    if json:
        record = {} if answer is None else answer.to_dict()
        if statements is not None:
            record["independencies"] = [statement.to_dict() for statement in statements]
        print_json(record)
        return
    for line in (*([] if answer is None else [answer]), *(statements or ())):
        print(line)
    if statements is not None and not statements:
        announce("the graph implies no independence")


def _draw(what: Any, svg: Path | None) -> None:
    if svg is not None:
        from tighter._files import writing

        with writing(svg) as place:
            place.write_text(what.to_svg(), encoding="utf-8")
        announce(f"picture {svg}")


def _read(graph: str) -> Any:
    """The graph in a file, or in the words themselves."""
    from tighter._errors import InputError
    from tighter.graph import DAG

    path = Path(graph)
    try:
        there, folder = path.is_file(), bool(graph.strip()) and path.is_dir()
    except (OSError, ValueError):  # edges may be too long for a file's name
        there = folder = False
    if there:
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError:
            raise InputError(f"{graph} is no text: a file of edges, DOT or GraphML is") from None
        return (DAG.from_graphml if text.lstrip().startswith("<") else DAG.from_text)(text)
    if folder:
        raise InputError(f"{graph} is a folder: name a file of edges, DOT or GraphML")
    if path.suffix.lower() in (".dot", ".gv", ".graphml", ".xml", ".txt"):
        raise InputError(f"there is no file {graph}")
    if not graph.strip():
        raise InputError("the graph is empty: write edges such as 'z -> x; z -> y'")
    return DAG.from_text(graph)


def _unrolled(dag: Any, plates: list[str]) -> Any:
    from tighter._errors import InputError
    from tighter.graph import Plate

    repeated = []
    for words in plates:
        nodes, equals, size = words.rpartition("=")
        if not equals or not size.strip().isdecimal() or len(size) > _DIGITS:
            raise InputError(f"--plate is nodes and a number, z,x=3, got {words!r}")
        repeated.append(Plate(_nodes(dag, nodes), int(size)))
    return dag.unrolled(*repeated) if repeated else dag


def _nodes(dag: Any, words: str) -> list[str]:
    """Names apart by commas, where the whole is not a name, and no comma in brackets counts."""
    import re

    if words in dag:
        return [words]
    names = re.split(r",(?![^\[]*\])", words)
    return [name.strip() for name in names if name.strip()]
