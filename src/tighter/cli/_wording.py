"""What the library says in Python and in LaTeX, in the command line's own words."""

from __future__ import annotations

import re

# A keyword of the library -> how the command line spells it; what follows is the value.
_OPTIONS = {
    "array": "--set data.array=",
    "batch_size": "--set training.batch_size=",
    "drop": "--set data.drop=",
    "header": "--set data.header=",
    "hidden": "--set model.hidden=",
    "kinds": "--set data.kinds=",
    "missing_words": "--set data.missing_words=",
    "max_df": "--max-df ",
    "max_given": "--max-given ",
    "min_df": "--min-df ",
    "missing": "--set model.missing=",
    "num_epochs": "--epochs ",
    "num_latent": "--latent ",
    "num_samples": "--num-samples ",
    "resume": "--resume ",
    "stop_words": "--stop-words ",
    "target": "--target ",
}
_VALUE = r"\[[^\]]*\]|\{[^}]*\}|\([^)]*\)|'[^']*'|True|False|None|-?\d[\w.]*|(?=[\s,;.)]|$)"
_KEYWORD = re.compile(
    rf"(?<![\w.\-])({'|'.join(_OPTIONS)})(?:=({_VALUE})(?![\w'])|(?= \(--))(?: \((?:on the command "
    r"line, )?(--[^)]*)\))?"
)
_NAMES = {  # without a value
    "max_df": "--max-df", "max_features": "--max-features", "min_df": "--min-df",
    "ngrams": "--ngrams", "num_epochs": "--epochs", "num_replicates": "--num-replicates",
}  # fmt: skip
_BARE = re.compile(rf"(?<![\w.\-=])(?:{'|'.join(_NAMES)})(?![\w=])")
_LETTERS = {
    "alpha": "α", "beta": "β", "gamma": "γ", "theta": "θ", "lambda": "λ", "mu": "μ", "nu": "ν",
    "pi": "π", "sigma": "σ", "phi": "φ", "tau": "τ", "varepsilon": "ε", "epsilon": "ε",
    "propto": "∝", "sim": "~", "odot": "⊙", "mid": "|", "sum": "Σ", "prod": "∏", "sqrt": "√",
    "log": "log", "exp": "exp", "int": "∫", "infty": "∞", "perp": "⊥", "cdot": "·", "times": "×",
    "le": "≤", "ge": "≥", "in": "∈", "to": "→", "mathrm": "",
}  # fmt: skip
_TIGHT = ("mathrm", "sqrt")  # what comes next stands beside them
_ABOVE = str.maketrans("0123456789+-=()abdnx", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ᵃᵇᵈⁿˣ")
_BELOW = str.maketrans("0123456789+-=()ijknx", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ᵢⱼₖₙₓ")


def in_options(message: str) -> str:
    """The message with keywords of Python, drop=['a'], as options: --set data.drop=a."""

    def spelled(found: re.Match[str]) -> str:
        name, value, option = found.groups()
        if option is not None:  # the message knows it already
            return option
        return (_OPTIONS[name] + _plain_value(value or "")).rstrip()

    return _BARE.sub(lambda found: _NAMES[found[0]], _KEYWORD.sub(spelled, message))


def plain_mathematics(text: str) -> str:
    """The text with what stands between dollars, LaTeX, in signs of Unicode."""
    return re.sub(r"\$([^$]*)\$", lambda found: _plain(found[1]), text)


def _plain_value(value: str) -> str:
    if value in ("True", "False", "None"):
        return value.lower()
    if not value.startswith("{"):
        value = value.strip("[]()")
    plain = re.sub(r"'([^']*)': '([^']*)'", r"\1=\2", value.strip("{}")).replace(", ", ",")
    plain = re.sub(r"'([^']*)'", r"\1", plain)
    return f"'{plain}'" if re.search(r"[^\w.,=\-]", plain) else plain


def _plain(formula: str) -> str:
    formula = re.sub(r"\\[td]?frac ?(\w)(\w)", r"\1/\2", formula).replace("1/2", "½")
    formula = re.sub(r"\\[td]?frac\{([^{}]*)\}\{([^{}]*)\}", r"(\1)/(\2)", formula)
    formula = formula.replace(r"\|", "‖")
    formula = re.sub(
        r"\\([A-Za-z]+)( ?)",
        lambda found: _LETTERS.get(found[1], found[1]) + found[2] * (found[1] not in _TIGHT),
        formula,
    )
    formula = re.sub(r"\\[,;! ]", " ", formula)
    for sign, signs in (("^", _ABOVE), ("_", _BELOW)):
        formula = re.sub(
            rf"\{sign}(?:\{{([^{{}}]*)\}}|(\w))",
            lambda found, sign=sign, signs=signs: _raised(found[1] or found[2], sign, signs),
            formula,
        )
    return re.sub(r" +", " ", re.sub(r"[{}]", "", formula).replace("Σ_", " Σ_")).strip()


def _raised(text: str, sign: str, signs: dict[int, int]) -> str:
    compact = text.replace(" ", "")
    if all(ord(letter) in signs for letter in compact):
        return compact.translate(signs)
    return f"{sign}{text}" if len(compact) == 1 else f"{sign}({text})"
