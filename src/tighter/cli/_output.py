"""What commands print: results on stdout, all else on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any


def announce(line: str) -> None:
    """A line about what is going on."""
    print(line, file=sys.stderr, flush=True)


def print_json(record: Mapping[str, Any]) -> None:
    """A record for programs; what is not finite becomes null."""
    finite = json.loads(json.dumps(record), parse_constant=lambda _: None)
    print(json.dumps(finite, indent=1, ensure_ascii=False))


def print_lines(*lines: str) -> None:
    """Results for people."""
    for line in lines:
        print(line)


def plus_minus(error: float | None, places: int = 2) -> str:
    """An error behind its number; nothing where it isn't known."""
    return "" if error is None else f" ± {error:.{places}f}"


def score_line(record: Mapping[str, Any]) -> str:
    """The log-likelihood with its errors, in one line; of a diffusion model its bound."""
    if "terms" in record:
        return _bound_line(record)
    noise, share = record["monte_carlo_error"], record["share_pareto_k_above_0.7"]
    return (
        f"test log-likelihood {record['log_likelihood']:.2f}{plus_minus(record['standard_error'])}"
        f" nats (K = {record['num_samples']}, {record['num_examples']} examples; "
        f"{'' if noise is None else f'Monte Carlo error {noise:.3f}, '}"
        f"median ESS {record['median_ess']:.0f}"
        f"{'' if share is None else f', {100 * share:.1f} % with k̂ > 0.7'})"
    )


def doubts(record: Mapping[str, Any]) -> list[str]:
    """The verdict on a log-likelihood, unless it is to be trusted; a diffusion model has none."""
    return [] if record.get("verdict_level", "good") == "good" else [record["verdict"]]


def _bound_line(record: Mapping[str, Any]) -> str:
    bits, bound = record["bits_per_dimension"], record["bound"]
    terms = (
        f"{name.replace('_', ' ').replace('kl', 'KL')} {_with_error(**term)}"
        for name, term in record["terms"].items()
    )
    return (
        f"test bound {_with_error(bound, record['standard_error'])} nats"
        f"{f', {_with_error(**bits, places=3)} bits per dimension' if bits else ''} "
        f"({', '.join(terms)}; {record['num_examples']} examples)"
    )


def _with_error(mean: float, standard_error: float, places: int = 2) -> str:
    return f"{mean:.{places}f}{plus_minus(standard_error, places)}"
