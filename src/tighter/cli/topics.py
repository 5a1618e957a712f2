"""tighter topics."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tighter.cli._output import announce, doubts, print_json


def topics(
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TEXT]... | RUN",
            help="Text files, folders, table.csv:column, counts.npz; or a run [python: its manual]",
            show_default=False,
        ),
    ] = None,
    num_topics: Annotated[int | None, typer.Option("--topics", help="How many topics [50]")] = None,
    model: Annotated[
        str | None, typer.Option(help="lda (a mixture of topics) or prodlda (a product) [lda]")
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(help="Folder of the run to make [runs/TEXT-topics-N]", show_default=False),
    ] = None,
    column: Annotated[str | None, typer.Option(help="Column of texts, of tables")] = None,
    vocabulary: Annotated[
        str | None, typer.Option(help="Words of counts.npz, a line each or JSON")
    ] = None,
    min_df: Annotated[
        str | None, typer.Option(help="Fewest documents of a word, a number or share [2]")
    ] = None,
    max_df: Annotated[
        str | None, typer.Option(help="Most documents of a word, a number or share [0.5]")
    ] = None,
    max_features: Annotated[int | None, typer.Option(help="Size of the vocabulary [5000]")] = None,
    stop_words: Annotated[
        str | None, typer.Option(help="english, none, or a file, a word a line [english]")
    ] = None,
    ngrams: Annotated[int | None, typer.Option(help="Most words in a term [1]")] = None,
    posterior: Annotated[
        str | None, typer.Option(help="coordinate-ascent, dirichlet or logistic-normal")
    ] = None,
    alpha: Annotated[
        float | None, typer.Option(help="Concentration of the topics' prior [1 / topics]")
    ] = None,
    bound: Annotated[str | None, typer.Option(help="elbo, iwae, renyi:0.5, … [elbo]")] = None,
    gradient: Annotated[
        str | None, typer.Option(help="Gradient estimator [reparameterized]")
    ] = None,
    num_samples: Annotated[int | None, typer.Option(help="Draws in a bound, K [1]")] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the documents [20; prodlda 25]")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Documents a step [200]")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Adam's [0.05; prodlda 0.01]")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random [0]")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a stopped run, named in the place of TEXT")
    ] = False,
    transform: Annotated[
        list[str] | None,
        typer.Option(help="Unseen texts: their topics by RUN", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="File for the table of --transform: .csv, .parquet or .json"),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON")] = False,
) -> None:
    """Find the topics of texts, and the topics of unseen texts.

    A document is a file of a folder, a row of a table, or a paragraph of a text file.

    Examples:
      tighter topics

      tighter topics letters/ --topics 20 --min-df 5

      tighter topics papers.csv:abstract --model prodlda --stop-words english

      tighter topics counts.npz --vocabulary words.txt

      tighter topics --resume runs/letters-topics-1

      tighter topics runs/letters-topics-1 --transform new.txt --out proportions.csv
    """
    from tighter._errors import InputError
    from tighter.runs.topics_configuration import is_run

    given = locals()
    if not all(text.strip() for text in texts or []):
        raise InputError("a source is empty: name a file, a folder, or 'python'")
    options = {
        (section, name): given[option]
        for option, (section, name) in _PLACES.items()
        if given[option] is not None
    }
    if transform:
        if options or resume or run:
            raise InputError("--transform takes a run as it is: leave other options out")
        _tell_proportions(_one_run(texts, "--transform"), transform, column, out, json=json)
        return
    if out is not None:
        raise InputError("--out is for the table of --transform: add --transform TEXT")
    if column is not None:
        options["data", "column"] = column
    if resume:
        path = _one_run(texts, "--resume")
        configuration = _resumed(path, options)
    else:
        if texts and any(is_run(Path(text)) for text in texts):
            raise InputError(
                f"{texts[0]} is a run: add --transform TEXT or --resume, or name texts"
            )
        if texts:
            options["data", "sources"] = _absolute(texts)
        configuration = _configured(None, options)
        path = run or _new_path(configuration.data.sources)
    _train(configuration, path, resume=resume, json=json)


# Option on the command line -> its place in the configuration.
_PLACES = {
    "vocabulary": ("data", "vocabulary"),
    "min_df": ("tokenizing", "min_df"),
    "max_df": ("tokenizing", "max_df"),
    "max_features": ("tokenizing", "max_features"),
    "stop_words": ("tokenizing", "stop_words"),
    "ngrams": ("tokenizing", "ngrams"),
    "num_topics": ("model", "topics"),
    "model": ("model", "family"),
    "posterior": ("model", "posterior"),
    "alpha": ("model", "alpha"),
    "bound": ("objective", "bound"),
    "gradient": ("objective", "gradient"),
    "num_samples": ("objective", "num_samples"),
    "epochs": ("training", "epochs"),
    "batch_size": ("training", "batch_size"),
    "learning_rate": ("training", "learning_rate"),
    "seed": ("training", "seed"),
}


def _train(configuration: Any, path: Path, *, resume: bool, json: bool) -> None:
    from tighter.runs.folder import CONFIGURATION
    from tighter.runs.topics import train_topics

    resumption = f"go on with:  tighter topics --resume {shlex.quote(str(path))}"
    try:
        outcome = train_topics(
            configuration,
            path,
            resume=resume,
            command=shlex.join(["tighter", *sys.argv[1:]]),
            announce=announce,
            show_progress=True,
        )
    except KeyboardInterrupt:
        if not (path / CONFIGURATION).exists():
            raise
        announce(f"stopped; what was trained is stored; {resumption}")
        sys.exit(130)
    if outcome.evaluation is None or outcome.topics is None:
        last = outcome.fit.history[-1]["epoch"] if outcome.fit.history else 0
        plural = "" if last == 1 else "s"
        announce(f"stopped after {last} whole epoch{plural}; everything is stored; {resumption}")
        sys.exit(130)
    from tighter.report import write_report  # matplotlib, which training need not wait for

    page = write_report(path)
    if json:
        print_json({"run": str(path), "report": str(page)} | outcome.evaluation | outcome.topics)
        return
    _tell_topics(outcome.topics)
    for line in (_score_line(outcome.evaluation), *doubts(outcome.evaluation), f"report {page}"):
        print(line)


def _tell_topics(record: dict[str, Any]) -> None:
    print("topic  share   NPMI  words")
    for topic in record["topics"]:
        print(
            f"{topic['topic']:5d} {100 * topic['prevalence']:5.1f} % {topic['npmi']:6.2f}  "
            f"{' '.join(topic['relevant_words'])}"
        )
    print(
        f"NPMI {record['npmi']:.3f}, C_v {record['c_v']:.3f} (windows of {record['c_v_windows']}), "
        f"diversity {record['diversity']:.2f}, {record['num_distinct']} of "
        f"{len(record['topics'])} topics distinct"
    )


def _score_line(record: dict[str, Any]) -> str:
    error = record["perplexity_standard_error"]
    return (
        f"test perplexity {record['perplexity']:.1f}"
        + ("" if error is None else f" ± {error:.1f}")
        + f" (K = {record['num_samples']}, {record['num_examples']} documents of "
        f"{record['num_words']} words; Monte Carlo error "
        f"{record['perplexity_monte_carlo_error']:.2f})"
    )


def _tell_proportions(
    run: Path, texts: list[str], column: str | None, out: Path | None, *, json: bool
) -> None:
    from tighter._errors import InputError
    from tighter.runs.topics_configuration import open_topics
    from tighter.runs.topics_unseen import transform_texts, write_proportions

    if out is not None and out.suffix.lower() not in (".csv", ".tsv", ".parquet", ".json"):
        raise InputError(f"--out is a .csv, .tsv, .parquet or .json file, got {out}")
    if out is not None and not out.parent.is_dir():
        raise InputError(f"--out is in a folder that exists, got {out}")
    unseen = transform_texts(open_topics(run), tuple(texts), column=column)
    if out is not None:
        write_proportions(unseen, out)
    if json:
        print_json({"run": str(run), "out": out and str(out)} | unseen.record())
        return
    announce(unseen.told)
    if out is not None:
        print(out)
        return
    for line in unseen.lines():
        print(line)


def _one_run(texts: list[str] | None, option: str) -> Path:
    from tighter._errors import InputError

    if not texts or len(texts) != 1:
        raise InputError(f"{option} takes one run: tighter topics RUN {option} …")
    return Path(texts[0])


def _resumed(path: Path, options: dict[tuple[str, str], Any]) -> Any:
    """The run's own configuration, if what is given besides is the same."""
    from tighter._errors import InputError
    from tighter.runs.topics_configuration import open_topics

    stored = open_topics(path).configuration
    differences = _configured(stored, options).differences(stored)
    if differences:
        raise InputError(
            f"{path} was started with another configuration: {'; '.join(differences)}; leave these "
            "out to resume it, or train anew"
        )
    return stored


