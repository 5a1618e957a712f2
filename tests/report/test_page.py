"""The page: whole, self-contained, escaped, repeatable, for every kind of run."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from tighter.report import write_report
from tighter.report.latent import _groups, project

from .conftest import CONFIGURATION, EVALUATION, MakeRun, epochs, examples, jsonl, pictures

VOID = {"meta", "img", "br", "use", "path", "rect", "image", "link", "hr"}


class Page(HTMLParser):
    """Checks that tags close in order, and collects what a browser would fetch or run."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.identifiers: list[str] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in VOID:
            self._open.append(tag)
        self._collect(attrs)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self._collect(attrs)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def _collect(self, attrs):
        for name, value in attrs:
            assert not name.startswith("on"), f"{name} would run code"
            if name in ("src", "href", "xlink:href", "srcset", "action"):
                self.addresses.append(value)
            if name == "id":
                self.identifiers.append(value)


def draw(folder: Path) -> tuple[str, Page]:
    path = write_report(folder)
    assert path == folder / "report.html"
    text = path.read_text(encoding="utf-8")
    return text, Page(text)


def shown(page: Page) -> str:
    return " ".join(" ".join(page.text).split())


RUNS = {
    "full": lambda: {
        "metrics": jsonl(epochs()),
        "evaluation": EVALUATION,
        "examples": examples(),
        "pictures": pictures(),
    },
    "minimal": dict,
    "empty configuration": lambda: {"configuration": {}},
    "odd configuration": lambda: {
        "configuration": {"configuration": [1, 2], "started": "yesterday", "data_sizes": "many"}
    },
    "plane with grid": lambda: {
        "pictures": pictures(latent=2) | {"grid": np.random.default_rng(2).random((5, 5, 8, 8))}
    },
    "grid of flat squares": lambda: {
        "pictures": pictures((64,), latent=2)
        | {"grid": np.random.default_rng(2).random((5, 5, 64))}
    },
    "grid of vectors": lambda: {
        "pictures": pictures((3,), latent=2) | {"grid": np.random.default_rng(2).random((5, 5, 3))}
    },
    "one latent dimension": lambda: {"pictures": pictures(latent=1)},
    "no labels": lambda: {
        "pictures": {k: v for k, v in pictures().items() if k != "encoding_labels"}
    },
    "many labels": lambda: {
        "pictures": pictures() | {"encoding_labels": np.arange(50) % 26},
    },
    "many encodings": lambda: {
        "pictures": {
            "encodings": np.random.default_rng(3).normal(size=(6000, 3)).astype(np.float32),
            "encoding_labels": np.arange(6000) % 10,
        }
    },
    "vectors": lambda: {"pictures": {k: 5 * v for k, v in pictures((13,)).items()}},
    "numbers": lambda: {"pictures": {k: 5 * v for k, v in pictures((1,)).items()}},
    "colors": lambda: {"pictures": pictures((12, 10, 3))},
    "one channel": lambda: {"pictures": pictures((12, 10, 1))},
    "large pictures": lambda: {"pictures": pictures((200, 180, 3))},
    "empty arrays": lambda: {
        "pictures": {k: v[:0] for k, v in pictures().items()},
        "examples": {k: v[:0] for k, v in examples().items()},
        "metrics": "",
    },
    "one of everything": lambda: {
        "pictures": {k: v[:1] for k, v in pictures().items()},
        "examples": {k: v[:1] for k, v in examples().items()},
        "metrics": jsonl(epochs(1)),
        "evaluation": {"log_likelihood": -3},
    },
    "the same everywhere": lambda: {
        "pictures": {k: np.zeros_like(v) for k, v in pictures().items()},
        "examples": {k: np.zeros_like(v) for k, v in examples().items()},
        "metrics": jsonl([{"epoch": e, "bound": 0, "validation_bound": 0} for e in (1, 2, 3)]),
        "evaluation": dict.fromkeys(EVALUATION, 0),
    },
    "nothing but NaN": lambda: {
        "pictures": {k: v * np.nan for k, v in pictures().items() if k != "encoding_labels"},
        "examples": {k: v * np.nan for k, v in examples().items()},
        "metrics": jsonl(
            [dict.fromkeys(row, np.nan) | {"epoch": row["epoch"]} for row in epochs()]
        ),
        "evaluation": dict.fromkeys(EVALUATION, np.nan),
    },
    "nothing but infinities": lambda: {
        "pictures": {k: v + np.inf for k, v in pictures().items() if k != "encoding_labels"},
        "examples": {k: v - np.inf for k, v in examples().items()},
        "metrics": jsonl([{"epoch": 1, "bound": -np.inf, "validation_bound": np.inf}]),
        "evaluation": dict.fromkeys(EVALUATION, -np.inf),
    },
    "vectors with holes": lambda: {
        "pictures": {
            k: np.where(v > 0.8, np.nan, 5 * v)
            for k, v in pictures((13,)).items()
            if k != "encoding_labels"
        },
    },
    "huge numbers": lambda: {
        "examples": {k: v * 1e300 for k, v in examples().items()},
        "metrics": jsonl([{"epoch": e, "bound": -(10 ** (307 - e))} for e in (1, 2, 3)]),
        "evaluation": dict.fromkeys(EVALUATION, 10**400),
    },
    "words for numbers": lambda: {
        "metrics": jsonl([{"epoch": 1, "bound": "high", "validation_bound": True}]),
        "evaluation": dict.fromkeys(EVALUATION, "good"),
    },
}


