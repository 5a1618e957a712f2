"""The experiment on gradient estimators, small: its record, its pictures, its mistakes."""

import json

import numpy as np
import pytest

import tighter as tt
from papers import gradients as module

pytestmark = pytest.mark.slow  # a survey of variances


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "gradients"
    with pytest.MonkeyPatch.context() as patch:
        some = {name: (f, ks[2:12:4]) for name, (f, ks) in module._COSTS.items()}
        patch.setattr(module, "_COSTS", some)
        module.run(path)
    return path


def test_measured_variances_are_near_the_exact_ones(folder):
    record = json.loads((folder / "record.json").read_text())
    assert {row["estimator"] for row in record["survey"]} == {
        "score function", "pathwise", "measure-valued",
    }  # fmt: skip
    for row in record["survey"]:
        np.testing.assert_allclose(row["variance"], row["exact"], rtol=0.05, atol=1e-6)
    for row in record["bernoulli"]:
        np.testing.assert_allclose(row["variance"], row["exact"], rtol=0.05, atol=1e-6)


def test_exact_variances_of_the_quadratic_are_the_known_ones():
    k = -1.3
    a = 1 - k
    known = {
        "score function": [15 + 14 * a**2 + a**4, 74 + 60 * a**2 + 2 * a**4],
        "pathwise": [4, 8 + 4 * a**2],
        "measure-valued": [a**2 * (16 / np.pi - 4), 4 + 4 * a**2],
    }
    for name, truth in known.items():
        found = module.exact_variances(name, lambda x: (x - k) ** 2, lambda x: 2 * (x - k))
        np.testing.assert_allclose(found, truth, rtol=2e-3)


def test_what_is_missing_inside_makes_up_the_gradient(folder):
    for row in json.loads((folder / "record.json").read_text())["inside"]:
        error = abs(row["inside"] + row["missing"] - row["whole"])
        assert error < 5 * row["standard_error"]


def test_pictures_are_drawn_from_the_record_alone(folder, tmp_path):
    (tmp_path / "record.json").write_bytes((folder / "record.json").read_bytes())
    for file in module.draw(tmp_path):
        assert file.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(tt.InputError, match=r"holds no record\.json"):
        module.draw(tmp_path / "nowhere")


def test_a_folder_that_holds_it_already(folder):
    with pytest.raises(tt.InputError, match="already holds an experiment"):
        module.run(folder)
