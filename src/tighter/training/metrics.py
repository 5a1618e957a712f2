"""What a run measured, an epoch a line: in memory, and in metrics.jsonl if it has a folder."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any


class Metrics:
    """Rows of numbers, one an epoch.

    Args:
        path: The file to append to; None for memory alone.
    """

    def __init__(self, path: Path | None):
        self.path = path
        self.rows: list[dict[str, Any]] = []

    def restore(self, step: int) -> None:
        """Take up the file's rows up to a step, and drop later ones from it."""
        if self.path is None or not self.path.exists():
            return
        for line in self.path.read_bytes().splitlines():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):  # a line cut short when the run was killed
                continue
            if _is_row(row) and row["step"] <= step:
                self.rows.append(row)
        temporary = self.path.with_suffix(".partial")
        temporary.write_text("".join(json.dumps(row) + "\n" for row in self.rows))
        temporary.replace(self.path)

    def append(self, row: dict[str, Any]) -> None:
        """Add a row; what is not finite becomes null."""
        row = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in row.items()
        }
        self.rows.append(row)
        if self.path is not None:
            with self.path.open("a") as file:
                file.write(json.dumps(row) + "\n")


def _is_row(row: Any) -> bool:
    """Whether a line's content is what `append` writes."""
    return (
        isinstance(row, dict)
        and all(type(row.get(name)) is int for name in ("epoch", "step"))
        and all(value is None or type(value) in (int, float) for value in row.values())
    )
