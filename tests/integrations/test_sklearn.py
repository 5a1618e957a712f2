"""The scikit-learn estimator: its interface's own suite, and exact answers where z is linear."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from scipy.stats import multivariate_normal
from sklearn.decomposition import FactorAnalysis
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from tighter import bounds, gradients, log_likelihood
from tighter._errors import InputError, NonFiniteError
from tighter.integrations._sklearn_estimator import key_of
from tighter.integrations.sklearn import VariationalAutoencoder
from tighter.training import fit

SMALL = {
    "n_components": 2,
    "hidden": (),
    "max_iter": 2,
    "num_samples": 1,
    "validation_fraction": 0,
    "num_likelihood_samples": 20,
    "random_state": 0,
}
LINEAR = {
    **SMALL,
    "n_components": 1,
    "num_samples": 2,
    "max_iter": 100,
    "batch_size": 100,
    "learning_rate": 0.01,
    "num_likelihood_samples": 1000,
}


@pytest.fixture(scope="module")
def X() -> np.ndarray:
    """One factor in four columns, of units far from 1."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(600, 1))
    x = z @ np.array([[1.0, -2.0, 0.5, 0.0]]) + 0.7 * rng.normal(size=(600, 4))
    return x * np.array([1, 10, 0.1, 3]) + np.array([0, 50, -1, 7])


@pytest.fixture(scope="module")
def linear(X) -> VariationalAutoencoder:
    return VariationalAutoencoder(**LINEAR).fit(X)


def normal_of(estimator):
    """Mean and covariance of p(x), and the loadings, of a model with a linear decoder."""
    decoder = estimator.model_.decoder.layers[0]
    standardized = estimator.model_.observation.family
    location, scale = np.float64(standardized.location), np.float64(standardized.scale)
    loadings = np.float64(decoder.weight) * scale
    noise = np.exp(np.float64(standardized.family.log_scale)) * scale
    mean = location + scale * np.float64(decoder.bias)
    return mean, loadings.T @ loadings + np.diag(noise**2), loadings


# Checks with tables of a shape that no other has: a program to compile for each.
OF_THEIR_OWN_SHAPES = {
    "check_dtype_object",
    "check_estimators_dtypes",
    "check_f_contiguous_array_estimator",
    "check_fit2d_1feature",
    "check_fit_check_is_fitted",
    "check_fit_idempotent",
    "check_n_features_in_after_fitting",
    "check_positive_only_tag_during_fit",
}


def checks_of_the_interface():
    for estimator, check in estimator_checks_generator(
        VariationalAutoencoder(**SMALL | {"random_state": None})
    ):
        name = getattr(check.func, "__name__", None) or check.func.func.__name__
        marks = [pytest.mark.slow] if name in OF_THEIR_OWN_SHAPES else []
        yield pytest.param(estimator, check, id=name, marks=marks)


@pytest.mark.parametrize(("estimator", "check"), list(checks_of_the_interface()))
def test_interface(estimator, check):
    check(estimator)


def test_score_samples_are_the_exact_log_density(linear, X):
    mean, covariance, _ = normal_of(linear)
    exact = multivariate_normal(mean, covariance).logpdf(X)
    scores = linear.score_samples(X)
    told = log_likelihood(linear.model_, jnp.asarray(X, float), key=jax.random.key(1))
    error = told.standard_error * np.sqrt(5000 / 1000)
    assert np.median(error) < 0.05
    # Of 600 rows a few are beyond four standard errors; none beyond six.
    assert np.max(np.abs(scores - exact) / (error + 1e-4)) < 6
    errors = (scores - exact)[:, None]
    assert abs(errors.mean()) < 5 * errors.std() / np.sqrt(len(X))
    np.testing.assert_allclose(linear.score(X), np.mean(scores, dtype=float))


def test_rows_have_draws_of_their_own(linear, X):
    again = linear.score_samples(np.concatenate([X[5:6], X]))
    np.testing.assert_array_equal(again[[0, 6]], linear.score_samples(X[[5, 5]]))
    key = jax.random.key(3)
    rows = jnp.asarray(np.concatenate([X, X[:1, ::-1], np.where(X > 50, np.nan, X)]), jnp.float32)
    keys = jax.vmap(lambda x: jax.random.key_data(key_of(x, key)))(rows)
    different = len(np.unique(rows, axis=0, equal_nan=True))
    assert different > 700
    assert len(np.unique(keys, axis=0)) == different
    alike = jnp.array([[0.0, jnp.nan], [-0.0, -jnp.nan]])
    one, other = jax.vmap(lambda x: jax.random.key_data(key_of(x, key)))(alike)
    np.testing.assert_array_equal(one, other)


