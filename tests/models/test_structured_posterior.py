"""Posteriors of an encoder's graph, against linear-Gaussian models where all is exact."""

import dataclasses
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from tests.oracles.quick import quick_jit

import tighter as tt
from tighter.distributions import check_posterior
from tighter.graph import DAG
from tighter.graph.examples import binary_tree
from tighter.models.linear_gaussian_graph import LinearGaussianGraph, _Problem
from tighter.models.posteriors import BernoulliPosterior, CategoricalPosterior
from tighter.models.posteriors.structured import LinearMean, StructuredPosterior

TREE = binary_tree(3)
LATENTS = ["z1", "z2", "z3"]


def tree(seed=0):
    rng = np.random.default_rng(seed)
    return LinearGaussianGraph.create(
        TREE,
        LATENTS,
        weights=jnp.asarray(rng.normal(size=6), float),
        scales=jnp.asarray(rng.uniform(0.5, 1.5, size=7), float),
    )


def mean_field(model):
    return DAG(
        [(x, z) for x in model.observed for z in model.latents], [*model.observed, *model.latents]
    )


def exact_encoder(model, graph):
    """The encoder of a graph with the exact posterior's conditionals, by regression."""
    model = model.with_encoder(graph, key=jax.random.key(0))
    covariance = np.linalg.inv(model._precision_in_double())
    place = [str(node) for node in model.dag.nodes].index
    made = []
    for name, part in zip(model.encoder.names, model.encoder.conditionals, strict=True):
        own, others = place(name), [place(parent) for parent in part.parents]
        weight = np.linalg.solve(covariance[np.ix_(others, others)], covariance[others, own])
        variance = covariance[own, own] - weight @ covariance[others, own]
        network = LinearMean(
            jnp.asarray(weight[None], float),
            jnp.zeros(1),
            jnp.asarray([0.5 * np.log(variance)], float),
        )
        made.append(dataclasses.replace(part, network=network))
    return dataclasses.replace(
        model, encoder=dataclasses.replace(model.encoder, conditionals=tuple(made))
    )


def disturbed(model):
    """The same with any numbers in its encoder."""
    rng = np.random.default_rng(4)
    moving, rest = eqx.partition(model.encoder, eqx.is_inexact_array)
    moved = jax.tree.map(
        lambda leaf: jnp.asarray(0.3 * rng.normal(size=leaf.shape), leaf.dtype), moving
    )
    return dataclasses.replace(model, encoder=eqx.combine(moved, rest))


def example_of(model):
    seen = model.sample(jax.random.key(1), 1)
    return {name: seen[name][0] for name in model.observed}


def inverses(model):
    orders = ("topological", "reverse-topological")
    return [model.dag.faithful_inverse(model.latents, model.observed, order=o) for o in orders]


def test_the_model_is_its_definition():
    model, x = tree(), example_of(tree())
    z = {name: jnp.array([0.3 * i]) for i, name in enumerate(model.latents)}
    values = {**x, **z}
    weights = dict(zip(TREE.edges, np.asarray(model.weights), strict=True))
    scales = dict(zip(TREE.nodes, np.exp(np.asarray(model.log_scales)), strict=True))
    by_hand = 0.0
    for node in TREE.nodes:
        mean = sum(weights[p, node] * float(values[p][0]) for p in TREE.parents(node))
        unit = (float(values[node][0]) - mean) / scales[node]
        by_hand += -0.5 * unit**2 - np.log(scales[node]) - 0.5 * np.log(2 * np.pi)

    @quick_jit
    def found(x, z):
        flat = jnp.concatenate([z[name] for name in model.latents])
        joint = model.log_joint(x)(z)
        return joint, joint - model.exact_posterior(x).log_prob(flat), model.log_evidence(x)

    joint, difference, evidence = found(x, z)
    np.testing.assert_allclose(joint, by_hand, rtol=1e-5)
    # log p(x, z) − log p(z|x) is log p(x) at any z.
    np.testing.assert_allclose(difference, evidence, rtol=1e-5)


def test_evidence_in_float32_where_scales_are_small():
    dag = DAG([("a", "x"), ("a", "y"), ("b", "y"), ("b", "w")])
    scales = [1.0 if node in "ab" else 1e-3 for node in dag.nodes]
    model = LinearGaussianGraph.create(
        dag, ["a", "b"], weights=np.array([3.0, 2, 1, 5]), scales=np.array(scales)
    )
    x = {name: jnp.array([value]) for name, value in {"x": 1.5, "y": 0.9995, "w": -0.003}.items()}
    whitening = np.linalg.cholesky(model._precision_in_double()).T
    covariance = np.linalg.inv(whitening) @ np.linalg.inv(whitening).T
    seen = [dag.nodes.index(name) for name in model.observed]
    values = [float(x[name][0]) for name in model.observed]
    exact = stats.multivariate_normal(cov=covariance[np.ix_(seen, seen)]).logpdf(values)
    np.testing.assert_allclose(model.log_evidence(x), exact, rtol=1e-4)


