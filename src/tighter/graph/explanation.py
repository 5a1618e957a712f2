"""Why two sets of nodes are d-separated or not: every chain, and what each node on it does."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from tighter.graph.chains import chains
from tighter.graph.drawing import Highlight, dot_of, svg_of
from tighter.graph.naming import Named

SHOWN = 12  # chains that a proof writes out


@dataclass(frozen=True)
class Junction:
    """An inner node of a path, and what it does to it.

    Attributes:
        node: The node.
        kind: chain (→ node →), fork (← node →) or collider (→ node ←), as the path's arrows meet.
        given: Whether the node is conditioned on.
        descendant: A given node below a collider that is not given itself, or None.
    """

    node: Hashable
    kind: Literal["chain", "fork", "collider"]
    given: bool
    descendant: Hashable | None = None

    @property
    def blocks(self) -> bool:
        """Whether the path ends here."""
        if self.kind == "collider":
            return not self.given and self.descendant is None
        return self.given

    @property
    def rule(self) -> str:
        """The rule of d-separation that says so."""
        if self.kind != "collider":
            if self.given:
                return f"a {self.kind} that is given blocks"
            return f"a {self.kind} that is not given lets through"
        if self.given:
            return "a collider that is given lets through"
        if self.descendant is not None:
            return f"a collider above {self.descendant}, which is given, lets through"
        return "a collider blocks while neither it nor a descendant is given"


@dataclass(frozen=True)
class Path:
    """A path between two nodes, arrows ignored: no node twice.

    Attributes:
        nodes: From one end to the other.
        arrows: "→" or "←" between each node and the next.
        junctions: The inner nodes.
    """

    nodes: tuple[Hashable, ...]
    arrows: tuple[str, ...]
    junctions: tuple[Junction, ...]

    @property
    def blocked(self) -> bool:
        """Whether a node on it blocks it; one is enough."""
        return any(junction.blocks for junction in self.junctions)

    @property
    def open(self) -> bool:
        """Whether no node on it blocks it."""
        return not self.blocked

    @property
    def blocking(self) -> tuple[Junction, ...]:
        """The inner nodes that block it."""
        return tuple(junction for junction in self.junctions if junction.blocks)

    @property
    def arcs(self) -> tuple[tuple[Hashable, Hashable], ...]:
        """Its edges (parent, child)."""
        steps = zip(self.nodes, self.arrows, self.nodes[1:], strict=False)
        return tuple((x, y) if arrow == "→" else (y, x) for x, arrow, y in steps)

    @property
    def reason(self) -> str:
        """What blocks it, or what leaves it open at every node."""
        deciding = self.blocking[:1] or self.junctions
        if not deciding:
            return "open: nothing blocks an edge"
        return f"{'blocked' if self.blocked else 'open'} at " + "; at ".join(
            f"{junction.node}, where {junction.rule}" for junction in deciding
        )

    def __str__(self) -> str:
        pairs = zip(self.arrows, self.nodes[1:], strict=True)
        return " ".join([str(self.nodes[0]), *(f"{arrow} {node}" for arrow, node in pairs)])


@dataclass(frozen=True, eq=False)
class Separation:
    """Whether a and b are d-separated given other nodes; true if they are, and it says why.

    Attributes:
        a: The nodes on one side.
        b: The nodes on the other.
        given: What is conditioned on.
        separated: The verdict.
        witness: An open path if they are connected, else None.
        max_paths: How many paths `paths` shows at most.
    """

    a: tuple[Hashable, ...]
    b: tuple[Hashable, ...]
    given: tuple[Hashable, ...]
    separated: bool
    witness: Path | None
    max_paths: int
    _graph: Named = field(repr=False)

    def __bool__(self) -> bool:
        return self.separated

    @cached_property
    def paths(self) -> tuple[Path, ...]:
        """The chains between a and b, shortest first, `max_paths` at most."""
        return self._some_paths[: self.max_paths]

    @property
    def more_paths(self) -> bool:
        """Whether there are more chains than `paths` shows."""
        return len(self._some_paths) > self.max_paths

    @cached_property
    def _some_paths(self) -> tuple[Path, ...]:
        a, b, given = (
            {self._graph.index[node] for node in side} for side in (self.a, self.b, self.given)
        )
        some = itertools.islice(chains(self._graph.arcs, a, b), self.max_paths + 1)
        return tuple(explain(self._graph, chain, given) for chain in some)

    @property
    def statement(self) -> str:
        """The verdict in signs: x ⊥ y | z, or with ⊥̸ where they are connected."""
        return statement(self.a, self.b, self.given, holds=self.separated)

    def __str__(self) -> str:
        given = f"given {_listed(self.given)}" if self.given else "given nothing"
        many = len(self.a) + len(self.b) > 2
        verdict = (
            f"{self.statement}: {_listed(self.a)} and {_listed(self.b)} are "
            f"{'d-separated' if self.separated else 'd-connected'} {given}"
        )
        if self.witness is not None:
            return (
                f"{verdict}: a path between them is open.\n"
                f"  {self.witness}: {self.witness.reason}.\n"
                f"So {'some of them' if many else 'they'} can depend on each other {given}."
            )
        if not self.paths:
            return f"{verdict}: no path joins them."
        number = "more than " * self.more_paths + str(len(self.paths))
        which = "the one path" if number == "1" else f"each of {number} paths"
        lines = [f"{verdict}: {which} between them is blocked."]
        shown = self.paths[:SHOWN]
        lines += [f"  {i}. {path}: {path.reason}." for i, path in enumerate(shown, 1)]
        if len(self.paths) > SHOWN or self.more_paths:
            lines.append("  … and longer ones, blocked too.")
        lines.append(f"So they are independent {given}, whatever the conditional distributions.")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """The verdict and its reasons, as plain data."""
        return {
            "statement": self.statement,
            "a": _plain(self.a),
            "b": _plain(self.b),
            "given": _plain(self.given),
            "separated": self.separated,
            "witness": None if self.witness is None else _path_record(self.witness),
            "paths": [_path_record(path) for path in self.paths],
            "more_paths": self.more_paths,
        }

    def to_dot(self) -> str:
        """The graph in DOT: given nodes gray, ends framed, what is open or blocks colored."""
        return dot_of(self._graph.names, self._graph.edges(), self._highlight())

    def to_svg(self) -> str:
        """The graph as a picture that stands alone, colored as in `to_dot`."""
        return svg_of(self._graph.names, self._graph.arcs, self._highlight())

    def _highlight(self) -> Highlight:
        roles: dict[Hashable, list[str]] = {node: ["end"] for node in (*self.a, *self.b)}
        roles |= {node: ["given"] for node in self.given}
        if self.witness is not None:
            for junction in self.witness.junctions:
                roles.setdefault(junction.node, []).append("passing")
            edges = dict.fromkeys(self.witness.arcs, "open")
            return Highlight(
                roles, edges, (f"{self.statement}: d-connected", f"open: {self.witness}")
            )
        for node in {junction.node for path in self.paths for junction in path.blocking}:
            roles.setdefault(node, []).append("blocking")
        edges = dict.fromkeys((arc for path in self.paths for arc in path.arcs), "blocked")
        number = f"{len(self.paths)}{'+' * self.more_paths}"
        paths = f"{number} path{'s' * (number != '1')} between them, blocked"
        return Highlight(
            roles,
            edges,
            (f"{self.statement}: d-separated", paths if self.paths else "no path joins them"),
        )


def explain(graph: Named, chain: list[int], given: set[int]) -> Path:
    """The path along a chain, with what each inner node does.

    Args:
        graph: The graph.
        chain: Nodes, each joined to the next.
        given: What is conditioned on.
    """
    names = graph.names
    forward = [graph.arcs.children(x).count(y) > 0 for x, y in itertools.pairwise(chain)]
    junctions = []
    for node, (into, onward) in zip(chain[1:-1], itertools.pairwise(forward), strict=True):
        kind = "chain" if into == onward else "collider" if into else "fork"
        below = None
        if kind == "collider" and node not in given:
            below = graph.arcs.nearest_below(node, given)
        descendant = None if below is None else names[below]
        junctions.append(Junction(names[node], kind, node in given, descendant))
    return Path(
        tuple(names[node] for node in chain),
        tuple("→" if step else "←" for step in forward),
        tuple(junctions),
    )


def statement(
    a: Sequence[Hashable], b: Sequence[Hashable], given: Sequence[Hashable], *, holds: bool = True
) -> str:
    """A ⊥ b | given, in a line."""
    left, right, condition = (", ".join(map(str, side)) for side in (a, b, given))
    return f"{left} {'⊥' if holds else '⊥̸'} {right}" + (f" | {condition}" if given else "")


def _listed(nodes: Sequence[Hashable]) -> str:
    names = [str(node) for node in nodes]
    return names[0] if len(names) == 1 else "{" + ", ".join(names) + "}"


def _plain(nodes: Sequence[Hashable]) -> list[str]:
    return [str(node) for node in nodes]


def _path_record(path: Path) -> dict[str, Any]:
    return {
        "path": str(path),
        "nodes": _plain(path.nodes),
        "blocked": path.blocked,
        "junctions": [
            {
                "node": str(junction.node),
                "kind": junction.kind,
                "given": junction.given,
                "descendant": None if junction.descendant is None else str(junction.descendant),
                "blocks": junction.blocks,
                "rule": junction.rule,
            }
            for junction in path.junctions
        ],
    }
