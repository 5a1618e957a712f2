"""The page of a run of topics: what it shows, what may run in it, and what it survives."""

import base64
import hashlib
import json
import math
import re

import numpy as np
import pytest

from tighter.report import write_report

from .conftest import epochs, jsonl
from .test_page import Page, shown

EVIL = "</script><img src=x onerror=alert(1)>"
WORDS = ["sea", "ship", EVIL, "oven", "bread", "salt", "law", "judge", "trial", "jury", "appeal"]
CONFIGURATION = {
    "command": "tighter topics letters/",
    "kind": "topics",
    "configuration": {
        "data": {"sources": ["/home/ann/letters"]},
        "model": {"family": "lda", "topics": 3},
        "objective": {"bound": "elbo"},
    },
    "corpus": {"documents": 1234, "words": 56789, "vocabulary": 11},
}
EVALUATION = {
    "num_examples": 120, "num_words": 5000, "num_samples": 1000, "perplexity": 812.34,
    "perplexity_standard_error": 11.7, "log_likelihood": -88.2, "share_pareto_k_above_0.7": 0.0,
    "verdict": "to be trusted", "verdict_level": "good",
}  # fmt: skip


@pytest.fixture
def run(make_run):
    rng = np.random.default_rng(0)
    phi, prevalence = rng.dirichlet(np.ones(11), size=3), np.array([0.5, 0.3, 0.2])
    rows = [
        {
            "topic": number + 1, "component": number, "prevalence": prevalence[number],
            "npmi": 0.2 - 0.15 * number, "c_v": 0.5, "words": WORDS[:10],
            "relevant_words": WORDS[:10], "place": [0.1 * number, 0.0],
        }
        for number in range(3)
    ]  # fmt: skip
    record = {
        "npmi": 0.05, "c_v": 0.5, "c_v_windows": "110 words", "diversity": 0.9, "num_distinct": 3,
        "topics": rows,
    }  # fmt: skip
    folder = make_run(
        "letters-topics-1",
        configuration=CONFIGURATION,
        metrics=jsonl(epochs()),
        evaluation=EVALUATION,
    )
    (folder / "topics.json").write_text(json.dumps(record))
    (folder / "vocabulary.json").write_text(json.dumps({"words": WORDS}))
    np.savez(folder / "topics.npz", topics=phi, prevalence=prevalence, shares=prevalence @ phi)
    return folder


def drawn(folder):
    text = write_report(folder).read_text(encoding="utf-8")
    return text, Page(text.replace('<input id="weight"', '<br id="weight"'))


def test_what_the_page_says(run):
    text, page = drawn(run)
    for words in (
        "3 topics of letters, 1,234 documents of 56,789 words, 11 different ones:"
        " a mixture of topics (LDA), trained by the ELBO bound.",
        "812 ± 12",
        "Of 5,000 words in 120 documents held out",
        "This estimate can be trusted.",
        "50.0% · NPMI 0.20 · C_v 0.50",
        "tighter topics letters-topics-1 --transform new.txt",
    ):
        assert words in shown(page), words
    assert text.count('<a href="#topic-') == 6
    assert "There are no samples" not in text
    assert write_report(run).read_text(encoding="utf-8") == text


def test_words_are_ranked_by_relevance_without_the_slider(run):
    text, _ = drawn(run)
    with np.load(run / "topics.npz") as arrays:
        phi, shares = arrays["topics"], arrays["shares"]
    for number in range(3):
        card = re.search(rf'id="topic-{number + 1}".*?</article>', text, flags=re.DOTALL)
        made = re.findall(r"<span>(.*?)</span>", card.group())
        score = 0.6 * np.log(phi[number]) + 0.4 * np.log(phi[number] / shares)
        assert [w.replace("&lt;", "<").replace("&gt;", ">") for w in made] == [
            WORDS[i] for i in np.argsort(-score)[:10]
        ]


def test_only_the_slider_may_run(run):
    text, page = drawn(run)
    program = re.search(r"<script>(.*?)</script>", text, flags=re.DOTALL).group(1)
    digest = base64.b64encode(hashlib.sha256(program.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text
    assert page.tags.count("script") == 2
    assert "<img src=x" not in text
    data = re.search(r'id="ranked">(.*?)</script>', text, flags=re.DOTALL).group(1)
    ranked = json.loads(data)
    assert {word[0] for topic in ranked for word in topic["words"]} == set(WORDS)
    assert all(math.isfinite(word[1]) for topic in ranked for word in topic["words"])


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("topics.json", "{", "not JSON"),
        ("topics.json", "{}", "tells of no topic"),
        ("vocabulary.json", '{"words": ["sea"]}', "doesn't fit the topics"),
        ("topics.json", None, "There are no topics yet. Run tighter topics --resume"),
        ("evaluation.json", None, "have not been scored yet. Run tighter topics --resume"),
    ],
)
def test_what_is_missing_or_damaged_is_said(run, file, content, said):
    if content is None:
        (run / file).unlink()
    else:
        (run / file).write_text(content)
    text, page = drawn(run)
    assert said in shown(page)
    assert ("<script" in text) == (file == "evaluation.json")