def test_training_reaches_the_likelihood_of_factor_analysis(linear, X):
    units = np.log(X.std(axis=0)).sum()
    best = FactorAnalysis(1).fit((X - X.mean(0)) / X.std(0)).score((X - X.mean(0)) / X.std(0))
    assert best - units - 0.02 < linear.score(X) < best - units + 0.001
    assert linear.n_iter_ == len(linear.bounds_) == linear.best_iter_ == 100
    assert linear.validation_bounds_ is None
    assert linear.bounds_[-1] > linear.bounds_[0] + 0.2


def test_partial_fit_reaches_it_as_well(X):
    estimator = VariationalAutoencoder(**LINEAR)
    for _ in range(60):
        estimator.partial_fit(X)
    units = np.log(X.std(axis=0)).sum()
    standard = (X - X.mean(0)) / X.std(0)
    assert estimator.score(X) > FactorAnalysis(1).fit(standard).score(standard) - units - 0.05
    assert estimator.n_iter_ == len(estimator.bounds_) == 60
    # Adam goes on counting: 6 steps an epoch.
    assert int(estimator._optimizer_state[0].count) == 360


def test_partial_fit_goes_on_from_fit(linear, X):
    estimator = pickle.loads(pickle.dumps(linear))
    estimator.set_params(learning_rate=1e-4).partial_fit(X[:300])
    assert abs(estimator.score(X) - linear.score(X)) < 0.05
    assert estimator.n_iter_ == 101
    assert estimator.score(X) != linear.score(X)


def test_missing_entries_count_for_nothing(X):
    gaps = np.random.default_rng(3).uniform(size=X.shape) < 0.3
    gaps[:, 1] = False
    estimator = VariationalAutoencoder(**LINEAR).fit(np.where(gaps, np.nan, X))
    holes = X[:50].copy()
    holes[:, [0, 3]] = np.nan
    mean, covariance, _ = normal_of(estimator)
    seen = [1, 2]
    exact = multivariate_normal(mean[seen], covariance[np.ix_(seen, seen)]).logpdf(holes[:, seen])
    told = log_likelihood(
        estimator.model_, jnp.asarray(holes, float), num_samples=1000, key=jax.random.key(1)
    )
    assert np.median(told.standard_error) < 0.05
    scores = estimator.score_samples(holes)
    assert np.all(np.abs(scores - exact) < 5 * told.standard_error + 1e-3)
    # E[x_m | x_o] of a Gaussian.
    gain = covariance[np.ix_([0, 3], seen)] @ np.linalg.inv(covariance[np.ix_(seen, seen)])
    expected = mean[[0, 3]] + (holes[:, seen] - mean[seen]) @ gain.T
    filled = estimator.impute(holes)
    np.testing.assert_array_equal(filled[:, seen], holes[:, seen])
    # The error of a self-normalized mean: a conditional standard deviation over root of ESS.
    spread = np.sqrt(np.diag(covariance))[[0, 3]]
    allowed = 5 * spread / np.sqrt(np.maximum(told.ess, 1))[:, None]
    assert np.all(np.abs(filled[:, [0, 3]] - expected) < allowed)
    draws = estimator.impute(holes, n_draws=3)
    assert draws.shape == (3, 50, 4)
    np.testing.assert_array_equal(draws[:, :, seen], np.broadcast_to(holes[:, seen], (3, 50, 2)))
    assert np.unique(draws[:, 0, 0]).size == 3


def test_an_encoder_that_has_not_seen_gaps_says_so(linear, X):
    holes = X[:2].copy()
    holes[0, 0] = np.nan
    for method in (linear.transform, linear.score_samples, linear.impute):
        with pytest.warns(UserWarning, match="fit had none"):
            method(holes)


def test_transform_and_back(linear, X):
    z = linear.transform(X)
    posterior = jax.vmap(lambda x: linear.model_.posterior(x).mean)(jnp.asarray(X, jnp.float32))
    np.testing.assert_allclose(z, posterior, rtol=1e-5, atol=1e-5)
    mean, _, loadings = normal_of(linear)
    np.testing.assert_allclose(linear.inverse_transform(z), mean + z @ loadings, rtol=1e-4)
    truth = (X - X.mean(0)) @ np.linalg.solve(np.cov(X.T), loadings.T)
    assert np.corrcoef(z[:, 0], truth[:, 0])[0, 1] > 0.999


