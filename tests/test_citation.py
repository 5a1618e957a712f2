"""The papers behind a pair, from the docstrings' references."""

import re
from pathlib import Path

import jax
import numpyro.distributions as dist
import pytest

import tighter as tt
from tighter.bounds.table import BOUNDS
from tighter.gradients import ESTIMATORS

SOURCES = Path(tt.__file__).parent


def keys_of(*parts):
    return re.findall(r"@misc\{(\w+),", tt.citation(*parts))


def test_a_pair_is_its_papers(capsys):
    objective = tt.Objective(tt.bounds.IWAE(), tt.gradients.DoublyReparameterized())
    text = str(tt.citation(objective))
    assert re.findall(r"@misc\{(\w+),", text) == ["burda2016importance", "tucker2018doubly"]
    assert "author = {Tucker and Lawson and Gu and Maddison}" in text
    assert capsys.readouterr().out == text + "\n"


@pytest.mark.parametrize("name", BOUNDS)
def test_every_bound_has_a_paper(name):
    assert keys_of(BOUNDS[name]())


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_has_a_paper(name):
    assert keys_of(ESTIMATORS[name]())


def test_what_an_object_is_made_of_counts():
    """The parts of a combination, the halves of a split, the families of a model."""
    bound = tt.bounds.Combination({tt.bounds.ELBO(): 0.5, tt.bounds.Renyi(0.5): 0.5})
    assert {"li2016rényi", "kingma2014auto-encoding".replace("-", "")} <= set(keys_of(bound))
    model = tt.models.VAE.create(
        (6,), num_latent=2, hidden=(4,), prior="vampprior", key=jax.random.key(0)
    )
    assert {"tomczak2018vae", "kingma2014autoencoding"} <= set(keys_of(model))
    assert "vehtari2024pareto" in keys_of(tt.log_likelihood)
    assert all(keys_of(part) for part in (tt.SUMO, tt.AnalyticKL()))


def test_without_papers_there_is_nothing():
    assert tt.citation(dist.Normal(0.0, 1.0)) == ""


def test_nothing_is_tighter_itself():
    assert tt.citation().startswith("@software{tighter,")
    assert tt.__version__ in tt.citation()
    stated = (SOURCES.parents[1] / "CITATION.cff").read_text()
    assert f"version: {tt.__version__}\n" in stated
