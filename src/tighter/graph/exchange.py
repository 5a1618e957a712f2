"""Graphs of networkx and GraphML, read and written; networkx is imported when asked for."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

from tighter._errors import InputError


def read_networkx(graph: Any) -> tuple[list[tuple[Hashable, Hashable]], list[Hashable]]:
    """The edges and nodes of a directed networkx graph; of parallel edges one is kept."""
    if not getattr(graph, "is_directed", lambda: False)():
        raise InputError(
            f"a directed graph of networkx is needed, got {type(graph).__name__}: "
            "make it with networkx.DiGraph"
        )
    return [(edge[0], edge[1]) for edge in graph.edges()], list(graph.nodes)


def write_networkx(nodes: Iterable[Hashable], edges: Iterable[tuple[Hashable, Hashable]]) -> Any:
    """A networkx.DiGraph."""
    import networkx

    graph = networkx.DiGraph()
    graph.add_nodes_from(nodes)
    graph.add_edges_from(edges)
    return graph


def read_graphml(text: str) -> tuple[list[tuple[Hashable, Hashable]], list[Hashable]]:
    """The edges and nodes of GraphML; nodes are named by their identifiers."""
    import xml.etree.ElementTree as ElementTree

    import networkx

    try:
        for element in ElementTree.fromstring(text).iter():
            if element.tag.rpartition("}")[2] == "edge" and not {"source", "target"} <= {
                *element.keys()
            }:
                raise InputError("an edge of the GraphML has no source or no target")
        graph = networkx.parse_graphml(text)
    except ElementTree.ParseError as error:
        line, column = error.position
        raise InputError(
            f"line {line}, column {column + 1} of the GraphML: not well-formed XML"
        ) from None
    except (networkx.NetworkXException, KeyError, ValueError, StopIteration) as error:
        raise InputError(f"this is no GraphML that can be read: {error}") from None
    return read_networkx(graph)


def write_graphml(nodes: Iterable[Hashable], edges: Iterable[tuple[Hashable, Hashable]]) -> str:
    """GraphML, with the nodes' names as identifiers."""
    import networkx

    nodes = list(nodes)
    for node in nodes:
        if not all(sign.isprintable() or sign in "\t\n\r" for sign in str(node)):
            raise InputError(f"GraphML can't hold the name {str(node)!r}: name the node otherwise")
    return "\n".join(networkx.generate_graphml(write_networkx(nodes, edges))) + "\n"
