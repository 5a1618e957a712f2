"""Tables on the command line: families for their columns, and gaps filled in."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tighter.data import load


@pytest.fixture(scope="module")
def imputed(files, call, tmp_path_factory):
    """A table with gaps, what was made of it, and two draws."""
    folder = tmp_path_factory.mktemp("imputed")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        answer = call(
            "impute", files / "gaps.csv", "--out=done.csv", "--draws=2", "--epochs=500", "--json",
            "--set=training.learning_rate=0.01",
            "--set=model.hidden=[8]", "--set=model.latent=2", "--num-samples=200",
            "--set=evaluation.num_samples=20",
        )  # fmt: skip
    assert answer.status == 0, answer.err
    return folder, json.loads(answer.out)


def test_gaps_are_filled_and_the_rest_is_as_it_was(files, imputed):
    folder, record = imputed
    given, whole = pl.read_csv(files / "gaps.csv"), pl.read_csv(files / "whole.csv")
    made = [pl.read_csv(folder / name) for name in record["files"]]
    assert [frame.schema for frame in made] == [given.schema] * 3
    assert record["num_entries"] == record["num_rows"] == 10
    for frame in made:
        assert frame.null_count().sum_horizontal()[0] == 0
        for name in given.columns:
            there = given[name].is_not_null()
            assert frame[name].filter(there).equals(given[name].filter(there))
    # "twice" is told by "length".
    error = (made[0]["twice"] - whole["twice"]).filter(given["twice"].is_null())
    assert np.abs(error).max() < whole["twice"].std() / 2
    assert set(made[1]["size"]) == {"short", "tall"}
    assert not made[1].equals(made[2])


def test_a_run_serves_further_tables(files, imputed, call, refused):
    folder, record = imputed
    run = ["--run", folder / record["run"]]
    made = call("impute", files / "gaps.csv", *run, "--out=again.parquet")
    assert made.status == 0, made.err
    assert "filled 10 entries in 10 rows" in made.out
    assert pl.read_parquet("again.parquet").null_count().sum_horizontal()[0] == 0
    for words, said in {
        (files / "unseen.csv", *run): "huge",
        (files / "whole.csv", *run): "no missing entry",
        (files / "nowhere.csv", *run): "nowhere.csv",
        (files / "gaps.csv", "--out=done.xls"): ".parquet",
        (files / "gaps.csv", "--out=nowhere/done.csv"): "folder that exists",
        (files / "gaps.csv", "--draws=-1"): "--draws is at least 0",
        (files / "gaps.csv", *run, "--epochs=3"): "leave out",
    }.items():
        assert said in refused("impute", *words)


@pytest.mark.slow
def test_one_family_for_all_columns(files, call, tiny):
    """Student's t, a mixture prior and a flow, on an array and on a table's numbers."""
    rows = np.random.default_rng(0).normal(size=(80, 3)).astype(np.float32)
    np.save("rows.npy", rows)
    families = ["--observation=student-t", "--prior=mixture:4", "--posterior=flow:1"]
    answer = call("train", "run", "--data=rows.npy", *families, *tiny, "--json")
    assert answer.status == 0, answer.err
    assert np.isfinite(json.loads(answer.out)["log_likelihood"])
    stored = json.loads(Path("run", "configuration.json").read_text())
    assert stored["configuration"]["model"]["standardize"] is True
    again = call("evaluate", "run")
    assert again.status == 0, again.err


@pytest.mark.slow
def test_discrete_latents_get_a_gradient_that_they_can_have(call, tiny):
    answer = call("train", "run", "--posterior=bernoulli", *tiny)
    assert answer.status == 0, answer.err
    assert "vimco" in answer.err
    assert "draws carry no derivative" in answer.err


def test_a_target_is_no_part_of_x(files, call, refused, tiny, tmp_path):
    answer = call("train", "run", "--data", files / "whole.csv", "--target", "size", *tiny)
    assert answer.status == 0, answer.err
    assert json.loads((tmp_path / "run" / "configuration.json").read_text())["shape"] == [3]
    labels = np.load(tmp_path / "run" / "pictures.npz")["encoding_labels"]
    splits = load(files / "whole.csv", target="size")
    sizes = np.concatenate([splits.test.labels, splits.train.labels])
    codes = np.unique(sizes, return_inverse=True)[1]
    np.testing.assert_array_equal(labels, codes)
    said = refused("train", "--data", files / "whole.csv", "--target", "sise")
    assert "--target names 'sise'" in said
    assert "did you mean 'size'?" in said
