"""The commands at work: what they write, what they print, and that they agree."""

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tighter.bounds import BOUNDS
from tighter.gradients import ESTIMATORS
from tighter.training.record import Metrics

FILES = [
    "best.safetensors",
    "checkpoints",
    "configuration.json",
    "evaluation.json",
    "evaluation.npz",
    "last.safetensors",
    "metrics.jsonl",
    "pictures.npz",
    "report.html",
]


def evaluation(run) -> dict:
    return json.loads((run / "evaluation.json").read_text())


def copied(trained, tmp_path):
    return shutil.copytree(trained[0], tmp_path / "run")


def test_help_comes_without_jax():
    code = (
        "import sys, tighter.cli\n"
        "try: tighter.cli.main()\n"
        "except SystemExit as left: print(left.code)\n"
        "print([name for name in ('jax', 'numpy', 'scipy') if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert done.stdout.endswith("0\n[]\n")
    for word in ("train", "evaluate", "sample", "report", "info"):
        assert word in done.stdout


@pytest.mark.parametrize("command", ["train", "evaluate", "sample", "report", "info"])
def test_every_command_explains_itself(call, command):
    answer = call(command, "--help")
    assert answer.status == 0
    assert answer.err == ""
    assert f"tighter {command}" in answer.out
    assert "--json" in answer.out


def test_no_command_is_a_question(call):
    answer = call()
    assert answer.status in (0, 2)
    assert "Traceback" not in answer.err
    assert "train" in answer.out + answer.err


def test_train_leaves_a_whole_run(trained):
    run, answer = trained
    assert answer.status == 0
    assert sorted(path.name for path in run.iterdir()) == FILES
    record = evaluation(run)
    score, place = answer.out.splitlines()
    assert score.startswith(f"test log-likelihood {record['log_likelihood']:.2f} ± ")
    assert "K = 30, 12 examples" in score
    assert place == f"report {run / 'report.html'}"
    configuration = json.loads((run / "configuration.json").read_text())
    assert configuration["configuration"]["training"]["epochs"] == 2
    assert configuration["configuration"]["data"]["binarization"] == "stochastic"
    assert configuration["shape"] == [8, 8]
    assert configuration["command"].startswith("tighter train")
    with np.load(run / "pictures.npz") as pictures:
        assert "grid" in pictures  # of a two-dimensional latent
        assert pictures["encodings"].shape[1] == 2
        assert len(pictures["encoding_labels"]) == len(pictures["encodings"])
    with np.load(run / "evaluation.npz") as examples:
        assert {examples[name].shape for name in examples.files} == {(12,)}
        np.testing.assert_allclose(examples["value"].mean(), record["log_likelihood"])
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]


@pytest.mark.slow
def test_the_seed_decides_the_numbers(trained, call, tiny, tmp_path):
    run, _ = trained
    answer = call("train", tmp_path / "again", *tiny, "--json")
    assert answer.status == 0
    record = json.loads(answer.out)
    assert record["run"] == str(tmp_path / "again")
    assert record["log_likelihood"] == evaluation(run)["log_likelihood"]
    assert (tmp_path / "again" / "best.safetensors").read_bytes() == (
        run / "best.safetensors"
    ).read_bytes()