def test_draws_have_the_models_covariance():
    model = tree()
    draws = model.sample(jax.random.key(2), 20_000)
    columns = np.concatenate([draws[node] for node in TREE.nodes], axis=1)
    exact = np.linalg.inv(model._precision_in_double())
    variances = np.diag(exact)
    errors = np.sqrt((np.outer(variances, variances) + exact**2) / len(columns))
    assert np.all(np.abs(np.cov(columns.T) - exact) < 5 * errors)


@pytest.mark.parametrize("which", [0, 1])
def test_a_faithful_inverse_holds_the_exact_posterior(which):
    model = exact_encoder(tree(), inverses(tree())[which])
    x = example_of(model)

    @quick_jit
    def densities(key):
        posterior = model.posterior(x)
        check_posterior(posterior, needs_path=True, estimator="Reparameterized")
        z = posterior.rsample(key)
        assert {name: value.shape for name, value in z.items()} == dict.fromkeys(LATENTS, (1,))
        flat = jnp.concatenate([z[name] for name in model.latents])
        return posterior.log_prob(z), model.exact_posterior(x).log_prob(flat)

    ours, exact = densities(jax.random.key(3))
    np.testing.assert_allclose(ours, exact, rtol=1e-4)
    assert 0 <= model.divergence() < 1e-6


def test_the_divergence_is_the_gap_of_the_elbo():
    model = disturbed(tree().with_encoder(mean_field(tree()), key=jax.random.key(0)))

    @quick_jit
    def gaps(key):
        data_key, draw_key = jax.random.split(key)
        seen = model.sample(data_key, 40_000)
        xs = {name: seen[name] for name in model.observed}
        objective = tt.Objective(
            tt.bounds.ELBO(), gradient=tt.gradients.Reparameterized(), num_samples=1
        )
        evidence = jax.vmap(model.log_evidence)(xs)
        return evidence - objective.batch(model, xs, key=draw_key)

    found = np.asarray(gaps(jax.random.key(5)), float)
    error = found.std() / np.sqrt(len(found))
    assert abs(found.mean() - model.divergence()) < 5 * error


def test_what_an_encoders_graph_costs():
    model = tree()
    hidden = [list(TREE.nodes).index(name) for name in model.latents]
    precision = model._precision_in_double()[np.ix_(hidden, hidden)]
    diagonal = np.sum(np.log(np.diag(precision)))
    exact = 0.5 * (diagonal - np.linalg.slogdet(precision)[1])
    np.testing.assert_allclose(model.least_divergence(mean_field(model)), exact, rtol=1e-4)
    covariance = np.linalg.inv(precision)
    total = 0.5 * (np.sum(np.log(np.diag(covariance))) - np.linalg.slogdet(covariance)[1])
    np.testing.assert_allclose(model.dependence(mean_field(model)), total, rtol=1e-4)
    model = LinearGaussianGraph.create(TREE, LATENTS)
    for inverse in inverses(model):
        assert model.least_divergence(inverse) < 1e-12
        assert model.dependence(inverse) < 1e-12
        for edge in inverse.edges:
            fewer = DAG([other for other in inverse.edges if other != edge], inverse.nodes)
            assert model.least_divergence(fewer) > 1e-3
            assert model.dependence(fewer) > 1e-3


def test_derivatives_of_the_divergence():
    problem = _Problem.of(tree(), ("z3", "z2", "z1"))
    rng = np.random.default_rng(1)
    weights = np.hstack([np.tril(rng.normal(size=(3, 3)), -1), rng.normal(size=(3, 4))])
    at = np.concatenate([rng.normal(size=3), weights.ravel()])
    value = lambda flat: problem.divergence(flat[3:].reshape(3, 7), flat[:3])  # noqa: E731
    by_weight, by_variance = value(at)[1]
    slopes = np.concatenate([by_variance, by_weight.ravel()])
    for i, step in enumerate(1e-5 * np.eye(len(at))):
        change = (value(at + step)[0] - value(at - step)[0]) / 2e-5
        np.testing.assert_allclose(slopes[i], change, rtol=1e-6, atol=1e-6)


