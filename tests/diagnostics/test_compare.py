"""Comparisons on models whose variances are known, and recommendations from rows made by hand."""

import dataclasses
import functools
import itertools
import json
import math
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from tighter import Objective
from tighter._errors import InputError
from tighter.bounds import CUBO, ELBO, IWAE, Jackknife, Renyi
from tighter.diagnostics.compare import Comparison, compare, suitable_gradients
from tighter.diagnostics.gradient_noise import PooledNoise
from tighter.diagnostics.jackknife import QUANTILE
from tighter.diagnostics.measurements import Row, label, with_common_signals
from tighter.diagnostics.recommendation import ratio, recommend
from tighter.diagnostics.replicates import NUM_GROUPS
from tighter.distributions import Experts
from tighter.gradients import (
    OVIS,
    VIMCO,
    DoublyReparameterized,
    GeneralizedDoublyReparameterized,
    LeaveOneOut,
    Reparameterized,
    ScoreFunction,
    StickingTheLanding,
    WakePhi,
    doubly_reparameterize,
)
from tighter.models import LinearGaussian

KEY = jax.random.key(7)
MODULE = sys.modules["tighter.diagnostics.compare"]


@pytest.fixture(autouse=True)
def _quick_machine_code(monkeypatch):
    """Compiling is what takes the time here: the machine code need not be the fastest."""
    quick = functools.partialmethod(
        jax.stages.Lowered.compile, {"xla_backend_optimization_level": 0}
    )
    monkeypatch.setattr(jax.stages.Lowered, "compile", quick)


# On models whose variances are known


class OneNormal(eqx.Module):
    """z ~ N(theta, I), x|z ~ N(z, I), q = N(phi, 2/3 I): Rainforth's example without the encoder.

    With one draw the φ-gradient has the variance 8/3 in every coordinate and, sticking the landing,
    1/6; theta's has 2/3, whatever the estimator.
    """

    theta: jax.Array
    phi: jax.Array

    def posterior(self, x):
        scale = math.sqrt(2 / 3)
        return dist.Normal(self.phi, scale, validate_args=False).to_event(1)

    def log_joint(self, x):
        return lambda z: -0.5 * jnp.sum((z - self.theta) ** 2 + (x - z) ** 2)


NUM = 20
X = jnp.asarray(np.random.default_rng(1).normal(size=(1, NUM)), jnp.float32)


@functools.cache
def comparison():
    model = OneNormal(jnp.zeros(NUM), X[0] / 2 + 0.15)
    return compare(
        model,
        X,
        gradients=(
            Reparameterized(),
            StickingTheLanding(),
            DoublyReparameterized(),
            VIMCO(),
        ),
        num_samples=(1, 4),
        num_backward=(None, 4),
        num_replicates=600,
        key=KEY,
    )


def row_of(rows, bound, gradient, number, backward=None):
    named = {(row.bound, row.gradient, row.num_samples, row.num_backward): row for row in rows}
    return named[bound, gradient, number, backward]


@pytest.mark.slow
def test_variances_are_the_exact_ones():
    rows = comparison().rows
    for name, exact in (("Reparameterized", 8 / 3), ("StickingTheLanding", 1 / 6)):
        row = row_of(rows, "ELBO", name, 1)
        for pool, expected in ((row.phi, exact), (row.theta, 2 / 3)):
            low, high = pool.variance_interval
            told = (math.log(high) - math.log(low)) / (2 * QUANTILE)
            assert abs(math.log(pool.variance / (NUM * expected))) < 5 * told
            assert pool.num_coordinates == NUM


