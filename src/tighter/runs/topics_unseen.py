"""Topics of unseen texts, by the model of a run."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np

from tighter._errors import InputError
from tighter._files import read_object, reading
from tighter.data import write_table
from tighter.data.corpus import Corpus, count_words
from tighter.data.counts import COUNTS_SUFFIX, read_counts
from tighter.data.text import read_documents
from tighter.runs.build import load_model
from tighter.runs.folder import RunFolder, write_json
from tighter.runs.topics import proportions

_SHOWN, _LEAST = 3, 0.05


@dataclasses.dataclass(frozen=True)
class Unseen:
    """Proportions of a run's topics in texts that it was not trained on.

    Attributes:
        places: Where each document is from.
        proportions: Shape (documents, topics), the run's commonest topic first; NaN of a document
            without a word of the vocabulary.
        num_words: Words of the documents, stop words aside.
        num_unknown: Of these, how many are not in the vocabulary.
        words: Top words of each topic.
    """

    places: tuple[str, ...]
    proportions: np.ndarray
    num_words: int
    num_unknown: int
    words: tuple[str, ...]

    @property
    def num_empty(self) -> int:
        """Documents without a word of the vocabulary."""
        return int(np.isnan(self.proportions[:, 0]).sum())

    @property
    def coverage(self) -> str:
        """What the vocabulary doesn't know, in words."""
        line = f"{self.num_unknown} of {self.num_words} words are not in the run's vocabulary"
        if self.num_empty:
            documents = "document has" if self.num_empty == 1 else "documents have"
            line += f"; {self.num_empty} {documents} none that is"
        return line

    def record(self) -> dict[str, Any]:
        """Everything, as JSON has it."""
        return {
            "num_words": self.num_words,
            "num_unknown": self.num_unknown,
            "documents": [
                {
                    "document": place,
                    "proportions": None if math.isnan(row[0]) else [round(p, 6) for p in row],
                }
                for place, row in zip(self.places, self.proportions.tolist(), strict=True)
            ],
        }

    def lines(self) -> list[str]:
        """A line a document: its largest topics, with their words."""
        lines = []
        for place, row in zip(self.places, self.proportions, strict=True):
            if math.isnan(row[0]):
                lines.append(f"{place}: no word of the vocabulary")
                continue
            order = np.argsort(-row, kind="stable")[:_SHOWN]
            parts = [
                f"{100 * row[topic]:.0f} % topic {topic + 1} ({self.words[topic]})"
                for rank, topic in enumerate(order)
                if rank == 0 or row[topic] >= _LEAST
            ]
            lines.append(f"{place}: {', '.join(parts)}")
        return lines


def transform_texts(
    run: RunFolder, sources: tuple[str, ...], *, column: str | None = None
) -> Unseen:
    """Posterior means of the topics' proportions in unseen texts.

    Args:
        run: A finished run.
        sources: Texts as `tighter.data.text.read_documents` takes them, or one .npz of counts of
            the run's vocabulary.
        column: The tables' column of texts.

    Raises:
        InputError: If the texts can't be read, no word of them is known, or counts don't fit the
            run's vocabulary.
    """
    order, words = _order(run)
    corpus, places = _counted(run, sources, column)
    shares = proportions(load_model(run), corpus.counts)[:, order]
    rows = dict(zip(corpus.places, shares, strict=True))
    nothing = np.full(len(order), np.nan)
    table = np.stack([rows.get(place, nothing) for place in places])
    return Unseen(places, table, corpus.num_words + corpus.num_unknown, corpus.num_unknown, words)


def write_proportions(unseen: Unseen, path: Path) -> None:
    """Write a table of a row a document and a column a topic, .csv, .parquet or .json.

    Raises:
        InputError: If it can't be written.
    """
    if path.suffix.lower() == ".json":
        write_json(path, unseen.record())
        return
    import polars as pl

    columns = {
        f"topic_{number}": pl.Series(column, nan_to_null=True)
        for number, column in enumerate(unseen.proportions.T, start=1)
    }
    write_table(pl.DataFrame({"document": list(unseen.places)} | columns), path)


def _order(run: RunFolder) -> tuple[list[int], tuple[str, ...]]:
    """The model's topics in the run's order, the commonest first, and some words of each."""
    file = run.path / "topics.json"
    if not file.exists():
        raise InputError(
            f"{run.path} holds no topics yet: its training was stopped (tighter topics --resume "
            f"{run.path})"
        )
    record = read_object(file)
    with reading(file, "{origin} is damaged: {cause}"):
        topics = record["topics"]
        order = [int(topic["component"]) for topic in topics]
        words = tuple(" ".join(topic["relevant_words"][:_SHOWN]) for topic in topics)
    return order, words


def _counted(
    run: RunFolder, sources: tuple[str, ...], column: str | None
) -> tuple[Corpus, tuple[str, ...]]:
    """The counts of the run's vocabulary, and the places of all documents."""
    if sources[0].lower().endswith(COUNTS_SUFFIX):
        corpus = read_counts(sources[0], words=run.vocabulary)
        return corpus, corpus.places
    documents = read_documents(sources, column=column, empty=True)
    tokenizing = run.configuration.data.tokenizing
    corpus = count_words(documents, tokenizing, vocabulary=run.vocabulary)
    if not len(corpus):
        raise InputError(
            f"none of the {corpus.num_unknown} words of these texts is in the vocabulary of "
            f"{run.path}: give texts of its language and subject"
        )
    return corpus, documents.places
