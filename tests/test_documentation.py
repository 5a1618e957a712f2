"""What the documentation shows runs: lines after >>> in docstrings, Python blocks of pages.

A page's blocks share one namespace, which starts with the names of `common`. Counts (of draws,
epochs, ...) are at most `MOST` here, whatever the text says, and an ellipsis at the end of a call
of `fit` stands for what is left of `FIT`. What can't run is marked where it stands, by
`# doctest: +SKIP` or by `<!-- not run: why -->` before the block, and counted.
"""

import ast
import contextlib
import doctest
import functools
import importlib
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
import pytest

import tighter as tt
from tighter.integrations import sklearn, sklearn_autoencoder

ROOT = Path(__file__).parent.parent
SOURCES = ROOT / "src" / "tighter"
MOST_SKIPPED_EXAMPLES, MOST_SKIPPED_BLOCKS = 12, 3

MOST = 4
FIT = {"optimizer": "optax.adam(1e-3)", "num_epochs": "1", "batch_size": "4", "key": "key"}
TABLE = (
    "model = tt.models.VAE.create((2,), observation='gaussian', num_latent=1, hidden=(4,), key=key)"
)
DIFFUSION = """
xs = jnp.outer(jnp.arange(12.0), jnp.ones(2))
model = tt.models.DiffusionModel.create((2,), key=key).initialized_from(xs)
"""
NUMPYRO = """
from numpyro.infer import SVI
from numpyro.infer.autoguide import AutoNormal

data = np.arange(5.0)

def model(data=data):
    mean = numpyro.sample("mean", dist.Normal(0.0, 10.0))
    with numpyro.plate("data", 5):
        numpyro.sample("x", dist.Normal(mean, 1.0), obs=data)

guide, optimizer = AutoNormal(model), optax.adam(1e-2)
"""
MEAN = """
data = np.arange(5.0)
model = tt.models.BayesianModel(
    lambda parameters, y: dist.Normal(parameters["mean"], 1.0).log_prob(y),
    {"mean": dist.Normal(0.0, 10.0)},
)
other_key = jax.random.key(1)
"""
COUNTS = "counts = np.random.default_rng(0).poisson(0.05, (12, 1995)) + np.eye(12, 1995, dtype=int)"
IWAE = """
from tighter import Objective
from tighter.bounds import IWAE
from tighter.gradients import DoublyReparameterized
"""
TINY = """
xs = xs[:, :2, :2]
model = tt.models.VAE.create((2, 2), num_latent=2, hidden=(4,), key=key)
"""
# What single examples and pages take for granted besides.
BESIDES = {
    "tighter._citation:citation": IWAE,
    "tighter.data.corpus:count_words": "from tighter.data import read_documents",
    "tighter.diagnostics.compare:compare": (
        TINY + "compare = functools.partial(compare, bounds=(IWAE(),), "
        "gradients=(Reparameterized(),), num_backward=(None,), num_replicates=40)"
    ),
    "tighter.diagnostics.gradient_noise:gradient_noise": (
        IWAE + TINY + "gradient_noise = functools.partial(gradient_noise, num_replicates=40)"
    ),
    "tighter.evaluation.annealing:annealed_log_likelihood": TINY,
    "tighter.evaluation.bidirectional:bidirectional": TINY,
    "tighter.evaluation.imputation:impute": TABLE.replace(
        "'gaussian'", "tt.models.Missing(tt.models.Gaussian())"
    ),
    "tighter.gradients.score_function:RunningMean": "value = jnp.zeros(())",
    "tighter.integrations.arviz:inference_data": MEAN + "import arviz",
    "tighter.integrations.numpyro:ELBO": NUMPYRO,
    "tighter.integrations.numpyro_graph:program_graph": NUMPYRO,
    "tighter.integrations.sklearn_autoencoder:VariationalAutoencoder": (
        "X = np.random.default_rng(0).normal(size=(20, 3))"
    ),
    "tighter.integrations.sklearn_topics:TopicModel": (
        "from sklearn.feature_extraction.text import CountVectorizer\n"
        "texts = ['apples and pears', 'pears and plums', 'prunes, plums and pears'] * 4"
    ),
    "tighter.models.bayesian.model:BayesianModel": (
        "xs, ys = np.random.default_rng(0).normal(size=(12, 3)), np.arange(12.0)\n"
        "objective = tt.Objective(num_samples=2)"
    ),
    "tighter.models.bayesian.predictive:posterior_predictive": MEAN,
    "tighter.models.clustering:cluster": (
        "labels = np.arange(12) % 2\nmodel = tt.models.VAE.create((28, 28), num_latent=2, "
        "hidden=(4,), prior='mixture:2', key=key)"
    ),
    "tighter.models.conditional:ConditionalVAE": "images = xs",
    "tighter.models.diffusion.bound:DiffusionBound": DIFFUSION,
    "tighter.models.diffusion.model:DiffusionModel": (
        DIFFUSION + "from tighter.models import DiffusionBound"
    ),
    "tighter.models.diffusion.terms:diffusion_terms": DIFFUSION,
    "tighter.models.flows:FlowPosterior": "from tighter.models import VAE",
    "tighter.models.graphs:graph_of": (
        "from tighter.models import HierarchicalVAE\n"
        "from tighter.graph import posterior_factorization"
    ),
    "tighter.models.inference:FreePosterior": "vae = model",
    "tighter.models.linear_gaussian:ProbabilisticPCA": "xs = xs[:, 0, :4]",
    "tighter.models.missing_not_at_random:MissingNotAtRandom": (
        "from tighter.models import VAE, Gaussian, Missing, Standardized"
    ),
    "tighter.models.multimodal.model:MultimodalVAE": """
examples = {"image": xs, "label": (np.arange(12) % 10)[:, None]}
nan_image, label = np.full((28, 28), np.nan, np.float32), np.ones((1,), np.float32)
""",
    "tighter.models.networks:Applied": (
        "import types\n"
        "flax_module = types.SimpleNamespace(apply=lambda w, x: w * x, init=lambda key, x: x)"
    ),
    "tighter.models.posteriors.structured:StructuredPosterior": (
        "model_graph = tt.graph.DAG([('z2', 'z1'), ('z1', 'x')])\nx = jnp.zeros(784)"
    ),
    "tighter.models.topics.model:TopicModel": COUNTS,
    "tighter.objectives.enumerated_labels:EnumeratedLabels": (
        "from tighter.models import SemiSupervisedVAE\nlabels = np.arange(12) % 10"
    ),
    "README.md": NUMPYRO,
    "beyond_autoencoders.md": NUMPYRO
    + """
ys, counts = data, np.random.default_rng(0).poisson(1.0, (12, 30)) + 1
vocabulary_size, held_out = 30, counts
""",
    "models.md": """
from tighter.models import *

xs = X = X_new = np.random.default_rng(0).normal(size=(20, 11))
net, params, my_decoder = model.encoder, None, model.decoder
net = Applied(lambda parameters, x: net(x), params)
""",
    "graphs.md": (
        "from tighter.models import HierarchicalVAE, graph_of\n"
        "from tighter.graph import posterior_factorization"
    ),
}