@pytest.mark.slow
def test_the_ratio_of_two_rows_is_the_exact_one():
    rows = comparison().rows
    landing, total = (
        dataclasses.replace(row_of(rows, "ELBO", name, 1), timings=np.full(9, seconds))
        for name, seconds in (("StickingTheLanding", 0.002), ("Reparameterized", 0.001))
    )
    gain = ratio(landing, total, ["phi"])
    # Both are linear in the same noise, replicate by replicate, so that the ratio has no error.
    np.testing.assert_allclose(gain, 16 / 2, rtol=1e-4)
    assert gain.is_certain
    both = ratio(landing, total, ["phi", "theta"])
    np.testing.assert_allclose(both.value, math.sqrt(gain.value * 1 / 2), rtol=1e-4)
    # Both have the same draws, so that theta's gradients are the same and only time tells.
    theta = ratio(landing, total, ["theta"])
    np.testing.assert_allclose(theta, 0.5, rtol=1e-4)
    other_way = ratio(total, landing, ["phi"])
    np.testing.assert_allclose(other_way.value * gain.value, 1)
    np.testing.assert_allclose(other_way.low * gain.high, 1)


@pytest.mark.slow
def test_ratios_of_times_have_an_error():
    """Within 5 of its own standard errors of what was put in, at a spread of 20 %."""
    row = row_of(comparison().rows, "ELBO", "Reparameterized", 1)
    noise = np.random.default_rng(0).normal(scale=0.2, size=(2, 4000))
    one, other = (
        dataclasses.replace(row, timings=seconds * np.exp(spread))
        for seconds, spread in zip((1.0, 3.0), noise, strict=True)
    )
    gain = ratio(one, other, ["phi"])
    error = (math.log(gain.high) - math.log(gain.low)) / (2 * QUANTILE)
    assert abs(math.log(gain.value / 3)) < 5 * error
    # A median's error is √(π/2) of a mean's, and differences spread by √2.
    # A median absolute deviation of n normal numbers has a standard error of 1.17 / √n of itself.
    expected = 0.2 * math.sqrt(math.pi / 4000)
    np.testing.assert_allclose(error, expected, rtol=5 * 1.17 / math.sqrt(4000))


def test_values_are_of_the_same_draws():
    """The bound of a row doesn't depend on its estimator; that of IWAE is above, draw by draw."""
    rows = [row for row in comparison().rows if row.num_samples == 4]
    values = {}
    for row in rows:
        values.setdefault(row.bound, []).append(row.values)
    for same in values.values():
        np.testing.assert_allclose(same, np.broadcast_to(same[0], np.shape(same)), rtol=1e-5)
    assert (values["IWAE"][0] > values["ELBO"][0]).all()


def test_unbiased_estimators_of_a_bound_share_their_signal():
    rows = comparison().rows
    iwae = [row for row in rows if row.bound == "IWAE"]
    landing = row_of(rows, "IWAE", "StickingTheLanding", 4)
    doubly = row_of(rows, "IWAE", "DoublyReparameterized", 4)
    for row in iwae:
        same = row.phi.signals[0] == doubly.phi.signals[0]
        assert same == (row.gradient != "StickingTheLanding")
        assert row.theta.signals[0] == doubly.theta.signals[0]
    # The mean of what follows −KL(posterior‖q) is far from that of the bound's gradient.
    assert landing.phi.signals[0] > 5 * doubly.phi.signals[0]
    assert "another objective" in landing.bias.phi.value


def test_all_legal_pairs_are_there_and_the_others_have_reasons():
    measured = comparison()
    rows, left_out = measured.rows, measured.left_out
    assert len(rows) + len(left_out) == 2 * 4 * 2 * 2
    reasons = {
        (line.bound, line.gradient, line.num_samples, line.num_backward): line.reason
        for line in left_out
    }
    assert "needs num_samples of 2 or more, got 1" in reasons["IWAE", "VIMCO", 1, None]
    assert "num_backward is at most num_samples" in reasons["IWAE", "Reparameterized", 1, 4]
    same = "the same as ELBO with StickingTheLanding"
    assert reasons["ELBO", "DoublyReparameterized", 4, None] == same
    assert reasons["IWAE", "DoublyReparameterized", 1, None] == same
    # 4 of 4 draws are all of them.
    assert reasons["IWAE", "VIMCO", 4, 4] == "the same as IWAE with VIMCO"
    # At K = 4 three estimators of the ELBO and four of IWAE, at K = 1 two.
    assert len(rows) == 3 + 4 + 2


