"""What works with the dependencies that everyone gets, run by .ci/bare."""

import importlib.metadata
import importlib.util
import statistics
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
from numpyro.infer import SVI
from numpyro.infer.autoguide import AutoNormal

import tighter as tt
from tighter.integrations.numpyro import ELBO

KEY = jax.random.key(0)
OBJECTIVE = tt.Objective(tt.bounds.IWAE(), tt.gradients.DoublyReparameterized(), num_samples=8)
MOST_TIMES_NUMPYRO = 1.2
OURS = "import tighter as tt; tt.Objective, tt.fit, tt.log_likelihood"


def few_dependencies() -> None:
    """Eight at most, and none of what the extras bring is here."""
    needed = importlib.metadata.requires("tighter") or []
    assert sum("extra ==" not in line for line in needed) <= 8, needed
    for module in ("typer", "rich", "matplotlib", "polars", "sklearn", "networkx", "flowjax"):
        assert importlib.util.find_spec(module) is None, module
    assert (importlib.resources.files("tighter") / "py.typed").is_file()


def objective_alone() -> None:
    """p(z) = N(0, 1), p(x|z) = N(z, 1), x = 2: the evidence is N(2; 0, √2)."""

    def loss(phi, key):
        def log_joint(z):
            return dist.Normal(0, 1).log_prob(z) + dist.Normal(z, 1).log_prob(2.0)

        posterior = dist.Normal(phi["loc"], jnp.exp(phi["log_scale"]))
        return -OBJECTIVE(log_joint, posterior, key=key)

    phi = {"loc": jnp.zeros(()), "log_scale": jnp.zeros(())}
    optimizer = optax.adam(0.05)
    state = optimizer.init(phi)
    step = jax.jit(jax.value_and_grad(loss))
    for key in jax.random.split(KEY, 200):
        value, slope = step(phi, key)
        updates, state = optimizer.update(slope, state)
        phi = optax.apply_updates(phi, updates)
    evidence = dist.Normal(0, jnp.sqrt(2.0)).log_prob(2.0)
    np.testing.assert_allclose(-value, evidence, atol=0.01)


def numpyro_loss() -> None:
    """The posterior mean of a Gaussian's mean under a Gaussian prior, by SVI."""
    xs = np.array([1.0, 2.0, 3.0])

    def model(xs):
        mean = numpyro.sample("mean", dist.Normal(0, 10))
        with numpyro.plate("data", 3):
            numpyro.sample("x", dist.Normal(mean, 1), obs=xs)

    guide = AutoNormal(model)
    svi = SVI(model, guide, optax.adam(0.05), loss=ELBO(OBJECTIVE))
    result = svi.run(KEY, 500, xs, progress_bar=False)
    np.testing.assert_allclose(guide.median(result.params)["mean"], 600 / 301, atol=0.1)


def autoencoder() -> None:
    """Two hundred steps, lines of progress and all, and a log-likelihood."""
    xs = np.random.default_rng(0).integers(0, 2, (100, 1)).repeat(6, 1).astype(np.uint8)
    model = tt.models.VAE.create((6,), num_latent=2, hidden=(16,), key=KEY)
    result = tt.fit(
        model, xs, OBJECTIVE, optimizer=optax.adam(1e-2), num_epochs=20, batch_size=10, key=KEY,
        show_progress=True,
    )  # fmt: skip
    estimate = tt.log_likelihood(result.model, xs, num_samples=100, key=KEY)
    assert -2 < estimate.value.mean() < 0, estimate


class Own(eqx.Module):
    """A user's own model."""

    loc: jax.Array

    def log_joint(self, x):
        """Of one example."""
        return lambda z: dist.Normal(0, 1).log_prob(z) + dist.Normal(z, 1).log_prob(x)

    def posterior(self, x):
        """Exact but for the mean."""
        return dist.Normal(self.loc + x / 2, jnp.sqrt(0.5))


def own_model() -> None:
    """Its log-likelihood is the evidence."""
    xs = np.array([0.5, -1.0], np.float32)
    value = tt.log_likelihood(Own(jnp.zeros(())), xs, num_samples=50, key=KEY).value
    np.testing.assert_allclose(value, dist.Normal(0, jnp.sqrt(2.0)).log_prob(xs), rtol=1e-4)


def missing_extras() -> None:
    """One line, with the command that mends it."""
    dag = tt.graph.DAG([("z", "x"), ("z", "y")])
    assert dag.d_separated("x", "y", "z")
    for extra, use in {
        "graph": dag.to_networkx,
        "flows": lambda: tt.models.FlowPosterior,
        "cli": lambda: tt.data.read_table("a.csv"),
        "sklearn": lambda: tt.integrations.sklearn.TopicModel,
        "topics": lambda: tt.data.load("digits"),
    }.items():
        said = ""
        try:
            use()
        except tt.InputError as error:
            said = str(error)
        expected = "sklearn" if extra == "topics" else extra
        assert said.endswith(f'pip install "tighter[{expected}]"'), (extra, said)


def seconds_of(statement: str) -> float:
    """Of the processor: what else the machine does is not in it."""
    code = f"{statement}; import time; print(time.process_time())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    return float(done.stdout)


def quick_import() -> None:
    """The medians of three, in turn."""
    pairs = [(seconds_of("import numpyro"), seconds_of(OURS)) for _ in range(3)]
    theirs, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"import tighter {ours:.2f} s, import numpyro {theirs:.2f} s: {ours / theirs:.2f} times")
    assert ours < MOST_TIMES_NUMPYRO * theirs


for check in (
    few_dependencies,
    objective_alone,
    numpyro_loss,
    autoencoder,
    own_model,
    missing_extras,
    quick_import,
):
    check()
