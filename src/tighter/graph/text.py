"""Edge lists and DOT, one language here; what can't be read is told by line and column."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Hashable, Iterable
from typing import NamedTuple

from tighter._errors import InputError

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r]+|//[^\n]*|\#[^\n]*|/\*.*?\*/)
    |(?P<end>[;\n])
    |(?P<arrow>->|→|<-|←)
    |(?P<undirected>--)
    |(?P<sign>[{}\[\],:]|=(?!>))
    |(?P<quoted>"(?:[^"\\]|\\.)*")
    |(?P<markup><(?:[^<>]|<[^<>]*>)*>)
    |(?P<name>-?[\w.'*^+]+(?:\[[\w\ ,+-]+\])?)""",
    re.VERBOSE | re.DOTALL,
)
_PLAIN = re.compile(r"[A-Za-z_]\w*|\d+")
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_DEEPEST = 100  # braces within braces
_KEYWORDS = {"strict", "graph", "digraph", "subgraph", "node", "edge"}


class Parsed(NamedTuple):
    """What a text says of a graph."""

    edges: list[tuple[str, str]]
    nodes: list[str]


class _Token(NamedTuple):
    kind: str
    text: str
    place: int


def parse_text(text: str) -> Parsed:
    """Read an edge list, or a graph in DOT.

    An edge list is statements, apart by semicolons or on lines of their own: `z -> x`, chains
    `a -> b -> c`, arrows either way `x <- z`, several nodes at once `{a, b} -> c`, a node alone. A
    name with spaces or signs stands in quotes; after # or // comes a comment. DOT is
    `digraph { … }`; its attributes and ports are passed over, as nothing here depends on them.

    Raises:
        InputError: At the line and column of what can't be read.
    """
    if not isinstance(text, str):
        raise InputError(f"a text is needed, 'z -> x; z -> y', got {text!r:.60}")
    return _Parser(text).parse()


def write_dot(
    nodes: Iterable[Hashable],
    edges: Iterable[tuple[Hashable, Hashable]],
    *,
    styles: dict[Hashable, str] | None = None,
    edge_styles: dict[tuple[Hashable, Hashable], str] | None = None,
    caption: str = "",
) -> str:
    """The graph in DOT, with attributes of nodes and edges."""
    styles, edge_styles, nodes = styles or {}, edge_styles or {}, list(nodes)
    # Nodes that look the same, such as 1 and "1", are told apart.
    alike = {text for text, count in Counter(map(str, nodes)).items() if count > 1}
    names = {node: _quoted(repr(node)) if str(node) in alike else _name(node) for node in nodes}
    lines = ["digraph {"]
    if caption:
        lines.append(f"  label={_quoted(caption)};")
    lines += [f"  {names[node]}{_attributes(styles.get(node))};" for node in nodes]
    lines += [
        f"  {names[parent]} -> {names[child]}{_attributes(edge_styles.get((parent, child)))};"
        for parent, child in edges
    ]
    return "\n".join([*lines, "}"]) + "\n"