@pytest.mark.parametrize("kind", RUNS)
def test_the_page_is_well_formed_and_needs_nothing_but_itself(kind: str, make_run: MakeRun):
    text, page = draw(make_run(**RUNS[kind]()))
    assert all(address.startswith(("data:image/png", "#")) for address in page.addresses)
    assert not re.search(r"https?:|@import|url\((?!#)", text)
    assert not {"script", "iframe", "object", "link", "base", "form"} & set(page.tags)
    assert len(set(page.identifiers)) == len(page.identifiers)
    pointed = {address[1:] for address in page.addresses if address.startswith("#")}
    pointed |= set(re.findall(r"url\(#([^)]*)\)", text))
    assert pointed <= set(page.identifiers)
    assert len(text) < 1_500_000


def test_the_numbers_are_there(full_run: Path):
    _, page = draw(full_run)
    text = shown(page)
    for words in (
        "−20.12",
        "± 0.43",
        "nats per datum",
        "over 179 test examples, each from 5,000 importance samples",
        "0.012",
        "−20.90 ± 0.44",
        "0.78 ± 0.12",
        "2.0% ± 1.0% of examples",
        "812 ± 31",
        "This estimate can be trusted.",
        "MLP model with 50 latent dimensions, trained on digits by the IWAE bound (K = 50)"
        " with the doubly-reparameterized gradient, 20 epochs.",
        "123,456 parameters · 1,438 train / 180 validation / 179 test examples · on cpu"
        " · started 20 November 2026, 12:00 UTC",
        "tighter train --data digits --bound iwae",
        "200, 200",
        "schedule.kind",
        "cosine",
        "of variance)",
    ):
        assert words in text, words


def test_the_best_validation_epoch_is_named_and_the_wild_first_one_left_out(full_run: Path):
    _, page = draw(full_run)
    rows = epochs()
    best = max(rows, key=lambda row: row["validation_bound"])
    value = f"{best['validation_bound']:.2f}".replace("-", "−")
    assert f"best validation: {value} at epoch {best['epoch']}" in shown(page)
    assert "Epoch 1 lies outside the picture, as far as −531.0 nats." in shown(page)


def test_validation_may_skip_epochs(make_run: MakeRun):
    rows = [row | ({} if row["epoch"] % 5 == 0 else {"validation_bound": None}) for row in epochs()]
    _, page = draw(make_run(metrics=jsonl(rows)))
    assert "at epoch 10" in shown(page)


def test_each_missing_file_names_the_command_that_makes_it(make_run: MakeRun):
    folder = make_run("a run")
    _, page = draw(folder)
    text = shown(page)
    assert "There is no log-likelihood yet. Run tighter evaluate 'a run'" in text
    assert "No epoch has been recorded yet. Run tighter train --data digits --bound iwae" in text
    assert "There are no samples yet. Run tighter evaluate 'a run'" in text
    assert "There are no reconstructions yet. Run tighter evaluate 'a run'" in text
    assert "Nothing was recorded for single examples. Run tighter evaluate 'a run'" in text
    assert "To draw this page again, run tighter report 'a run'" in text
    assert text.endswith("Next: score it on held-out data: tighter evaluate 'a run'")


def test_what_to_do_next_is_the_last_line(full_run: Path):
    assert shown(draw(full_run)[1]).endswith(
        "Next: see what the bound hides: tighter diagnose digits-run"
    )
    doubted = EVALUATION | {"verdict_level": "fair", "verdict": "k̂ is above 0.7"}
    (full_run / "evaluation.json").write_text(json.dumps(doubted))
    text = shown(draw(full_run)[1])
    assert text.endswith("tighter evaluate digits-run --method sandwich")
    assert "Read this estimate with care. k̂ is above 0.7." in text


def test_no_folder_of_the_machine_is_on_the_page(make_run: MakeRun):
    place = "/home/ann/my data"
    configuration = CONFIGURATION | {
        "command": f"tighter train '/home/ann/runs/x' --data='{place}/wine.csv' --latent 4",
        "configuration": {
            "data": {"source": f"{place}/wine.csv", "sources": [f"{place}/a.txt", "b/c.txt"]},
            "model": {"rate": "1/min", "other": "C:\\Users\\ann\\wine.csv"},
        },
    }
    folder = make_run(configuration=configuration)
    (folder / "sandwich.json").write_text("{")
    text, page = draw(folder)
    assert "ann" not in re.sub(r"[a-z]ann|ann[a-z]", "", text)
    assert str(folder) not in text
    assert "tighter train x --data=wine.csv --latent 4" in shown(page)
    assert "a.txt, b/c.txt" in shown(page)
    assert "1/min" in shown(page)
    assert "'sandwich.json' can't be read" in shown(page)


