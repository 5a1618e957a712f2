"""Checkpoints: the newest two, whole or absent, and the damaged ones passed over."""

import json
import os
import resource
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import tighter as tt
from tighter.training.arrays import digest
from tighter.training.checkpoints import Checkpoints


def arrays(step: int) -> dict:
    """Float, integer, half and scalar arrays that tell the step."""
    return {
        "a.weight": jnp.linspace(0, step, 2000).reshape(40, 50),
        "a.count": jnp.asarray(step),
        "b": jnp.arange(7) + step,
        "c": jnp.full((3,), step, jnp.bfloat16),
    }


@pytest.fixture
def folder(tmp_path) -> Path:
    """Checkpoints of steps 2 and 3."""
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    for step in (1, 2, 3):
        checkpoints.save(step, arrays(step), {"step": step, "words": ["a", None, 0.1]})
    checkpoints.close()
    return tmp_path / "checkpoints"


def restored_step(folder: Path) -> tuple[int, list[str]]:
    """What a new process would find, checked for being what was saved."""
    checkpoints = Checkpoints(folder)
    found = checkpoints.restore(arrays(0))
    checkpoints.close()
    assert found is not None
    assert found.info == {"step": found.step, "words": ["a", None, 0.1]}
    for name, array in arrays(found.step).items():
        assert found.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(found.arrays[name], array)
    return found.step, found.warnings


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def flip_bytes(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for place in range(len(content) // 3, 1 + 2 * len(content) // 3):
        content[place] ^= 0x5A
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def everywhere(damage: Callable[[Path], None]) -> Callable[[Path], None]:
    def damage_all(folder: Path) -> None:
        for path in files(folder):
            damage(path)

    damage_all.__name__ = f"{damage.__name__}_all"
    return damage_all


def delete_info(folder: Path) -> None:
    shutil.rmtree(folder / "info")


def delete_state(folder: Path) -> None:
    shutil.rmtree(folder / "state")


def exchange(folder: Path) -> None:
    """Whole and well-formed, but of another step."""
    shutil.rmtree(folder / "state")
    shutil.copytree(folder.parent / "2" / "state", folder / "state")


DAMAGES = [
    everywhere(flip_bytes),
    everywhere(truncate),
    everywhere(empty),
    delete_info,
    delete_state,
    exchange,
]


def test_what_is_saved_comes_back_and_two_are_kept(folder):
    assert restored_step(folder) == (3, [])
    assert sorted(path.name for path in folder.iterdir()) == ["2", "3"]


def test_nothing_is_restored_from_nothing(tmp_path):
    assert Checkpoints(tmp_path / "none").restore(arrays(0)) is None


def test_a_step_is_saved_once(folder):
    checkpoints = Checkpoints(folder)
    checkpoints.save(3, arrays(9), {})
    assert restored_step(folder) == (3, [])


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_passed_over(folder, damage):
    damage(folder / "3")
    step, warnings = restored_step(folder)
    assert step == 2
    assert len(warnings) == 1
    assert "step 3 is damaged" in warnings[0]
    assert "\n" not in warnings[0]
    # Step 3 can be written again.
    checkpoints = Checkpoints(folder)
    checkpoints.save(3, arrays(3), {"step": 3, "words": ["a", None, 0.1]})
    assert restored_step(folder) == (3, [])


@pytest.mark.parametrize("damage", [flip_bytes, truncate, Path.unlink])
def test_whatever_file_is_damaged_what_is_restored_is_sound(folder, tmp_path, damage):
    # Not every file is read: then nothing is lost, and nothing is said.
    passed_over = 0
    for path in files(folder / "3"):
        copy = tmp_path / "copy"
        shutil.copytree(folder, copy)
        damage(copy / path.relative_to(folder))
        step, warnings = restored_step(copy)
        assert (step, len(warnings)) in {(3, 0), (2, 1)}
        passed_over += len(warnings)
        shutil.rmtree(copy)
    assert passed_over >= 2


@pytest.mark.parametrize(
    ("before", "after"),
    [(b'"step":3', b'"step":4'), (b"0.1", b"0.2"), (b'"words"', b'"wordz"'), (b"null", b'"ab"')],
)
def test_one_byte_changed_beside_the_arrays_is_damage(folder, before, after):
    file = folder / "3" / "info" / "metadata"
    content = file.read_bytes().replace(b": ", b":")
    assert content.count(before) == 1
    file.write_bytes(content.replace(before, after))
    step, warnings = restored_step(folder)
    assert step == 2
    assert "step 3 is damaged" in warnings[0]


def test_a_missing_field_is_damage(folder):
    file = folder / "3" / "info" / "metadata"
    info = json.loads(file.read_text())
    del info["words"]
    file.write_text(json.dumps(info))
    assert restored_step(folder)[0] == 2


def test_a_checkpoint_of_an_earlier_version_says_so(folder):
    for step in (2, 3):
        file = folder / str(step) / "info" / "metadata"
        info = json.loads(file.read_text())
        file.write_text(json.dumps(info | {"sha256": digest(arrays(step))}))
    with pytest.raises(tt.InputError, match="stored by an earlier version of tighter"):
        Checkpoints(folder).restore(arrays(0))


@pytest.mark.parametrize("damage", [everywhere(truncate), delete_info])
def test_with_all_damaged_there_is_an_error_and_nothing_is_deleted(folder, damage):
    damage(folder / "2")
    damage(folder / "3")
    with pytest.raises(tt.InputError, match=r"step 3 is damaged.*step 2 is damaged") as caught:
        Checkpoints(folder).restore(arrays(0))
    assert "\n" not in str(caught.value)
    assert {"2", "3"} <= {path.name for path in folder.iterdir()}


def test_a_checkpoint_that_was_never_finished_is_ignored(folder):
    # As kill -9 leaves it: under the temporary name that Orbax renames at the end.
    shutil.copytree(folder / "3", folder / "4.orbax-checkpoint-tmp")
    everywhere(truncate)(folder / "4.orbax-checkpoint-tmp")
    assert restored_step(folder) == (3, [])
    checkpoints = Checkpoints(folder)
    checkpoints.save(4, arrays(4), {"step": 4, "words": ["a", None, 0.1]})
    assert restored_step(folder) == (4, [])


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(folder, monkeypatch):
    checkpoints = Checkpoints(folder)

    def no_space(*args, **kwargs):
        raise OSError(28, "No space left on device\nand a second line")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints._manager, "save", no_space)
        with pytest.raises(tt.InputError, match=r"step 4 can't be written.*No space") as caught:
            checkpoints.save(4, arrays(4), {})
    assert "\n" not in str(caught.value)
    assert restored_step(folder) == (3, [])
    checkpoints.save(4, arrays(4), {"step": 4, "words": ["a", None, 0.1]})
    assert restored_step(folder) == (4, [])


@pytest.mark.parametrize("damage", [everywhere(truncate), delete_info])
def test_a_run_goes_on_from_the_one_before_and_says_so(fit, same, tmp_path, damage):
    whole = fit(directory=tmp_path, checkpoint_seconds=0.0)
    damage(tmp_path / "checkpoints" / "12")
    with pytest.warns(UserWarning, match="step 12 is damaged.*going on from that of step") as told:
        resumed = fit(directory=tmp_path, resume=True)
    assert len(told) == 1
    assert same(resumed.model, whole.model)
    assert same(resumed.best_model, whole.best_model)
    assert [row["bound"] for row in resumed.history] == [row["bound"] for row in whole.history]
    assert (tmp_path / "metrics.jsonl").read_text().count("\n") == 3


def test_a_run_whose_checkpoints_are_all_damaged_is_left_as_it_is(fit, tmp_path):
    fit(directory=tmp_path, checkpoint_seconds=0.0)
    for path in (tmp_path / "checkpoints").iterdir():
        delete_state(path)
    metrics = (tmp_path / "metrics.jsonl").read_bytes()
    with pytest.raises(tt.InputError, match=r"no checkpoint.*can be read"):
        fit(directory=tmp_path, resume=True)
    assert (tmp_path / "metrics.jsonl").read_bytes() == metrics
    assert (tmp_path / "last.safetensors").exists()


def test_a_run_that_cannot_write_says_so(fit, tmp_path, monkeypatch):
    def no_space(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("orbax.checkpoint.CheckpointManager.save", no_space)
    with pytest.raises(tt.InputError, match=r"can't be written.*No space left"):
        fit(directory=tmp_path, checkpoint_seconds=0.0)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system cannot reserve space")
def test_a_full_disk_is_one_line_and_nothing_else(fit, tmp_path, monkeypatch, capfd):
    fit(directory=tmp_path, num_epochs=1, checkpoint_seconds=0.0)
    before = sorted((tmp_path / "checkpoints").rglob("*"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
    try:
        checkpoints = Checkpoints(tmp_path / "checkpoints")
        with pytest.raises(tt.InputError, match=r"step 9 can't be.*too large; that of step 4 is"):
            checkpoints.save(9, arrays(9), {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    assert sorted((tmp_path / "checkpoints").rglob("*")) == before
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("content", ["", '{"epoch": 1, "st', None])
def test_a_run_that_goes_on_has_its_whole_history(fit, tmp_path, content):
    whole = fit(directory=tmp_path)
    file = tmp_path / "metrics.jsonl"
    rows = file.read_text()
    file.unlink() if content is None else file.write_text(content)
    resumed = fit(directory=tmp_path, resume=True)
    assert resumed.history == whole.history
    assert file.read_text() == rows
    assert (whole.steps_taken, resumed.steps_taken) == (12, 0)


def test_a_best_bound_that_was_changed_keeps_no_other_model(fit, same, tmp_path):
    whole = fit(directory=tmp_path, checkpoint_seconds=0.0)
    for step in (tmp_path / "checkpoints").iterdir():
        file = step / "info" / "metadata"
        info = json.loads(file.read_text())
        file.write_text(json.dumps(info | {"best_bound": 10**6}))
    with pytest.raises(tt.InputError, match="digest"):
        fit(directory=tmp_path, resume=True)
    assert whole.best_epoch > 0


def test_a_run_of_another_order_of_examples_is_another_run(fit, tmp_path, monkeypatch):
    fit(directory=tmp_path)
    monkeypatch.setattr(sys.modules["tighter.training.fit"], "_FORMAT", 3)
    with pytest.raises(tt.InputError, match="was another one: format was 2 and is 3"):
        fit(directory=tmp_path, resume=True)
