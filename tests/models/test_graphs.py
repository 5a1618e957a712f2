"""The graph of each model of the library."""

import equinox as eqx
import jax
import numpyro.distributions as dist
import pytest

import tighter as tt
from tighter import models
from tighter.graph import DAG
from tighter.graph.examples import binary_tree
from tighter.models.graphs import graph_of
from tighter.models.linear_gaussian_graph import LinearGaussianGraph

KEY = jax.random.key(0)


def vae(**options):
    return models.VAE.create((3,), num_latent=2, hidden=(), key=KEY, **options)


def missing():
    observation = models.Missing(models.Standardized(models.Gaussian(), (3,)))
    return models.MissingNotAtRandom.create(vae(observation=observation), (3,), key=KEY)


def conditional(**options):
    return models.ConditionalVAE.create((3,), (2,), num_latent=2, hidden=(), key=KEY, **options)


GRAPHS = {
    "vae": (vae, "z -> x"),
    "linear-Gaussian": (lambda: models.LinearGaussian.create(3, 2, key=KEY), "z -> x"),
    "semi-amortized": (lambda: models.SemiAmortized.create(vae(observation="gaussian")), "z -> x"),
    "hierarchy": (
        lambda: models.HierarchicalVAE.create(
            (3,), num_latent=(2, 2), hidden=((), ()), posterior="ladder", key=KEY
        ),
        "z2 -> z1 -> x",
    ),
    "conditional": (conditional, "{context, z} -> x"),
    "conditional prior": (
        lambda: conditional(conditional_prior=True),
        "context -> z; {context, z} -> x",
    ),
    "semi-supervised": (
        lambda: models.SemiSupervisedVAE.create((3,), 2, num_latent=2, hidden=(), key=KEY),
        "{label, z} -> x",
    ),
    "not at random": (missing, "z -> x -> mask"),
    "topics": (lambda: models.TopicModel.create(9, num_topics=2, key=KEY), "z -> x"),
    "topics drawn": (
        lambda: models.TopicModel.create(9, num_topics=2, eta=0.1, key=KEY),
        "z -> x <- topics",
    ),
    "bayesian": (
        lambda: models.BayesianModel(
            lambda theta, x: dist.Normal(theta, 1.0).log_prob(x), dist.Normal(0.0, 1.0)
        ),
        "parameters -> datum",
    ),
    "diffusion": (
        lambda: models.DiffusionModel.create((3,), hidden=(4,), num_steps=2, key=KEY),
        "z2 -> z1 -> z0 -> x",
    ),
    "diffusion, continuous": (
        lambda: models.DiffusionModel.create((3,), hidden=(4,), key=KEY),
        "z -> x",
    ),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_each_model(name):
    make, text = GRAPHS[name]
    assert graph_of(eqx.filter_eval_shape(make)) == DAG.from_text(text)


def test_a_graph_of_its_own():
    assert graph_of(LinearGaussianGraph.create(binary_tree(2), ["z1"])) == binary_tree(2)


def test_examples_written_out():
    assert graph_of(vae(), num_examples=2) == DAG.from_text("z[0] -> x[0]; z[1] -> x[1]")
    model = models.BayesianModel(
        lambda theta, x: dist.Normal(theta, 1.0).log_prob(x), dist.Normal(0.0, 1.0)
    )
    assert graph_of(model, num_examples=2) == DAG.from_text("parameters -> {datum[0], datum[1]}")
    drawn = GRAPHS["topics drawn"][0]()
    dag = graph_of(drawn, num_examples=2)
    assert not dag.d_separated("z[0]", "z[1]", ["x[0]", "x[1]"])
    assert dag.d_separated("z[0]", "z[1]", ["x[0]", "x[1]", "topics"])


def test_refusals():
    with pytest.raises(tt.InputError, match="the graph of dict is not known"):
        graph_of({})
    with pytest.raises(tt.InputError, match="at least once, got size 0"):
        graph_of(vae(), num_examples=0)
