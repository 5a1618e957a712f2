"""The page of a table: names and units of its columns, and names that are out to do harm."""

import json
import re

import numpy as np
import pytest

from .conftest import CONFIGURATION, EVALUATION, epochs, jsonl
from .test_page import draw, shown

EVIL = "<script>alert(1)</script> $\\frac{a}{$ & " + "long " * 40 + "年齢 \U0001f600"


def table(name="age (years)", level="smoker", levels=3):
    rng = np.random.default_rng(0)
    words = [f"{level} {i}" for i in range(levels)]
    told = {"distance": 0.12, "chance": 0.03}
    cloud = np.column_stack([rng.normal(40, 9, 50), rng.integers(0, levels, 50)]).tolist()
    return {
        "num_rows": 800, "num_samples": 1000, "num_columns": 2, "num_searched": 2,
        "columns": [
            {
                "name": name, "kind": "real", "missing": 0.25,
                "edges": [20.0, 40.0, 60.0], "data": [500, 100, 0, 0],
                "samples": [700, 250, 0, 50], **told,
                "reconstruction": {
                    "error": 4.66, "standard_error": 0.5, "plain_error": 8.85,
                    "plain_standard_error": 0.82,
                },
            },
            {
                "name": "habit", "kind": "categorical", "missing": 0.0, "words": words,
                "levels": words[:12], "rest": max(0, levels - 12),
                "data": [*[10] * min(levels, 12), 0], "samples": [*[20] * min(levels, 12), 0],
                **told,
                "reconstruction": {
                    "error": 0.22, "standard_error": 0.042, "plain_error": 0.25,
                    "plain_standard_error": 0.044,
                },
            },
        ],
        "pairs": [
            {"columns": [0, 1], **told, "alone": [0.01, 0.02], "data": cloud, "samples": cloud}
        ],
        "strange": [
            {
                "row": 6, "log_likelihood": -42.3, "standard_error": 0.17,
                "cells": [
                    {"column": name, "value": "93", "expected": "41.2", "nats": 7.12}
                ],
            }
        ],
    }  # fmt: skip


@pytest.fixture
def run(make_run):
    configuration = CONFIGURATION | {
        "schema": {"columns": [{"name": "age (years)", "kind": "real"}, {"name": "habit"}]}
    }
    configuration["schema"]["columns"][1]["kind"] = "categorical"
    return make_run(configuration=configuration, metrics=jsonl(epochs()), evaluation=EVALUATION)


def test_columns_by_name_and_in_their_units(run):
    (run / "table.json").write_text(json.dumps(table()))
    text, page = draw(run)
    for words in (
        "age (years)", "25.0% missing in the data", "12.0% apart, 3.0% by chance",
        "Outside the picture: 0.0% of the data, 5.0% of the samples",
        "smoker 0", "33.3% 33.3%", "habit against age (years)",
        "age (years) 4.66 ± 0.50 8.85 ± 0.82 47.3% in units of age (years)",
        "habit 22.0 ± 4.2 25.0 ± 4.4 12.0% % wrong",
        "7 −42.30 ± 0.17 age (years) is 93, where 41.2 is expected (7.1 nats more than usual)",
    ):  # fmt: skip
        assert words in shown(page), words
    assert "standard deviations" not in text
    assert "feature (index)" not in text


@pytest.mark.parametrize("levels", [2, 500])
def test_hostile_names_stay_words(run, levels):
    (run / "table.json").write_text(json.dumps(table(EVIL, EVIL, levels)))
    text, page = draw(run)
    assert "<script" not in text
    assert EVIL.split(" long")[0] in "".join(page.text)
    assert ("488 others" in shown(page)) == (levels == 500)
    assert len(text) < 400_000


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "can't be read"),
        ("{}", "tells of no column"),
        ('{"columns": [{}, {"data": [1], "edges": "x"}], "pairs": [{}], "strange": [{}]}', ""),
        ('{"columns": [{"name": null}], "pairs": [{"columns": [0, 9]}], "strange": 3}', ""),
    ],
)
def test_a_damaged_record_leaves_the_rest(run, content, told):
    (run / "table.json").write_text(content)
    text, page = draw(run)
    assert told in shown(page)
    assert "How it was made" in text


def test_a_run_of_before_says_how_to_make_its_columns(run):
    text = shown(draw(run)[1])
    assert "The columns have not been drawn yet. Run tighter evaluate digits-run" in text
    assert not re.search("Samples from the prior", text)
