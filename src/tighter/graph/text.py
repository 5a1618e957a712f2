"""Edge lists and DOT, one language here; what can't be read is told by line and column."""

from __future__ import annotations

import html
import json
import re
from collections import Counter
from collections.abc import Hashable, Iterable
from typing import NamedTuple

from tighter._errors import InputError
from tighter.graph.direction import pointed

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
_ESCAPED = {"\n": "", "n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_DEEPEST = 100  # braces within braces
_KEYWORDS = {"strict", "graph", "digraph", "subgraph", "node", "edge"}
_DEFAULTS = ("graph", "node", "edge")


class Parsed(NamedTuple):
    """What a text says of a graph."""

    edges: list[tuple[str, str]]
    nodes: list[str]
    labels: dict[str, str]


class _Edge(NamedTuple):
    """What DOT says of an edge, and where."""

    tail: str
    head: str
    place: int
    attributes: dict[str, str]


class _Token(NamedTuple):
    kind: str
    text: str
    place: int


def parse_text(text: str) -> Parsed:
    """Read an edge list, or a graph in DOT.

    An edge list is statements, apart by semicolons or on lines of their own: `z -> x`, chains
    `a -> b -> c`, arrows either way `x <- z`, several nodes at once `{a, b} -> c`, a node alone. A
    name with spaces or signs stands in quotes; after # or // comes a comment. DOT is
    `digraph { … }`: of its attributes those count that say which way an edge points, and nodes'
    labels; other attributes and ports are passed over, as nothing here depends on them.

    Raises:
        InputError: At the line and column of what can't be read, or of an edge without one
            direction.
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
        self.edges: dict[Hashable, _Edge] = {}
        self.nodes: dict[str, dict[str, str]] = {}
        self.in_dot, self.strict, self.depth = False, False, 0
        # What attributes are where none are given: here, and as this subgraph itself has set them.
        self.defaults: dict[str, dict[str, str]] = {kind: {} for kind in _DEFAULTS}
        self.own = self.defaults
        self.subgraphs: dict[str, dict[str, dict[str, str]]] = {}

    def parse(self) -> Parsed:
        self._skip("end")
        self.in_dot = self._header()
        self._statements(until="}" if self.in_dot else "")
        if self.in_dot:
            self._expect("}", "to close the graph")
            self._skip("end")
        if self._peek().kind != "eof":
            raise self._error("expected nothing more")
        edges = [pair for edge in self.edges.values() if (pair := self._pair(edge)) is not None]
        labels = {
            node: label
            for node, attributes in self.nodes.items()
            if (label := _label(attributes.get("label", ""), node))
        }
        return Parsed(edges, list(self.nodes), labels)

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
            self.strict = words[0] == "strict"
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
        kind = token.text.lower()
        if self.in_dot and kind in _DEFAULTS and self._peek(1).text == "[":
            self.position += 1
            given = self._attributes()
            self.defaults[kind].update(given)
            self.own[kind].update(given)
            return []
        if self.in_dot and self._peek(1).text == "=" and token.kind in ("name", "quoted"):
            self.position += 2
            self._value()
            return []
        group = self._group()
        named = list(group)
        pairs: list[tuple[str, str, int]] = []
        while self._peek().kind in ("arrow", "undirected"):
            arrow = self._peek()
            if arrow.kind == "undirected":
                raise self._error("expected an edge with a direction, '->'")
            self.position += 1
            self._skip_lines()
            following = self._group()
            forward = arrow.text in ("->", "→")
            tails, heads = (group, following) if forward else (following, group)
            pairs += [(tail, head, arrow.place) for tail in tails for head in heads]
            named += following
            group = following
        given = self._attributes() if self.in_dot else {}
        for tail, head, place in pairs:
            self._edge(tail, head, place, given)
        if not pairs and given and len(named) == 1:
            self.nodes[named[0]].update(given)
        return named

    def _edge(self, tail: str, head: str, place: int, given: dict[str, str]) -> None:
        """A new edge; the same once more, if the graph is strict or its key is the same."""
        key = given.get("key", "" if self.strict else len(self.edges))
        edge = self.edges.setdefault(
            (tail, head, key), _Edge(tail, head, place, dict(self.defaults["edge"]))
        )
        edge.attributes.update(given)

    def _pair(self, edge: _Edge) -> tuple[str, str] | None:
        try:
            pair = pointed(edge.tail, edge.head, edge.attributes)
        except InputError as error:
            raise InputError(f"{self._where(edge.place)}: {error}") from None
        return None if pair is None else (str(pair[0]), str(pair[1]))

    def _group(self) -> list[str]:
        """One node, or all that braces name."""
        name = None
        if self._peek().kind == "name" and self._peek().text.lower() == "subgraph":
            self.position += 1
            if self._peek().text != "{":
                name = self._name()
            if self._peek().text == "\n":
                self._skip_lines()
            if self._peek().text != "{":
                raise self._error("expected '{' after 'subgraph'")
        if self._accept("{"):
            self.depth += 1
            if self.depth > _DEEPEST:
                raise self._error(f"expected {_DEEPEST} braces within one another at most")
            outer = self.defaults, self.own
            nothing = {kind: {} for kind in _DEFAULTS}
            self.own = nothing if name is None else self.subgraphs.setdefault(name, nothing)
            self.defaults = {kind: self.defaults[kind] | self.own[kind] for kind in _DEFAULTS}
            named = self._statements(until="}")
            self._expect("}", "to close the brace")
            self.defaults, self.own = outer
            self.depth -= 1
            return list(dict.fromkeys(named))
        return [self._node()]

    def _node(self) -> str:
        name = self._name()
        while self.in_dot and self._accept(":"):
            self._name()
        if name not in self.nodes:
            self.nodes[name] = dict(self.defaults["node"])
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

    def _attributes(self) -> dict[str, str]:
        """What stands in brackets, [name=value, …], as often as there are some."""
        given: dict[str, str] = {}
        while self._accept("["):
            while not self._accept("]"):
                if self._peek().kind == "eof":
                    raise self._error("expected ']' to close the attributes")
                name = self._value()
                self._skip_lines()
                if self._accept("="):
                    self._skip_lines()
                    given[name] = self._value()
        return given

    def _value(self) -> str:
        """An attribute's name or value as it is written, marks of quotes aside."""
        token = self._peek()
        self.position += token.kind != "eof"
        if token.kind != "quoted":
            return token.text
        text = token.text[1:-1]
        while self._peek().text == "+" and self._peek(1).kind == "quoted":
            text += self._peek(1).text[1:-1]
            self.position += 2
        return text.replace("\\\n", "").replace('\\"', '"')

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
        rest = self.text[place:].split("\n")[0][:20].strip()
        got = repr(rest) if rest else "the end" if place >= len(self.text) else "the line's end"
        return InputError(f"{self._where(place)}: {expected}, got {got}")

    def _where(self, place: int) -> str:
        before = self.text[:place]
        line, column = before.count("\n") + 1, place - (before.rfind("\n") + 1) + 1
        return f"line {line}, column {column} of the graph"


def _name(node: Hashable) -> str:
    text = str(node)
    return text if _PLAIN.fullmatch(text) and text.lower() not in _KEYWORDS else _quoted(text)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _label(text: str, node: str) -> str:
    """A node's label in one line: without tags, its breaks of lines as spaces."""
    if text.startswith("<") and text.endswith(">"):
        text = html.unescape(re.sub(r"<[^<>]*>", " ", text[1:-1]))
    else:
        text = re.sub(r"\\([nlrN\\])", lambda sign: {"N": node, "\\": "\\"}.get(sign[1], " "), text)
    return " ".join(text.split())


def _unquoted(text: str) -> str:
    def meant(match: re.Match[str]) -> str:
        sign = match[1]
        return chr(int(sign[1:], 16)) if len(sign) > 1 else _ESCAPED.get(sign, sign)

    return _ESCAPE.sub(meant, text[1:-1])


def _attributes(style: str | None) -> str:
    return f" [{style}]" if style else ""
