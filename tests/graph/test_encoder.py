"""Faithful inverses: nothing denied, nothing wasted, by enumeration of every statement."""

import itertools

import numpy as np
import pytest
from tests.oracles.chains import members, questions, random_edges, separation_table

from tighter._errors import InputError
from tighter.graph import DAG, check_encoder, posterior_factorization

ORDERS = ("topological", "reverse-topological")


def with_clique(edges, observed):
    """An encoder says nothing of the observed nodes: among them all are joined."""
    return [*edges, *itertools.combinations(sorted(observed), 2)]


def denies_nothing(model_table, edges, num_nodes, observed, cache):
    whole = frozenset(with_clique(edges, observed))
    if whole not in cache:
        cache[whole] = separation_table(list(whole), num_nodes)
    return not np.any(cache[whole] & ~model_table & admissible(num_nodes))


def admissible(num_nodes):
    mask = np.zeros((num_nodes, num_nodes, 2**num_nodes), bool)
    for a, b, given in questions(num_nodes):
        mask[a, b, given] = True
    return mask


def check_inverse(model_edges, num_nodes, observed, order, table, cache):
    latents = [node for node in range(num_nodes) if node not in observed]
    model = DAG(model_edges, range(num_nodes))
    inverse = model.faithful_inverse(latents, observed, order=order)
    context = (model_edges, observed, order, inverse)
    edges = list(inverse.edges)
    assert all(child in latents for _, child in edges), context
    assert denies_nothing(table, edges, num_nodes, observed, cache), context
    for edge in edges:
        fewer = [other for other in edges if other != edge]
        assert not denies_nothing(table, fewer, num_nodes, observed, cache), (context, edge)
    verdict = check_encoder(model, inverse, latents, observed)
    assert verdict.faithful
    assert verdict.minimal
    # An order of the kind that was asked for: parents in the model come later in the inverse.
    place = {node: i for i, node in enumerate(posterior_order(inverse, latents))}
    for parent, child in model_edges:
        if parent in place and child in place:
            assert (place[parent] > place[child]) == (order == "topological"), context


def posterior_order(inverse, latents):
    return [node for node in inverse.nodes if node in latents]


def all_models(num_nodes):
    """Every graph, up to the names of its nodes, and every choice of observed nodes."""
    pairs = list(itertools.combinations(range(num_nodes), 2))
    for chosen in range(2 ** len(pairs)):
        edges = [pair for i, pair in enumerate(pairs) if chosen >> i & 1]
        for observed in range(2**num_nodes - 1):
            yield edges, members(observed)


def enumerated(num_nodes, step=1):
    cache, tables, number = {}, {}, 0
    for edges, observed in itertools.islice(all_models(num_nodes), 0, None, step):
        key = tuple(edges)
        if key not in tables:
            tables = {key: separation_table(edges, num_nodes)}
        for order in ORDERS:
            check_inverse(edges, num_nodes, observed, order, tables[key], cache)
            number += 1
    return number


def test_every_model_of_few_nodes():
    assert enumerated(3) == 8 * 7 * 2
    assert enumerated(4, step=7) > 200


@pytest.mark.slow
def test_every_model_of_up_to_five_nodes():
    assert enumerated(4) == 64 * 15 * 2
    assert enumerated(5) == 1024 * 31 * 2


def check_random(seed, number, largest):
    rng = np.random.default_rng(seed)
    for _ in range(number):
        num_nodes = int(rng.integers(5, largest + 1))
        edges = random_edges(rng, num_nodes)
        table = separation_table(edges, num_nodes)
        observed = np.flatnonzero(rng.random(num_nodes) < 0.5).tolist()
        if len(observed) < num_nodes:
            for order in ORDERS:
                check_inverse(edges, num_nodes, observed, order, table, {})


def test_random_models():
    check_random(0, 6, 6)


@pytest.mark.slow
def test_random_models_of_up_to_eight_nodes():
    check_random(1, 60, 8)


def test_a_latent_below_which_nothing_is_observed_marries_no_parents():
    """Neighbors in the moral graph alone would join z1 and z2 here."""
    model = DAG.from_text("z1 -> w <- z2; z1 -> x1; z2 -> x2")
    latents, observed = ["z1", "z2", "w"], ["x1", "x2"]
    inverse = model.faithful_inverse(latents, observed, order="reverse-topological")
    assert set(inverse.edges) == {("x1", "z1"), ("x2", "z2"), ("z1", "w"), ("z2", "w")}


def test_binary_tree_and_factors_as_text():
    tree = DAG([(i, 2 * i + side) for i in (1, 2, 3) for side in (0, 1)])
    inverse = tree.faithful_inverse([1, 2, 3], [4, 5, 6, 7])
    factors = posterior_factorization(inverse)
    # The root is drawn last; before it its children depend on each other.
    assert str(factors) == "q(3 | 4, 5, 6, 7) q(2 | 4, 5, 3) q(1 | 3, 2)"
    chain = DAG.from_text("z1 -> z2 -> x")
    assert str(posterior_factorization(chain.faithful_inverse(["z1", "z2"], "x"))) == (
        "q(z2 | x) q(z1 | z2)"
    )
    upward = chain.faithful_inverse(["z1", "z2"], "x", order="reverse-topological")
    assert str(posterior_factorization(upward)) == "q(z1 | x) q(z2 | x, z1)"
    alone = DAG([], ["z"]).faithful_inverse("z", [])
    assert str(posterior_factorization(alone, "z")) == "q(z)"


def test_what_an_encoder_denies():
    model = DAG.from_text("z1 -> x; z2 -> x")
    mean_field = DAG.from_text("x -> z1; x -> z2")
    verdict = check_encoder(model, mean_field, ["z1", "z2"], ["x"])
    assert not verdict
    assert str(verdict) == "not faithful: the encoder denies\n  z2 ⊥̸ z1 | x, open: z2 → x ← z1"
    full = DAG.from_text("x -> z1; x -> z2; z1 -> z2")
    assert str(check_encoder(model, full, ["z1", "z2"], ["x"])) == "faithful and minimal"
    examples = DAG.from_text("z -> x")
    assert check_encoder(examples, DAG([("x", "z")]), "z", "x").minimal
    wasteful = DAG.from_text("z1 -> z2 -> x")
    verdict = check_encoder(wasteful, DAG.from_text("x -> z2 -> z1; x -> z1"), ["z1", "z2"], "x")
    assert verdict.faithful
    assert not verdict.minimal
    assert verdict.needless == (("x", "z1"),)
    assert str(verdict) == "faithful, but not minimal: x -> z1 can go"


def test_refusals():
    model = DAG.from_text("z -> x")
    for latents, observed, words in (
        (["z", "x"], ["x"], "x is both latent and observed"),
        (["z"], [], "x is neither latent nor observed"),
        (["zz"], ["x"], "there is no node zz, in latents; did you mean z?"),
    ):
        with pytest.raises(InputError) as caught:
            model.faithful_inverse(latents, observed)
        assert words in str(caught.value)
    with pytest.raises(InputError, match="reverse-topological, got 'up'"):
        model.faithful_inverse("z", "x", order="up")
    with pytest.raises(InputError, match="an encoder's edges lead to latents"):
        check_encoder(model, DAG([("z", "x")]), "z", "x")
    with pytest.raises(InputError, match="the same nodes: y differs"):
        check_encoder(model, DAG([("x", "z"), ("y", "z")]), "z", "x")