def test_samples_have_the_moments_of_the_model(linear):
    drawn = linear.sample(4000)
    mean, covariance, _ = normal_of(linear)
    spread = np.sqrt(np.diag(covariance))
    assert np.all(np.abs(drawn.mean(0) - mean) < 5 * spread / np.sqrt(4000))
    variance = np.diag(covariance)
    products = (drawn - mean)[:, :, None] * (drawn - mean)[:, None, :]
    allowed = 5 * np.sqrt((np.outer(variance, variance) + covariance**2) / 4000)
    assert np.all(np.abs(products.mean(0) - covariance) < allowed)
    np.testing.assert_array_equal(drawn, linear.sample(4000))


def test_the_best_epoch_by_validation_is_kept(X, monkeypatch):
    # Thirty examples, and a scale of its own for each: the network comes to know them by heart.
    parameters = SMALL | {
        "hidden": (16,),
        "observation": "heteroscedastic-gaussian",
        "max_iter": 60,
        "learning_rate": 0.03,
        "validation_fraction": 0.3,
    }
    results = []

    def recorded(*arguments, **options):
        results.append(fit(*arguments, **options))
        return results[-1]

    monkeypatch.setattr("tighter.integrations._sklearn_estimator.fit", recorded)
    estimator = VariationalAutoencoder(**parameters).fit(X[:30])
    assert estimator.model_ is results[0].best_model
    best = int(np.argmax(estimator.validation_bounds_))
    assert estimator.best_iter_ == best + 1 < 60
    fewer = VariationalAutoencoder(**parameters).fit(X[:30])
    assert fewer.best_iter_ == estimator.best_iter_
    np.testing.assert_array_equal(fewer.bounds_, estimator.bounds_)


def test_pickled_bit_for_bit(linear, X):
    copy = pickle.loads(pickle.dumps(linear))
    for method in ("transform", "score_samples"):
        np.testing.assert_array_equal(getattr(copy, method)(X), getattr(linear, method)(X))
    # Adam's state goes with it.
    again = pickle.loads(pickle.dumps(copy.partial_fit(X)))
    np.testing.assert_array_equal(
        again.partial_fit(X).score_samples(X), copy.partial_fit(X).score_samples(X)
    )


@pytest.mark.slow
def test_pickled_bit_for_bit_with_functions_in_it(X):
    parameters = SMALL | {
        "max_iter": 1,
        "posterior": "flow",
        "prior": "vampprior:3",
        "observation": "student-t",
        "bound": bounds.Renyi(0.5),
        "gradient": gradients.Reparameterized(),
    }
    estimator = VariationalAutoencoder(**parameters).fit(X[:40])
    copy = pickle.loads(pickle.dumps(estimator))
    for method in ("transform", "score_samples"):
        np.testing.assert_array_equal(getattr(copy, method)(X), getattr(estimator, method)(X))
    np.testing.assert_array_equal(copy.sample(3), estimator.sample(3))
    copy.partial_fit(X[:40])
    np.testing.assert_array_equal(
        copy.score_samples(X), estimator.partial_fit(X[:40]).score_samples(X)
    )
    # A flow has no mean in closed form: that of draws, the same for a row in any table.
    means = estimator.transform(X[:5])
    keys = jax.random.split(jax.random.key(9), 4000)
    xs = jnp.asarray(X[:5], jnp.float32)
    drawn = jax.vmap(
        lambda x: jax.vmap(lambda key: estimator.model_.posterior(x).rsample(key))(keys)
    )(xs)
    allowed = 5 * drawn.std(axis=1) * np.sqrt(1 / 20 + 1 / 4000)
    assert np.all(np.abs(means - drawn.mean(axis=1)) < allowed)
    np.testing.assert_array_equal(estimator.transform(X[3:5]), means[3:])


def test_discrete_latents(X):
    estimator = VariationalAutoencoder(**SMALL | {"posterior": "bernoulli", "num_samples": 2}).fit(
        X[:40]
    )
    assert isinstance(estimator._objective.gradient, gradients.VIMCO)
    z = estimator.transform(X[:40])
    assert z.shape == (40, 2)
    assert np.all((z > 0) & (z < 1))
    # Over the four values of z the sum is exact.
    model, values = estimator.model_, jnp.array([[0, 0], [0, 1], [1, 0], [1, 1]], float)
    exact = [
        jax.nn.logsumexp(jax.vmap(model.log_joint(x))(values)) for x in jnp.asarray(X[:9], float)
    ]
    told = log_likelihood(model, jnp.asarray(X[:9], float), num_samples=20, key=jax.random.key(0))
    scores = estimator.score_samples(X[:9])
    assert np.all(np.abs(scores - np.array(exact)) < 6 * told.standard_error + 1e-3)


