"""The file of metrics, and what becomes of it when a run was killed."""

import json
import math

import pytest

from tighter.training.metrics import Metrics


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


@pytest.mark.parametrize(("step", "epochs"), [(0, 0), (4, 1), (9, 2), (12, 3), (99, 3)])
def test_rows_after_the_checkpoint_are_dropped(tmp_path, step, epochs):
    path = tmp_path / "metrics.jsonl"
    rows = filled(path).rows
    restored = Metrics(path)
    restored.restore(step)
    assert restored.rows == rows[:epochs]
    assert len(path.read_text().splitlines()) == epochs


def test_a_line_cut_short_is_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    rows = filled(path).rows
    path.write_text(path.read_text()[:-7])
    restored = Metrics(path)
    restored.restore(99)
    assert restored.rows == rows[:2]
    restored.append(rows[2])
    assert [json.loads(line) for line in path.read_text().splitlines()] == rows


@pytest.mark.parametrize(
    "line",
    [
        b"5\n", b'{"epoch": 4}\n', b'["step"]\n', b"\xff\xfe\n", b'{"epoch": 4, "step": null}\n',
        b'{"epoch": 4, "step": "16"}\n', b'{"epoch": null, "step": 16}\n', b"[" * 5000 + b"\n",
        b'{"epoch": 4, "step": 16, "bound": "-1"}\n', b'{"epoch": 4, "step": 16, "bound": true}\n',
    ],
)  # fmt: skip
def test_a_line_that_is_no_row_costs_that_line(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    rows = filled(path).rows
    path.write_bytes(path.read_bytes() + line)
    restored = Metrics(path)
    restored.restore(99)
    assert restored.rows == rows


def test_no_file_is_no_rows(tmp_path):
    for path in (None, tmp_path / "metrics.jsonl"):
        metrics = Metrics(path)
        metrics.restore(12)
        assert metrics.rows == []
