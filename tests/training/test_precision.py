"""Products in bfloat16: a bound that is near, parameters that stay in float32."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import tighter as tt
from tighter._precision import multiplied_in

KEY = jax.random.key(0)
XS = (np.random.default_rng(0).random((60, 8, 8)) < 0.4).astype(np.float32)


def model(network):
    return tt.models.VAE.create((8, 8), num_latent=3, hidden=(16,), network=network, key=KEY)


@pytest.mark.parametrize("network", ["mlp", "convolutional", "residual"])
def test_bounds_are_near(network):
    objective = tt.Objective(tt.bounds.IWAE(), num_samples=4)

    def value_and_gradient(precision):
        def mean(vae):
            with multiplied_in(precision):
                return jnp.mean(objective.batch(vae, XS, key=KEY))

        value, gradient = jax.jit(jax.value_and_grad(mean))(model(network))
        return value, jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(gradient)])

    (value, gradient), (rounded, other) = map(value_and_gradient, ("float32", "bfloat16"))
    assert value != rounded
    np.testing.assert_allclose(rounded, value, rtol=1e-2)
    assert jnp.linalg.norm(gradient - other) < 0.1 * jnp.linalg.norm(gradient)


def test_a_run_in_it(tmp_path):
    def fit(precision):
        return tt.fit(
            model("mlp"), XS, tt.Objective(num_samples=2), optimizer=optax.adam(1e-2),
            num_epochs=10, batch_size=20, key=KEY, precision=precision, directory=tmp_path,
            resume=True,
        )  # fmt: skip

    rounded = fit("bfloat16")
    assert {leaf.dtype for leaf in jax.tree.leaves(rounded.model)} == {jnp.dtype("float32")}
    with pytest.raises(tt.InputError, match="precision was bfloat16 and is float32"):
        fit("float32")
    with pytest.raises(tt.InputError, match="unknown precision 'float16'; did you mean"):
        fit("float16")
