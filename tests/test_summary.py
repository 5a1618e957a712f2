"""`repr` of results: one line that says what came out, whatever the arrays hold."""

import dataclasses
import inspect

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tighter.diagnostics
import tighter.evaluation
import tighter.training
from tighter import _summary
from tighter.evaluation import AnnealedLogLikelihood, LogLikelihood, Sandwich
from tighter.evaluation.jensen_gap import JensenGap
from tighter.training import FitResult

FEW = {"Interval", "Share", "Ratio", "Recommendation"}  # a few numbers, and words


def exported(package):
    return [
        cls
        for name, cls in vars(package).items()
        if inspect.isclass(cls)
        and not name.startswith("_")
        and (hasattr(cls, "_fields") or dataclasses.is_dataclass(cls))
        and cls.__module__.startswith("tighter.")
        and not issubclass(cls, eqx.Module)
    ]


@pytest.mark.parametrize("package", [tighter.evaluation, tighter.diagnostics, tighter.training])
def test_every_result_has_a_line_of_its_own(package):
    for cls in exported(package):
        place = inspect.unwrap(cls.__repr__).__code__.co_filename
        assert "tighter" in place or cls.__name__ in FEW, cls


def estimates(num):
    rng = np.random.default_rng(0)
    value = rng.normal(-90, 4, num)
    columns = [np.full(num, 0.03), np.full(num, 800.0), np.full(num, 0.4), value, value]
    return LogLikelihood(value, *columns, value - 0.05, value + 0.05)


def test_a_log_likelihood_is_its_mean_its_error_and_its_verdict():
    made = estimates(1000)
    error = made.value.std(ddof=1) / np.sqrt(1000)
    told = repr(made)
    assert told.startswith(
        f"LogLikelihood({made.value.mean():.2f} ± {error:.2f} nats, mean of 1,000 examples, "
        "Monte Carlo error 0.00095; k̂ = .40 at most: to be trusted"
    )
    assert "\n" not in told
    assert made.value.shape == (1000,)
    assert len(told) < 250
    one = repr(estimates(1))
    assert f"({estimates(1).value[0]:.3f} ± 0.030 nats, of 1 example" in one


def test_others_that_hold_arrays():
    many = np.linspace(-5, 5, 500)
    law = JensenGap(many, many * 0 + 0.1, many**2, many)
    both = Sandwich(
        many, many, many + 1, many, many + 2, many, np.full(500, 64), many * 0, many < 9, law, 0.1
    )
    annealed = AnnealedLogLikelihood(many, many * 0 + 0.1, many + 6, many * 0 + 0.7, many)
    fitted = FitResult(
        None, [{"epoch": 1, "bound": -3.25, "validation_bound": -4.5}] * 20, None, 18, False, 80
    )
    assert repr(fitted) == (
        "FitResult(20 epochs; last bound -3.25 nats; last validation_bound -4.5 nats;"
        " best epoch 18)"
    )
    for result in (law, both, annealed):
        told = repr(result)
        assert "\n" not in told
        assert len(told) < 300
        assert "±" in told
    assert "upper 1" in repr(both)
    assert "acceptance 0.7" in repr(annealed)


def test_within_a_transformation_and_empty_it_is_still_a_line():
    seen = []

    @jax.jit
    def look(values):
        seen.append(repr(JensenGap(values, values, values, values)._replace(half_chi_square=1.0)))
        return values

    look(jnp.zeros(3))
    assert seen == [seen[0]]
    assert "array (3,)" in seen[0]
    assert _summary.mean_of(np.zeros(0)) == "array (0,)"
    assert _summary.quantity(np.nan) == "nan"
    assert _summary.quantity(-np.inf, 1.0) == "-inf ± 1.0"
