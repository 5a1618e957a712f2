"""What `import tighter` shows, and what it takes to reach the rest."""

import subprocess
import sys

import tighter as tt


def test_names_are_the_public_ones():
    assert set(dir(tt)) == {"__version__", *tt.__all__}
    assert all(getattr(tt, name) is not None for name in tt.__all__)
    assert all(getattr(tt.integrations, name) is not None for name in tt.integrations.__all__)


def test_integrations_are_reached_from_a_plain_import():
    """And cost nothing until then."""
    code = (
        "import sys, tighter; assert 'numpyro' not in sys.modules; "
        "print(tighter.integrations.numpyro.ELBO.__name__)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "ELBO"
