"""Measurements on a finished run: what is printed, stored and drawn."""

import json
import shutil

import pytest


@pytest.fixture
def run(trained, tmp_path):
    """A copy of a trained run."""
    return shutil.copytree(trained[0], tmp_path / "run")


def told(answer):
    assert answer.status == 0, answer.err
    return json.loads(answer.out)


@pytest.mark.slow
def test_sandwich_and_pareto(call, run):
    record = told(call("evaluate", run, "--method=sandwich", "--num-examples=4", "--json"))
    assert record["lower"] <= record["upper"]
    assert record == {**record, **json.loads((run / "sandwich.json").read_text())}
    assert "How far from the truth" in (run / "report.html").read_text()
    smoothed = call("evaluate", run, "--method=pareto", "--num-samples=50")
    assert smoothed.status == 0
    assert smoothed.out.startswith("Pareto-smoothed")
    assert "k̂" in smoothed.out


@pytest.mark.slow
def test_annealing(call, run):
    answer = call(
        "evaluate", run, "--method=ais", "--num-examples=3", "--num-temperatures=8",
        "--num-chains=2",
    )  # fmt: skip
    assert answer.status == 0, answer.err
    assert "by annealing (8 temperatures, 2 chains, 3 examples" in answer.out
    assert "on other data annealing gives the lower bound alone" in answer.out
    assert json.loads((run / "annealing.json").read_text())["method"] == "ais"


@pytest.mark.slow
def test_diagnosis(call, run):
    record = told(call("diagnose", run, "--num-examples=60", "--num-gaps=3", "--json"))
    terms = record["surgery"]
    rest = terms["average_kl"] - terms["index_code_mutual_information"] - terms["marginal_kl"]
    assert abs(rest) < 1e-4
    assert abs(terms["elbo"] - terms["reconstruction"] + terms["average_kl"]) < 1e-4
    assert "What the bound hides" in (run / "report.html").read_text()
    lines = call("diagnose", run, "--num-examples=60", "--num-gaps=3").out
    assert "index-code mutual information" in lines
    assert "active units" in lines


@pytest.mark.slow
def test_comparison(call, run):
    words = (
        "--bound=iwae", "--num-samples=2", "--gradient=reparameterized", "--gradient=vimco",
        "--num-replicates=40",
    )  # fmt: skip
    answer = call("compare", run, *words)
    assert answer.status == 0, answer.err
    assert "Recommended: " in answer.out
    record = json.loads((run / "comparison.json").read_text())
    assert {row["gradient"] for row in record["rows"]} == {"Reparameterized", "VIMCO"}
    assert "Which bound and estimator" in (run / "report.html").read_text()
