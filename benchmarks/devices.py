"""The same run on 1, 2, 4 and 8 devices, and in 1, 2 and 4 processes: how far parameters part.

    uv run python -m benchmarks.devices [--steps 200] [--processes]

XLA makes the devices of one CPU, so that what is measured is that numbers agree and not speed.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

BATCH, EXAMPLES = 32, 320
MESHES: dict[str, list[dict[str, int]]] = {
    "IWAE, K = 16": [{"data": 2}, {"data": 4}, {"data": 8}, {"data": 2, "draws": 4}],
    "IWAE, K = 16, 4 backward": [{"data": 8}, {"data": 2, "draws": 2}],
    "wide layers": [{"data": 2, "model": 4}],
    "convolutional": [{"data": 2}, {"data": 8}],
    "diffusion": [{"data": 2}, {"data": 8}],
    "Bayesian, minibatches": [{"data": 2}, {"data": 8}],
    "topics": [{"data": 2}, {"data": 8}],
}


def problems() -> dict[str, Callable[[], tuple[Any, np.ndarray, Any]]]:
    """Each: a model, its data and an objective."""
    import jax
    import jax.numpy as jnp
    import numpyro.distributions as dist

    import tighter as tt

    key, rng = jax.random.key(0), np.random.default_rng(0)
    pixels = (rng.random((EXAMPLES, 8, 8)) < 0.3).astype(np.uint8)
    counts = rng.poisson(1.0, (EXAMPLES, 40)).astype(np.uint8)
    inputs = rng.normal(size=(EXAMPLES, 3)).astype(np.float32)
    table = np.concatenate([inputs, inputs @ np.ones((3, 1)) + 0.3], axis=1).astype(np.float32)

    def autoencoder(**more: Any) -> Any:
        return tt.models.VAE.create((8, 8), num_latent=4, key=key, **more)

    def iwae(**more: Any) -> Any:
        return tt.Objective(tt.bounds.IWAE(), num_samples=16, **more)

    def regression(parameters: Any, row: Any) -> Any:
        mean = jnp.dot(row[:3], parameters["slope"])
        return dist.Normal(mean, 1.0).log_prob(row[3])

    def bayesian() -> Any:
        priors = {"slope": dist.Normal(0.0, 1.0).expand([3]).to_event(1)}
        return tt.models.BayesianModel(regression, priors)

    small = autoencoder(hidden=(32,))
    return {
        "IWAE, K = 16": lambda: (small, pixels, iwae()),
        "IWAE, K = 16, 4 backward": lambda: (small, pixels, iwae(num_backward=4)),
        "wide layers": lambda: (autoencoder(hidden=(1024,)), pixels, iwae()),
        "convolutional": lambda: (
            autoencoder(hidden=(8, 8), network="convolutional"), pixels, tt.Objective(),
        ),
        "diffusion": lambda: (
            tt.models.DiffusionModel.create((8, 8), key=key).initialized_from(pixels / 1.0),
            pixels / np.float32(1), tt.models.DiffusionBound(),
        ),
        "Bayesian, minibatches": lambda: (bayesian(), table, tt.Objective(num_samples=4)),
        "topics": lambda: (
            tt.models.TopicModel.create(40, num_topics=4, posterior="logistic-normal", key=key),
            counts, tt.Objective(num_samples=2),
        ),
    }  # fmt: skip


def trained(name: str, axes: dict[str, int], num_steps: int) -> np.ndarray:
    """All parameters after so many steps, as one vector."""
    import equinox as eqx
    import jax
    import optax
    from jax.experimental import multihost_utils

    import tighter as tt

    model, data, objective = problems()[name]()
    mesh = jax.make_mesh(tuple(axes.values()), tuple(axes)) if axes else None
    result = tt.fit(
        model, data, objective, optimizer=optax.adam(1e-3), batch_size=BATCH, mesh=mesh,
        num_epochs=num_steps * BATCH // EXAMPLES, key=jax.random.key(1), show_progress=False,
    )  # fmt: skip
    leaves = jax.tree.leaves(eqx.filter(result.model, eqx.is_inexact_array))
    if jax.process_count() > 1:
        leaves = [multihost_utils.process_allgather(leaf, tiled=True) for leaf in leaves]
    return np.concatenate([np.ravel(np.asarray(leaf)) for leaf in leaves])


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Of two vectors of parameters, relative to their length."""
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


def main() -> None:
    """Print a line for each model and mesh."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--processes", action="store_true", help="in 1, 2 and 4 processes as well")
    parser.add_argument("--worker", nargs=4, metavar=("NAME", "ADDRESS", "NUMBER", "ID"))
    arguments = parser.parse_args()
    if arguments.worker:
        return _worker(arguments.worker, arguments.steps)
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
    for name, meshes in MESHES.items():
        alone = trained(name, {}, arguments.steps)
        for axes in meshes:
            spread = difference(trained(name, axes, arguments.steps), alone)
            print(f"{name:26} {axes!s:28} {spread:.1e}", flush=True)
        for number in (2, 4) if arguments.processes else ():
            parts = _in_processes(name, number, arguments.steps)
            print(
                f"{name:26} {number} processes {'':16} {difference(parts, alone):.1e}", flush=True
            )
    return None


def _in_processes(name: str, number: int, num_steps: int) -> np.ndarray:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "benchmarks.devices", f"--steps={num_steps}", "--worker", name]
    environment = {**os.environ, "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
    workers = [
        subprocess.Popen(
            [*command, address, str(number), str(place)],
            stdout=subprocess.DEVNULL if place else subprocess.PIPE,
            env=environment,
        )
        for place in range(number)
    ]
    answer = workers[0].communicate()[0]  # the others say nothing
    for worker in workers:
        worker.wait()
    return np.asarray(json.loads(answer.splitlines()[-1]))


def _worker(words: list[str], num_steps: int) -> None:
    import jax

    name, address, number, place = words
    jax.distributed.initialize(address, int(number), int(place))
    parameters = trained(name, {"data": int(number)}, num_steps)
    if place == "0":
        print(json.dumps(parameters.tolist()))


if __name__ == "__main__":
    main()
