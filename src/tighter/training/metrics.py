"""What a run measured, an epoch a line: in memory, and in metrics.jsonl if it has a folder."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from tighter._files import cannot_write, writing


class Metrics:
    """Rows of numbers, one an epoch.

    Args:
        path: The file to append to; None for memory alone.
    """

    def __init__(self, path: Path | None):
        self.path = path
        self.rows: list[dict[str, Any]] = []

    def restore(self, rows: list[dict[str, Any]]) -> None:
        """Take up the rows that a checkpoint held, and write the file anew, whatever it was."""
        self.rows = list(rows)
        if self.path is not None:
            with writing(self.path) as place:
                place.write_text("".join(json.dumps(row) + "\n" for row in self.rows))

    def append(self, row: dict[str, Any]) -> None:
        """Add a row; what is not finite becomes null.

        Raises:
            InputError: If it can't be written.
        """
        row = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in row.items()
        }
        self.rows.append(row)
        if self.path is not None:
            try:
                with self.path.open("a") as file:
                    file.write(json.dumps(row) + "\n")
            except OSError as error:
                raise cannot_write(self.path, error) from error
