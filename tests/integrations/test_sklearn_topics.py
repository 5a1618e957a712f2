"""The topic model as a scikit-learn estimator: its suite, and themes that are told apart."""

import pickle

import numpy as np
import pytest
from scipy import sparse
from scipy.special import gammaln
from sklearn.utils.estimator_checks import estimator_checks_generator

from tighter._errors import InputError
from tighter.integrations.sklearn import TopicModel

SMALL = {"n_components": 2, "max_iter": 2, "validation_fraction": 0, "num_likelihood_samples": 20}
# They ask for one topic, and topics are several.
OF_ONE_COMPONENT = {
    "check_dont_overwrite_parameters",
    "check_fit2d_predict1d",
    "check_methods_sample_order_invariance",
    "check_methods_subset_invariance",
}


def checks_of_the_interface():
    for estimator, check in estimator_checks_generator(TopicModel(**SMALL)):
        name = getattr(check.func, "__name__", None) or check.func.func.__name__
        if name not in OF_ONE_COMPONENT:
            yield pytest.param(estimator, check, id=name)


@pytest.mark.slow
@pytest.mark.parametrize(("estimator", "check"), list(checks_of_the_interface()))
def test_interface(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def X():
    """Two themes of five words, a document of one each."""
    rng = np.random.default_rng(0)
    theme = rng.integers(0, 2, size=80)
    return np.stack([rng.multinomial(12, np.repeat([1 - t, t], 5) / 5) for t in theme])


@pytest.fixture(scope="module")
def fitted(X):
    options = {"max_iter": 20, "batch_size": 40, "random_state": 0, "num_likelihood_samples": 500}
    return TopicModel(2, validation_fraction=0, **options).fit(sparse.csr_array(X))


def test_topics_are_the_themes(fitted, X):
    assert fitted.components_.shape == (2, 10)
    np.testing.assert_allclose(fitted.components_.sum(axis=1), 1, rtol=1e-5)
    made = fitted.transform(X)
    assert fitted.get_feature_names_out().tolist() == ["topicmodel0", "topicmodel1"]
    first = fitted.components_[:, :5].sum(axis=1).argmax()
    of_first = X[:, :5].sum(axis=1) > 0
    # (α + N) / (2α + N) of the theme's topic, α = 1/2.
    np.testing.assert_allclose(made[of_first, first], 12.5 / 13, atol=0.02)
    np.testing.assert_allclose(made[~of_first, first], 0.5 / 13, atol=0.02)
    again = fitted.inverse_transform(made)
    np.testing.assert_allclose(again, made @ fitted.components_, atol=1e-5)


@pytest.mark.slow
def test_scores_are_the_exact_log_probabilities(fitted, X):
    """By how many words are of the first topic, for a document's bounded noise."""
    scores = fitted.score_samples(X)
    exact = np.array([_log_probability(x, fitted.components_.astype(float)) for x in X])
    # IWAE of 500 draws from a q whose weights vary little.
    error = (scores - exact).std() / np.sqrt(len(X))
    assert abs((scores - exact).mean()) < 5 * error + 1e-4
    np.testing.assert_allclose(fitted.score(X), scores.mean(), rtol=1e-5)
    np.testing.assert_allclose(fitted.perplexity(X), np.exp(-scores.sum() / X.sum()), rtol=1e-4)
    with pytest.raises(InputError, match="these documents have none"):
        fitted.perplexity(np.zeros_like(X[:2]))
    np.testing.assert_allclose(fitted.score_samples(X[3:4]), scores[3:4], rtol=1e-5)


def test_samples_have_the_moments_of_the_model(fitted):
    """Counts of two words: of proportions that all words of a document share."""
    num, length, alpha = 4000, 6, 1 / 2
    drawn = fitted.sample(num, length=length).astype(float)
    assert drawn.shape == (num, 10)
    assert (drawn.sum(axis=1) == length).all()
    assert (fitted.sample(3).sum(axis=1) == 12).all()
    np.testing.assert_array_equal(fitted.sample(num, length=length), drawn)
    topics = fitted.components_.astype(float)
    of_proportions = (alpha**2 + alpha * np.eye(2)) / (2 * alpha * (2 * alpha + 1))
    pairs = length * (length - 1) * topics.T @ of_proportions @ topics
    for found, expected in (
        (drawn, length * topics.mean(axis=0)),
        (drawn[:, :1] * drawn[:, 1:], pairs[0, 1:]),
    ):
        error = found.std(axis=0) / np.sqrt(num)
        assert (np.abs(found.mean(axis=0) - expected) < 5 * error + 1e-6).all()
    with pytest.raises(InputError, match="length is a whole number of at least 1, got 0"):
        fitted.sample(2, length=0)


def test_weights_count_as_parts_of_words(X):
    parts = TopicModel(2, max_iter=1, random_state=0).fit(X / 3)
    assert np.isfinite(parts.bounds_).all()


def test_pickled_it_is_the_same(fitted, X):
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(fitted)).transform(X), fitted.transform(X)
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"n_components": 0}, "n_components is a whole number"),
        ({"bound": "cubo"}, "upper bound"),
        ({"doc_topic_prior": -1}, "doc_topic_prior is a finite number above 0"),
        ({"posterior": "gaussian"}, "logistic-normal"),
        ({"max_iter": 0}, "max_iter"),
    ],
)
def test_parameters_that_cannot_be_right(X, options, said):
    with pytest.raises(InputError, match=said):
        TopicModel(**options).fit(X)


def test_counts_that_do_not_fit(fitted, X):
    with pytest.raises(ValueError, match="expecting 10 features"):
        fitted.transform(X[:, :4])
    with pytest.raises(InputError, match=r"1 feature\(s\)"):
        TopicModel().fit(X[:, :1])
    with pytest.raises(ValueError, match="Negative values"):
        TopicModel().fit(-X)
    with pytest.raises(InputError, match="n_samples=0 documents with a word"):
        TopicModel().fit(0 * X)
    with pytest.raises(InputError, match="proportions"):
        fitted.inverse_transform([[1.0, 2.0]])


def _log_probability(document, phi):
    """Of a document's words, α = 1/2: the polynomial in the number of words of topic 0."""
    polynomial = np.ones(1)
    for word in np.repeat(np.arange(10), document):
        polynomial = np.convolve(polynomial, [phi[1, word], phi[0, word]])
    ones, size = np.arange(len(polynomial)), len(polynomial) - 1
    moments = (
        gammaln(0.5 + ones) + gammaln(0.5 + size - ones) - 2 * gammaln(0.5) - gammaln(1 + size)
    )
    return np.log((polynomial * np.exp(moments)).sum())
