"""The command line says things as they are said on the command line."""

import json

import pytest

from tighter.cli._wording import in_options, plain_mathematics
from tighter.models import catalog


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("drop=['a', 'b'] leaves them out", "--set data.drop=a,b leaves them out"),
        ("drop=['the day'] leaves it out", "--set data.drop='the day' leaves it out"),
        ("or choose kinds={'a': 'categorical'}", "or choose --set data.kinds=a=categorical"),
        ("header= is for CSV", "--set data.header= is for CSV"),
        ("leave array='x' out", "leave --set data.array=x out"),
        ("name it with array= (on the command line, --set data.array=KEY); it holds x",
         "name it with --set data.array=KEY; it holds x"),
        ("or stop_words=None (--stop-words none)", "or --stop-words none"),
        ("pass max_given (--max-given), the number", "pass --max-given, the number"),
        ("got num_latent=0, hidden=(200, 200)", "got --latent 0, --set model.hidden=200,200"),
        ("got num_latent=-1, hidden=()", "got --latent -1, --set model.hidden="),
        ("say missing=True where", "say --set model.missing=true where"),
        ("(training.batch_size=20), got 'x'", "(training.batch_size=20), got 'x'"),
        ("--set data.drop=a is said already", "--set data.drop=a is said already"),
        ("num_replicates is at least 40", "--num-replicates is at least 40"),
        ("lower min_df (--min-df) or raise max_df (--max-df)", "lower --min-df or raise --max-df"),
        ("min_df is a number of documents", "--min-df is a number of documents"),
        ("a raindrop= is a drop of rain", "a raindrop= is a drop of rain"),
    ],
)  # fmt: skip
def test_keywords_become_options(said, told):
    assert in_options(said) == told


def test_no_keyword_of_python_in_what_a_table_is_refused_for(refused, tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n" + "1,2.5\n" * 20)
    said = refused("train", "--data", "t.csv")
    assert "--set data.drop=a" in said
    assert "=[" not in said


@pytest.mark.parametrize(
    ("source", "plain"),
    [
        (r"density ∝ $\lambda^x (1 - \lambda)^{1-x}$; logits", "density ∝ λˣ (1 - λ)¹⁻ˣ; logits"),
        (r"$\tfrac12 e^{-|z|}$ each", "½ e^(-|z|) each"),
        (r"$\sum_c \pi_c\, \mathrm N(z; \mu_c, \mathrm{diag}\, \sigma_c^2)$, learned",
         "Σ_c π_c N(z; μ_c, diag σ_c²), learned"),
        (r"$\varepsilon \sim \mathrm N(0, I)$", "ε ~ N(0, I)"),
        (r"$L = \mathrm{diag}(\sigma)(I + N / \sqrt D)$", "L = diag(σ)(I + N / √D)"),
        ("no formula, $5", "no formula, $5"),
    ],
)  # fmt: skip
def test_formulas_in_plain_signs(source, plain):
    assert plain_mathematics(source) == plain


def test_no_latex_in_what_is_told_of_models(call):
    told = call("info", "models").out
    assert "ε ~ N(0, I)" in told
    assert not set("\\${}") & set(told)
    record = json.loads(call("info", "models", "--json").out)
    assert record["priors"][5]["summary"] == "z = μ + σ ⊙ T(ε) with ε ~ N(0, I), learned."
    lines = [line for kind in catalog.KINDS for line in catalog.of_kind(kind)]
    for text in (plain_mathematics(line.summary) for line in lines):
        assert not set("\\${}") & set(text), text


@pytest.mark.parametrize("command", [[], ["train"], ["dsep"], ["topics"], ["reproduce"]])
def test_h_is_help(call, command):
    assert call(*command, "-h") == call(*command, "--help")
    assert call(*command, "-h").status == 0


def test_version(call):
    import tighter

    assert call("--version") == (0, f"tighter {tighter.__version__}\n", "")