def test_rows_are_ranked_by_what_a_second_buys():
    measured = comparison()
    for part, rows in (("phi", measured.rows), ("theta", measured.rows_by_theta)):
        told = [getattr(row, f"{part}_snr_squared_per_second") for row in rows]
        assert told == sorted(told, reverse=True)
        pool = getattr(rows[0], part)
        np.testing.assert_allclose(told[0], pool.signals[0] / pool.variance / rows[0].seconds)
    assert set(map(id, measured.rows)) == set(map(id, measured.rows_by_theta))


def test_times_decide(monkeypatch):
    """2 of 4 draws backward are noisier, and worth it where they take a tenth of the time."""

    def told(gradients, *, key):
        return np.repeat([[1.0], [0.1]], 9, axis=1)

    monkeypatch.setattr(MODULE, "interleaved_seconds", told)
    measured = compare(
        OneNormal(jnp.zeros(NUM), X[0] / 2 + 0.15),
        X,
        bounds=(IWAE(),),
        gradients=(DoublyReparameterized(),),
        num_samples=(4,),
        num_backward=(None, 2),
        num_replicates=400,
        key=KEY,
    )
    few, whole = measured.rows
    assert (few.num_backward, few.seconds) == (2, 0.1)
    assert (whole.num_backward, whole.seconds) == (None, 1.0)
    assert few.theta.variance > whole.theta.variance
    assert measured.recommendation.row is few
    slow = dataclasses.replace(few, timings=np.ones(9))
    assert recommend([whole, slow]).row is whole


class Coins(eqx.Module):
    """A Bernoulli posterior, which has no path."""

    logits: jax.Array
    weights: jax.Array

    def posterior(self, x):
        return dist.Bernoulli(logits=self.logits + 0 * x, validate_args=False).to_event(1)

    def log_joint(self, x):
        return lambda z: -0.5 * jnp.sum((x - self.weights * z) ** 2)


def test_what_has_no_path_is_left_out():
    model, xs = Coins(jnp.zeros(3), jnp.ones(3)), jnp.ones((2, 3))
    measured = compare(
        model,
        xs,
        bounds=(IWAE(),),
        gradients=(DoublyReparameterized(), VIMCO()),
        num_samples=(2,),
        num_backward=(None,),
        num_replicates=40,
        key=KEY,
    )
    assert [row.gradient for row in measured.rows] == ["VIMCO"]
    (line,) = measured.left_out
    assert "differentiates through the draws" in line.reason
    assert "Bernoulli" in line.reason or "Independent" in line.reason
    assert line.reason in str(measured)
    assert "the only estimator" in str(measured.recommendation)
    with pytest.raises(InputError, match=r"no combination can be measured: .* through the draws"):
        compare(model, xs, gradients=(DoublyReparameterized(),), num_replicates=40, key=KEY)


def test_gradients_suit_the_posterior():
    assert suitable_gradients(dist.Normal(jnp.zeros(2), 1.0).to_event(1)) == (
        Reparameterized(),
        StickingTheLanding(),
        DoublyReparameterized(),
    )
    for gradient in suitable_gradients(dist.Bernoulli(logits=jnp.zeros(2)).to_event(1)):
        assert not gradient.uses_path
    experts = Experts(dist.Normal(jnp.zeros((2, 1)), 1.0).to_event(1))
    assert suitable_gradients(experts) == (Reparameterized(), GeneralizedDoublyReparameterized())


def test_a_gradient_that_is_not_finite_is_left_out():
    model = OneNormal(jnp.full(NUM, jnp.inf), X[0])
    arguments = {"bounds": (ELBO(),), "num_samples": (1,), "num_backward": (None,)}
    with pytest.raises(InputError, match="no combination has a finite gradient"):
        compare(model, X, **arguments, num_replicates=40, key=KEY)


# What is told


