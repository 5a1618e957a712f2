"""Configurations from defaults, TOML and a.b=c, and what is said of one that can't be right."""

import dataclasses
import json
import math
import re
import typing
from pathlib import Path

import pytest

import tighter as tt
from tighter.runs.configuration import Configuration, parse_settings, read_toml


def refused(changes, *, where: str = "run.toml") -> str:
    with pytest.raises(tt.InputError) as caught:
        Configuration().updated(changes, where=where)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{where}: ")
    return message


def test_defaults_are_replaced_key_by_key():
    changed = Configuration().updated(
        {"model": {"latent": 2, "hidden": [8, 4]}, "objective": {"bound": "elbo"}}, where="x"
    )
    assert changed.model.latent == 2
    assert changed.model.hidden == (8, 4)
    assert changed.objective.bound == "elbo"
    assert changed.model.network == Configuration().model.network
    assert changed.training == Configuration().training
    assert Configuration().model.latent != 2


def test_a_dictionary_is_plain_and_comes_back():
    configuration = Configuration().updated(
        {"training": {"epochs": 3, "learning_rate": 0.01}, "model": {"hidden": [7]}}, where="x"
    )
    plain = json.loads(json.dumps(configuration.to_dict()))
    assert Configuration().updated(plain, where="x") == configuration
    assert Configuration().updated(Configuration().to_dict(), where="x") == Configuration()


@pytest.mark.parametrize("section", [f.name for f in dataclasses.fields(Configuration)])
def test_every_key_of_every_section_can_be_set_to_its_own_value(section):
    values = Configuration().to_dict()[section]
    for key, value in values.items():
        changed = Configuration().updated({section: {key: value}}, where="x")
        assert changed == Configuration()


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("trainin", "training"), ("modle", "model"), ("evaluate", "evaluation")],
)
def test_an_unknown_section_names_the_nearest(wrong, right):
    message = refused({wrong: {}})
    assert f"unknown section '{wrong}'; did you mean '{right}'?" in message
    assert "data, diffusion, evaluation, model, objective, training" in message


@pytest.mark.parametrize(
    ("section", "wrong", "right"),
    [
        ("training", "batchsize", "batch_size"),
        ("training", "learning-rate", "learning_rate"),
        ("objective", "num_sample", "num_samples"),
        ("model", "latents", "latent"),
        ("data", "binarisation", "binarization"),
    ],
)
def test_an_unknown_key_names_the_nearest(section, wrong, right):
    message = refused({section: {wrong: 1}})
    assert f"[{section}]" in message
    assert f"'{wrong}'; did you mean '{right}'?" in message


def test_an_unknown_name_far_from_all_lists_what_there_is():
    message = refused({"training": {"zzz": 1}})
    assert "did you mean" not in message
    assert (
        "adam_epsilon, average, batch_size, epochs, learning_rate, precision, schedule, seed"
        in message
    )


def test_a_section_is_no_value():
    assert "training is a section" in refused({"training": 3})
    assert "data is a section" in refused({"data": [{"source": "digits"}]})


@pytest.mark.parametrize(
    ("section", "key", "value", "wanted"),
    [
        ("training", "epochs", "3", "a whole number, got '3'"),
        ("training", "epochs", 2.5, "a whole number, got 2.5"),
        ("training", "epochs", True, "a whole number, got True"),
        ("training", "seed", None, "a whole number, got None"),
        ("training", "learning_rate", "fast", "a number, got 'fast'"),
        ("training", "learning_rate", False, "a number, got False"),
        ("training", "schedule", 1, "a word in quotes, got 1"),
        ("model", "hidden", "wide", "a list of whole numbers, got 'wide'"),
        ("model", "hidden", [1, 2.5], "a list of whole numbers, got [1, 2.5]"),
        ("model", "hidden", [True], "a list of whole numbers, got [True]"),
        ("objective", "num_backward", "all", "a whole number, got 'all'"),
        ("data", "binarization", 3, "a word in quotes, got 3"),
    ],
)
def test_a_value_of_another_type(section, key, value, wanted):
    assert refused({section: {key: value}}) == f"run.toml: {section}.{key} is {wanted}"


