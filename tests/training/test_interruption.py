"""Signals while training: a wish to stop, which is granted after the step in progress."""

import signal
import threading
import time

import pytest

from tighter.training.interruption import Interruption
from tighter.training.record import Metrics


def later(monkeypatch, seconds):
    now = time.monotonic() + seconds
    monkeypatch.setattr("tighter.training.interruption.time.monotonic", lambda: now)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_is_noted_and_a_later_one_interrupts(monkeypatch, number):
    before = signal.getsignal(number)
    with Interruption() as interruption:
        assert not interruption.requested
        signal.raise_signal(number)
        assert interruption.requested
        signal.raise_signal(number)  # the same wish, passed on by somebody else
        later(monkeypatch, 0.6)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_signals_are_given_back_after_an_error():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(ZeroDivisionError), Interruption():
        _ = 1 / 0
    assert before == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


def test_a_hangup_that_is_ignored_stays_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruption() as interruption:
            signal.raise_signal(signal.SIGHUP)
            assert not interruption.requested
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_second_signal_of_one_wish_does_not_meet_what_comes_after():
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGINT)
        threading.Timer(0.05, signal.raise_signal, [signal.SIGINT]).start()
    assert interruption.requested
    time.sleep(0.1)  # or it is raised in here


def test_other_threads_leave_signals_alone():
    seen = []

    def run():
        before = signal.getsignal(signal.SIGINT)
        with Interruption() as interruption:
            seen.append(signal.getsignal(signal.SIGINT) is before and not interruption.requested)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [True]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stopped_run_resumes_to_the_same_end(fit, same, tmp_path, monkeypatch, number):
    append = Metrics.append
    whole = fit(num_epochs=6)

    def append_and_signal(self, row):
        append(self, row)
        if row["epoch"] == 2:
            signal.raise_signal(number)

    with monkeypatch.context() as patch:
        patch.setattr(Metrics, "append", append_and_signal)
        stopped = fit(num_epochs=6, directory=tmp_path)
    assert stopped.interrupted
    assert [row["epoch"] for row in stopped.history] == [1, 2]
    assert (tmp_path / "last.safetensors").exists()
    resumed = fit(num_epochs=6, directory=tmp_path, resume=True)
    assert not resumed.interrupted
    assert same(resumed.model, whole.model)
    assert same(resumed.best_model, whole.best_model)
    assert resumed.best_epoch == whole.best_epoch
    assert [row["bound"] for row in resumed.history] == [row["bound"] for row in whole.history]


def test_a_run_without_a_folder_stops_too(fit, monkeypatch):
    monkeypatch.setattr(Metrics, "append", lambda self, row: signal.raise_signal(signal.SIGINT))
    assert fit(num_epochs=6).interrupted