def test_records_are_json_and_the_table_tells_all():
    measured = comparison()
    record = json.loads(json.dumps(measured.to_dict()))
    assert [line["phi_rank"] for line in record["rows"]] == list(range(1, len(measured.rows) + 1))
    assert sorted(line["theta_rank"] for line in record["rows"]) == list(
        range(1, len(measured.rows) + 1)
    )
    first, line = measured.rows[0], record["rows"][0]
    assert line["phi"]["snr"] == first.phi.snr
    assert line["phi"]["snr_squared_per_second"] == first.phi_snr_squared_per_second
    assert line["bias"]["kind"] == first.bias.kind.value
    assert len(record["left_out"]) == len(measured.left_out)
    chosen = record["rows"][record["recommended"]]
    assert chosen["gradient"] == measured.recommendation.row.gradient
    assert record["num_replicates"] == 600
    table = str(measured)
    for row in measured.rows:
        assert f"{row.value:.2f} ± {row.value_error:.2f}" in table
        assert f"{row.phi.variance:.3g}" in table
    assert "φ follows another objective" in table
    assert str(measured.recommendation) in table


def test_labels():
    told = {
        label(part)
        for part in (
            ScoreFunction(LeaveOneOut()),
            OVIS(monte_carlo=True),
            Renyi(0.5),
            doubly_reparameterize(WakePhi()),
            WakePhi(),
        )
    }
    assert told == {
        "ScoreFunction(LeaveOneOut)",
        "OVIS(monte_carlo)",
        "Renyi(0.5)",
        "ScoreTurnedToPath(WakePhi)",
        "WakePhi",
    }


# What is recommended, from rows made by hand


def pool(variance, *, signal=1.0, spread=0.0, seed=0):
    """Pooled noise with a relative standard error of `spread`."""
    left_out = np.random.default_rng(seed).normal(size=NUM_GROUPS)
    left_out = (left_out - left_out.mean()) / left_out.std()
    scale = spread / math.sqrt(NUM_GROUPS - 1)
    variances = variance * np.exp(scale * np.r_[0, left_out])
    signals = np.full(NUM_GROUPS + 1, float(signal))
    return PooledNoise(1, variances, signals, np.ones(NUM_GROUPS + 1))


def row(
    bound,
    gradient,
    number,
    *,
    backward=None,
    value=0.0,
    phi=1.0,
    theta=1.0,
    seconds=1.0,
    spread=0.0,
    seed=0,
):
    return Row(
        Objective(bound, gradient, number, num_backward=backward),
        value + 0.001 * np.random.default_rng(number).normal(size=NUM_GROUPS + 1),
        None if theta is None else pool(theta, spread=spread, seed=seed),
        None if phi is None else pool(phi, spread=spread, seed=seed),
        np.full(9, float(seconds)),
    )


DREG, TOTAL, LANDING = DoublyReparameterized(), Reparameterized(), StickingTheLanding()


def test_the_tightest_bound_and_the_most_of_a_second():
    rows = [
        row(ELBO(), LANDING, 50, value=-90, phi=0.01, theta=0.01),
        row(IWAE(), DREG, 50, value=-88, phi=1.0, theta=1.0),
        row(IWAE(), DREG, 50, backward=8, value=-88, phi=1.006, theta=1.036, seconds=0.4),
        row(IWAE(), TOTAL, 50, value=-88, phi=3.0, theta=1.0),
        row(IWAE(), LANDING, 50, value=-88, phi=0.001, theta=1.0, seconds=0.1),
    ]
    for order in itertools.permutations(rows):
        told = recommend(order)
        assert told.row is rows[2]
    text = str(recommend(rows))
    assert text.startswith("IWAE, K = 50, DoublyReparameterized with num_backward = 8: ")
    assert "the most SNR² per second for φ (2.49 times the next, DoublyReparameterized;" in text
    assert "8 of 50 draws backward take 0.40 of the time for 1.006 (φ) and 1.036 (θ)" in text
    assert "the tightest of 2 bounds (ELBO with K = 50 is next, 2.00 lower)" in text
    assert "biased for this bound, and so not considered: StickingTheLanding" in text
    assert text.count("\n") == 0


