"""Arrays that are spread over devices are refused where all would be computed on one."""

import os
import subprocess
import sys

SCRIPT = """
import equinox as eqx
import jax
import numpy as np
import optax
from jax.sharding import NamedSharding, PartitionSpec
import tighter as tt
from tighter.data import Dataset

mesh = jax.make_mesh((4,), ("data",))
key = jax.random.key(0)
xs = np.ones((8, 4), np.float32)
model = tt.models.LinearGaussian.create(4, 2, key=key)
spread = jax.device_put(xs, NamedSharding(mesh, PartitionSpec("data")))
everywhere = jax.device_put(xs, NamedSharding(mesh, PartitionSpec()))
of_model = eqx.tree_at(lambda m: m.encoder_weight, model, jax.device_put(
    model.encoder_weight, NamedSharding(mesh, PartitionSpec(None, "data"))))


def fit(model, data, **more):
    return tt.fit(model, data, tt.Objective(tt.bounds.ELBO()), optimizer=optax.sgd(0.1),
                  num_epochs=1, batch_size=4, key=key, show_progress=False, **more)


def told(call):
    try:
        call()
        print("done")
    except tt.InputError as error:
        print(error)


told(lambda: fit(model, spread))
told(lambda: fit(model, xs, validation=spread))
told(lambda: fit(of_model, xs))
told(lambda: tt.log_likelihood(model, spread, num_samples=10, key=key))
told(lambda: fit(model, everywhere))
told(lambda: fit(model, jax.device_get(spread)))
"""


def test_what_is_sharded_is_refused_and_what_is_everywhere_is_taken():
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=os.environ | {"XLA_FLAGS": flags, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    spread = "is sharded over 4 devices, and all is computed on one: hand over jax.device_get"
    names = ("data", "validation", "model", "x")
    assert done.stdout.splitlines() == [
        *(f"{name} {spread}({name}), if it is to be gathered there" for name in names),
        "done",
        "done",
    ]