def _configured(stored: Any, options: dict[tuple[str, str], Any]) -> Any:
    """The configuration with the options given."""
    from tighter.data.corpus import Tokenizing
    from tighter.data.counts import read_vocabulary
    from tighter.runs.topics_configuration import TopicsConfiguration

    content = (stored or TopicsConfiguration()).to_dict()
    for (section, name), value in options.items():
        if name in ("min_df", "max_df"):
            value = _number(name, value)
        elif name == "stop_words" and value != "english":
            value = None if value == "none" else list(read_vocabulary(value))
        elif name == "vocabulary":
            value = str(Path(value).expanduser().resolve())
        place = content["data"]["tokenizing"] if section == "tokenizing" else content[section]
        place[name] = value
    Tokenizing(**content["data"]["tokenizing"])  # in its own words, if a number is wrong
    return TopicsConfiguration.from_dict(content)


def _number(name: str, text: str) -> int | float:
    from tighter._errors import InputError

    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        option = "--" + name.replace("_", "-")
        raise InputError(
            f"{option} is a number of documents, or a share with a point (0.5), got {text!r}"
        ) from None


def _absolute(texts: list[str]) -> list[str]:
    """Paths that hold in any folder, so that the run can be resumed from there."""
    from tighter.data.text import PYTHON_REFERENCE

    return [
        text if text == PYTHON_REFERENCE else str(Path(text).expanduser().resolve())
        for text in texts
    ]


def _new_path(sources: tuple[str, ...]) -> Path:
    """The first free folder runs/NAME-topics-N."""
    name = Path(sources[0].rpartition(":")[0] or sources[0]).stem or "texts"
    number = 1
    while (Path("runs") / f"{name}-topics-{number}").exists():
        number += 1
    return Path("runs") / f"{name}-topics-{number}"
