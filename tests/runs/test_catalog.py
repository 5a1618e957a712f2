"""Every experiment says what it is, refuses what it doesn't take, and can be drawn."""

import importlib
import inspect

import pytest

import tighter as tt
from tighter.runs.catalog import EXPERIMENTS, experiment_module, run_experiment


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_what_each_says_and_has(name, tmp_path):
    module = experiment_module(name)
    for word in ("Paper:", f"Command: tighter reproduce {name}", "Expect:"):
        assert word in module.__doc__
    assert {"path", "seed", "announce"} <= set(inspect.signature(module.run).parameters)
    drawing = importlib.import_module(f"tighter.report.figures.{name.replace('-', '_')}")
    with pytest.raises(tt.InputError, match=r"holds no record\.json"):
        drawing.draw(tmp_path)


def test_settings_that_an_experiment_does_not_take(tmp_path):
    with pytest.raises(tt.InputError, match="'gradients' takes no --epochs"):
        run_experiment(
            "gradients", tmp_path, seed=0, announce=lambda line: None, epochs=3, data=None
        )


def test_an_unknown_experiment():
    with pytest.raises(tt.InputError, match="did you mean 'gradients'"):
        experiment_module("gradient")