def test_the_training_curve_says_what_is_measured(full_run: Path):
    text = shown(draw(full_run)[1])
    assert "the mean over the epoch's batches, while the parameters moved; in validation" in text
    assert "difference between data it was trained on" not in text


def test_ten_labels_differ_by_more_than_color():
    groups = _groups(project(np.eye(20)[:, :2], np.arange(20)))
    assert len({marker for _, _, _, marker in groups[:10]}) == 10
    assert len({(color, marker) for _, _, color, marker in groups}) == 20


def test_labels_that_are_words_are_named_and_have_shapes():
    plane = project(np.eye(4)[:, :2], np.array([0, 1, 0, 1]), ("cat", "dog"))
    (cat, _, _, of_cat), (dog, _, _, of_dog) = _groups(plane)
    assert (cat, dog) == ("cat", "dog")
    assert of_cat != of_dog
    assert "$" not in of_cat + of_dog


def test_binarized_examples_stand_beside_what_they_were(make_run: MakeRun):
    made = pictures()
    page = draw(make_run(pictures=made))[1].tags.count("img")
    more = made | {"pixels": made["originals"], "reconstructed_draws": made["originals"] > 0.5}
    four = draw(make_run("four", pictures=more))[1]
    assert four.tags.count("img") == page + 2 * len(made["originals"])
    assert "as the model saw it (binarized)" in shown(four)


def test_strings_from_files_cannot_become_markup(make_run: MakeRun):
    evil = "<script>alert('x')</script><img src=x onerror=alert(1)>\"&"
    configuration = CONFIGURATION | {
        "command": evil,
        "device": evil,
        "started": evil,
        "configuration": {evil: {evil: evil, "list": [evil], "none": {}}, "data": {"source": evil}},
        "versions": {evil: evil},
    }
    folder = make_run(
        "<b>run & co",
        configuration=configuration,
        evaluation=EVALUATION | {"split": "<i>test"},
    )
    text, page = draw(folder)
    assert "<script" not in text
    assert "<img src=x" not in text
    assert "<i>" not in text
    assert "<b>run" not in text
    assert evil in "".join(page.text)


@pytest.mark.parametrize("kind", ["full", "vectors", "plane with grid", "many encodings"])
def test_the_same_files_give_the_same_bytes(kind: str, make_run: MakeRun):
    folder = make_run(**RUNS[kind]())
    first = write_report(folder).read_bytes()
    assert write_report(folder).read_bytes() == first


def test_a_second_report_replaces_the_first_and_leaves_nothing_behind(full_run: Path):
    (full_run / "report.html").write_text("an older one")
    before = {path.name for path in full_run.iterdir()}
    write_report(full_run)
    assert {path.name for path in full_run.iterdir()} == before
    assert (full_run / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_numbers_in_the_pictures_text_are_not_cut_short(make_run: MakeRun):
    rows = [{"epoch": e, "bound": 0.1 + 0.0001 * e} for e in range(1, 9)]
    text, _ = draw(make_run(metrics=jsonl(rows)))
    assert re.search(r">0\.100\d+</text>", text)


def test_colors_follow_the_readers_theme(full_run: Path):
    text, _ = draw(full_run)
    drawings = re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL)
    assert drawings
    assert all("var(--ink)" in drawing or "var(--muted)" in drawing for drawing in drawings)
    assert not any("#1d2733" in drawing for drawing in drawings)


def test_a_cut_line_is_mentioned(make_run: MakeRun):
    _, page = draw(make_run(metrics=jsonl(epochs()) + '{"epoch": 13, "bou'))
    assert "was cut short and is left out" in shown(page)


def test_the_report_loads_neither_jax_nor_pyplot(full_run: Path):
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from tighter.report import write_report\n"
        "write_report(Path(sys.argv[1]))\n"
        "print(*{'jax', 'equinox', 'matplotlib.pyplot'} & set(sys.modules))\n"
    )
    command = [sys.executable, "-c", script, str(full_run)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""


@pytest.mark.parametrize(
    ("kind", "told", "left"),
    [("vae", "iwae", "cosine-noise"), ("diffusion", "cosine-noise", "iwae")],
)
def test_settings_are_those_of_the_model(kind: str, told: str, left: str, make_run: MakeRun):
    settings = {
        **CONFIGURATION["configuration"],
        "model": {"kind": kind, "latent": 50},
        "diffusion": {"schedule": "cosine-noise"},
    }
    folder = make_run(configuration={"configuration": settings})
    made = write_report(folder).read_text().split("How it was made")[1]
    assert told in made
    assert left not in made
