"""Diffusion models from the command line: trained, measured, sampled from, refused elsewhere."""

import json

import numpy as np
import pytest

TINY = [
    "--model=diffusion",
    "--epochs=2",
    "--set=diffusion.denoiser=mlp",
    "--set=diffusion.hidden=[8]",
    "--set=evaluation.num_samples=4",
    "--set=evaluation.num_examples=12",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory, call):
    path = tmp_path_factory.mktemp("runs") / "diffusion"
    answer = call("train", path, *TINY, "--json")
    assert answer.status == 0, answer.err
    return path, json.loads(answer.out)


def test_the_bound_is_the_sum_of_its_terms(run, call):
    path, record = run
    terms = {name: term["mean"] for name, term in record["terms"].items()}
    whole = terms["reconstruction"] - terms["prior_kl"] - terms["diffusion"]
    assert record["bound"] == pytest.approx(whole, rel=1e-5)
    bits = np.log2(17) - record["bound"] / (64 * np.log(2))
    assert record["bits_per_dimension"]["mean"] == pytest.approx(bits, rel=1e-5)
    answer = call("evaluate", path, "--num-examples", 5)
    assert answer.status == 0
    assert "bits per dimension" in answer.out


def test_the_report_tells_the_terms(run):
    page = (run[0] / "report.html").read_text()
    for word in ("bits per dimension", "Reconstruction", "Prior KL", "Diffusion"):
        assert word in page


def test_samples(run, call, tmp_path):
    assert call("sample", run[0], "--num", 3, "--out", tmp_path / "a.npz").status == 0
    assert np.load(tmp_path / "a.npz")["samples"].shape == (3, 8, 8)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["diagnose"], "tighter diagnose is for autoencoders"),
        (["compare"], "tighter compare is for autoencoders"),
        (["evaluate", "--method=ais"], "--method ais is for autoencoders"),
        (["sample", "--means"], "--means is for autoencoders"),
    ],
)
def test_what_is_for_autoencoders(run, refused, words, told):
    assert told in refused(words[0], run[0], *words[1:])


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("--model=vea", "unknown kind of model 'vea'; did you mean 'vae'?"),
        ("--bound=elbo", "is about autoencoders"),
        ("--latent=3", "model.latent is about autoencoders"),
        ("--set=diffusion.schedule=linaer", "did you mean 'linear'?"),
        ("--set=data.levels=16", "none of 16 levels"),
        ("--set=diffusion.num_times=0", "num_times is a whole number of at least 1"),
        ("--set=training.average=1.5", "below 1, got 1.5"),
    ],
)
def test_settings_that_cannot_be(refused, setting, told):
    assert told in refused("train", "run", *TINY, setting)