def test_values_that_mean_the_same():
    changed = Configuration().updated(
        {
            "training": {"learning_rate": 1},
            "model": {"hidden": 7},
            "objective": {"num_backward": "none", "chunk_size": None},
            "data": {"binarization": "none"},
        },
        where="x",
    )
    assert changed.training.learning_rate == 1.0
    assert isinstance(changed.training.learning_rate, float)
    assert changed.model.hidden == (7,)
    assert changed.objective.num_backward is None
    assert changed.data.binarization == "none"


def test_settings_are_toml_values_or_bare_words():
    assert parse_settings(
        [
            "training.batch_size=20",
            "training.learning_rate = 1e-2",
            "model.hidden=[8, 4]",
            "objective.bound=renyi:0.5",
            'data.source="my data"',
            "data.source=my data",
            "data.array=",
            "training.schedule=a=b",
        ]
    ) == {
        "training": {"batch_size": 20, "learning_rate": 0.01, "schedule": "a=b"},
        "model": {"hidden": [8, 4]},
        "objective": {"bound": "renyi:0.5"},
        "data": {"source": "my data", "array": ""},
    }
    assert parse_settings([]) == {}


@pytest.mark.parametrize(
    "setting", ["training", "training.epochs", "=3", "epochs=3", "training.=3", ".epochs=3", ""]
)
def test_settings_of_another_form(setting):
    with pytest.raises(tt.InputError, match=re.escape(f"got {setting!r}")):
        parse_settings([setting])


def test_differences_name_both_values():
    ours = Configuration().updated(
        {"training": {"epochs": 30, "seed": 1}, "objective": {"bound": "elbo"}}, where="x"
    )
    theirs = Configuration().updated({"training": {"epochs": 20}}, where="x")
    assert sorted(ours.differences(theirs)) == [
        "objective.bound is 'iwae' there and 'elbo' here",
        "training.epochs is 20 there and 30 here",
        "training.seed is 0 there and 1 here",
    ]
    assert ours.differences(ours) == []


def test_differences_see_every_key():
    """Each key with a value of its type, none of which is the default."""
    others = {
        "str": "elsewhere", "int": 9, "float": 9.5, "bool": True,
        "tuple[int, ...]": [9], "tuple[str, ...]": ["a=b"],
    }  # fmt: skip
    for section in dataclasses.fields(Configuration):
        hints = typing.get_type_hints(type(getattr(Configuration(), section.name)))
        for key, hint in hints.items():
            other = others[re.sub(r" \| None$|^<class '|'>$", "", str(hint))]
            changed = Configuration().updated({section.name: {key: other}}, where="x")
            (difference,) = changed.differences(Configuration())
            assert difference.startswith(f"{section.name}.{key} is ")


def test_a_toml_file(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text('[model]\nhidden = [8]\n[training]\nepochs = 3\nschedule = "iwae"\n')
    changed = Configuration().updated(read_toml(path), where=str(path))
    assert changed.model.hidden == (8,)
    assert (changed.training.epochs, changed.training.schedule) == (3, "iwae")


@pytest.mark.parametrize(
    "content", [b"[training\nepochs = 3", b"epochs", b"\xff\xfe", b"a = 1\na = 2"]
)
def test_a_file_that_is_no_toml(tmp_path, content):
    path = tmp_path / "run.toml"
    path.write_bytes(content)
    with pytest.raises(tt.InputError, match=r"run\.toml is not valid TOML") as caught:
        read_toml(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", [Path("nowhere.toml"), Path("/")])
def test_a_toml_file_that_cannot_be_read(path):
    with pytest.raises(tt.InputError, match="cannot read"):
        read_toml(path)


def test_infinite_numbers_are_numbers_here():
    # Whether they make sense is for those who use them to say.
    changed = Configuration().updated({"training": {"learning_rate": math.inf}}, where="x")
    assert changed.training.learning_rate == math.inf