@pytest.mark.slow
def test_grid_search_in_a_pipeline(X):
    pipeline = make_pipeline(StandardScaler(), VariationalAutoencoder(**SMALL))
    name = "variationalautoencoder__n_components"
    search = GridSearchCV(pipeline, {name: [1, 2]}, cv=2).fit(X[:80])
    assert search.best_params_[name] in (1, 2)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.transform(X).shape == (600, search.best_params_[name])


def test_data_frames_keep_their_columns(X):
    frame = pl.DataFrame(X[:40], schema=["a", "b", "c", "d"])
    estimator = VariationalAutoencoder(**SMALL).set_output(transform="polars")
    z = estimator.fit_transform(frame)
    assert z.columns == ["variationalautoencoder0", "variationalautoencoder1"]
    assert list(estimator.feature_names_in_) == frame.columns
    with pytest.raises(ValueError, match="feature names"):
        estimator.transform(frame.rename({"a": "other"}))
    with pytest.warns(UserWarning, match="fit had none"):
        filled = estimator.impute(frame.with_columns(a=pl.lit(None, pl.Float64)))
    assert isinstance(filled, pl.DataFrame)
    assert filled.columns == frame.columns
    assert filled["b"].equals(frame["b"])
    assert filled["a"].is_finite().all()
    with pytest.raises(InputError, match=r"column 'c' holds text, 'x' first: encode it"):
        estimator.fit(frame.with_columns(c=pl.lit("x")))
    with pytest.raises(InputError, match=r"column 'c' hardly changes \(2 ± 0\)"):
        estimator.fit(frame.with_columns(c=pl.lit(2.0)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_components": 0}, "n_components is a whole number of at least 1, got 0"),
        ({"batch_size": 2.5}, "batch_size is a whole number"),
        ({"num_samples": True}, "num_samples is a whole number"),
        ({"hidden": 200}, "hidden is a list of widths"),
        ({"hidden": (8, 0)}, "each width in hidden"),
        ({"learning_rate": 0}, "learning_rate is a finite number above 0"),
        ({"validation_fraction": 1.0}, "validation_fraction is a share"),
        ({"bound": "iwea"}, "did you mean 'iwae'"),
        ({"bound": "cubo"}, "an upper bound"),
        ({"gradient": "dregg"}, "unknown gradient estimator"),
        ({"bound": 3}, "bound is a name or a tighter.bounds object, got 3"),
        ({"gradient": 3}, "gradient is a name or a tighter.gradients object, got 3"),
        ({"gradient": "vimco", "num_samples": 1}, "num_samples of 2 or more"),
        ({"observation": "gauss"}, "unknown observation"),
        ({"observation": "bernoulli"}, "Bernoulli explains numbers from 0 to 1"),
        ({"prior": "uniform", "posterior": "diagonal"}, "prior"),
        ({"activation": "tan"}, "unknown activation"),
    ],
)
def test_parameters_that_can_not_be_right(X, changes, message):
    with pytest.raises(ValueError, match=message) as raised:
        VariationalAutoencoder(**SMALL | changes).fit(X)
    assert "\n" not in str(raised.value)


def test_tables_that_can_not_be_right(linear, X):
    estimator = VariationalAutoencoder(**SMALL)
    for column, message in ((np.full(600, np.nan), "is missing in all"), (1e39, "too large")):
        bad = X.copy()
        bad[:, 1] = column
        with pytest.raises(InputError, match=message):
            estimator.fit(bad)
    with pytest.raises(InputError, match="z has 1 dimensions"):
        linear.inverse_transform(X)
    with pytest.raises(InputError, match="n_samples is a whole number"):
        linear.sample(0)
    with pytest.raises(InputError, match="num_draws"):
        linear.impute(X, n_draws=-1)
    diverging = VariationalAutoencoder(**LINEAR | {"learning_rate": 1e30})
    with pytest.raises(NonFiniteError, match="not finite"):
        diverging.partial_fit(X).partial_fit(X)


def test_one_program_serves_tables_of_any_length(linear, X):
    linear.transform(X)
    linear.score_samples(X)
    with jax.no_tracing():
        linear.transform(X[:7])
        linear.score_samples(X[:33])
