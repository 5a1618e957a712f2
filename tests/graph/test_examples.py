"""The textbooks' graphs, and what the textbooks say of them."""

import pytest

from tighter._errors import InputError
from tighter.graph import DAG, check_encoder, examples, posterior_factorization


def test_bishop_8_22():
    dag = examples.bishop_8_22()
    connected, separated = dag.d_separated("a", "b", "c"), dag.d_separated("a", "b", "f")
    assert not connected
    assert "a collider above c, which is given, lets through" in str(connected)
    assert separated
    assert {junction.node for junction in separated.paths[0].blocking} == {"e", "f"}


def test_examples_of_a_vae_are_apart_and_its_latents_are_not():
    pair = examples.vae(2)
    assert pair == DAG([("z[0]", "x[0]"), ("z[1]", "x[1]")])
    both = ["z[0]", "z[1]"], ["x[0]", "x[1]"]
    assert check_encoder(pair, DAG([("x[0]", "z[0]"), ("x[1]", "z[1]")]), *both).minimal
    one = examples.vae(num_latents=2)
    assert one.d_separated("z1", "z2")
    assert not one.d_separated("z1", "z2", "x")
    assert str(posterior_factorization(one.faithful_inverse(["z1", "z2"], "x"))) in (
        "q(z2 | x) q(z1 | x, z2)",
        "q(z1 | x) q(z2 | x, z1)",
    )
    # With weights that are latents too, examples depend on each other until they are given.
    shared = DAG([*pair.edges, ("w", "x[0]"), ("w", "x[1]")])
    assert not shared.d_separated("z[0]", "z[1]", ["x[0]", "x[1]"])
    assert shared.d_separated("z[0]", "z[1]", ["x[0]", "x[1]", "w"])


def test_hierarchy_and_diffusion_are_chains():
    dag = examples.hierarchy(3)
    assert dag == DAG.from_text("z3 -> z2 -> z1 -> x")
    assert dag.d_separated(["z3", "z2"], "x", "z1")
    assert dag.d_separated("z3", ["z1", "x"], "z2")
    assert not dag.d_separated("z3", "z1", "x")
    assert examples.diffusion(2) == DAG.from_text("z2 -> z1 -> z0 -> x")


def test_lda():
    dag = examples.lda(2, num_words=2)
    assert len(dag) == 2 + 4 + 4 + 1
    assert ("theta[1]", "z[1,0]") in dag.edges
    words = [f"w[{d},{n}]" for d in (0, 1) for n in (0, 1)]
    assert dag.d_separated("theta[0]", "theta[1]")
    assert not dag.d_separated("theta[0]", "theta[1]", words)
    assert dag.d_separated("theta[0]", "theta[1]", [*words, "beta"])
    assert dag.d_separated("z[0,0]", "z[0,1]", [*words, "beta", "theta[0]"])
    assert not dag.d_separated("z[0,0]", "z[0,1]", [*words, "beta"])
    assert set(examples.lda().nodes) == {"theta", "z", "w", "beta"}


def test_past_and_future_given_the_state():
    chain = examples.markov_chain(4)
    assert chain.d_separated(["s1"], ["s3", "s4"], "s2")
    assert not chain.d_separated("s1", "s3")
    dag = examples.kalman_filter(3)
    assert dag.d_separated(["z1", "x1"], ["z3", "x3"], "z2")
    assert not dag.d_separated("x1", "x3", "x2")
    inverse = dag.faithful_inverse(["z1", "z2", "z3"], ["x1", "x2", "x3"])
    factors = str(posterior_factorization(inverse))
    assert factors == "q(z3 | x1, x2, x3) q(z2 | x1, x2, z3) q(z1 | x1, z2)"


def test_binary_tree():
    assert examples.binary_tree(2) == DAG([("z1", "x1"), ("z1", "x2")])
    dag = examples.binary_tree(3)
    assert dag.parents("x3") == {"z3"}
    assert len(dag.edges) == 6


@pytest.mark.parametrize(
    "make",
    [
        lambda: examples.vae(0),
        lambda: examples.vae(num_latents=0),
        lambda: examples.hierarchy(0),
        lambda: examples.binary_tree(1),
        lambda: examples.kalman_filter(0),
    ],
)
def test_refusals(make):
    with pytest.raises(InputError, match="at least"):
        make()
