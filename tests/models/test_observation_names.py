"""Observation families by name, of a table's columns and of images."""

import types

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.oracles.observations import (
    ALL,
    KEY,
    MADE,
    cast,
    facts,
    family_of,
    output_of,
)
from tests.oracles.quick import quick_jit

from tighter._errors import InputError
from tighter.models.observations import (
    Mixed,
    Multinomial,
    Standardized,
    observation_from_name,
)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("categorical", "write categorical:5"),
        ("categorical:1.5", "takes a whole number, got 1.5"),
        ("categorical:1", "two categories or more, got 1"),
        ("discretized-logistic:1", "two levels or more, got 1"),
        ("discretized-logistic-mixture:0", "one component or more, got 0"),
        ("low-rank-gaussian:4", "rank from 1 to 3, got 4"),
        ("multinomial:0", "total is 1 or more, got 0"),
        ("student-t:3", "'student-t:3': it takes no number, got 3"),
        ("diagonal-gaussian:3", "'diagonal-gaussian:3': it takes no number"),
        ("mixed", "Mixed.from_schema"),
    ],
)
def test_names_that_make_no_family(name, words):
    with pytest.raises(InputError, match=words):
        observation_from_name(name, (3,))


def test_a_multinomial_takes_its_total_from_the_examples():
    xs = np.array([[1.0, 3, 0], [2, 2, 2], [9, 0, 0]])
    assert Multinomial().initialized_from(xs).total == 6
    assert Multinomial(4).initialized_from(xs).total == 4
    with pytest.raises(InputError, match="write multinomial:100"):
        Multinomial().distribution(jnp.zeros(3)).sample(KEY)


def columns_of(**kinds):
    return [
        types.SimpleNamespace(name=name, kind=kind, categories=tuple("abcd"[:num]))
        for name, (kind, num) in kinds.items()
    ]


def test_the_families_of_a_schema():
    columns = columns_of(
        a=("real", 0),
        b=("categorical", 3),
        c=("positive", 0),
        d=("unit", 0),
        e=("count", 0),
        f=("binary", 2),
        g=("categorical", 3),
        h=("categorical", 4),
        i=("real", 0),
    )
    schema = types.SimpleNamespace(columns=columns)
    mixed = Mixed.from_schema(schema, {"i": "laplace", "e": "poisson"})
    assert mixed.columns == (
        ("a", "student-t"),
        ("b", "categorical:3"),
        ("c", "log-normal"),
        ("d", "beta"),
        ("e", "poisson"),
        ("f", "bernoulli"),
        ("g", "categorical:3"),
        ("h", "categorical:4"),
        ("i", "laplace"),
    )
    assert len(mixed.groups) == 8  # b and g are one
    assert mixed.output_shape((9,)) == (3 + 6 + 2 + 2 + 1 + 1 + 4 + 2,)
    assert mixed.features_shape((9,)) == (1 + 6 + 1 + 1 + 1 + 1 + 4 + 1,)
    standard = [isinstance(family, Standardized) for family in mixed.groups]
    assert standard == [True, *[False] * 6, True]
    assert Mixed.from_schema(columns).columns[4] == ("e", "negative-binomial")
    with pytest.raises(InputError, match="unknown column 'z'"):
        Mixed.from_schema(schema, {"z": "laplace"})
    with pytest.raises(InputError, match="unknown kind 'date'"):
        Mixed.from_schema(columns_of(a=("date", 0)))
    with pytest.raises(InputError, match="those of 'full-gaussian' are not"):
        Mixed({"a": "full-gaussian"})
    with pytest.raises(InputError, match="one column at least"):
        Mixed({})


def test_images():
    """An axis more changes nothing of what each entry says."""
    for name in (name for name in ALL if name != "mixed"):
        make = lambda shape, name=name: (  # noqa: E731
            MADE[name]()
            if name in MADE and name != "low-rank-gaussian"
            else observation_from_name(name, shape)
        )
        family = make((4, 2, 3))

        def told(family, x):
            output = jnp.zeros(family.output_shape(x.shape))
            draw = family.distribution(output).sample(KEY)
            return draw, family.mean(output), family.log_prob(output, x), family.features(x)

        x = jnp.zeros((4, 2, 3))
        draw, mean, log_prob, features = jax.eval_shape(told, family, x)
        assert draw.shape == mean.shape == x.shape
        assert log_prob.shape == ()
        assert features.shape == family.features_shape(x.shape)


@pytest.mark.parametrize("name", ["multinomial", "zero-inflated-poisson", "low-rank-gaussian"])
def test_an_image_is_its_rows(name):
    flat = family_of(name)
    xs, outputs = np.float32(facts(name)[0][:2]), np.float32(np.stack([output_of(name)] * 2))
    outputs[1] *= 0.5
    log_prob = quick_jit(lambda family, output, x: family.log_prob(output, x))
    each = [float(log_prob(flat, o, x)) for o, x in zip(outputs, xs, strict=True)]
    if name == "low-rank-gaussian":  # of an image, all entries are correlated
        flat, image = cast(flat, "float32"), observation_from_name(f"{name}:2", (1, 3))
        where = lambda family: (family.log_scale, family.factors)  # noqa: E731
        image = eqx.tree_at(where, image, (flat.log_scale[None], flat.factors))
        whole = log_prob(image, outputs[:1], xs[:1])
        np.testing.assert_allclose(whole, each[0], rtol=1e-5)
        return
    np.testing.assert_allclose(log_prob(flat, outputs, xs), sum(each), rtol=1e-5)
    xs = np.resize(xs, (5, 2, 3))
    start = flat.initial_output(xs)
    np.testing.assert_allclose(start[0], flat.initial_output(xs[:, 0]), rtol=1e-5)