# Those that warn by design.
WARNINGS = {"tighter.objectives.russian_roulette:SUMO": "very large variance"}

_ELIDED = re.compile(r"^(.*), (?:\.\.\.|…)\)", re.M)
_COUNT = re.compile(r"\b(num_(?!latent)\w+|batch_size)=(\d+)")
_NUMBER = re.compile(r"\d+\.\d+")
_BLOCK = re.compile(r"^(<!-- not run: .*-->\n)?```python\n(.*?)^```", re.M | re.S)
_CHECKER = doctest.OutputChecker()
_LOOSELY = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def docstrings():
    """Module and name, and the docstring, of all that have examples."""
    for path in sorted(SOURCES.rglob("*.py")):
        text = path.read_text()
        if ">>>" not in text:
            continue
        module = ".".join(path.relative_to(SOURCES.parent).with_suffix("").parts)
        module = module.removesuffix(".__init__")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.Module):
                docstring = ast.get_docstring(node)
                if docstring and ">>>" in docstring:
                    name = getattr(node, "name", "")
                    yield f"{module}:{name}", docstring


def pages():
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def common():
    """What examples take for granted."""
    xs = jnp.asarray(np.random.default_rng(0).integers(0, 2, (12, 28, 28)), jnp.float32)
    key = jax.random.key(0)
    return {
        "tt": tt, "tighter": tt, "jax": jax, "jnp": jnp, "np": np, "optax": optax, "dist": dist,
        "numpyro": numpyro, "functools": functools, "Path": Path, "key": key, "xs": xs, "x": xs[0],
        "model": tt.models.VAE.create((28, 28), num_latent=2, hidden=(4,), key=key),
        "objective": tt.Objective(tt.bounds.IWAE(), num_samples=2),
    }  # fmt: skip


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for module, name in (
        (tt, "log_likelihood"), (tt.evaluation, "perplexity"),
        (tt.evaluation, "document_completion"),
    ):  # fmt: skip
        few_draws = functools.partial(getattr(module, name), num_samples=MOST)
        monkeypatch.setattr(module, name, few_draws)
    briefly = functools.partial(sklearn.VariationalAutoencoder, max_iter=1)
    monkeypatch.setattr(sklearn, "VariationalAutoencoder", briefly)
    monkeypatch.setattr(sklearn_autoencoder, "VariationalAutoencoder", briefly)
    # A page adds one of this name: taken back afterwards.
    monkeypatch.setitem(tt.models.OBSERVATIONS, "exponential", None)