def test_the_best_of_a_graph_from_any_start():
    """No weights of the graph do better, nor near the best found does a step."""
    model = tree(3)
    reverse = DAG([(child, parent) for parent, child in TREE.edges])
    least = model.least_divergence(reverse)
    rng = np.random.default_rng(0)
    start = exact_encoder(model, reverse)
    moving, rest = eqx.partition(start.encoder, eqx.is_inexact_array)
    leaves, structure = jax.tree.flatten(moving)
    for size in (0.02, 0.5):
        for _ in range(5):
            moved = [np.asarray(leaf) + size * rng.normal(size=leaf.shape) for leaf in leaves]
            near = eqx.combine(jax.tree.unflatten(structure, moved), rest)
            assert dataclasses.replace(start, encoder=near).divergence() > least


def bound_of_draws(model, objective, num, key):
    """The mean bound of examples that the model itself draws."""
    data_key, draw_key = jax.random.split(key)
    seen = model.sample(data_key, num)
    xs = {name: seen[name] for name in model.observed}
    return jnp.mean(objective.batch(model, xs, key=draw_key))


def test_an_importance_weighted_bound_climbs_to_the_exact_posterior():
    """Sticking the landing of the ELBO does so in `tighter reproduce faithful-inversion`."""
    objective = tt.Objective(
        tt.bounds.IWAE(), gradient=tt.gradients.DoublyReparameterized(), num_samples=4
    )
    model = tree().with_encoder(inverses(tree())[0], key=jax.random.key(0))
    parameters, rest = eqx.partition(model.encoder, eqx.is_inexact_array)

    def value(parameters, key):
        current = dataclasses.replace(model, encoder=eqx.combine(parameters, rest))
        return bound_of_draws(current, objective, 64, key)

    @quick_jit
    def climbed(parameters, key):
        def step(carry, inputs):
            at, mean, square = carry
            key, rate, correction = inputs
            slope = jax.grad(value)(at, key)
            mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mean, slope)
            square = jax.tree.map(lambda s, g: 0.99 * s + 0.01 * g**2, square, slope)
            at = jax.tree.map(
                lambda p, m, s: p + rate * m / (jnp.sqrt(s / correction) + 1e-8), at, mean, square
            )
            return (at, mean, square), None

        steps = jnp.arange(600)
        keys = jax.random.split(key, len(steps))
        rates = 0.05 * (1 - steps / len(steps))
        zeros = jax.tree.map(jnp.zeros_like, parameters)
        inputs = keys, rates, 1 - 0.99 ** (steps + 1)
        return jax.lax.scan(step, (parameters, zeros, zeros), inputs)[0][0]

    start = model.divergence()
    end = eqx.combine(climbed(parameters, jax.random.key(6)), rest)
    found = dataclasses.replace(model, encoder=end).divergence()
    # There is no noise at the optimum.
    assert found < 1e-3
    assert start > 0.5


def test_the_score_functions_gradient_is_that_of_the_exact_divergence():
    model = disturbed(tree().with_encoder(inverses(tree())[0], key=jax.random.key(0)))
    objective = tt.Objective(tt.bounds.ELBO(), gradient=tt.gradients.ScoreFunction(), num_samples=4)
    parameters, rest = eqx.partition(model.encoder, eqx.is_inexact_array)

    def value(parameters, key):
        current = dataclasses.replace(model, encoder=eqx.combine(parameters, rest))
        return bound_of_draws(current, objective, 32, key)

    @quick_jit
    def slopes(parameters, keys):
        made = jax.vmap(jax.grad(value), in_axes=(None, 0))(parameters, keys)
        leaves = jax.tree.leaves(made)
        return [(jnp.mean(leaf, 0), jnp.std(leaf, 0) / len(keys) ** 0.5) for leaf in leaves]

    found = slopes(parameters, jax.random.split(jax.random.key(7), 1000))
    leaves, structure = jax.tree.flatten(parameters)
    leaves = [np.asarray(leaf, float) for leaf in leaves]

    def divergence(leaves):
        encoder = eqx.combine(jax.tree.unflatten(structure, leaves), rest)
        return dataclasses.replace(model, encoder=encoder).divergence()

    for i, (mean, error) in enumerate(found):
        for place in np.ndindex(mean.shape):
            above, below = ([leaf.copy() for leaf in leaves] for _ in range(2))
            above[i][place] += 1e-4
            below[i][place] -= 1e-4
            exact = (divergence(below) - divergence(above)) / 2e-4
            assert abs(mean[place] - exact) < 5 * error[place]


def encoder_of_two(**options):
    return StructuredPosterior.from_graph(
        DAG.from_text("x -> {a, b}; a -> b"),
        {"a": 3, "b": 2, "x": 5},
        latents=["a", "b"],
        key=jax.random.key(0),
        **options,
    )


