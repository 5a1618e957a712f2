"""The page of a run of topics: perplexity, the map of topics, and each topic's words."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tighter._errors import InputError
from tighter.report.markup import (
    big,
    code,
    count,
    escaped,
    figure,
    for_screens,
    in_columns,
    missing,
    percent,
    remark,
    section,
    side_by_side,
    signed,
    stats,
    verdict_box,
    with_error,
)
from tighter.report.records import (
    PICTURES,
    Measurement,
    RunRecord,
    mappings,
    number,
    numbers,
    read_measurement,
    read_object,
    read_results,
)
from tighter.report.records import section as part
from tighter.report.topics_map import draw_heights, draw_map

_SHOWN = 10
_WEIGHT = 0.6
# The weights λ that the slider takes.
_WEIGHTS = np.linspace(0, 1, 21)
_FAMILIES = {"lda": "a mixture of topics (LDA)", "prodlda": "a product of topics (ProdLDA)"}


class Word(NamedTuple):
    """A word of a topic.

    Attributes:
        word: The word.
        own: Its probability in the topic.
        share: Its probability in the whole corpus.
    """

    word: str
    own: float
    share: float


def lead(record: RunRecord) -> str:
    """What was trained, in one line."""
    model, objective = part(record.settings, "model"), part(record.settings, "objective")
    sources = part(record.settings, "data").get("sources")
    names = [Path(str(source)).name for source in sources] if isinstance(sources, list) else []
    line = f"{model.get('topics', 'The')} topics"
    if names:
        line += f" of {', '.join(names[:3])}" + (", …" if len(names) > 3 else "")
    corpus = part(record.configuration, "corpus")
    sizes = numbers(corpus, "documents", "words", "vocabulary")
    if min(sizes) >= 0:
        documents, words, different = map(count, sizes)
        line += f", {documents} documents of {words} words, {different} different ones"
    line += f": {_FAMILIES.get(str(model.get('family')), 'a topic model')}"
    if objective.get("bound"):
        line += f", trained by the {str(objective['bound']).upper()} bound"
    return line


def score(record: RunRecord) -> str:
    """The perplexity in big type, its errors, and the topics' coherence."""
    judged = read_measurement(record.directory, "topics")
    coherence = stats(_coherence(judged)) if judged and not judged.damage else ""
    evaluation = record.evaluation
    if evaluation is None:
        line = "Held-out documents have not been scored yet."
        return section("result", "Perplexity", missing(line, record.remedy(PICTURES)), coherence)
    keys = ("num_words", "num_examples", "num_samples")
    words, documents, draws = map(count, numbers(evaluation, *keys))
    mean = with_error(*numbers(evaluation, "log_likelihood", "standard_error"))
    return section(
        "result",
        "Test perplexity",
        big("words", *numbers(evaluation, "perplexity", "perplexity_standard_error")),
        f'<p class="under">Of {words} words in {documents} documents held out: as if'
        " each were drawn from so many equally likely words. Lower is better. Each document's"
        f" probability is from {draws} importance samples, mean {mean} nats.</p>",
        coherence,
        verdict_box(evaluation),
        side_by_side(read_results(record.directory, "evaluation")),
    )


def topics(record: RunRecord) -> str:
    """The map, the heights and the words of all topics."""
    judged = read_measurement(record.directory, "topics")
    if judged is None:
        line = missing("There are no topics yet.", record.remedy(PICTURES))
        return section("topics", "Topics", line)
    try:
        rows = _rows(judged)
        words = _candidates(judged, _vocabulary(record.directory))
        if len(words) != len(rows):
            raise InputError(f"topics.json tells of {len(rows)} topics, topics.npz {len(words)}")
    except InputError as error:
        message = str(error).replace(f"{record.directory}{os.sep}", "")
        return section("topics", "Topics", remark(escaped(message)))
    drawing, note = for_screens(draw_map, rows, name="map", heights=(560, 400))
    picture = figure(
        drawing,
        "Topics in the plane, by the Jensen–Shannon distances between their distributions over"
        " words (classical scaling): near ones share words. A circle's area is the topic's share of"
        " the corpus; numbers run from the commonest. Choose a topic to see its words.",
        note,
    )
    heights, _ = for_screens(draw_heights, rows, name="topics", heights=(330, 330))
    bars = figure(
        heights,
        "Share of the corpus' words that are each topic's, and its coherence (NPMI of its 10 most"
        ' probable words): <span class="key blue">words that go together</span>,'
        ' <span class="key orange">words that avoid each other</span>.',
    )
    unseen = code(f"{record.command('tighter topics')} --transform new.txt")
    cards = in_columns(list(map(_card, rows, words)), "topics")
    ending = f"<p>Topics of unseen texts: {unseen}</p>"
    of_words = section("words", "Their words", _SLIDER, cards, _NOTE, ending, _data(rows, words))
    return f"{section('topics', 'Topics', picture, bars)}\n{of_words}"


