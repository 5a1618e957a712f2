"""Files are whole or absent, and one that can't be written is told by its name."""

import json
import os
import resource
import stat
import threading
from pathlib import Path

import pytest

from tighter._errors import InputError
from tighter._files import read_object, sealed, writing


def test_a_file_is_replaced_when_it_is_whole_and_links_stay_links(tmp_path):
    file, link = tmp_path / "a file\nof two lines — ü", tmp_path / "link"
    file.write_text("before")
    link.symlink_to(file)
    with writing(link) as place:
        place.write_text("after")
        assert file.read_text() == "before"
    assert file.read_text() == "after"
    assert link.is_symlink()
    assert len(list(tmp_path.iterdir())) == 2


def test_what_goes_wrong_on_the_way_leaves_what_was_there(tmp_path):
    file = tmp_path / "file"
    file.write_text("before")
    with pytest.raises(ZeroDivisionError), writing(file) as place:
        place.write_text(f"after {1 / 0}")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert file.read_text() == "before"


def test_a_full_disk_is_told_by_the_name_of_the_file(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        told = pytest.raises(InputError, match=r"numbers can't be written: File too large; free")
        with told, writing(tmp_path / "numbers") as place:
            place.write_bytes(bytes(10_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    told = []
    thread = threading.Thread(target=lambda: told.append(pipe.read_text()))
    thread.start()
    with writing(pipe) as place:
        place.write_text("through")
    thread.join()
    assert told == ["through"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.parametrize(
    "damage", [lambda text: text.replace("1", "2"), lambda text: text.replace('"a"', '"b"')]
)
def test_a_sealed_record_is_read_as_it_was_written_or_not_at_all(tmp_path: Path, damage):
    file = tmp_path / "record.json"
    file.write_text(json.dumps(sealed({"a": 1, "c": [None, 0.1, "ü"]})))
    assert read_object(file) == {"a": 1, "c": [None, 0.1, "ü"]}
    file.write_text(json.dumps({"a": 1}))
    assert read_object(file) == {"a": 1}
    file.write_text(damage(json.dumps(sealed({"a": 1}))))
    with pytest.raises(InputError, match="don't have the digest stated in it"):
        read_object(file)
