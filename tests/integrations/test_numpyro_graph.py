"""Graphs of numpyro models: sites, what is observed, plates, and what is no site."""

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.contrib.control_flow import scan
from numpyro.infer.inspect import get_dependencies

from tighter._errors import InputError
from tighter.graph import DAG, Plate, check_encoder
from tighter.integrations.numpyro_graph import graph_of, program_graph

SCHOOLS = np.array([28.0, 8.0, -3.0])


def eight_schools(y, *, centered=True):
    mean = numpyro.sample("mean", dist.Normal(0, 5))
    spread = numpyro.sample("spread", dist.HalfCauchy(5.0))
    with numpyro.plate("schools", len(y)):
        if centered:
            effect = numpyro.sample("effect", dist.Normal(mean, spread))
        else:
            unit = numpyro.sample("unit", dist.Normal(0, 1))
            effect = numpyro.deterministic("effect", mean + spread * unit)
        numpyro.sample("y", dist.Normal(effect, 10.0), obs=y)


def test_sites_plates_and_what_is_observed():
    program = program_graph(eight_schools, SCHOOLS)
    assert program.dag == DAG.from_text("{mean, spread} -> effect -> y")
    assert program.latents == ("mean", "spread", "effect")
    assert program.observed == ("y",)
    assert program.plates == (Plate(("effect", "y"), 3),)
    whole = program.unrolled
    assert whole.observed == ("y[0]", "y[1]", "y[2]")
    assert set(whole.latents) == {"mean", "spread", "effect[0]", "effect[1]", "effect[2]"}
    given = ["mean", "spread", *whole.observed]
    assert whole.dag.d_separated("effect[0]", "effect[1]", given)
    assert not whole.dag.d_separated("effect[0]", "effect[1]", whole.observed)
    inverse = whole.dag.faithful_inverse(whole.latents, whole.observed)
    assert check_encoder(whole.dag, inverse, whole.latents, whole.observed).minimal


def test_values_computed_without_chance_are_passed_through():
    assert graph_of(eight_schools, SCHOOLS, centered=False) == DAG.from_text(
        "{mean, spread, unit} -> y"
    )

    def point_mass():
        a = numpyro.sample("a", dist.Normal(0, 1))
        b = numpyro.sample("b", dist.Delta(2 * a))
        numpyro.sample("c", dist.Normal(b, 1), obs=0.0)

    assert graph_of(point_mass) == DAG.from_text("a -> c")


def test_what_follows_from_an_observed_site_and_factors():
    def model(x):
        rate = numpyro.sample("rate", dist.ImproperUniform(dist.constraints.real, (), ()))
        x = numpyro.sample("x", dist.Normal(rate, 1), obs=x)
        kind = numpyro.sample("kind", dist.Categorical(logits=jnp.stack([x, -x])))
        numpyro.factor("penalty", -rate * kind)

    program = program_graph(model, 1.0)
    assert program.dag == DAG.from_text("rate -> x -> kind; {rate, kind} -> penalty")
    assert program.observed == ("x", "penalty")


def test_numpyros_own_answer_where_it_has_one():
    found = get_dependencies(eight_schools, (SCHOOLS,))["prior_dependencies"]
    edges = [(up, down) for down, ups in found.items() for up in ups if up != down]
    assert graph_of(eight_schools, SCHOOLS) == DAG(edges)


def test_refusals():
    def chained():
        def step(carry, _):
            return numpyro.sample("z", dist.Normal(carry, 1)), None

        scan(step, 0.0, None, length=3)

    with pytest.raises(InputError, match="as a Python loop"):
        graph_of(chained)

    def branching():
        if numpyro.sample("z", dist.Normal(0, 1)) > 0:
            numpyro.sample("x", dist.Normal(0, 1), obs=0.0)

    with pytest.raises(InputError, match="by a value that is drawn"):
        graph_of(branching)
    with pytest.raises(InputError, match="no random site"):
        graph_of(lambda: None)
