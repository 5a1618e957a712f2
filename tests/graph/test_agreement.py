"""Partial correlations against regression and against scipy, and p-values that are uniform."""

import numpy as np
import pytest
from scipy import stats

from tighter._errors import InputError
from tighter.graph import DAG, check_table, partial_correlation


def table_of(rng, num_rows):
    z = rng.normal(size=num_rows)
    x, y = z + rng.normal(size=num_rows), 2 * z + rng.normal(size=num_rows)
    return {"z": z, "x": x, "y": y}


def test_without_conditions_it_is_pearson():
    table = table_of(np.random.default_rng(0), 30)
    ours, theirs = partial_correlation(table, "x", "y"), stats.pearsonr(table["x"], table["y"])
    np.testing.assert_allclose(ours[:2], (theirs.statistic, theirs.pvalue), rtol=1e-10)


def test_p_value_is_that_of_the_regression_coefficient():
    table = table_of(np.random.default_rng(1), 12)
    design = np.column_stack([np.ones(12), table["y"], table["z"]])
    coefficients, (rest,), *_ = np.linalg.lstsq(design, table["x"])
    error = np.sqrt(rest / 9 * np.linalg.inv(design.T @ design)[1, 1])
    expected = 2 * stats.t.sf(abs(coefficients[1] / error), 9)
    ours = partial_correlation(table, "x", "y", ["z"])
    np.testing.assert_allclose(ours.p_value, expected, rtol=1e-8)
    assert np.sign(ours.correlation) == np.sign(coefficients[1])


def test_p_values_are_uniform_where_the_graph_is_right():
    rng = np.random.default_rng(2)
    values = [partial_correlation(table_of(rng, 9), "x", "y", ["z"]).p_value for _ in range(2000)]
    assert stats.kstest(values, "uniform").pvalue > 1e-6


def test_a_wrong_graph_is_found_out():
    table = table_of(np.random.default_rng(3), 400)
    right, wrong = DAG.from_text("x <- z -> y"), DAG.from_text("x -> z <- y")
    (check,) = check_table(right, table)
    assert str(check.statement) == "x ⊥ y | z" or str(check.statement) == "y ⊥ x | z"
    assert check.p_value == check.adjusted_p_value
    assert check.p_value > 1e-6
    (check,) = check_table(wrong, table)
    assert check.statement.given == ()
    assert check.p_value < 1e-6
    empty = check_table(DAG([], ["x", "y", "z"]), table | {"other": np.ones(400)})
    adjusted = [check.adjusted_p_value for check in empty]
    assert adjusted == sorted(adjusted)
    assert adjusted[0] == 3 * empty[0].p_value
    assert check_table(DAG.from_text("x -> y"), table) == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"x": np.ones(30)}, "column x is constant given z: it has no correlation"),
        ({"z": None}, "no column z"),
        ({"y": np.full(30, np.nan)}, "column y is not finite in row 0"),
        ({"y": np.zeros(29)}, r"got y of shape \(29,\)"),
    ],
)
def test_refusals(changes, words):
    table = table_of(np.random.default_rng(4), 30) | changes
    table = {name: column for name, column in table.items() if column is not None}
    with pytest.raises(InputError, match=words):
        partial_correlation(table, "x", "y", ["z"])
    with pytest.raises(InputError, match="needs 4 rows at least, got 3"):
        partial_correlation(table_of(np.random.default_rng(4), 3), "x", "y", ["z"])


def test_linear_dependence_is_told():
    z = np.arange(10.0)
    table = {"x": 3 * z + 1, "y": z**2, "z": z}
    with pytest.raises(InputError, match="column x is constant given z"):
        partial_correlation(table, "x", "y", ["z"])
    assert partial_correlation({"x": z, "y": -2 * z}, "x", "y")[:2] == (-1.0, 0.0)
