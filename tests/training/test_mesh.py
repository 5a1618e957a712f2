"""A mesh of devices: the numbers of one device, to rounding; and what no mesh can do."""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

import tighter as tt
from tighter._mesh import check_divides, checked_mesh

PROGRAM = """
import json, jax, numpy as np, optax, equinox as eqx, tighter as tt

key, rng = jax.random.key(0), np.random.default_rng(0)
xs = (rng.random((60, 16)) < 0.3).astype(np.uint8)
model = tt.models.VAE.create((16,), num_latent=2, hidden=(8,), key=key)
wide = tt.models.VAE.create((16,), num_latent=2, hidden=(256, 256), key=key)
one_pass = tt.Objective(tt.bounds.IWAE(), num_samples=4)
two_passes = tt.Objective(tt.bounds.IWAE(), num_samples=4, num_backward=2)


def fit(mesh, model=model, objective=one_pass):
    return tt.fit(model, xs, objective, optimizer=optax.adam(1e-2), num_epochs=5, batch_size=12,
                  key=key, validation=xs[:20], mesh=mesh, show_progress=False)


def flat(model):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(model) if eqx.is_array(leaf)])


def distance(mesh, **what):
    ours, theirs = fit(mesh, **what), fit(None, **what)
    bounds = [abs(ours.history[-1][name] - theirs.history[-1][name]) for name in ("bound",)]
    apart = np.linalg.norm(flat(ours.model) - flat(theirs.model))
    return float(apart / np.linalg.norm(flat(theirs.model))), max(bounds)


def made(*sizes):
    return jax.make_mesh(sizes, ("data", "draws")[: len(sizes)])


layers = jax.make_mesh((2, 2), ("data", "model"))
spread = [
    f"{leaf.shape} {leaf.sharding.spec}"
    for leaf in jax.tree.leaves(fit(layers, wide).model) if eqx.is_array(leaf) and leaf.ndim == 2
]
alone = tt.log_likelihood(model, xs, num_samples=100, key=key)
both = tt.log_likelihood(model, xs, num_samples=100, key=key, mesh=made(2, 2))
print(json.dumps({
    "data": distance(made(4)),
    "draws": distance(made(2, 2)),
    "few backward": distance(made(2, 2), objective=two_passes),
    "model": distance(layers, model=wide),
    "spread": spread,
    "log-likelihood": [float(np.abs(getattr(alone, name) - getattr(both, name)).max())
                       for name in ("value", "standard_error", "ess")],
}))
"""


@pytest.fixture(scope="module")
def told():
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("axes", ["data", "draws", "few backward", "model"])
def test_the_numbers_are_those_of_one_device(told, axes):
    parameters, bound = told[axes]
    assert parameters < 1e-5
    assert bound < 1e-4


def test_wide_layers_are_spread(told):
    wide = [spec for spec in told["spread"] if spec.startswith("(256, 256)")]
    assert len(wide) == 2
    assert all("model" in spec for spec in wide)


def test_log_likelihoods_too(told):
    value, standard_error, ess = told["log-likelihood"]
    assert max(value, standard_error) < 1e-5
    assert ess < 1e-2


def mesh(**axes):
    return jax.make_mesh(tuple(axes.values()), tuple(axes))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("data", "mesh is a jax.sharding.Mesh"),
        (mesh(batch=1), 'a mesh has an axis "data"'),
        (mesh(data=1, examples=1), "nothing is spread over the axis 'examples'"),
    ],
)
def test_what_is_no_mesh(given, message):
    with pytest.raises(tt.InputError, match=message):
        checked_mesh(given)


def test_it_is_looked_at_where_it_comes_in(fit):
    with pytest.raises(tt.InputError, match='a mesh has an axis "data"'):
        fit(mesh=mesh(batch=1))
    with pytest.raises(tt.InputError, match='a mesh has an axis "data"'):
        tt.log_likelihood(fit().model, np.ones((2, 3)), key=jax.random.key(0), mesh=mesh(batch=1))


def test_a_batch_divides_over_the_devices():
    with pytest.raises(tt.InputError, match="the nearest that does is 96"):
        check_divides(100, 8)
    check_divides(96, 8)


def test_a_mesh_of_one_device_comes_to_the_same(fit):
    one, other = (jax.tree.leaves(fit(**more).model) for more in ({}, {"mesh": mesh(data=1)}))
    for mine, theirs in zip(one, other, strict=True):
        assert (mine == theirs).all()