def runnable(source):
    """With what its ellipses stand for, and small counts."""

    def completed(line):
        given = line[1]
        options = [f"{name}={value}" for name, value in FIT.items() if f"{name}=" not in given]
        return ", ".join([given, *options]) + ")"

    source = _ELIDED.sub(completed, source.replace("Objective(...)", "Objective()"))
    return _COUNT.sub(lambda count: f"{count[1]}={min(int(count[2]), MOST)}", source)


def rounded(text):
    """Four digits of its numbers: the others depend on what the compiler does."""
    return _NUMBER.sub(lambda number: f"{float(number[0]):.4g}", text)


def run_examples(text, names, capsys):
    """Run them, and compare what is printed where the text says what is."""
    for example in doctest.DocTestParser().get_examples(text):
        if doctest.SKIP in example.options:
            continue
        capsys.readouterr()
        exec(compile(runnable(example.source), "<example>", "single"), names)
        got = capsys.readouterr().out
        if example.want:
            same = _CHECKER.check_output(rounded(example.want), rounded(got), _LOOSELY)
            assert same, (example.source, got)


DOCSTRINGS = dict(docstrings())


@pytest.mark.parametrize("place", DOCSTRINGS)
def test_examples_of_docstrings_run(place, capsys):
    module, docstring = importlib.import_module(place.partition(":")[0]), DOCSTRINGS[place]
    names = vars(module) | common()
    exec(BESIDES.get(place, ""), names)
    warning = WARNINGS.get(place)
    with pytest.warns(match=warning) if warning else contextlib.nullcontext():
        run_examples(docstring, names, capsys)


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_blocks_of_pages_run(page, capsys):
    names = common() | {"__name__": page.stem}
    exec(BESIDES.get(page.name, ""), names)
    for skipped, block in _BLOCK.findall(page.read_text()):
        if skipped:
            continue
        if ">>>" in block:
            run_examples(block, names, capsys)
        else:
            exec(compile(runnable(block), page.name, "exec"), names)


def test_few_are_not_run():
    examples = sum(text.count("+SKIP") for text in DOCSTRINGS.values())
    blocks = sum(
        bool(skipped) for page in pages() for skipped, _ in _BLOCK.findall(page.read_text())
    )
    assert examples <= MOST_SKIPPED_EXAMPLES
    assert blocks <= MOST_SKIPPED_BLOCKS