def test_train_says_what_is_not_to_be_trusted(call, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("tighter.evaluation.verdicts.TRUSTED", -9.0)
    answer = call("train", tmp_path / "run", *tiny)
    assert answer.out.splitlines()[1] == evaluation(tmp_path / "run")["verdict"]
    assert "not to be trusted" in answer.out


def test_evaluate_agrees_with_its_record(trained, call, tmp_path):
    run = copied(trained, tmp_path)
    before = evaluation(run)
    same = json.loads(call("evaluate", run, "--json").out)
    for name in before.keys() - {"seconds"}:
        assert same[name] == before[name], name
    answer = call("evaluate", run, "--num-samples", 40, "--num-examples", 7, "--seed", 3, "--json")
    assert answer.status == 0
    record = json.loads(answer.out)
    stored = json.loads((run / "results" / f"{record['result']}.json").read_text())
    assert {name: record[name] for name in stored} == stored
    assert (record["num_samples"], record["num_examples"], record["seed"]) == (40, 7, 3)
    assert record["log_likelihood"] != before["log_likelihood"]


def test_a_quick_result_stands_beside_the_one_with_more_draws(trained, call, tmp_path):
    run = copied(trained, tmp_path)
    before, pictures = evaluation(run), (run / "pictures.npz").read_bytes()
    answer = call("evaluate", run, "--num-samples", 40, "--num-examples", 7, "--json")
    assert json.loads(answer.out)["shows"] == {"evaluation": before["result"]}
    last = json.loads(call("evaluate", run, "--last", "--num-samples", 60, "--json").out)
    assert last["shows"] == {"evaluation": before["result"]}
    assert evaluation(run) == before
    assert (run / "pictures.npz").read_bytes() == pictures
    told = call("report", run).out.splitlines()[1]
    assert told.startswith("the report shows the evaluation of K = 30, 12 examples, seed 0, best")
    assert "; besides: K = 40, 7 examples, seed 0, best parameters; K = 60, 12" in told
    page = (run / "report.html").read_text()
    assert "each from 30 importance samples (seed 0)" in page
    assert "K = 40, 7 examples" in page
    # The page says of each what its record says.
    symbol = {"good": "✓", "fair": "!", "poor": "✕", "unknown": "?"}[before["verdict_level"]]
    assert f'<p class="verdict {before["verdict_level"]}">' in page
    assert f'aria-hidden="true">{symbol}</span>' in page
    assert before["verdict"][1:] in page
    # More draws take its place, and it stays beside them.
    more = json.loads(call("evaluate", run, "--num-samples", 50, "--json").out)
    assert more["shows"] == {"evaluation": more["result"]}
    assert evaluation(run)["num_samples"] == 50
    kept = run / "results" / f"{before['result']}.json"
    assert json.loads(kept.read_text()) == before
    assert (run / "results" / f"{before['result']}.npz").exists()


def test_evaluate_takes_the_last_parameters_too(trained, call, tmp_path):
    run = copied(trained, tmp_path)
    (run / "best.safetensors").unlink()
    answer = call("evaluate", run, "--last", "--num-samples", 40, "--num-examples", 7, "--json")
    assert json.loads(answer.out)["parameters"] == "last"


def test_a_single_draw_of_a_single_example(trained, call, tmp_path):
    # Neither error can be told: null in JSON, and no "nan" in the line for people.
    run = copied(trained, tmp_path)
    words = ["evaluate", run, "--num-samples", 1, "--num-examples", 1]
    record = json.loads(call(*words, "--json").out)
    assert record["standard_error"] is None
    assert record["monte_carlo_error"] is None
    answer = call(*words)
    assert answer.status == 0
    assert "nan" not in answer.out


def test_sample_writes_an_array_and_a_picture(trained, call, tmp_path):
    run = copied(trained, tmp_path)
    answer = call("sample", run, "--num", 9, "--json")
    assert json.loads(answer.out) == {
        "run": str(run),
        "shape": [9, 8, 8],
        "files": [str(run / "samples.npz"), str(run / "samples.png")],
    }
    with np.load(run / "samples.npz") as arrays:
        drawn = arrays["samples"]
    assert drawn.shape == (9, 8, 8)
    assert set(np.unique(drawn)) <= {0, 1}
    with Image.open(run / "samples.png") as picture:
        assert picture.size[0] == picture.size[1]
    call("sample", run, "--num", 9, "--out", tmp_path / "again.npz")
    with np.load(tmp_path / "again.npz") as arrays:
        np.testing.assert_array_equal(arrays["samples"], drawn)
    call("sample", run, "--num", 9, "--means", "--seed", 1, "--out", tmp_path / "means.npz")
    with np.load(tmp_path / "means.npz") as arrays:
        assert ((arrays["samples"] > 0) & (arrays["samples"] < 1)).all()
    assert (tmp_path / "means.png").exists()


def test_samples_called_a_picture_are_not_lost(trained, call, tmp_path):
    answer = call("sample", trained[0], "--num", 4, "--out", tmp_path / "drawn.png")
    assert answer.status == 2 or (tmp_path / "drawn.npz").exists()


def test_report_makes_the_same_bytes_again(trained, call, tmp_path):
    run = copied(trained, tmp_path)
    assert call("report", run).out == f"report {run / 'report.html'}\n"
    first = (run / "report.html").read_bytes()
    (run / "report.html").unlink()
    record = json.loads(call("report", run, "--json").out)
    shows = {"evaluation": evaluation(run)["result"]}
    assert record == {"run": str(run), "report": str(run / "report.html"), "shows": shows}
    assert (run / "report.html").read_bytes() == first


def test_report_needs_nothing_but_the_folder(trained, call, tmp_path):
    run = copied(trained, tmp_path)
    for name in ("best.safetensors", "last.safetensors", "pictures.npz", "evaluation.json"):
        (run / name).unlink()
    assert call("report", run).status == 0


def test_info_lists_every_pair(call):
    record = json.loads(call("info", "--json").out)
    assert set(record["pairs"]) == set(ESTIMATORS)
    assert set(record["bounds"]) == set(BOUNDS)
    for row in record["pairs"].values():
        assert set(row) == set(BOUNDS)
        for pair in row.values():
            assert pair["kind"] in ("unbiased", "biased", "follows another objective")
    assert record["pairs"]["doubly-reparameterized"]["iwae"]["kind"] == "unbiased"
    assert record["pairs"]["sticking-the-landing"]["iwae"]["kind"] != "unbiased"
    assert {"tighter", "jax", "python"} <= set(record["versions"])
    assert record["devices"]


def test_info_for_people_names_them_too(call):
    answer = call("info")
    assert answer.status == 0
    for name in ESTIMATORS:
        assert name in answer.out


@pytest.mark.slow
def test_gaussian_observations_of_floats_that_move_and_change(
    files, call, tiny, tmp_path, monkeypatch
):
    data = shutil.copy(files / "floats.npy", tmp_path / "data.npy")
    observation = ["--set", "model.observation=gaussian", "--set", "training.batch_size=12"]
    answer = call("train", "run", "--data", "data.npy", *tiny, *observation)
    assert answer.status == 0, answer.err
    stored = json.loads((tmp_path / "run" / "configuration.json").read_text())["configuration"]
    assert stored["data"]["binarization"] == "none"
    # From another folder and after a move, the run still finds its data.
    moved = shutil.move(tmp_path / "run", tmp_path / "moved")
    monkeypatch.chdir(files)
    assert call("evaluate", moved, "--num-samples", 5).status == 0
    # Data that changed: with other numbers, resuming would be another run; with another shape, the
    # model can't take it; without any, what needs none still works.
    np.save(data, np.load(data) + 1)
    assert "data" in complaint(call("train", "--resume", moved))
    np.save(data, np.zeros((60, 5, 5), np.float32))
    assert "(5, 5)" in complaint(call("evaluate", moved))
    Path(data).unlink()
    for words in (["evaluate"], ["train", "--resume"]):
        assert "data.npy" in complaint(call(*words, moved))
    assert call("sample", moved, "--num", 2).status == 0
    assert call("report", moved).status == 0


def complaint(answer) -> str:
    """The last line of what went wrong."""
    last = answer.err.splitlines()[-1]
    assert answer.status == 2, answer
    assert "Traceback" not in answer.err
    assert last.startswith("error: ")
    return last


@pytest.mark.slow
def test_convolutions_and_learned_scales_on_a_folder_of_idx(files, call, tiny, tmp_path):
    options = [*tiny, "--bound=elbo", "--set=training.batch_size=12", "--set=model.hidden=[3]"]
    options += ["--set=model.network=convolutional", "--set=model.observation=learned-gaussian"]
    answer = call("train", "--data", files / "my images", *options)
    assert answer.status == 0, answer.err
    run = tmp_path / "runs" / "my images-elbo-1"
    assert sorted(path.name for path in run.iterdir()) == FILES
    assert "(6, 5)" in answer.err
    # The next run of this name finds another folder.
    assert not (tmp_path / "runs" / "my images-elbo-2").exists()


def test_an_interrupted_run_is_resumed_by_its_name(trained, call, tiny, tmp_path, monkeypatch):
    append = Metrics.append

    def append_and_interrupt(self, row):
        append(self, row)
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Metrics, "append", append_and_interrupt)
        answer = call("train", "my run", *tiny)
    assert answer.status == 130
    assert answer.out == ""
    assert answer.err.splitlines()[-1].startswith("stopped after 1 ")
    assert "tighter train --resume 'my run'" in answer.err
    assert not (tmp_path / "my run" / "evaluation.json").exists()
    # Nothing but the folder's name is needed to go on.
    resumed = call("train", "--resume", "my run")
    assert resumed.status == 0, resumed.err
    assert sorted(path.name for path in (tmp_path / "my run").iterdir()) == FILES
    rows = (tmp_path / "my run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["epoch"] for row in rows] == [1, 2]
    # As if it had never stopped.
    for name in ("last.safetensors", "best.safetensors"):
        assert (tmp_path / "my run" / name).read_bytes() == (trained[0] / name).read_bytes()


def test_a_finished_run_is_resumed_by_scoring_it_again(trained, call, tmp_path):
    run = copied(trained, tmp_path)
    before = evaluation(run)
    for name in ("evaluation.json", "report.html", "pictures.npz"):
        (run / name).unlink()
    answer = call("train", run, "--resume")
    assert answer.status == 0
    assert "was finished before, all 2 epochs; it is scored again" in answer.err
    assert evaluation(run)["log_likelihood"] == before["log_likelihood"]
    assert sorted(path.name for path in run.iterdir()) == FILES


def test_a_folder_that_another_process_writes_to_is_left_alone(call, tiny, tmp_path):
    hold = (
        "import sys, pathlib, tighter._lock as lock\n"
        "with lock.alone_in(pathlib.Path(sys.argv[1])): print('held', flush=True); input()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path / "run")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert other.stdout is not None
    other.stdout.readline()
    answer = call("train", tmp_path / "run", *tiny)
    assert answer.status == 2
    assert answer.err.count("\n") == 1
    assert f"another process is writing to {tmp_path / 'run'}" in answer.err
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]
    other.communicate(b"\n")


@pytest.mark.filterwarnings("default")
def test_a_damaged_checkpoint_is_told_in_one_line(trained, call, tmp_path):
    run = copied(trained, tmp_path)
    newest = max((run / "checkpoints").iterdir(), key=lambda path: int(path.name))
    shutil.copytree(newest, run / "checkpoints" / "57")
    shutil.rmtree(run / "checkpoints" / "57" / "state")
    answer = call("train", run, "--resume")
    assert answer.status == 0
    told = [line for line in answer.err.splitlines() if line.startswith("warning: ")]
    assert len(told) == 1
    assert "step 57 is damaged" in told[0]
    assert f"going on from that of step {newest.name}" in told[0]


@pytest.fixture
def interrupted(monkeypatch) -> Callable[[str], None]:
    """Let a function of the package be met by Ctrl-C."""

    def leave(status):
        raise SystemExit(status)

    def meet(*args, **kwargs):
        # Python's handler again: polars leaves its own behind after a table that it refused.
        signal.signal(signal.SIGINT, signal.getsignal(signal.SIGINT))
        signal.raise_signal(signal.SIGINT)

    def interrupt(place: str) -> None:
        monkeypatch.setattr(os, "_exit", leave)
        monkeypatch.setattr(place, meet)

    return interrupt


def test_ctrl_c_before_training_is_one_line(call, tiny, interrupted, tmp_path):
    interrupted("tighter.runs.training_run.check_numbers")
    answer = call("train", "run", *tiny)
    assert answer.status == 130
    assert answer.err == "stopped\n"
    assert not (tmp_path / "run").exists()


def test_ctrl_c_while_scoring_loses_nothing_and_says_how_to_go_on(
    trained, call, interrupted, tmp_path
):
    run = copied(trained, tmp_path)
    interrupted("tighter.runs.training_run.score")
    answer = call("train", "--resume", run)
    assert answer.status == 130
    assert "Traceback" not in answer.err
    assert f"tighter train --resume {run}" in answer.err.splitlines()[-1]


def test_signals_are_given_back(call):
    before = signal.getsignal(signal.SIGINT)
    call("evaluate", "nowhere")
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("kept", [True, False])
def test_an_experiment_that_is_stopped_says_how_to_go_on(call, tmp_path, monkeypatch, kept):
    path = tmp_path / "experiment"

    def run(path, *, seed, announce, epochs):
        if kept:
            (path / "vae-1").mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr("papers.gradients.run", run)
    answer = call("reproduce", "gradients", path, "--epochs", 2)
    command = f"tighter reproduce gradients {path} --epochs=2"
    told = f"stopped; what was trained is stored; go on with:  {command}" if kept else "stopped"
    assert (answer.status, answer.err, path.exists()) == (130, f"{told}\n", kept)


def test_color_images_are_no_bits(call, tiny, tmp_path):
    rng = np.random.default_rng(0)
    for number in range(90):
        place = tmp_path / "photos" / ("cats", "dogs")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        image = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(image).save(place / f"{number}.png")
    run = tmp_path / "run"
    assert call("train", run, "--data", tmp_path / "photos", *tiny).status == 0
    configuration = json.loads((run / "configuration.json").read_text())
    assert configuration["configuration"]["model"]["observation"] == "discretized-logistic"
    assert ">cats<" in (run / "report.html").read_text()


def test_images_that_are_read_by_rows(call, tiny, tmp_path, monkeypatch):
    """A folder of them, as if it were too large for memory, from training to the page."""
    rng = np.random.default_rng(0)
    for number in range(90):
        place = tmp_path / "photos" / f"{number % 3}"
        place.mkdir(parents=True, exist_ok=True)
        image = rng.integers(0, 256, (7, 9), dtype=np.uint8)
        Image.fromarray(image).save(place / f"{number}.png")
    monkeypatch.setattr(importlib.import_module("tighter.data.sources"), "_IN_MEMORY", 0)
    run, photos = tmp_path / "run", tmp_path / "photos"
    answer = call("train", run, "--data", photos, "--size=4", *tiny, "--json")
    assert answer.status == 0, answer.err
    assert (run / "report.html").exists()
    assert call("evaluate", run, "--json").status == 0
    assert call("train", tmp_path / "none", "--data", photos, "--size=0").status == 2
