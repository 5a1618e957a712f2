"""How large the house is: `uv run python -m benchmarks.house [FOLDER]`, FOLDER a clone.

Code lines are neither blank, comment nor docstring; a probe by name is a call of `hasattr` or
`getattr`; a requirement is a call of `require` or of a `check_…`.
"""

import ast
import io
import sys
import tokenize
import tomllib
from collections import Counter
from pathlib import Path

_NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


def code_lines(text: str) -> int:
    """Lines that are neither blank, comment nor docstring."""
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if ast.get_docstring(node, clean=False) is not None and first is not None:
                docstrings |= set(range(first.lineno, (first.end_lineno or 0) + 1))
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _NO_CODE:
            code |= set(range(token.start[0], token.end[0] + 1))
    blank = {i for i, line in enumerate(text.splitlines(), 1) if not line.strip()}
    return len(code - docstrings - blank)


def facts(clone: Path) -> dict[str, int]:
    """The numbers of one clone."""
    files = sorted((clone / "src" / "tighter").rglob("*.py"))
    found: Counter[str] = Counter(files=len(files))
    for file in files:
        text = file.read_text()
        found["code lines"] += code_lines(text)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                found["probes by name"] += name in ("hasattr", "getattr")
                found["requirements"] += name == "require" or name.startswith("check_")
            if isinstance(node, ast.Raise) and node.exc is not None:
                found["raise InputError"] += ast.unparse(node.exc).startswith("InputError(")
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                found["names in __all__"] += len(ast.literal_eval(node.value))
    project = tomllib.loads((clone / "pyproject.toml").read_text())["project"]
    return {**found, "hard dependencies": len(project["dependencies"])}


if __name__ == "__main__":
    for name, number in facts(Path(sys.argv[1] if sys.argv[1:] else ".")).items():
        print(f"{number:7,}  {name}")
