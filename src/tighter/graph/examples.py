"""Graphs from the textbooks: to ask questions of, and to build on."""

from __future__ import annotations

import itertools

from tighter._errors import InputError
from tighter.graph.dag import DAG
from tighter.graph.plates import Plate


def vae(num_examples: int | None = None, *, num_latents: int = 1) -> DAG:
    """A variational autoencoder: z -> x, or z1, z2, … -> x.

    Args:
        num_examples: How many examples are written out, z[0], x[0], …; None: one, without number.
        num_latents: How many latents an example has.
    """
    _at_least(1, num_latents=num_latents)
    latents = ["z"] if num_latents == 1 else [f"z{i}" for i in range(1, num_latents + 1)]
    dag = DAG([(z, "x") for z in latents])
    return in_plate(dag, dag.nodes, num_examples)


def hierarchy(num_layers: int = 2) -> DAG:
    """Several layers of latents: zL -> … -> z1 -> x, as of `HierarchicalVAE`."""
    _at_least(1, num_layers=num_layers)
    return _chain([*(f"z{i}" for i in range(num_layers, 0, -1)), "x"])


def lda(num_documents: int | None = None, *, num_words: int | None = None) -> DAG:
    """Latent Dirichlet allocation: theta -> z -> w <- beta.

    theta are a document's proportions, z a word's topic, w the word; beta are the topics that all
    documents share.

    Args:
        num_documents: How many documents are written out; None: one, without number.
        num_words: How many words of each; None: one, without number.

    References:
        Blei, Ng & Jordan, "Latent Dirichlet allocation", 2003, fig. 1 (with topics drawn, fig. 7).
    """
    dag = DAG([("theta", "z"), ("z", "w"), ("beta", "w")])
    plates = [(("theta", "z", "w"), num_documents), (("z", "w"), num_words)]
    return dag.unrolled(*(Plate(nodes, num) for nodes, num in plates if num is not None))


def markov_chain(length: int = 4) -> DAG:
    """s1 -> s2 -> … -> sT."""
    _at_least(1, length=length)
    return _chain([f"s{t}" for t in range(1, length + 1)])


def kalman_filter(length: int = 3) -> DAG:
    """States and what is seen of them: z1 -> … -> zT, zt -> xt; a hidden Markov model too."""
    _at_least(1, length=length)
    states = [f"z{t}" for t in range(1, length + 1)]
    steps = list(itertools.pairwise(states))
    return DAG([*steps, *((z, z.replace("z", "x")) for z in states)], states)


def diffusion(num_steps: int) -> DAG:
    """A diffusion model's chain: zT -> … -> z1 -> z0 -> x."""
    _at_least(1, num_steps=num_steps)
    return _chain([*(f"z{t}" for t in range(num_steps, -1, -1)), "x"])


def binary_tree(depth: int = 3) -> DAG:
    """Layers of inner nodes z1 (the root), z2, …; the last of the `depth` layers is x1, x2, …."""
    _at_least(2, depth=depth)
    num_inner = 2 ** (depth - 1) - 1

    def name(i: int) -> str:
        return f"z{i}" if i <= num_inner else f"x{i - num_inner}"

    inner = range(1, num_inner + 1)
    return DAG([(name(i), name(2 * i + side)) for i in inner for side in (0, 1)])


def bishop_8_22() -> DAG:
    """Bishop's example of what d-separates: a -> e <- f -> b, e -> c.

    References:
        Bishop, "Pattern Recognition and Machine Learning", 2006, fig. 8.22.
    """
    return DAG.from_text("a -> e <- f -> b; e -> c")


def in_plate(dag: DAG, nodes: tuple, size: int | None) -> DAG:
    """The graph with some nodes in a plate that is written out; None: the graph itself."""
    return dag if size is None else dag.unrolled(Plate(nodes, size))


def _chain(nodes: list[str]) -> DAG:
    return DAG(itertools.pairwise(nodes), nodes)


def _at_least(least: int, **numbers: int) -> None:
    for name, number in numbers.items():
        if number < least:
            raise InputError(f"{name} is at least {least}, got {number}")
