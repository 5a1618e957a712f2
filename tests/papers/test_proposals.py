"""Proposals for log p(x), small: measured variances, exact moments, and a sign that changes."""

import json
import math

import numpy as np
import pytest
from scipy.integrate import quad

from papers import proposals as module


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "proposals"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "DRAWS", 2**16)
        patch.setattr(module, "SHIFTS", module.SHIFTS[::3])
        module.run(path, seed=0)
    return path


@pytest.fixture(scope="module")
def record(folder):
    return json.loads((folder / "record.json").read_text())


def test_measured_variances_are_the_exact_ones(record):
    known = [row for row in record["path"] + record["widths"] if row["standard_error"] is not None]
    assert len(known) >= 18
    for row in known:
        # Of the posterior itself the variance is zero, but for rounding.
        assert abs(row["measured"] - row["exact"]) < 5 * row["standard_error"] + 1e-10
    exact = [row["exact"] for row in record["path"]]
    assert exact == sorted(exact, reverse=True)
    assert exact[-1] < 1e-12
    assert record["path"][-1]["draws_needed"] == 1
    narrow = [row for row in record["widths"] if row["width"] < 0.5 + 1e-9]
    assert narrow
    assert all(row["exact"] is None and row["draws_needed"] is None for row in narrow)


def test_the_path_leads_from_the_prior_to_the_posterior():
    posterior = np.array([1.0, -2.0]), np.array([[0.5, 0.1], [0.1, 0.3]])
    for end, known in ((0.0, (np.zeros(2), np.eye(2))), (1.0, posterior)):
        for found, wanted in zip(module.between(end, *posterior), known, strict=True):
            np.testing.assert_allclose(found, wanted)


def test_errors_fall_as_the_root_of_the_draws(record):
    for row in record["errors"]:
        # A mean of n squares of spread s errs by s/√n, and s² is 2/n at least.
        num = module.DRAWS // 16 // row["k"]
        if row["step"] == 0.9 and num > 100:
            assert abs(row["measured"] / row["exact"] - 1) < 5 / math.sqrt(num)


def test_moments_by_quadrature():
    def density(z, mean, variance):
        return math.exp(-0.5 * (z - mean) ** 2 / variance) / math.sqrt(2 * math.pi * variance)

    for order in (2, 3, 4):
        direct, _ = quad(
            lambda z, n=order: density(z, 0.3, 0.5) ** n * density(z, -0.2, 0.9) ** (1 - n), -9, 9
        )
        one = [np.array([0.3]), np.array([[0.5]]), np.array([-0.2]), np.array([[0.9]])]
        np.testing.assert_allclose(module.moment(order, *one), direct, rtol=1e-8)
    assert module.moment(2, *one[:3], np.array([[0.25]])) == math.inf
    # Rotated: the moment of two dimensions that don't correlate is the product.
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    p, q = np.diag([0.5, 0.2]), np.diag([0.9, 0.4])
    both = module.moment(2, turn @ [0.3, 0], turn @ p @ turn.T, turn @ [-0.2, 0], turn @ q @ turn.T)
    other = module.moment(2, np.zeros(1), p[1:, 1:], np.zeros(1), q[1:, 1:])
    np.testing.assert_allclose(both, module.moment(2, *one) * other)


def test_the_best_proposal_has_variance_where_f_changes_sign(record):
    for row in record["signs"]:
        a = row["shift"]
        absolute, _ = quad(
            lambda z, a=a: abs(z + a) * math.exp(-(z**2) / 2) / math.sqrt(2 * math.pi), -12, 12,
            points=[-a],
        )  # fmt: skip
        np.testing.assert_allclose(row["exact"], absolute**2 - a**2, atol=1e-10)
        assert abs(row["measured"] - row["exact"]) < 5 * row["standard_error"]
        assert row["exact"] > 1e-3
        assert row["halves"] < 1e-20


def test_pictures_are_drawn_from_the_record_alone(folder, tmp_path, record):
    (tmp_path / "record.json").write_bytes((folder / "record.json").read_bytes())
    for file in module.draw(tmp_path):
        assert file.read_bytes().startswith(b"\x89PNG")
    assert any("no number will do" in line for line in module.summary(record))