def _coherence(judged: Measurement) -> list[tuple[str, str, str]]:
    rows = judged.record.get("topics")
    size = len(rows) if isinstance(rows, list) else 0
    npmi, c_v = (
        with_error(judged.value(name), judged.value(f"{name}_standard_error"), places=3)
        for name in ("npmi", "c_v")
    )
    return [
        ("Coherence, NPMI", npmi, "−1 to 1, 10 top words"),
        ("Coherence, C_v", c_v, f"windows of {judged.text('c_v_windows')}"),
        ("Topic diversity", signed(judged.value("diversity"), 2), "of 25 top words each"),
        ("Distinct topics", count(judged.value("num_distinct")), f"of {count(size)}"),
    ]


def _rows(judged: Measurement) -> list[Mapping[str, Any]]:
    rows = mappings(judged.record.get("topics"))
    if judged.damage or not rows:
        nothing = "topics.json tells of no topic; make it again (tighter topics)"
        raise InputError(judged.damage or nothing)
    return rows


def _vocabulary(directory: Path) -> list[str]:
    words = read_object(directory / "vocabulary.json").get("words")
    if not isinstance(words, list):
        raise InputError("vocabulary.json holds no list of words")
    return [str(word) for word in words]


def _candidates(judged: Measurement, vocabulary: list[str]) -> list[list[Word]]:
    """Of each topic, all words that are among its ten most relevant at some λ of the slider."""
    own, shares = judged.array("topics", rank=2), judged.array("shares")
    if own is None or shares is None or own.shape[1:] != (len(vocabulary),) != shares.shape:
        raise InputError(
            f"the vocabulary doesn't fit the topics: vocabulary.json has {len(vocabulary)} words;"
            " make the run again"
        )
    return [
        [Word(vocabulary[i], float(row[i]), float(shares[i])) for i in _relevant(row, shares)]
        for row in own
    ]


def _relevant(own: NDArray[np.float64], shares: NDArray[np.float64]) -> list[int]:
    """Columns, in the order of λ = .6 (Sievert & Shirley, 2014, eq. 1)."""
    tiny = np.finfo(np.float64).tiny
    log_own, log_shares = np.log(np.maximum(own, tiny)), np.log(np.maximum(shares, tiny))
    ranked = [np.argsort((1 - w) * log_shares - log_own, kind="stable") for w in _WEIGHTS]
    found = np.unique([order[:_SHOWN] for order in ranked]).tolist()
    return sorted(found, key=lambda i: (1 - _WEIGHT) * log_shares[i] - log_own[i])


def _card(row: Mapping[str, Any], words: list[Word]) -> str:
    place = escaped(row.get("topic"))
    prevalence, npmi, c_v = numbers(row, "prevalence", "npmi", "c_v")
    shown = words[:_SHOWN]
    widest = max((word.share for word in shown), default=1) or 1
    lines = "".join(
        f'<li style="--all:{100 * word.share / widest:.1f}%;'
        f'--part:{min(1.0, prevalence * word.own / (word.share or 1)):.3f}">'
        f"<span>{escaped(word.word)}</span><i></i></li>"
        for word in shown
        if math.isfinite(word.share)
    )
    return (
        f'<article class="topic" id="topic-{place}"><h3>Topic {place}</h3>'
        f'<p class="facts">{percent(prevalence)} · NPMI {signed(npmi, 2)}'
        f" · C_v {signed(c_v, 2)}</p><ol>{lines}</ol></article>"
    )


_SLIDER = (
    '<p class="slider" hidden><label for="weight">Relevance λ = <output>0.60</output></label>'
    f'<input id="weight" type="range" min="0" max="1" step="0.05" value="{_WEIGHT}">'
    "<span>0: words of this topic alone</span><span>1: its most probable words</span></p>"
)
_NOTE = (
    '<p class="under">Words by relevance, λ log p(w|topic) + (1 − λ) log p(w|topic)/p(w), at'
    f" λ = <output>{_WEIGHT:.2f}</output> (Sievert &amp; Shirley, 2014). The light bar is how"
    " often a word occurs in the corpus, the dark part how often by this topic.</p>"
)


def _data(rows: list[Mapping[str, Any]], words: list[list[Word]]) -> str:
    """What the slider ranks: a block of data, which no browser runs."""
    content = [
        {
            "topic": row.get("topic"),
            "prevalence": number(row.get("prevalence")),
            "words": [[w.word, float(f"{w.own:.4g}"), float(f"{w.share:.4g}")] for w in some],
        }
        for row, some in zip(rows, words, strict=True)
    ]
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    # Neither a tag's end nor a comment's begin can stand in it.
    safe = text.replace("<", "\\u003c")
    return f'<script type="application/json" id="ranked">{safe}</script>'
