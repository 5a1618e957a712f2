"""Graphs of networkx and GraphML, read and written; networkx is imported when asked for."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tighter._errors import InputError
from tighter._extras import check_installed
from tighter.graph.direction import pointed

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

Graph = tuple[list[tuple[Hashable, Hashable]], list[Hashable], dict[Hashable, Hashable]]

_LABELS = ("label", "name")
_CIRCLES = ("circle", "transparent_circle")  # ends of edges, in yEd's words


def read_networkx(graph: Any) -> Graph:
    """The edges, nodes and labels of a directed networkx graph; of parallel edges one is kept.

    Attributes count that DOT has for the direction of edges.

    Raises:
        InputError: If it has no directions, or an edge has not one.
    """
    if not getattr(graph, "is_directed", lambda: False)():
        raise InputError(
            f"a directed graph of networkx is needed, got {type(graph).__name__}: "
            "make it with networkx.DiGraph"
        )
    defaults = graph.graph.get("edge")
    defaults = defaults if isinstance(defaults, Mapping) else {}
    pairs = [
        pointed(tail, head, {**defaults, **attributes})
        for tail, head, attributes in graph.edges(data=True)
    ]
    labels = {node: _label_of(attributes) for node, attributes in graph.nodes(data=True)}
    return (
        [pair for pair in pairs if pair is not None],
        list(graph.nodes),
        {node: label for node, label in labels.items() if label},
    )


def write_networkx(nodes: Iterable[Hashable], edges: Iterable[tuple[Hashable, Hashable]]) -> Any:
    """A networkx.DiGraph."""
    check_installed("networkx")
    import networkx

    graph = networkx.DiGraph()
    graph.add_nodes_from(nodes)
    graph.add_edges_from(edges)
    return graph


def read_graphml(text: str) -> Graph:
    """The edges, nodes and labels of GraphML; nodes are named by their identifiers.

    Labels are an attribute `label` or `name`, as igraph and networkx write it, or yEd's.

    Raises:
        InputError: If it can't be read, or an edge has not one direction.
    """
    import xml.etree.ElementTree as ElementTree

    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        line, column = error.position
        raise InputError(
            f"line {line}, column {column + 1} of the GraphML: not well-formed XML"
        ) from None
    except ValueError as error:
        raise InputError(f"this is no GraphML that can be read: {error}") from None
    graphs = [element for element in root if _kind(element) == "graph"]
    if _kind(root) != "graphml" or len(graphs) != 1:
        raise InputError(
            f"this is no GraphML that can be read: one graph is needed in <graphml>, got "
            f"{len(graphs)} in <{_kind(root)}>"
        )
    keys = {element.get("id"): element for element in root.iter() if _kind(element) == "key"}
    edges: list[tuple[Hashable, Hashable]] = []
    nodes: dict[Hashable, None] = {}
    labels: dict[Hashable, Hashable] = {}
    for element in graphs[0].iter():
        kind = _kind(element)
        if kind == "hyperedge":
            raise InputError("the GraphML has a hyperedge: an edge joins two nodes")
        if kind == "node":
            node = element.get("id")
            if node is None:
                raise InputError("a node of the GraphML has no id")
            nodes[node] = None
            if label := _label_of(_attributes(element, keys)):
                labels[node] = label
        if kind == "edge":
            tail, head = element.get("source"), element.get("target")
            if tail is None or head is None:
                raise InputError("an edge of the GraphML has no source or no target")
            directed = element.get("directed", graphs[0].get("edgedefault"))
            attributes = _attributes(element, keys)
            if directed not in ("true", "1", "directed"):
                attributes = {"dir": "none"} | attributes
            if (pair := pointed(tail, head, attributes)) is not None:
                edges.append(pair)
    return edges, list(nodes), labels


def write_graphml(nodes: Iterable[Hashable], edges: Iterable[tuple[Hashable, Hashable]]) -> str:
    """GraphML, with the nodes' names as identifiers."""
    check_installed("networkx")
    import networkx

    nodes = list(nodes)
    for node in nodes:
        if not all(sign.isprintable() or sign in "\t\n\r" for sign in str(node)):
            raise InputError(f"GraphML can't hold the name {str(node)!r}: name the node otherwise")
    return "\n".join(networkx.generate_graphml(write_networkx(nodes, edges))) + "\n"


def _kind(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _attributes(element: Element, keys: Mapping[str | None, Element]) -> dict[str, str]:
    """A node's or an edge's own attributes, what its kind has by default, and yEd's drawing."""
    found: dict[str, str] = {}
    for key in keys.values():
        if key.get("for") in (_kind(element), "all") and (name := key.get("attr.name")):
            values = [part.text or "" for part in key if _kind(part) == "default"]
            if values:
                found[name] = values[0]
    for data in (part for part in element if _kind(part) == "data"):
        key = keys.get(data.get("key"))
        if key is not None and (name := key.get("attr.name")):
            found[name] = "".join(data.itertext())
        for part in data.iter():
            if _kind(part) == "NodeLabel" and (text := "".join(part.itertext()).strip()):
                found.setdefault("label", text)
            if _kind(part) == "Arrows":
                tail, head = (_mark(part.get(end, "none")) for end in ("source", "target"))
                found |= {"dir": "both", "arrowtail": tail, "arrowhead": head}
    return found


def _mark(yed: str) -> str:
    """DOT's word for an end of an edge in yEd's."""
    return "none" if yed == "none" else "odot" if yed in _CIRCLES else "normal"


def _label_of(attributes: Mapping[str, Any]) -> str:
    texts = (str(attributes[name]).strip('"') for name in _LABELS if name in attributes)
    return next((text for text in (" ".join(text.split()) for text in texts) if text), "")
