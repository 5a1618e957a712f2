"""Parameters in safetensors files: the same back, or a clear refusal."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

import tighter as tt
from tighter.training import load_parameters, save_parameters
from tighter.training.arrays import digest, named_arrays, with_arrays


def vae(*, hidden: int = 8, seed: int = 0) -> tt.models.VAE:
    return tt.models.VAE.create((4, 4), num_latent=2, hidden=(hidden,), key=jax.random.key(seed))


class Leaves(eqx.Module):
    """One of each kind of array."""

    half: jax.Array
    whole: jax.Array
    truth: jax.Array
    scalar: jax.Array
    word: str = "kept as it is"


def leaves(value: float) -> Leaves:
    return Leaves(
        jnp.full((2, 3), value, jnp.bfloat16),
        jnp.full((4,), int(value), jnp.int32),
        jnp.array([value > 0, False]),
        jnp.asarray(value),
    )


@pytest.mark.parametrize(
    ("stored", "other"), [(vae(seed=1), vae(seed=2)), (leaves(1.5), leaves(0.0))]
)
def test_the_same_comes_back(tmp_path, same, stored, other):
    path = tmp_path / "model.safetensors"
    save_parameters(path, stored)
    assert not same(stored, other)
    loaded = load_parameters(path, other)
    assert same(loaded, stored)
    assert jax.tree.structure(loaded) == jax.tree.structure(stored)
    assert [path.name] == [file.name for file in tmp_path.iterdir()]


def test_names_are_paths(tmp_path):
    path = tmp_path / "model.safetensors"
    save_parameters(path, vae())
    names = set(safetensors.numpy.load_file(path))
    assert "encoder.layers.0.weight" in names
    assert names == set(named_arrays(vae()))


def test_writing_replaces_and_leaves_nothing_else(tmp_path, same):
    path = tmp_path / "model.safetensors"
    for seed in (1, 2):
        save_parameters(path, vae(seed=seed))
    assert same(load_parameters(path, vae()), vae(seed=2))
    assert len(list(tmp_path.iterdir())) == 1


def test_a_missing_file(tmp_path):
    with pytest.raises(tt.InputError, match="does not exist"):
        load_parameters(tmp_path / "model.safetensors", vae())


@pytest.mark.parametrize("where", ["cut", "flipped", "empty", "text", "header"])
def test_a_damaged_file(tmp_path, where):
    path = tmp_path / "model.safetensors"
    save_parameters(path, vae())
    content = bytearray(path.read_bytes())
    match where:
        case "cut":
            content = content[:-10]
        case "flipped":
            content[-10] ^= 0xFF
        case "empty":
            content = bytearray()
        case "text":
            content = bytearray(b"these are no parameters")
        case "header":
            content[:8] = b"\xff" * 8
    path.write_bytes(content)
    with pytest.raises(tt.InputError, match="damaged"):
        load_parameters(path, vae())


def test_parameters_of_another_model(tmp_path):
    path = tmp_path / "model.safetensors"
    save_parameters(path, vae())
    with pytest.raises(tt.InputError, match=r"another model.*float32\(16, 9\).*float32\(16, 8\)"):
        load_parameters(path, vae(hidden=9))
    with pytest.raises(tt.InputError, match=r"another model.*differ"):
        load_parameters(path, leaves(1.0))


def test_another_type_is_another_model():
    tree = {"a": jnp.zeros(3, jnp.float32)}
    with pytest.raises(tt.InputError, match="float16"):
        with_arrays(tree, {"a": np.zeros(3, np.float16)})


def test_a_file_without_a_digest_is_read(tmp_path, same):
    # As another program would write it.
    path = tmp_path / "model.safetensors"
    arrays = {name: np.asarray(leaf) for name, leaf in named_arrays(vae(seed=3)).items()}
    path.write_bytes(safetensors.numpy.save(arrays))
    assert same(load_parameters(path, vae()), vae(seed=3))


def test_the_digest_sees_names_shapes_types_and_bytes():
    base = {"a": np.arange(6.0)}
    others = [
        {"b": np.arange(6.0)},
        {"a": np.arange(6.0).reshape(2, 3)},
        {"a": np.arange(6)},
        {"a": np.arange(6.0) * -1},
        {"a": np.arange(6.0), "b": np.zeros(0)},
        {},
    ]
    digests = {digest(arrays) for arrays in [base, *others]}
    assert len(digests) == 1 + len(others)
    assert digest({"a": np.arange(6.0)}) == digest(base)
    strided = np.arange(12.0)[::2] / 2
    assert digest({"a": strided}) == digest(base)
