"""The table of estimators, in the docs as in the code."""

from pathlib import Path

from tighter.bounds import BOUNDS
from tighter.gradients import ESTIMATORS, catalog

DOCS = Path(__file__).parents[2] / "docs"


def test_the_docs_hold_the_table_that_the_code_makes():
    assert catalog.markdown() in (DOCS / "estimators.md").read_text()


def test_every_estimator_and_bound_is_told():
    lines = catalog.of_bounds()
    assert [line.name for line in lines] == list(ESTIMATORS)
    assert all(list(line.bias) == list(BOUNDS) for line in lines)
    by_name = {line.name: line for line in lines}
    assert by_name["vimco"].needs == "any q, K ≥ 2"
    assert by_name["sticking-the-landing"].bias["iwae"] == "≠"
    assert by_name["doubly-reparameterized"].bias["iwae"] == "✓"
