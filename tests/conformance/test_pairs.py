"""Every bound with every estimator on every problem, against the exact expected bound.

A pair that calls itself unbiased has to be so within 5 standard errors, for θ and φ separately;
one that doesn't has to be shown biased, by more than 20; one that can't work has to raise.
"""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

from tests.conformance.problems import PROBLEMS, REPLICATES, exact, replicate, standard_errors_off
from tighter import Objective
from tighter.bounds import BOUNDS, IWAE, Grouped, Renyi, as_bound
from tighter.gradients import (
    ESTIMATORS,
    BiasKind,
    DoublyReparameterized,
    ScoreFunction,
    Split,
)


def spread_bound(log_weights):
    """A bound that somebody brings along, of no family of ours."""
    return jnp.mean(log_weights) + 0.2 * jnp.var(log_weights)


ALL_BOUNDS = {name: make() for name, make in BOUNDS.items()} | {
    "renyi:2": Renyi(2.0),
    "callable": spread_bound,
}
ALL_ESTIMATORS = {name: make() for name, make in ESTIMATORS.items()} | {
    "split": Split(theta=ScoreFunction(), phi=DoublyReparameterized()),
}


@functools.cache
def exact_answer(problem, bound):
    return exact(PROBLEMS[problem], ALL_BOUNDS[bound])


def assert_unbiased(estimate, truth, *, theta=True, phi=True):
    value, theta_gradient, phi_gradient = truth
    assert standard_errors_off(estimate.value, value) < 5
    if theta:
        assert standard_errors_off(estimate.theta, theta_gradient).max() < 5
    if phi:
        assert standard_errors_off(estimate.phi, phi_gradient).max() < 5


def cells():
    """All cells; a third of the ELBO's and IWAE's, a sixth of the others', the rest is `slow`."""
    for i, bound in enumerate(ALL_BOUNDS):
        for j, estimator in enumerate(ALL_ESTIMATORS):
            for k, problem in enumerate(PROBLEMS):
                always = (i + j + k) % (6 if bound in ("elbo", "iwae") else 12) == 0
                yield pytest.param(
                    bound,
                    estimator,
                    problem,
                    marks=[] if always else pytest.mark.slow,
                    id=f"{bound}-{estimator}-{problem}",
                )


@pytest.mark.parametrize(("bound", "estimator", "problem"), list(cells()))
def test_pair(bound, estimator, problem):
    case, gradient = PROBLEMS[problem], ALL_ESTIMATORS[estimator]
    if case.num_samples < gradient.min_samples(as_bound(ALL_BOUNDS[bound])):
        with pytest.raises(ValueError, match="needs num_samples of"):
            Objective(ALL_BOUNDS[bound], gradient, num_samples=case.num_samples)
        return
    objective = Objective(ALL_BOUNDS[bound], gradient, num_samples=case.num_samples)
    if gradient.uses_path and not case.reparameterizable:
        with pytest.raises(TypeError, match="no reparameterized"):
            replicate(case, objective)
        return
    bias = objective.bias
    replicates = 4 * REPLICATES if bias else REPLICATES
    estimate = replicate(case, objective, replicates=replicates)
    truth = exact_answer(problem, bound)
    claimed = {"theta": bias.theta is BiasKind.UNBIASED, "phi": bias.phi is BiasKind.UNBIASED}
    assert_unbiased(estimate, truth, **claimed)
    for part, gradient_truth in (("theta", truth[1]), ("phi", truth[2])):
        if not claimed[part]:
            assert standard_errors_off(getattr(estimate, part), gradient_truth).max() > 20


@pytest.mark.parametrize(
    ("bound", "estimator"),
    [
        pytest.param(bound, name, marks=[] if (i + 2 * j) % 6 == 0 else pytest.mark.slow)
        for i, bound in enumerate(ALL_BOUNDS)
        for j, name in enumerate(["reparameterized", "doubly-reparameterized", "vimco"])
    ],
)
def test_fewer_draws_backward_stay_unbiased(bound, estimator):
    case = PROBLEMS["linear-gaussian"]
    objective = Objective(
        ALL_BOUNDS[bound],
        ALL_ESTIMATORS[estimator],
        num_samples=case.num_samples,
        num_outer=2,
        num_backward=2,
        chunk_size=3,
    )
    assert_unbiased(replicate(case, objective, seed=1), exact_answer("linear-gaussian", bound))


@pytest.mark.parametrize("phi_bound", [IWAE(), Grouped(IWAE(), 3)])
def test_split_follows_one_bound_with_theta_and_another_with_phi(phi_bound):
    """PIWAE: θ on the bound of all three draws; φ on the mean of three of one draw, the ELBO."""
    case = PROBLEMS["linear-gaussian"]
    gradient = Split(theta=IWAE(), phi=(phi_bound, DoublyReparameterized()))
    estimate = replicate(case, Objective(IWAE(), gradient, num_samples=3))
    value, theta, _ = exact_answer("linear-gaussian", "iwae")
    phi = exact_answer("linear-gaussian", "iwae" if phi_bound == IWAE() else "elbo")[2]
    assert_unbiased(estimate, (value, theta, phi))


@pytest.mark.parametrize("problem", PROBLEMS)
def test_oracle_agrees_with_plain_simulation(problem):
    """The exact expectation, against replicates of the value alone; ELBO does not depend on K."""
    elbo = exact_answer(problem, "elbo")
    iwae = exact_answer(problem, "iwae")
    assert iwae[0] > elbo[0]
    case = PROBLEMS[problem]
    estimate = replicate(case, Objective(IWAE(), ScoreFunction(), num_samples=case.num_samples))
    assert standard_errors_off(estimate.value, iwae[0]) < 5
    assert np.isfinite(iwae[1]).all()
