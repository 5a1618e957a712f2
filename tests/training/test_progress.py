"""What progress says on stderr, by a clock of its own."""

import pytest

from tighter.training import progress
from tighter.training.progress import ProgressDisplay


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when they are told to."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_the_time_left_does_not_count_what_was_compiled(clock, capsys):
    """Two minutes of compiling, then ten steps a second: 990 steps are 99 seconds."""
    with ProgressDisplay(10, 1000, 0, show=True) as display:
        clock[0] += 120
        display.update(1, 1, -1.0, None, 1 / 120, compiled=True)
        assert "left" not in capsys.readouterr().err
        clock[0] += 2.7
        display.update(28, 1, -1.0, None, 10.0, compiled=False)
        clock[0] += 60
        display.update(100, 1, -1.0, -2.0, 10.0, compiled=True)
        clock[0] += 10
        display.update(200, 2, -1.0, -2.0, 10.0, compiled=False)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].endswith("steps/s  90 s left")
    assert lines[-1].endswith("80 s left")


def test_the_last_line_says_that_nothing_is_left(clock, capsys):
    with ProgressDisplay(1, 1, 0, show=True) as display:
        clock[0] += 120
        display.update(1, 1, -1.0, None, 1 / 120, compiled=True)
    assert capsys.readouterr().err.endswith("  0 s left\n")


def test_a_step_beside_the_first_checkpoint_is_no_pace(clock, capsys):
    with ProgressDisplay(100, 10_000, 0, show=True) as display:
        clock[0] += 20  # the compilation
        display.update(1, 1, -1.0, None, 0.05, compiled=True)
        clock[0] += 0.5  # a checkpoint, and one step
        display.update(2, 1, -1.0, None, 500.0, compiled=False)
        clock[0] += 20  # the validation's compilation
        display.update(100, 1, -1.0, -1.0, 500.0, compiled=True)
    assert "left" not in capsys.readouterr().err
