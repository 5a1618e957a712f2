"""A directed acyclic graph, and what can be asked of it."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any

from tighter._errors import InputError
from tighter.graph.arcs import Arcs
from tighter.graph.drawing import dot_of, svg_of
from tighter.graph.equivalence import (
    EquivalenceClass,
    compelled_arcs,
    moral_neighbors,
    unshielded_colliders,
)
from tighter.graph.exchange import read_graphml, read_networkx, write_graphml, write_networkx
from tighter.graph.explanation import Separation, explain
from tighter.graph.independence import (
    Independence,
    local_independencies,
    pairwise_independencies,
)
from tighter.graph.inverse import inverse_arcs
from tighter.graph.naming import Named, named
from tighter.graph.plates import Plate, unroll
from tighter.graph.separation import open_path
from tighter.graph.separators import minimal_separators, smallest_separator
from tighter.graph.text import parse_text

Node = Hashable
Nodes = Hashable | Iterable[Hashable]
Edge = tuple[Hashable, Hashable]

_MOST_PAIRWISE = 12  # nodes, with every set of the others given: 2^10 · 66 questions


class DAG:
    """A directed acyclic graph, which does not change.

    Example:
        >>> dag = DAG([("z", "x"), ("z", "y")])
        >>> print(dag.d_separated("x", "y", "z"))
        x ⊥ y | z: x and y are d-separated given z: the one path between them is blocked.
          1. x ← z → y: blocked at z, where a fork that is given blocks.
        So they are independent given z, whatever the conditional distributions.

    Where several nodes are asked for, a single node will do; a tuple that is a node is one node.

    Args:
        edges: Pairs (parent, child) of anything hashable; a pair twice counts once.
        nodes: Nodes that have no edges, or all of them in the order wanted.
        labels: What some nodes are called besides, by node: they can be asked for by that too.

    Raises:
        InputError: If there is a cycle, which is shown; if an edge is no pair.
    """

    __slots__ = ("_graph",)

    _graph: Named

    def __init__(
        self, edges: Iterable[Any], nodes: Iterable[Any] = (), labels: Mapping[Any, Hashable] = {}
    ) -> None:
        object.__setattr__(self, "_graph", named(edges, nodes, labels))

    @classmethod
    def from_text(cls, text: str) -> DAG:
        """The graph of an edge list, `z -> x; z -> y`, or of DOT, `digraph { … }`."""
        return cls(*parse_text(text))

    @classmethod
    def from_graphml(cls, text: str) -> DAG:
        """The graph of GraphML; nodes are named by their identifiers, and have labels besides."""
        return cls(*read_graphml(text))

    @classmethod
    def from_networkx(cls, graph: Any) -> DAG:
        """The graph of a directed networkx graph; labels are what its nodes have as such."""
        return cls(*read_networkx(graph))

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Every node, in the order in which they were first named."""
        return tuple(self._graph.names)

    @property
    def labels(self) -> dict[Node, Hashable]:
        """What some nodes are called besides, by node: the labels of the file they are from."""
        return dict(self._graph.labels)

    def labeled(self) -> DAG:
        """The graph with its labels for names, and its names for labels.

        It is the same graph where two nodes would have one name.
        """
        names = {node: self._graph.labels.get(node, node) for node in self.nodes}
        others = [name for node, name in names.items() if name != node]
        if not others or len({*self.nodes, *others}) < len(self.nodes) + len(others):
            return self
        edges = [(names[parent], names[child]) for parent, child in self.edges]
        back = {name: node for node, name in names.items() if name != node}
        return DAG(edges, names.values(), back)

    @property
    def edges(self) -> tuple[Edge, ...]:
        """Every edge (parent, child), in the nodes' order."""
        return tuple(self._graph.edges())

    @property
    def topological_order(self) -> tuple[Node, ...]:
        """Every node, parents before children; the nodes' own order if it is such a one."""
        return self._graph.tuple_of(self._arcs.order)

    def subset(self, nodes: Nodes) -> frozenset[Node]:
        """A node or several as a set, after a check that the graph has them."""
        return self._graph.set_of(self._graph.numbers(nodes))

    def partition(self, latents: Nodes, observed: Nodes) -> tuple[frozenset[Node], frozenset[Node]]:
        """Latents and observed nodes, after a check that each node is one and not both."""
        hidden, seen = self._graph.partition(latents, observed)
        return self._graph.set_of(hidden), self._graph.set_of(seen)

    def parents(self, node: Node) -> frozenset[Node]:
        """The nodes with an edge to this one."""
        return self._graph.set_of(self._arcs.parents(self._graph.number(node)))

    def children(self, node: Node) -> frozenset[Node]:
        """The nodes with an edge from this one."""
        return self._graph.set_of(self._arcs.children(self._graph.number(node)))

    def ancestors(self, nodes: Nodes) -> frozenset[Node]:
        """All that lead to the nodes, without themselves."""
        start = self._graph.numbers(nodes)
        return self._graph.set_of(self._arcs.ancestors(start) - set(start))

    def descendants(self, nodes: Nodes) -> frozenset[Node]:
        """All that the nodes lead to, without themselves."""
        start = self._graph.numbers(nodes)
        return self._graph.set_of(self._arcs.descendants(start) - set(start))

    def markov_blanket(self, node: Node) -> frozenset[Node]:
        """Parents, children and the children's other parents: given them, all else is apart."""
        number = self._graph.number(node)
        children = self._arcs.children(number)
        blanket = {*children, *self._arcs.parents(number)}
        return self._graph.set_of(blanket.union(*map(self._arcs.parents, children)) - {number})

    def d_separated(
        self, a: Nodes, b: Nodes, given: Nodes = (), *, max_paths: int = 100
    ) -> Separation:
        r"""Whether a and b are d-separated given other nodes, and why.

        They are if every path between them is blocked: at a chain or a fork that is given, or at a
        collider that is not given and has no descendant that is. Then $a \perp b \mid given$ in
        every distribution that factorizes over the graph, and if not, in almost none.

        Args:
            a: A node or several.
            b: A node or several.
            given: What is conditioned on.
            max_paths: How many paths `.paths` of the answer shows at most.

        Returns:
            The answer: true if separated; `.paths` with what each node on them does, `.witness` an
            open path; as text a proof.

        Raises:
            InputError: If a node is unknown, or stands on two sides; if `max_paths` is below 1.

        References:
            Pearl, "Probabilistic reasoning in intelligent systems", 1988, sec. 3.3.
        """
        if max_paths < 1:
            raise InputError(f"max_paths is at least 1, got {max_paths}")
        ends, others, conditions = self._graph.sides(a, b, given)
        fixed = set(conditions)
        path = open_path(self._arcs, set(ends), set(others), fixed)
        witness = None if path is None else explain(self._graph, path, fixed)
        return Separation(
            *map(self._graph.tuple_of, (ends, others, conditions)),
            separated=path is None,
            witness=witness,
            max_paths=max_paths,
            _graph=self._graph,
        )

    def independencies(
        self, *, pairwise: bool = False, max_given: int | None = None
    ) -> tuple[Independence, ...]:
        """Independencies that the graph implies.

        Args:
            pairwise: Every statement of two single nodes, instead of a basis: each node apart from
                those before it, given its parents, from which all statements follow.
            max_given: For pairwise statements, how many nodes are given at most.
        """
        size = len(self._graph.names)
        if not pairwise:
            found = local_independencies(self._arcs)
        elif max_given is None and size > _MOST_PAIRWISE:
            raise InputError(
                f"all statements of {size} nodes are too many, {_MOST_PAIRWISE} nodes can be "
                "listed: pass max_given (--max-given), the number of nodes that are given at most"
            )
        else:
            most = size - 2 if max_given is None else min(max_given, size - 2)
            found = pairwise_independencies(self._arcs, max_given=most)
        return tuple(Independence(*map(self._graph.tuple_of, sides)) for sides in found)

    def minimal_separator(
        self, a: Nodes, b: Nodes, included: Nodes = (), restricted: Nodes | None = None
    ) -> frozenset[Node] | None:
        """A smallest set of nodes that d-separates a and b, or None if there is none.

        Args:
            a: A node or several.
            b: A node or several.
            included: Nodes that it must hold.
            restricted: The only nodes that it may hold besides; None: all.
        """
        found = smallest_separator(self._arcs, *self._graph.cut(a, b, included, restricted))
        return None if found is None else self._graph.set_of(found)

    def minimal_separators(
        self, a: Nodes, b: Nodes, included: Nodes = (), restricted: Nodes | None = None
    ) -> Iterator[frozenset[Node]]:
        """Every set that d-separates a and b and of which no node can be left out.

        There may be exponentially many. Arguments as of `minimal_separator`.
        """
        cut = self._graph.cut(a, b, included, restricted)
        return (self._graph.set_of(found) for found in minimal_separators(self._arcs, *cut))

    def moralize(self) -> tuple[Edge, ...]:
        """The edges, without direction, of the moral graph: the parents of each child joined."""
        names = self._graph.names
        neighbors = moral_neighbors(self._arcs, range(len(names)))
        return tuple(
            (names[x], names[y]) for x, others in neighbors.items() for y in sorted(others) if x < y
        )

    def equivalence_class(self) -> EquivalenceClass:
        """All graphs with the same d-separations, as a graph with some edges undirected."""
        names = self._graph.names
        compelled = compelled_arcs(self._arcs)
        directed, undirected = [], []
        for x, y in self._arcs.pairs():
            edges = directed if (x, y) in compelled else undirected
            edges.append((names[x], names[y]))
        return EquivalenceClass(tuple(directed), tuple(undirected))

    def is_equivalent_to(self, other: DAG) -> bool:
        """Whether another graph of the same nodes has the same d-separations."""
        return set(self.nodes) == set(other.nodes) and self._pattern() == other._pattern()

    def faithful_inverse(
        self,
        latents: Nodes,
        observed: Nodes,
        *,
        order: str = "topological",
    ) -> DAG:
        r"""The graph of a posterior over the latents that denies no dependence and wastes no edge.

        Each latent's parents are what it depends on, given the observed nodes and the latents drawn
        before it: $q(z|x) = \prod_i q(z_i | parents)$ can then be the exact posterior.

        Args:
            latents: The nodes to infer.
            observed: All other nodes; in the answer they have no parents.
            order: "topological": latents without latent parents are eliminated first, and drawn
                last; "reverse-topological": those without latent children.

        Raises:
            InputError: If a node is in neither set, or in both; if there is no such order.

        References:
            Webb et al., "Faithful inversion of generative models for effective amortized
            inference", 2018.
        """
        hidden, seen = self._graph.partition(latents, observed)
        if order not in ("topological", "reverse-topological"):
            raise InputError(f"order is topological or reverse-topological, got {order!r}")
        upward = order == "reverse-topological"
        drawn, arcs = inverse_arcs(self._arcs, set(hidden), upward=upward)
        names = self._graph.names
        nodes = [names[node] for node in (*seen, *drawn)]
        return DAG([(names[x], names[y]) for x, y in arcs], nodes)

    def unrolled(self, *plates: Plate) -> DAG:
        """The graph with plates written out: z[0], z[1], … for a node z in a plate."""
        return DAG(*unroll(self.nodes, self.edges, plates))

    def to_dot(self) -> str:
        """The graph in DOT."""
        return dot_of(self._graph.names, self._graph.edges())

    def to_svg(self) -> str:
        """The graph as a picture that stands alone."""
        return svg_of(self._graph.names, self._arcs)

    def to_graphml(self) -> str:
        """The graph in GraphML."""
        return write_graphml(self.nodes, self.edges)

    def to_networkx(self) -> Any:
        """The graph as a `networkx.DiGraph`."""
        return write_networkx(self.nodes, self.edges)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a DAG does not change: make a new one to set {name}")

    def __contains__(self, node: Node) -> bool:
        return node in self._graph

    def __len__(self) -> int:
        return len(self._graph.names)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DAG):
            return NotImplemented
        return set(self.nodes) == set(other.nodes) and set(self.edges) == set(other.edges)

    def __hash__(self) -> int:
        return hash((frozenset(self.nodes), frozenset(self.edges)))

    def __repr__(self) -> str:
        if self._arcs.num_arcs > 20 or len(self) > 20:
            return f"DAG({len(self)} nodes, {self._arcs.num_arcs} edges)"
        alone = [node for i, node in enumerate(self.nodes) if not self._arcs.neighbors(i)]
        return f"DAG({list(self.edges)!r}{f', nodes={alone!r}' if alone else ''})"

    def __reduce__(self) -> tuple[Any, ...]:
        return DAG, (self.edges, self.nodes, self.labels)

    def _repr_svg_(self) -> str:
        return self.to_svg()

    @property
    def _arcs(self) -> Arcs:
        return self._graph.arcs

    def _pattern(self) -> tuple[set[frozenset[Node]], set[tuple[frozenset[Node], Node]]]:
        names = self._graph.names
        colliders = {
            (frozenset((names[x], names[y])), names[c])
            for x, c, y in unshielded_colliders(self._arcs)
        }
        return {frozenset(edge) for edge in self.edges}, colliders