def test_what_cannot_be_told_apart_is_said():
    rows = [
        row(ELBO(), LANDING, 5, phi=1.0, spread=0.1, seed=1),
        row(ELBO(), TOTAL, 5, phi=1.05, spread=0.1, seed=2),
    ]
    text = str(recommend(rows))
    assert "for φ it can't be told apart from Reparameterized (1.05 times" in text
    assert "more replicates may tell" in text
    exact = row(ELBO(), TOTAL, 5, phi=1.0)
    gain = ratio(rows[0], exact, ["phi"])
    np.testing.assert_allclose(np.log([gain.low, gain.high]), [-0.1 * QUANTILE, 0.1 * QUANTILE])
    # The errors of both go together where their draws do, and the same figures tell.
    paired = [
        row(ELBO(), LANDING, 5, phi=1.0, spread=0.1),
        row(ELBO(), TOTAL, 5, phi=1.05, spread=0.1),
    ]
    assert "the most SNR² per second for φ (1.05 times the next" in str(recommend(paired))


def test_noisy_times_cannot_be_told_apart():
    noise = np.random.default_rng(0).normal(size=(2, 9))
    rows = [
        dataclasses.replace(row(ELBO(), gradient, 5), timings=seconds * np.exp(0.5 * spread))
        for gradient, seconds, spread in zip((LANDING, TOTAL), (1.0, 1.1), noise, strict=True)
    ]
    assert "can't be told apart" in str(recommend(rows))


@pytest.mark.parametrize(("phi", "best"), [(3.0, 0), (1.5, 1)])
def test_where_phi_and_theta_disagree_the_geometric_mean_decides(phi, best):
    rows = [
        row(ELBO(), LANDING, 5, phi=1.0, theta=2.0),
        row(ELBO(), TOTAL, 5, phi=phi, theta=1.0),
    ]
    told = recommend(rows)
    assert told.row is rows[best]
    worse, other = (("θ", "Reparameterized"), ("φ", "StickingTheLanding"))[best]
    times = (2.0, phi)[best]
    assert f"for {worse} alone {other} gets more ({times:.2f} times" in told.text
    assert "the geometric mean of φ and θ decides" in told.text


def test_a_biased_one_only_where_there_is_no_other():
    rows = [row(IWAE(), LANDING, 5, phi=1.0), row(IWAE(), WakePhi(), 5, phi=3.0)]
    told = recommend(rows)
    assert told.row is rows[0]
    assert "estimators, none of them unbiased, it gets the most" in told.text
    assert recommend([*rows, row(IWAE(), TOTAL, 5, phi=100.0)]).row.gradient == "Reparameterized"


def test_no_upper_bound_and_none_on_neither_side_if_there_is_a_lower_one():
    upper = row(CUBO(2.0), DREG, 5, value=5)
    neither = row(Jackknife(1), DREG, 5, value=3)
    lower = row(IWAE(), DREG, 5, value=-1)
    assert recommend([upper, neither, lower]).row is lower
    assert recommend([upper, neither]).row is neither
    nothing = recommend([upper])
    assert nothing.row is None
    assert "every bound here lies above log p(x)" in nothing.text
    comparison = Comparison((upper,), (), 1, 40)
    assert comparison.to_dict()["recommended"] is None


def test_of_bounds_equally_tight_the_fewest_draws():
    rows = [
        row(IWAE(), DREG, 50, value=-88.0, seconds=10),
        row(IWAE(), DREG, 5, value=-88.0004),
        row(ELBO(), LANDING, 5, value=-88.0006),
        row(ELBO(), LANDING, 1, value=-95.0),
    ]
    told = recommend(rows)
    assert told.row is rows[1]
    assert "can't be told from the tightest, IWAE with K = 50 (-88.00)" in told.text


@pytest.mark.parametrize("missing", ["phi", "theta"])
def test_models_with_one_kind_of_parameters(missing):
    rows = [
        row(ELBO(), TOTAL, 5, **{"phi": 2.0, "theta": 2.0, missing: None}),
        row(ELBO(), LANDING, 5, **{"phi": 1.0, "theta": 1.0, missing: None}),
    ]
    told = recommend(rows)
    assert told.row is rows[1]
    assert {"phi": "φ", "theta": "θ"}[missing] not in told.text


