"""A folder is written to by one process at a time, and a lock goes with its process."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tighter._errors import InputError
from tighter._lock import LOCK, alone_in

HOLD = """
import sys, time
from pathlib import Path
from tighter._lock import alone_in
with alone_in(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_what_another_process_holds_is_refused_until_it_is_killed(tmp_path, other):
    with pytest.raises(InputError, match="another process is writing to"), alone_in(tmp_path):
        pass
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    assert (tmp_path / LOCK).exists()
    with alone_in(tmp_path):
        pass
    assert not (tmp_path / LOCK).exists()


def test_another_thread_is_refused_and_the_same_one_not(tmp_path):
    refused = []

    def take():
        try:
            with alone_in(tmp_path):
                refused.append(False)
        except InputError:
            refused.append(True)

    def in_a_thread():
        thread = threading.Thread(target=take)
        thread.start()
        thread.join()

    with alone_in(tmp_path):
        with alone_in(tmp_path):
            in_a_thread()
        in_a_thread()
    in_a_thread()
    assert refused == [True, True, False]


def test_a_lock_that_was_removed_meanwhile_is_none(tmp_path, monkeypatch):
    opened = Path.open

    def removed_after(self, *args, **kwargs):
        file = opened(self, *args, **kwargs)
        if self.name == LOCK and not removed:
            removed.append(self.unlink())
        return file

    removed = []
    monkeypatch.setattr(Path, "open", removed_after)
    with pytest.raises(InputError, match="another process"), alone_in(tmp_path):
        pass
    removed.clear()
    with alone_in(tmp_path, seconds=5.0):  # a second try finds a new one
        assert (tmp_path / LOCK).exists()


def test_it_is_waited_for(tmp_path):
    holds, done = threading.Event(), threading.Event()

    def hold():
        with alone_in(tmp_path):
            holds.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    holds.wait()
    threading.Timer(0.2, done.set).start()
    with alone_in(tmp_path, seconds=30.0):
        assert done.is_set()
    thread.join()


def test_a_folder_made_for_nothing_goes(tmp_path):
    with alone_in(tmp_path / "new"):
        pass
    assert not (tmp_path / "new").exists()
    with alone_in(tmp_path / "new"):
        (tmp_path / "new" / "file").touch()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file"]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="can't be made"), alone_in(tmp_path / "file"):
        pass