def test_sizes_and_networks():
    encoder = encoder_of_two(hidden=(4,))

    @quick_jit
    def found(key):
        posterior = encoder({"x": jnp.arange(5.0)})
        z = posterior.rsample(key, (4,))
        # b moves with a, through its network.
        mean = lambda a: posterior.parts[1]({"a": a}).mean.sum()  # noqa: E731
        return z, jax.grad(mean)(z["a"][0])

    z, slope = found(jax.random.key(1))
    assert z["a"].shape == (4, 3)
    assert z["b"].shape == (4, 2)
    assert np.all(slope != 0)


def test_bits_have_no_path_and_add_up_to_one():
    encoder = encoder_of_two(family=BernoulliPosterior(), hidden=())
    bits = np.array(list(itertools.product((0, 1), repeat=5)), np.float32)

    @quick_jit
    def total(values):
        posterior = encoder({"x": jnp.ones(5)})
        with pytest.raises(TypeError, match="no reparameterized"):
            check_posterior(posterior, needs_path=True, estimator="Reparameterized")
        densities = jax.vmap(lambda v: posterior.log_prob({"a": v[:3], "b": v[3:]}))(values)
        return jnp.sum(jnp.exp(densities))

    np.testing.assert_allclose(total(bits), 1.0, rtol=1e-5)


def test_categories_and_linear_means():
    encoder = encoder_of_two(family=CategoricalPosterior(4), hidden=())
    drawn = jax.eval_shape(lambda key: encoder({"x": jnp.ones(5)}).sample(key), jax.random.key(0))
    assert drawn["b"].shape == (2, 4)
    network = LinearMean(jnp.array([[2.0, -1.0]]), jnp.array([0.5]), jnp.array([0.25]))
    np.testing.assert_allclose(network(jnp.array([3.0, 1.0])), [[5.5], [0.25]])


def test_a_latent_without_parents():
    encoder = StructuredPosterior.from_graph(
        DAG([("a", "b")]), {"a": 1, "b": 2}, latents=["a", "b"], hidden=(), key=jax.random.key(0)
    )
    drawn = jax.eval_shape(lambda key: encoder({}).sample(key), jax.random.key(0))
    assert drawn["b"].shape == (2,)


def test_refusals():
    dag, sizes = DAG.from_text("x -> z"), {"x": 2, "z": 1}

    def made(dag=dag, sizes=sizes, latents="z", **options):
        return StructuredPosterior.from_graph(
            dag, sizes, latents=latents, key=jax.random.key(0), **options
        )

    with pytest.raises(tt.InputError, match="x is observed and the graph has z -> x"):
        made(DAG.from_text("z -> x"))
    with pytest.raises(tt.InputError, match="1 or more, got 0 for x"):
        made(sizes={"z": 1})
    with pytest.raises(tt.InputError, match="no node y"):
        made(latents=["y"])
    with pytest.raises(tt.InputError, match="a node is a string, got 1"):
        made(DAG([(1, "z")]))
    with pytest.raises(tt.InputError, match="unknown activation 'tahn'"):
        made(activation="tahn")
    with pytest.raises(tt.InputError, match="got the family BernoulliPosterior"):
        made(family=BernoulliPosterior(), hidden=None)
    with pytest.raises(tt.InputError, match="7 latents of 7 nodes"):
        LinearGaussianGraph.create(TREE, TREE.nodes)
    with pytest.raises(tt.InputError, match="6 weights and 7 scales"):
        LinearGaussianGraph.create(TREE, LATENTS, weights=jnp.ones(3))
    with pytest.raises(tt.InputError, match="scales are above zero, got -1"):
        LinearGaussianGraph.create(TREE, LATENTS, scales=jnp.ones(7).at[3].set(-1))
    for wrong, words in (
        (DAG([("q", LATENTS[0])], LATENTS), "q is in the encoder's graph and not in the model's"),
        (DAG([], LATENTS[1:]), f"{LATENTS[0]} is a latent that the encoder's graph lacks"),
        (TREE, "is observed, and an edge of the encoder leads to it"),
    ):
        for measure in (tree().least_divergence, tree().dependence):
            with pytest.raises(tt.InputError, match=words):
                measure(wrong)
    with pytest.raises(tt.InputError, match="got -4 for x"):
        made(sizes={"x": -4, "z": 1})
    with pytest.raises(tt.InputError, match=r"x lacks x, which the encoder sees \(x has: y\)"):
        made()({"y": jnp.zeros(2)})
    with pytest.raises(tt.InputError, match="call with_encoder first"):
        tree().posterior({})
    with pytest.raises(tt.InputError, match="linear-Gaussian encoder"):
        tree().divergence()
