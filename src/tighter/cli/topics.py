"""tighter topics."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tighter.cli._options import Json, check_table, placed
from tighter.cli._output import announce, doubts, plus_minus, print_json, print_lines
from tighter.cli._training import check_same, train_run

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
    json: Json = False,
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
    from tighter._checks import require
    from tighter.runs.folder import is_run, open_run
    from tighter.runs.topics_configuration import TopicsConfiguration
    from tighter.runs.training_run import new_run_path

    options = placed(locals(), _PLACES)
    require(
        all(text.strip() for text in texts or []),
        "a source is empty: name a file, a folder, or 'python'",
    )
    if transform:
        alone = not (options or resume or run)
        require(alone, "--transform takes a run as it is: leave other options out")
        _transform(_one_run(texts, "--transform"), transform, column, out, json=json)
        return
    require(out is None, "--out is for the table of --transform: add --transform TEXT")
    if column is not None:
        options.setdefault("data", {})["column"] = column
    if resume:
        path = _one_run(texts, "--resume")
        configuration = open_run(path, of_topics=True).configuration
        ours = _configured(configuration, options)
        check_same(path, ours, configuration, otherwise="train anew")
    else:
        for text in texts or []:
            require(
                not is_run(Path(text)),
                f"{text} is a run: add --transform TEXT or --resume, or name texts",
            )
        if texts:
            options.setdefault("data", {})["sources"] = [_absolute(text) for text in texts]
        configuration = _configured(TopicsConfiguration(), options)
        path = run or new_run_path(configuration)
    outcome = train_run(configuration, path, resume=resume, command="topics")
    from tighter.report import write_report  # matplotlib, which training need not wait for

    page = write_report(path)
    if json:
        print_json({"run": str(path), "report": str(page)} | outcome.evaluation | outcome.topics)
        return
    print_lines(
        *_lines_of_topics(outcome.topics),
        _score_line(outcome.evaluation),
        *doubts(outcome.evaluation),
        f"report {page}",
    )


def _lines_of_topics(record: dict[str, Any]) -> list[str]:
    return [
        "topic  share   NPMI  words",
        *(
            f"{topic['topic']:5d} {100 * topic['prevalence']:5.1f} % {topic['npmi']:6.2f}  "
            f"{' '.join(topic['relevant_words'])}"
            for topic in record["topics"]
        ),
        f"NPMI {record['npmi']:.3f}, C_v {record['c_v']:.3f} (windows of {record['c_v_windows']}), "
        f"diversity {record['diversity']:.2f}, {record['num_distinct']} of "
        f"{len(record['topics'])} topics distinct",
    ]


def _score_line(record: dict[str, Any]) -> str:
    return (
        f"test perplexity {record['perplexity']:.1f}"
        f"{plus_minus(record['perplexity_standard_error'], 1)} (K = {record['num_samples']}, "
        f"{record['num_examples']} documents of {record['num_words']} words; Monte Carlo error "
        f"{record['perplexity_monte_carlo_error']:.2f})"
    )


def _transform(
    run: Path, texts: list[str], column: str | None, out: Path | None, *, json: bool
) -> None:
    from tighter.runs.folder import open_run
    from tighter.runs.topics_unseen import transform_texts, write_proportions

    if out is not None:
        check_table(out, others=(".json",))
    unseen = transform_texts(open_run(run, of_topics=True), tuple(texts), column=column)
    if out is not None:
        write_proportions(unseen, out)
    if json:
        print_json({"run": str(run), "out": out and str(out)} | unseen.record())
        return
    announce(unseen.coverage)
    print_lines(*(unseen.lines() if out is None else [str(out)]))


def _one_run(texts: list[str] | None, option: str) -> Path:
    from tighter._errors import InputError

    if not texts or len(texts) != 1:
        raise InputError(f"{option} takes one run: tighter topics RUN {option} …")
    return Path(texts[0])


def _configured(configuration: Any, options: dict[str, dict[str, Any]]) -> Any:
    """The configuration with the options given."""
    from tighter.data.corpus import Tokenizing
    from tighter.data.counts import read_vocabulary

    content, tokens = configuration.to_dict(), options.get("tokenizing", {})
    tokens |= {name: _number(name, tokens[name]) for name in ("min_df", "max_df") if name in tokens}
    words = tokens.get("stop_words", "english")
    if words != "english":
        tokens["stop_words"] = None if words == "none" else list(read_vocabulary(words))
    vocabulary = options.get("data", {}).get("vocabulary")
    if vocabulary is not None:
        options["data"]["vocabulary"] = _absolute(vocabulary)
    content["data"]["tokenizing"] |= tokens
    for section in content.keys() & options.keys():
        content[section] |= options[section]
    Tokenizing(**content["data"]["tokenizing"])  # in its own words, if a number is wrong
    return type(configuration).from_dict(content)


def _number(name: str, text: str) -> int | float:
    from tighter._errors import InputError

    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        option = "--" + name.replace("_", "-")
        raise InputError(
            f"{option} is a number of documents, or a share with a point (0.5), got {text!r}"
        ) from None


def _absolute(text: str) -> str:
    """A path that holds in any folder, so that the run can be resumed from there."""
    from tighter.data.text import PYTHON_REFERENCE

    return text if text == PYTHON_REFERENCE else str(Path(text).expanduser().resolve())
