"""What arviz is handed, by both of its generations' signatures."""

import sys
import types

import jax
import numpy as np
import pytest
from tests.models.bayesian import conjugate

from tighter._errors import InputError
from tighter.integrations.arviz import inference_data

KEY = jax.random.key(9)


def old(posterior=None, *, posterior_predictive=None, log_likelihood=None, observed_data=None):
    return {
        "posterior": posterior,
        "posterior_predictive": posterior_predictive,
        "log_likelihood": log_likelihood,
        "observed_data": observed_data,
    }


def new(data, *, name=None, sample_dims=None):
    return data


@pytest.mark.parametrize("from_dict", [old, new])
def test_either_generation(from_dict, monkeypatch):
    monkeypatch.setitem(sys.modules, "arviz", types.SimpleNamespace(from_dict=from_dict))
    model = conjugate.model()
    draws = model.draws(40, key=KEY)
    groups = inference_data(
        model, conjugate.DATA, draws=draws, posterior_predictive=np.ones((40, 14)), key=KEY
    )
    assert groups["posterior"]["slopes"].shape == (1, 40, 2)
    np.testing.assert_array_equal(groups["posterior"]["slopes"][0], draws["slopes"])
    assert groups["posterior_predictive"]["data"].shape == (1, 40, 14)
    np.testing.assert_array_equal(groups["observed_data"]["y"], conjugate.DATA["y"])
    by_hand = conjugate.log_likelihood(
        {"slopes": draws["slopes"][7]}, jax.tree.map(lambda leaf: leaf[3], conjugate.DATA)
    )
    np.testing.assert_allclose(groups["log_likelihood"]["data"][0, 7, 3], by_hand, rtol=1e-5)
    assert inference_data(model, conjugate.DATA, num_samples=5, key=KEY)["posterior"][
        "slopes"
    ].shape == (1, 5, 2)
    with pytest.raises(InputError, match="40 draws and 39 of new data"):
        inference_data(
            model, conjugate.DATA, draws=draws, posterior_predictive=np.ones((39, 14)), key=KEY
        )


def test_without_arviz(monkeypatch):
    monkeypatch.setitem(sys.modules, "arviz", None)
    with pytest.raises(InputError, match="arviz is not installed"):
        inference_data(conjugate.model(), conjugate.DATA, key=KEY)


@pytest.mark.filterwarnings("ignore")  # it announces its next generation
def test_arviz_itself():
    arviz = pytest.importorskip("arviz", exc_type=ImportError)
    told = inference_data(conjugate.model(), conjugate.DATA, num_samples=200, key=KEY)
    assert list(arviz.summary(told).index) == ["slopes[0]", "slopes[1]"]
