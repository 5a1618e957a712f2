"""The file of metrics, and what becomes of it when a run was killed."""

import json
import math

import pytest

import tighter as tt
from tighter.training.record import Metrics


def filled(path, epochs=3) -> Metrics:
    metrics = Metrics(path)
    for epoch in range(1, epochs + 1):
        metrics.append({"epoch": epoch, "step": 4 * epoch, "bound": -1.0 / epoch})
    return metrics


def test_rows_are_appended_to_the_file(tmp_path):
    path = tmp_path / "metrics.jsonl"
    metrics = filled(path)
    assert [json.loads(line) for line in path.read_text().splitlines()] == metrics.rows


def test_what_is_not_finite_becomes_null(tmp_path):
    metrics = Metrics(tmp_path / "metrics.jsonl")
    metrics.append({"epoch": 1, "step": 4, "bound": math.nan, "validation_bound": -math.inf})
    assert metrics.rows == [{"epoch": 1, "step": 4, "bound": None, "validation_bound": None}]
    assert "NaN" not in (tmp_path / "metrics.jsonl").read_text()


def test_the_file_is_written_anew_from_the_rows_of_a_checkpoint(tmp_path):
    path = tmp_path / "metrics.jsonl"
    rows = filled(path).rows
    for content in ("", path.read_text()[:-7], path.read_text() * 2, "5\nnull\n{}\n", None):
        path.unlink() if content is None else path.write_text(content)
        restored = Metrics(path)
        restored.restore(rows[:2])
        restored.append(rows[2])
        assert restored.rows == rows
        assert [json.loads(line) for line in path.read_text().splitlines()] == rows


def test_a_row_that_cannot_be_written_names_the_file(tmp_path):
    metrics = filled(tmp_path / "metrics.jsonl")
    metrics.path = tmp_path / "none" / "metrics.jsonl"
    with pytest.raises(tt.InputError, match=r"none/metrics\.jsonl can't be written: No such file"):
        metrics.append({"epoch": 4, "step": 16})


def test_in_memory_alone_there_is_no_file():
    metrics = Metrics(None)
    metrics.restore([{"epoch": 1, "step": 4}])
    metrics.append({"epoch": 2, "step": 8})
    assert [row["epoch"] for row in metrics.rows] == [1, 2]
