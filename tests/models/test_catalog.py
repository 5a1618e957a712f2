"""The page on models holds the lists that the code makes, and its code runs."""

import re
from pathlib import Path

import jax
import numpy as np
import pytest

from tighter._errors import InputError
from tighter.models import OBSERVATIONS, VAE, catalog

PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text()


@pytest.mark.parametrize("kind", catalog.KINDS)
def test_the_docs_hold_the_lists_that_the_code_makes(kind):
    assert catalog.markdown(kind) in PAGE


def test_a_family_in_twenty_lines():
    """The page's own code: it enrolls a family, which trains, and refuses what it can't explain."""
    code = next(
        block for block in re.findall(r"```python\n(.*?)```", PAGE, re.S) if "class " in block
    )
    lines = [line for line in code.splitlines() if line and "import" not in line]
    assert len(lines) <= 20
    before = dict(OBSERVATIONS)
    try:
        exec(compile(code, "docs/models.md", "exec"), {})
        xs = np.random.default_rng(0).exponential(2.0, size=(50, 3)).astype(np.float32)
        model = VAE.create((3,), hidden=(4,), observation="exponential", key=jax.random.key(0))
        model = model.initialized_from(xs)
        means = model.likelihood_mean(0 * model.prior.mean)
        np.testing.assert_allclose(means, xs.mean(axis=0), rtol=1e-5)
        xs[3, 1] = -1
        with pytest.raises(InputError, match=r"Exponential explains numbers from 0 up.*row 3"):
            model.initialized_from(xs)
    finally:
        OBSERVATIONS.clear()
        OBSERVATIONS.update(before)
