"""The experiment on logistic regression, small: exact answers, no bias, its pictures."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from papers import logistic as module


def test_the_exact_elbo_is_that_of_many_draws():
    problem = module.load_problem(0)
    at = module.Parameters(jnp.linspace(-0.4, 0.4, 31), jnp.linspace(-2, -0.5, 31))
    noise = np.random.default_rng(0).normal(size=(4000, 31))
    weights = np.asarray(np.asarray(at.location) + np.exp(np.asarray(at.log_scale)) * noise)
    logits = np.asarray(problem.labels)[:, None] * (np.asarray(problem.inputs) @ weights.T)
    log_prior = -0.5 * (weights**2).sum(1)
    log_posterior = -0.5 * (noise**2).sum(1) - float(at.log_scale.sum())
    terms = -np.logaddexp(0, -logits).sum(0) + log_prior - log_posterior
    error = terms.std() / np.sqrt(len(terms))
    assert abs(terms.mean() - float(module.exact_elbo(at, problem))) < 5 * error


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "logistic"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("STEPS", 100), ("RUNS", 2), ("REPLICATES", 400)):
            patch.setattr(module, name, value)
        module.run(path)
    return path


@pytest.mark.slow
def test_estimators_are_unbiased_and_ranked(folder):
    record = json.loads((folder / "record.json").read_text())
    for row in record["noise"]:
        assert row["deviation"] < 5
    noise = {row["estimator"]: row["variance"] for row in record["noise"] if row["at"] == "optimum"}
    assert noise["pathwise"] < noise["score function, leave-one-out"] < noise["score function"]
    for curve in record["curves"]:
        assert curve["elbo"][0] < curve["elbo"][-1] <= record["best_elbo"]


@pytest.mark.slow
def test_its_pictures(folder):
    for file in module.draw(folder):
        assert file.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_gradient_of_the_best_is_zero():
    problem = module.load_problem(1)
    best = module.best_parameters(problem)
    slopes = np.concatenate(jax.grad(module.exact_elbo)(best, problem))
    assert np.abs(slopes).max() < 0.01
