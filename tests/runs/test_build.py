"""Objectives from configurations, and what is said of those that don't fit."""

import jax.numpy as jnp
import pytest

import tighter as tt
from tighter.runs.build_objective import build_objective
from tighter.runs.configuration import Configuration


def built(num_steps=0, **objective):
    configuration = Configuration().updated({"objective": objective}, where="x")
    return build_objective(configuration, num_steps=num_steps)


def test_forms_of_the_elbo():
    assert isinstance(built(bound="elbo"), tt.Objective)
    entropy = built(bound="elbo", form="entropy", num_samples=3, chunk_size=2)
    assert isinstance(entropy, tt.AnalyticEntropy)
    assert (entropy.num_samples, entropy.chunk_size) == (3, 2)
    analytic = built(bound="elbo", form="analytic-kl", beta=2.0, free_bits=0.1)
    assert isinstance(analytic, tt.AnalyticKL)
    assert (analytic.beta, analytic.free_bits) == (2.0, 0.1)


def test_warm_up_is_a_share_of_the_steps():
    arguments = {"bound": "elbo", "form": "analytic-kl", "beta": 4.0, "warm_up": 0.5}
    rising = built(num_steps=100, **arguments)
    weights = [float(rising.at(jnp.asarray(step)).beta) for step in (0, 25, 50, 100)]
    assert weights == [0.0, 2.0, 4.0, 4.0]
    assert built(**arguments).beta == 4.0  # evaluation is at the end of it


def test_sumo_warns():
    with pytest.warns(UserWarning, match="very large variance"):
        assert isinstance(built(bound="sumo", num_samples=2), tt.SUMO)


@pytest.mark.parametrize(
    ("objective", "words"),
    [
        ({"bound": "elbo", "form": "analytic"}, "unknown form of the ELBO 'analytic'"),
        ({"form": "entropy"}, "is a form of the ELBO, got the bound 'iwae': add --bound elbo"),
        ({"bound": "elbo", "beta": 2.0}, "objective.beta is about the analytic KL"),
        ({"bound": "elbo", "form": "entropy", "warm_up": 0.1}, "warm_up is about the analytic KL"),
        ({"bound": "elbo", "form": "analytic-kl", "warm_up": 2.0}, "a share of the training"),
        ({"bound": "elbo", "form": "analytic-kl", "beta": -1.0, "warm_up": 0.1}, "at least 0"),
        ({"bound": "elbo", "form": "entropy", "num_backward": 2}, "leave them out with elbo"),
        ({"bound": "sumo", "gradient": "vimco"}, "SUMO takes an estimator through the path"),
        ({"bound": "cubo"}, "an upper bound on log p"),
    ],
)
def test_what_does_not_fit(objective, words):
    with pytest.raises(tt.InputError, match=words):
        built(num_steps=10, **objective)
