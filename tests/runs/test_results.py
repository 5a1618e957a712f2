"""Results of a run side by side: what is shown, what stays, what can't be believed any more."""

import json

import numpy as np
import pytest

from tighter.runs.results import shown_result, store_result


@pytest.fixture
def run(tmp_path):
    (tmp_path / "best.safetensors").write_bytes(b"best")
    (tmp_path / "last.safetensors").write_bytes(b"last")
    return tmp_path


def store(run, draws, *, examples=10, parameters="best", value=0.0):
    return store_result(
        run,
        "evaluation",
        {"parameters": parameters, "value": value},
        {"value": np.full(examples, value)},
        settings={"K": draws, "n": examples, "seed": 0},
        effort=draws * examples,
    )


def beside(run):
    return sorted(path.name for path in (run / "results").glob("*.json"))


def test_the_most_draws_are_shown_and_nothing_is_lost(run):
    store(run, 5000, value=1.0)
    assert not (run / "results").exists()
    store(run, 200, value=2.0)
    assert shown_result(run, "evaluation")["value"] == 1.0
    assert beside(run) == ["evaluation-K200-n10-seed0-best.json"]
    store(run, 9000, value=3.0)
    assert shown_result(run, "evaluation")["value"] == 3.0
    assert beside(run) == [
        "evaluation-K200-n10-seed0-best.json",
        "evaluation-K5000-n10-seed0-best.json",
    ]
    kept = run / "results" / "evaluation-K5000-n10-seed0-best"
    assert json.loads(kept.with_suffix(".json").read_text())["value"] == 1.0
    with np.load(f"{kept}.npz") as arrays:
        np.testing.assert_array_equal(arrays["value"], np.ones(10))


def test_the_same_settings_replace_their_own_result(run):
    for value in (1.0, 2.0):
        store(run, 5000, value=value)
    assert shown_result(run, "evaluation")["value"] == 2.0
    assert not (run / "results").exists()
    for value in (3.0, 4.0):
        store(run, 200, value=value)
    assert len(beside(run)) == 1


def test_the_last_parameters_never_take_the_place_of_the_best(run):
    store(run, 10, parameters="last", value=1.0)
    store(run, 5, value=2.0)
    store(run, 10**6, parameters="last", value=3.0)
    assert shown_result(run, "evaluation")["value"] == 2.0


def test_a_run_that_went_on_does_not_show_what_it_was(run):
    store(run, 5000, value=1.0)
    (run / "best.safetensors").write_bytes(b"better")
    store(run, 200, value=2.0)
    assert shown_result(run, "evaluation")["value"] == 2.0
    assert beside(run) == ["evaluation-K5000-n10-seed0-best.json"]


@pytest.mark.parametrize("content", ["", "[1]", '{"result": "../../out"}', '{"effort": "many"}'])
def test_a_damaged_result_is_replaced_and_leads_nowhere_else(run, content):
    (run / "evaluation.json").write_text(content)
    store(run, 7, value=1.0)
    assert shown_result(run, "evaluation")["value"] == 1.0
    assert all(path.parent == run / "results" for path in run.glob("**/evaluation-*"))
    assert not list(run.parent.glob("out*"))