def test_no_noise_at_all_is_best():
    rows = [row(ELBO(), TOTAL, 1, phi=1.0), row(ELBO(), LANDING, 1, phi=0.0)]
    told = recommend(rows)
    assert told.row is rows[1]
    assert "over 10,000 times the next" in told.text


def test_signals_that_drown_as_draws_grow_are_named():
    rows = [
        row(ELBO(), TOTAL, 1, value=-90, phi=10.0),
        row(IWAE(), TOTAL, 50, value=-88, phi=100.0),
        row(IWAE(), DREG, 50, value=-88, phi=1.0),
        row(IWAE(), DREG, 5, value=-89, phi=2.0),
    ]
    text = str(recommend(rows))
    falls = "the SNR of φ falls with K for Reparameterized (0.32 at K = 1, 0.1 at K = 50)"
    assert falls in text
    assert "DoublyReparameterized (0.71" not in text


def test_the_common_signal_is_that_of_the_least_noisy():
    rows = [
        dataclasses.replace(row(IWAE(), DREG, 5), phi=pool(1.0, signal=0.5)),
        dataclasses.replace(row(IWAE(), TOTAL, 5), phi=pool(4.0, signal=0.9)),
        dataclasses.replace(row(IWAE(), LANDING, 5), phi=pool(0.1, signal=7.0)),
        dataclasses.replace(row(IWAE(), TOTAL, 50), phi=pool(0.2, signal=0.3)),
    ]
    # Two functions of one name are two bounds.
    rows += [
        dataclasses.replace(row(bound, DREG, 5), phi=pool(1.0, signal=signal))
        for bound, signal in ((lambda ell: jnp.max(ell), 2.0), (lambda ell: jnp.mean(ell), 4.0))
    ]
    signals = [float(line.phi.signals[0]) for line in with_common_signals(rows)]
    assert signals == [0.5, 0.5, 7.0, 0.3, 2.0, 4.0]


# Errors


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"num_replicates": 20}, "num_replicates is at least 40, .* got 20"),
        ({"bounds": ()}, "bounds has one entry at least, got none"),
        ({"gradients": ()}, "gradients has one entry at least, got none"),
        ({"num_samples": ()}, "num_samples has one entry at least, got none"),
        ({"x": jnp.zeros((0, NUM))}, "leading axis of at least 1"),
        ({"num_samples": (0,)}, "no combination can be measured: num_samples is at least 1"),
    ],
)
def test_what_cannot_be_compared(arguments, words):
    arguments = {"model": OneNormal(jnp.zeros(NUM), jnp.zeros(NUM)), "x": X, **arguments}
    with pytest.raises(InputError, match=words):
        compare(**arguments, key=KEY)


@pytest.mark.slow
def test_doubly_reparameterized_is_the_choice_near_the_optimum():
    """With K = 64 draws on the linear-Gaussian model its φ-variance is far below the total one."""
    model = LinearGaussian.create(6, 4, key=jax.random.key(0))
    xs = model.sample(jax.random.key(1), 16)
    measured = compare(model, xs, num_samples=(1, 64), num_replicates=400, key=KEY)
    assert measured.recommendation.row.bound == "IWAE"
    assert measured.recommendation.row.gradient == "DoublyReparameterized"


def test_more_draws_of_the_elbo_are_no_other_bound():
    """So that they are chosen by what they make of a second, and not by their number."""
    rows = [row(ELBO(), LANDING, 1, phi=8.0, theta=8.0), row(ELBO(), LANDING, 8)]
    chosen = recommend(rows)
    assert chosen.row is rows[1]
    assert "times the next, ELBO, K = 1, StickingTheLanding" in chosen.text
    rows = [row(IWAE(), LANDING, 1, phi=8.0, value=-90.0), row(IWAE(), LANDING, 8, value=-91.0)]
    assert recommend(rows).row is rows[0]
