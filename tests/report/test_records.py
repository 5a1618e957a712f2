"""Reading: what a record holds, and one clear line for each way in which a folder is wrong."""

import json
from pathlib import Path

import numpy as np
import pytest

from tighter._errors import InputError
from tighter.report import read_run, write_report

from .conftest import CONFIGURATION, EVALUATION, MakeRun, epochs, jsonl, pictures


def message(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_run(folder)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_full_run_is_read(full_run: Path):
    record = read_run(full_run)
    assert record.name == "digits-run"
    assert record.configuration == CONFIGURATION
    assert record.evaluation == EVALUATION
    np.testing.assert_array_equal(record.metrics["epoch"], np.arange(1, 13))
    assert set(record.examples) == {"value", "standard_error", "ess", "pareto_k"}
    np.testing.assert_array_equal(record.pictures["originals"], pictures()["originals"])


def test_a_minimal_run_is_read(make_run: MakeRun):
    record = read_run(make_run())
    assert record.evaluation is None
    assert (dict(record.metrics), dict(record.examples), dict(record.pictures)) == ({}, {}, {})


def test_a_last_line_cut_short_is_left_out(make_run: MakeRun):
    record = read_run(make_run(metrics=jsonl(epochs(3)) + '{"epoch": 4, "bou'))
    np.testing.assert_array_equal(record.metrics["epoch"], [1, 2, 3])
    assert record.metrics_cut


def test_an_epoch_written_twice_counts_once_and_missing_values_are_nan(make_run: MakeRun):
    rows = [
        {"epoch": 1, "bound": -3.0, "validation_bound": None},
        {"epoch": 2, "bound": -2.0},
        {"epoch": 2, "bound": -1.5, "validation_bound": -2.5},
    ]
    metrics = read_run(make_run(metrics=jsonl(rows))).metrics
    np.testing.assert_array_equal(metrics["epoch"], [1, 2])
    np.testing.assert_array_equal(metrics["bound"], [-3.0, -1.5])
    np.testing.assert_array_equal(metrics["validation_bound"], [np.nan, -2.5])


def test_a_folder_that_is_not_there(tmp_path: Path):
    text = message(tmp_path / "nowhere")
    assert "there is no run folder" in text
    assert "nowhere" in text
    assert "give the folder that `tighter train` wrote" in text


def test_a_file_instead_of_a_folder(full_run: Path):
    assert "is a file, not a run folder" in message(full_run / "metrics.jsonl")


def test_a_folder_that_is_no_run(tmp_path: Path):
    assert "is no run: it has no configuration.json" in message(tmp_path)


@pytest.mark.parametrize("name", ["configuration.json", "evaluation.json"])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"command": "tigh', "not JSON: Unterminated string"),
        (b"[1, 2]", "expected a JSON object, got list"),
        (b"\xff\xfe", "not UTF-8 text (byte 0)"),
        (b"", "not JSON"),
        (b"[" * 100_000, "nested too deep"),
    ],
)
def test_damaged_json(full_run: Path, name: str, content: bytes, reason: str):
    (full_run / name).write_bytes(content)
    text = message(full_run)
    assert name in text
    assert reason in text
    assert "remove the file or make it again" in text


def test_a_damaged_line_in_the_middle_of_the_metrics(make_run: MakeRun):
    lines = [json.dumps(row) for row in epochs(3)]
    text = message(make_run(metrics="\n".join([lines[0], lines[1][:9], lines[2]])))
    assert "metrics.jsonl' can't be read: record 2 of 3 is not JSON" in text


def test_a_line_of_the_metrics_that_is_no_object(make_run: MakeRun):
    assert "record 1 should be a JSON object, got list" in message(make_run(metrics="[1]\n"))


@pytest.mark.parametrize("name", ["evaluation.npz", "pictures.npz"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "text", "empty", "one array", "objects"])
def test_damaged_arrays(full_run: Path, name: str, damage: str):
    path = full_run / name
    content = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        content[len(content) // 3] ^= 0xFF
        path.write_bytes(content)
    elif damage == "text":
        path.write_text("no arrays")
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "one array":
        with path.open("wb") as stream:
            np.save(stream, np.zeros(3))
    else:
        np.savez(path, value=np.array([{}], dtype=object))
    text = message(full_run)
    assert name in text
    assert "not an archive of numeric arrays" in text


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"encodings": np.zeros(50)}, "'encodings' should have shape (N, latent), got (50,)"),
        ({"encodings": np.zeros((9, 2))}, "should be equally long, got (9, 2) and (50,)"),
        ({"reconstructions": np.zeros((5, 8, 8))}, "should be equally long"),
        ({"prior_samples": np.zeros(3)}, "'prior_samples' should have shape (n, D)"),
        ({"prior_samples": np.zeros((3, 8, 8, 2))}, "got (3, 8, 8, 2)"),
        ({"originals": np.full((6, 8), "a")}, "'originals' should hold numbers, got dtype <U1"),
    ],
)
def test_arrays_of_the_wrong_shape(make_run: MakeRun, changed: dict, reason: str):
    assert reason in message(make_run(pictures=pictures() | changed))


def test_examples_of_the_wrong_shape(make_run: MakeRun):
    folder = make_run(examples={"ess": np.zeros((2, 2))})
    assert "'ess' should have shape (N,), got (2, 2)" in message(folder)


def test_a_report_that_cannot_be_written(full_run: Path):
    (full_run / "report.html").mkdir()
    with pytest.raises(InputError, match=r"report\.html can't be written: "):
        write_report(full_run)
    assert not list(full_run.glob(".*.partial"))
