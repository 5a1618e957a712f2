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


def score_line(record: Mapping[str, Any]) -> str:
    """The log-likelihood with its errors, in one line."""
    error, noise = record["standard_error"], record["monte_carlo_error"]
    share = record["share_pareto_k_above_0.7"]
    told = f"test log-likelihood {record['log_likelihood']:.2f}"
    told += "" if error is None else f" ± {error:.2f}"
    told += (
        f" nats (K = {record['num_samples']}, {record['num_examples']} examples; "
        f"{'' if noise is None else f'Monte Carlo error {noise:.3f}, '}"
        f"median ESS {record['median_ess']:.0f}"
    )
    return told + (")" if share is None else f", {100 * share:.1f} % with k̂ > 0.7)")
