"""`tighter topics`: texts to topics, unseen texts, and one line for what can't be right."""

import json
import signal
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.special import gammaln

from tighter.runs.folder import open_run
from tighter.runs.topics import read_corpus, rows
from tighter.training.record import Metrics

THEMES = {
    "sea": ["wave", "ship", "harbor", "sail", "anchor", "tide", "fish", "captain"],
    "kitchen": ["bread", "oven", "butter", "salt", "onion", "pan", "recipe", "flour"],
    "court": ["judge", "law", "trial", "verdict", "jury", "lawyer", "appeal", "witness"],
}
OPTIONS = ["--topics=3", "--epochs=30", "--batch-size=30", "--min-df=2"]


def sentences(number: int, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """Documents of one theme each, and which."""
    rng = np.random.default_rng(seed)
    themes, words = rng.integers(0, 3, size=number), list(THEMES.values())
    return [" ".join(rng.choice(words[theme], size=9)) for theme in themes], themes


@pytest.fixture(scope="module")
def texts(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    (folder / "stories.txt").write_text("\n\n".join(sentences(150)[0]))
    (folder / "new.txt").write_text("wave ship quark\n\nunheard\n\nbread oven butter salt pan")
    (folder / "single.txt").write_text("wave ship storm")
    (folder / "one.txt").write_text("word word\n\nword")
    (folder / "binary.txt").write_bytes(b"\0\1\2")
    pl.DataFrame({"text": ["", "wave ship"]}).write_csv(folder / "gap.csv")
    np.savez(
        folder / "unfit.npz", train_indptr=[0, 1], train_indices=[3], train_counts=[1],
        vocab=np.array(["wave", "ship"]),
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def topics(texts, call, tmp_path_factory):
    """A finished run, and what the command said."""
    folder = tmp_path_factory.mktemp("topics")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        answer = call("topics", texts / "stories.txt", *OPTIONS)
    assert answer.status == 0, answer.err
    return folder / "runs" / "stories-topics-1", answer


def test_topics_are_the_themes(topics):
    run, answer = topics
    record = json.loads((run / "topics.json").read_text())
    found = {frozenset(topic["words"][:8]) for topic in record["topics"]}
    assert found == {frozenset(words) for words in THEMES.values()}
    assert record["num_distinct"] == 3
    assert np.isclose(sum(topic["prevalence"] for topic in record["topics"]), 1)
    for words in ("3 of 3 topics distinct", "test perplexity", "NPMI", "report runs"):
        assert words in answer.out
    stored = {path.name for path in run.iterdir()}
    assert stored >= {
        "configuration.json", "vocabulary.json", "metrics.jsonl", "best.safetensors", "topics.npz",
        "report.html", "checkpoints", "evaluation.npz",
    }  # fmt: skip
    assert len(json.loads((run / "vocabulary.json").read_text())["words"]) == 24


def test_held_out_documents_have_their_exact_probability(topics):
    """Summed over how many of a document's words are of which topic."""
    run = open_run(topics[0], of_topics=True)
    with np.load(run.path / "topics.npz") as arrays:
        phi = np.asarray(arrays["topics"], np.float64)
    corpus = read_corpus(run.configuration.data)
    counts = corpus.dense(rows(corpus, run.configuration)["test"])
    exact = np.array([log_probability(row, phi, alpha=1 / 3) for row in counts])
    with np.load(run.path / "evaluation.npz") as arrays:
        values, errors = arrays["value"], arrays["standard_error"]
    assert len(values) == 15
    assert abs((values - exact).sum()) < 5 * np.sqrt((errors**2).sum())
    evaluation = json.loads((run.path / "evaluation.json").read_text())
    perplexity = np.exp(-exact.sum() / counts.sum())
    assert abs(evaluation["perplexity"] / perplexity - 1) < 5 * np.sqrt((errors**2).sum()) / 135


def log_probability(document: np.ndarray, phi: np.ndarray, *, alpha: float) -> float:
    size = int(document.sum())
    table = np.zeros((size + 1,) * 3)
    table[0, 0, 0] = 1
    for word in np.repeat(np.arange(document.size), document.astype(int)):
        table = sum(np.roll(table, 1, axis=topic) * phi[topic, word] for topic in range(3))
    numbers = np.indices(table.shape)
    moments = gammaln(alpha + numbers).sum(axis=0) - 3 * gammaln(alpha)
    moments += gammaln(3 * alpha) - gammaln(3 * alpha + size)
    return float(np.log((table * np.exp(moments)).sum()))


def test_unseen_texts(topics, texts, call):
    run, _ = topics
    answer = call("topics", run, "--transform", texts / "new.txt", "--json")
    assert answer.status == 0, answer.err
    record = json.loads(answer.out)
    assert (record["num_words"], record["num_unknown"]) == (9, 2)
    first, nothing, last = (row["proportions"] for row in record["documents"])
    assert nothing is None
    themes = [
        set(topic["words"]) for topic in json.loads((run / "topics.json").read_text())["topics"]
    ]
    assert "wave" in themes[int(np.argmax(first))]
    assert "bread" in themes[int(np.argmax(last))]
    # Exact where topics share no word: (α + N) / (Kα + N), α = 1/3.
    assert np.isclose(max(last), (1 / 3 + 5) / (1 + 5), atol=0.01)
    told = call("topics", run, "--transform", texts / "new.txt")
    assert "2 of 9 words are not in the run's vocabulary; 1 document has none that is" in told.err
    assert "paragraph 2: no word of the vocabulary" in told.out
    for name in ("table.csv", "table.parquet", "table.json"):
        assert call("topics", run, "--transform", texts / "new.txt", "--out", name).status == 0
    tables = pl.read_csv("table.csv"), pl.read_parquet("table.parquet")
    for table in tables:
        assert table.columns == ["document", "topic_1", "topic_2", "topic_3"]
        np.testing.assert_allclose(table.row(0)[1:], first, atol=1e-5)
        assert table["topic_1"].null_count() == 1
    assert json.loads(Path("table.json").read_text())["documents"] == record["documents"]


@pytest.mark.slow
def test_an_interrupted_run_is_resumed_to_the_same_numbers(topics, texts, call, monkeypatch):
    append = Metrics.append

    def append_and_interrupt(self, row):
        append(self, row)
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Metrics, "append", append_and_interrupt)
        answer = call("topics", texts / "stories.txt", *OPTIONS, "--run=stopped")
    assert answer.status == 130
    assert "stopped after 1 whole epoch;" in answer.err
    assert "tighter topics --resume stopped" in answer.err
    unseen = call("topics", "stopped", "--transform", texts / "new.txt")
    assert unseen.status == 2
    assert "its training was stopped" in unseen.err
    answer = call("topics", "stopped", "--resume", "--json")
    assert answer.status == 0, answer.err
    assert len(json.loads(answer.out)["topics"]) == 3
    for name in ("best.safetensors", "topics.json"):
        assert Path("stopped", name).read_bytes() == (topics[0] / name).read_bytes()


MISTAKES = {
    # name: (options, what the line has to say)
    "nothing there": ("{texts}/nowhere.txt", "no file or folder"),
    "binary": ("{texts}/binary.txt", "binary file"),
    "empty row": ("{texts}/gap.csv", "1 of 2 documents is empty"),
    "one word": ("{texts}/one.txt --max-df 1.0", "the one word 'word'"),
    "unfit vocabulary": ("{texts}/unfit.npz", "doesn't fit the counts: 2 words"),
    "vocabulary of texts": ("{texts}/new.txt --vocabulary x.txt", "--vocabulary is about"),
    "column of texts": ("{texts}/new.txt --column text", "the column 'text'"),
    "one document": ("{texts}/single.txt --min-df 1 --max-df 1.0", "give more documents"),
    "no topics": ("{texts}/stories.txt --topics 1", "--topics is at least 2, got 1"),
    "too many topics": ("--topics 99999999999", "--topics is below 2^31, got 99999999999"),
    "unknown model": ("--model lsa", "there are: lda, prodlda"),
    "unknown posterior": ("{texts}/stories.txt --posterior gaussian", "logistic-normal"),
    "unknown bound": ("--bound iwea", "did you mean 'iwae'"),
    "upper bound": ("--bound cubo", "upper bound"),
    "share of documents": ("--max-df 1.5", "--max-df is a number of documents from 1"),
    "no number": ("--min-df few", "--min-df is a number"),
    "no rate": ("--learning-rate 0", "--learning-rate is above zero"),
    "no alpha": ("--alpha=-1", "--alpha is above zero"),
    "out of nothing": ("{texts}/stories.txt --out table.csv", "add --transform"),
    "transform by no run": ("{texts}/stories.txt --transform {texts}/new.txt", "is no run"),
    "transform of options": ("{run} --transform {texts}/new.txt --topics 3", "leave other options"),
    "transform of strangers": ("{run} --transform {texts}/one.txt", "none of the 3 words"),
    "transform of other counts": ("{run} --transform {texts}/unfit.npz", "doesn't fit"),
    "no such format": ("{run} --transform {texts}/new.txt --out t.xls", ".parquet"),
    "a run for a text": ("{run}", "add --transform"),
    "nothing to resume": ("--resume nowhere", "does not exist"),
    "another configuration": ("--resume {run} --topics 4", "model.topics is 3 there and 4 here"),
    "a run in the way": ("{texts}/stories.txt --topics 3 --run {run}", "already holds a run"),
}  # fmt: skip


def test_a_source_without_a_name(refused):
    assert "a source is empty" in refused("topics", "")


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_topics(topics, texts, refused, tmp_path, mistake):
    words, said = MISTAKES[mistake]
    line = refused("topics", *words.format(texts=texts, run=topics[0]).split())
    assert said in line, line
    assert list(tmp_path.iterdir()) == []