class _Parser:
    """Recursive descent over the tokens of a text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(self._tokens())
        self.position = 0
        self.edges: list[tuple[str, str]] = []
        self.nodes: dict[str, None] = {}
        self.in_dot, self.depth = False, 0

    def parse(self) -> Parsed:
        self._skip("end")
        self.in_dot = self._header()
        self._statements(until="}" if self.in_dot else "")
        if self.in_dot:
            self._expect("}", "to close the graph")
            self._skip("end")
        if self._peek().kind != "eof":
            raise self._error("expected nothing more")
        return Parsed(self.edges, list(self.nodes))

    def _tokens(self) -> Iterable[_Token]:
        place = 0
        while place < len(self.text):
            match = _TOKEN.match(self.text, place)
            if match is None:
                raise self._error_at(place, "expected a name or an arrow")
            if match.lastgroup != "space":
                yield _Token(str(match.lastgroup), match.group(), place)
            place = match.end()
        yield _Token("eof", "", place)

    def _header(self) -> bool:
        """Whether this is DOT, after reading up to its opening brace."""
        words = []
        while self._peek().kind in ("name", "quoted") and len(words) < 3:
            words.append(self._peek().text.lower())
            self.position += 1
        self._skip("end")
        kind = words[1:2] if words[:1] == ["strict"] else words[:1]
        if self._peek().text == "{" and kind == ["digraph"]:
            self.position += 1
            return True
        if self._peek().text == "{" and kind == ["graph"]:
            raise self._error("expected 'digraph', whose edges have a direction, not 'graph'")
        self.position = 0
        self._skip("end")
        return False

    def _statements(self, until: str) -> list[str]:
        """Statements up to a sign; the nodes that they name."""
        named: list[str] = []
        while True:
            self._skip("end")
            if self._peek().kind == "eof" or self._peek().text == until:
                return named
            named += self._statement()
            # DOT needs no sign between statements.
            if not until and self._peek().kind not in ("end", "eof"):
                raise self._error(
                    "expected '->', '<-' or ';' (several nodes at once stand in braces, {a, b})"
                )
            if until:
                self._accept(",")

    def _statement(self) -> list[str]:
        token = self._peek()
        defaults = token.text.lower() in ("node", "edge", "graph")
        if self.in_dot and defaults and self._peek(1).text == "[":
            self.position += 1
            self._attribute_list()
            return []
        if self.in_dot and self._peek(1).text == "=" and token.kind in ("name", "quoted"):
            self.position += 2
            if self._peek().kind == "markup":
                self.position += 1
            else:
                self._name()
            return []
        group = self._group()
        named = list(group)
        while self._peek().kind in ("arrow", "undirected"):
            arrow = self._peek()
            if arrow.kind == "undirected":
                raise self._error("expected an edge with a direction, '->'")
            self.position += 1
            self._skip_lines()
            following = self._group()
            forward = arrow.text in ("->", "→")
            tails, heads = (group, following) if forward else (following, group)
            self.edges += [(tail, head) for tail in tails for head in heads]
            named += following
            group = following
        if self.in_dot:
            self._attribute_list()
        return named

    def _group(self) -> list[str]:
        """One node, or all that braces name."""
        if self._peek().text.lower() == "subgraph":
            self.position += 1
            if self._peek().text != "{":
                self._name()
        if self._accept("{"):
            self.depth += 1
            if self.depth > _DEEPEST:
                raise self._error(f"expected {_DEEPEST} braces within one another at most")
            named = self._statements(until="}")
            self._expect("}", "to close the brace")
            self.depth -= 1
            return list(dict.fromkeys(named))
        return [self._node()]

    def _node(self) -> str:
        name = self._name()
        while self._accept(":"):
            self._name()
        self.nodes[name] = None
        return name

    def _name(self) -> str:
        token = self._peek()
        if token.kind not in ("name", "quoted"):
            raise self._error("expected the name of a node")
        self.position += 1
        if token.kind != "quoted":
            return token.text
        text = _unquoted(token.text)
        while self.in_dot and self._peek().text == "+" and self._peek(1).kind == "quoted":
            text += _unquoted(self._peek(1).text)
            self.position += 2
        return text

    def _attribute_list(self) -> None:
        while self._accept("["):
            while not self._accept("]"):
                token = self._peek()
                if token.kind == "eof":
                    raise self._error("expected ']' to close the attributes")
                self.position += 1

    def _peek(self, ahead: int = 0) -> _Token:
        return self.tokens[min(self.position + ahead, len(self.tokens) - 1)]

    def _accept(self, sign: str) -> bool:
        accepted = self._peek().kind == "sign" and self._peek().text == sign
        self.position += accepted
        return accepted

    def _expect(self, sign: str, why: str) -> None:
        if not self._accept(sign):
            raise self._error(f"expected {sign!r} {why}")

    def _skip(self, kind: str) -> None:
        while self._peek().kind == kind:
            self.position += 1

    def _skip_lines(self) -> None:
        while self._peek().text == "\n":
            self.position += 1

    def _error(self, expected: str) -> InputError:
        return self._error_at(self._peek().place, expected)

    def _error_at(self, place: int, expected: str) -> InputError:
        before = self.text[:place]
        line, column = before.count("\n") + 1, place - (before.rfind("\n") + 1) + 1
        rest = self.text[place:].split("\n")[0][:20].strip()
        got = repr(rest) if rest else "the end" if place >= len(self.text) else "the line's end"
        return InputError(f"line {line}, column {column} of the graph: {expected}, got {got}")


def _name(node: Hashable) -> str:
    text = str(node)
    return text if _PLAIN.fullmatch(text) and text.lower() not in _KEYWORDS else _quoted(text)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _unquoted(text: str) -> str:
    def meant(match: re.Match[str]) -> str:
        sign = match[1]
        return chr(int(sign[1:], 16)) if len(sign) > 1 else _ESCAPED.get(sign, sign)

    return _ESCAPE.sub(meant, text[1:-1])


def _attributes(style: str | None) -> str:
    return f" [{style}]" if style else ""
