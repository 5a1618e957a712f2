"""Numbers far from zero and close to each other: as right as those about zero."""

import jax
import numpy as np
import optax
import pytest
from tests.oracles.thinning import every

import tighter as tt
from tighter._errors import InputError
from tighter._examples import admitted, moved_back
from tighter.data import Dataset, infer_schema, read_table
from tighter.models import (
    ConditionalVAE,
    HierarchicalVAE,
    Missing,
    Mixed,
    MultimodalVAE,
    SemiSupervisedVAE,
    Standardized,
    StudentT,
)

KEY = jax.random.key(0)
OBJECTIVE = tt.Objective(tt.bounds.IWAE(), tt.gradients.DoublyReparameterized(), num_samples=4)
UNIX = 1.7e9
_z = np.random.default_rng(0).normal(size=(60, 1))
# Seconds of five minutes; single precision tells 3 of them apart.
NEAR = np.round(
    60 * np.concatenate([_z, 0.5 * _z], 1) + 20 * np.random.default_rng(1).normal(size=(60, 2)), 2
)
FAR = NEAR + UNIX
GAPS = np.where(np.arange(120).reshape(60, 2) % 7 == 0, np.nan, 1.0)


def family():
    return Standardized(StudentT(), (2,))


def started(xs, observation):
    model = tt.models.VAE.create(
        (2,), num_latent=1, hidden=(4,), observation=observation, prior="mixture:2", key=KEY
    )
    return model.initialized_from(xs, key=KEY)


def fitted(xs, observation):
    return tt.fit(
        started(xs, observation), xs, OBJECTIVE, optimizer=optax.adam(1e-2), num_epochs=2,
        batch_size=20, key=KEY, validation=xs[:20], show_progress=False,
    )  # fmt: skip


def scores(model, xs):
    return tt.log_likelihood(model, xs, num_samples=40, key=KEY).value


@pytest.mark.parametrize(
    "make", [family, lambda: Missing(Mixed({"seconds": "student-t", "more": "student-t"}))]
)
def test_a_shift_changes_no_density(make):
    """p(x + c) of the model fitted to x + c is p(x) of the one fitted to x, a row alone too."""
    near, far = fitted(NEAR, make()), fitted(FAR, make())
    np.testing.assert_allclose(
        [row["validation_bound"] for row in far.history],
        [row["validation_bound"] for row in near.history], rtol=1e-4,
    )  # fmt: skip
    np.testing.assert_allclose(scores(far.model, FAR), scores(near.model, NEAR), rtol=2e-4)
    np.testing.assert_allclose(
        scores(far.best_model, FAR[7:8])[0], scores(near.best_model, NEAR[7:8])[0], rtol=2e-4
    )


@pytest.mark.parametrize("factor", [1e20, 1e-20])
def test_a_change_of_units_is_its_jacobian(factor):
    near, far = fitted(NEAR, family()), fitted(factor * NEAR, family())
    expected = scores(near.model, NEAR) - 2 * np.log(factor)
    np.testing.assert_allclose(scores(far.model, factor * NEAR), expected, atol=2e-3)


def test_whole_numbers_of_nineteen_digits():
    """Nanoseconds since 1970, as int64."""
    xs = np.round(1e7 * NEAR).astype(np.int64) + 1_700_000_000_000_000_000
    expected = scores(started(NEAR, family()), NEAR) - 2 * np.log(1e7)
    np.testing.assert_allclose(scores(started(xs, family()), xs), expected, atol=2e-3)


def test_what_is_filled_in_is_moved_too():
    xs = NEAR * GAPS
    near, far = started(xs, Missing(family())), started(xs + UNIX, Missing(family()))
    given = {"num_samples": 50, "num_draws": 3, "key": KEY}
    expected, made = tt.impute(near, xs, **given), tt.impute(far, xs + UNIX, **given)
    np.testing.assert_allclose(made.values - UNIX, expected.values, atol=2e-2)
    np.testing.assert_allclose(made.draws - UNIX, expected.draws, atol=2e-2)
    there = ~np.isnan(xs)
    np.testing.assert_array_equal(made.values[there], (xs + UNIX)[there])


def test_a_model_that_is_moved_and_moved_back_is_the_same():
    model = started(FAR, family())
    near, xs, origin = admitted(model, FAR)
    assert xs.dtype == np.float32
    np.testing.assert_allclose(np.asarray(xs, float) + origin, FAR, rtol=0, atol=1e-5)
    back = moved_back(near, origin)
    for ours, theirs in zip(jax.tree.leaves(back), jax.tree.leaves(model), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    # What is near stays as it was: no origin, and no rest.
    assert admitted(started(NEAR, family()), NEAR).origin == 0.0


MODELS = {
    "hierarchical": lambda x: (
        HierarchicalVAE.create((2,), num_latent=(2, 1), hidden=((4,), (4,)), observation=family(), key=KEY), x,  # noqa: E501
    ),
    "conditional": lambda x: (
        ConditionalVAE.create((2,), (1,), num_latent=1, hidden=(4,), observation=family(), key=KEY),
        {"x": x, "context": np.ones((60, 1))},
    ),
    "semi-supervised": lambda x: (
        SemiSupervisedVAE.create((2,), 2, num_latent=1, hidden=(4,), observation=family(), key=KEY),
        {"x": x, "label": np.arange(60) % 3 - 1},
    ),
    "multimodal": lambda x: (
        MultimodalVAE.create({"a": (2,), "b": (1,)}, num_latent=1, hidden=(4,), observations={"a": family(), "b": "bernoulli"}, key=KEY),  # noqa: E501
        {"a": x, "b": np.arange(60).reshape(60, 1) % 2},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", every(2, MODELS))
def test_models_of_several_parts_and_layers(name):
    (model, near), (_, far) = MODELS[name](NEAR), MODELS[name](FAR)
    expected, made = (
        scores(model.initialized_from(near), near),
        scores(model.initialized_from(far), far),
    )
    np.testing.assert_allclose(made, expected, rtol=2e-4)


def test_a_family_in_its_own_units_is_told():
    model = tt.models.VAE.create((2,), observation="diagonal-gaussian", hidden=(4,), key=KEY)
    with pytest.raises(InputError, match=r"entry 0 of x varies by .* about 17000000.*subtract"):
        scores(model, FAR)
    scores(model, np.full((4, 2), 0.1))  # what is constant is not lost


def test_tables_and_data_sets_keep_the_digits(tmp_path):
    (tmp_path / "a.csv").write_text("t,v\n" + "".join(f"{t:.2f},{v:.2f}\n" for t, v in FAR))
    frame = read_table(tmp_path / "a.csv")
    schema = infer_schema(frame)
    dataset = Dataset(schema.encode(frame), schema=schema)
    np.testing.assert_array_equal(dataset.x, np.round(FAR, 2))
    assert len(np.unique(dataset.take([4, 5, 6]).x[:, 0])) == 3
    assert schema.decode(dataset.x).equals(frame)
    assert Dataset(NEAR).x.dtype == np.float32
