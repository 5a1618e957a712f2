"""Every paper says what it is, refuses what it doesn't take, and can be drawn."""

import ast
import importlib
import inspect
import sys
from importlib import metadata
from pathlib import Path

import pytest

import tighter as tt
from tighter.cli.reproduce import docstring, find_papers, module_of, settings_of

PAPERS = find_papers()


def test_all_twelve_are_found():
    assert len(PAPERS) == 12
    assert PAPERS["iwae-table"] == "papers.iwae_table"


@pytest.mark.parametrize("name", PAPERS)
def test_what_each_says_and_has(name, tmp_path):
    module = importlib.import_module(PAPERS[name])
    assert docstring(PAPERS[name]) == inspect.getdoc(module)
    for word in ("Paper:", f"Command: tighter reproduce {name}", "Expect:"):
        assert word in docstring(PAPERS[name])
    assert {"path", "seed", "announce"} <= set(inspect.signature(module.run).parameters)
    with pytest.raises(tt.InputError, match=r"holds no record\.json"):
        module.draw(tmp_path)


@pytest.mark.parametrize("file", sorted(Path("papers").glob("*.py")), ids=lambda file: file.stem)
def test_public_names_alone(file):
    """A paper is written as a user would write it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tighter"):
            names = [*node.module.split("."), *(name.name for name in node.names)]
            assert not any(name.startswith("_") for name in names), names
            assert node.module.split(".")[1:2] not in (["runs"], ["report"], ["cli"])
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert not (node.value.id in ("tt", "distributions") and node.attr.startswith("_"))


def test_settings_that_a_paper_does_not_take():
    from papers import gradients, surgery

    with pytest.raises(tt.InputError, match="'gradients' takes no --epochs"):
        settings_of(gradients, "gradients", {"data": None, "epochs": 3})
    with pytest.raises(tt.InputError, match="--epochs is at least 1"):
        settings_of(surgery, "surgery", {"data": None, "epochs": 0})
    given = settings_of(surgery, "surgery", {"data": "mnist/", "epochs": None})
    assert given == {"data": "mnist/"}


def test_an_unknown_paper():
    with pytest.raises(tt.InputError, match="did you mean 'gradients'"):
        module_of("gradient", PAPERS)


def test_without_a_clone_one_line_says_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["tighter.cli.reproduce"], "CLONE", tmp_path)
    with pytest.raises(tt.InputError, match=r"clone .* `uv run tighter reproduce`"):
        find_papers()


def test_another_package_can_add_some(monkeypatch):
    def entry_points(*, group):
        return [metadata.EntryPoint("mine", "papers.snr", group)]

    monkeypatch.setattr(metadata, "entry_points", entry_points)
    assert find_papers() == {**PAPERS, "mine": "papers.snr"}
