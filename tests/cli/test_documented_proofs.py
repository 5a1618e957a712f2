"""The proofs in docs/graphs.md are what the command prints today."""

import re
import shlex
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs" / "graphs.md"


def test_every_proof(call):
    text = DOCUMENT.read_text(encoding="utf-8")
    blocks = re.findall(r"```text\n(.*?)```", text, re.DOTALL)
    shown = [part for block in blocks for part in block.split("$ tighter ")[1:]]
    assert len(shown) > 20
    for part in shown:
        command, _, printed = part.partition("\n")
        assert call(*shlex.split(command)).out.strip() == printed.strip(), command


def test_every_picture():
    text = DOCUMENT.read_text(encoding="utf-8")
    pictures = re.findall(r"\]\((pictures/[^)]+)\)", text)
    assert len(pictures) > 9
    assert all((DOCUMENT.parent / name).is_file() for name in pictures)
