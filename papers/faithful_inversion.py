"""What an encoder's graph costs: faithful inverses against mean field and reversed edges, in nats.

Paper: Webb, Golinski, Zinkov, Siddharth, Rainforth, Teh & Wood, "Faithful inversion of generative
models for effective amortized inference", 2018, algorithm 1 and its binary tree. Here the models
are linear-Gaussian, a tree and a hierarchy of two layers, where the posterior is exact, and so is
the least KL(q‖posterior) that an encoder's graph allows.

Command: tighter reproduce faithful-inversion (half a minute).
Expect: both faithful inverses at less than 1e-3 nat after training, 0 at best. On the tree edges
reversed cost 0.061 and mean field 0.126 nat, on the hierarchy 1.00 and 1.14; there trained encoders
end. Every edge that is taken out of a faithful inverse costs something, from .004 to .85 nat.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key
from matplotlib.figure import Figure

from papers._record import COLORS, EXACT, INK, Announce, Recorder, pictures, silent
from tighter import Objective
from tighter.bounds import ELBO
from tighter.gradients import StickingTheLanding
from tighter.graph import DAG, check_encoder, posterior_factorization
from tighter.graph.examples import binary_tree
from tighter.models import LinearGaussianGraph

STEPS, BATCH, LEARNING_RATE, MEASURED_EVERY = 1000, 128, 3e-2, 10
_HIERARCHY = "{z3, z4} -> {z1, z2} -> {x1, x2, x3}"


def run(path: Path, *, seed: int = 0, announce: Announce = silent) -> dict[str, Any]:
    """Train an encoder of each graph, and compare it with what its graph allows.

    Args:
        path: The folder, new or empty.
        seed: Of the data and the draws.
        announce: Told what is going on, a line at a time.

    Returns:
        The record, as it stands in record.json.
    """
    recorder = Recorder(path, "faithful-inversion", seed=seed)
    encoders, edges = [], []
    for name, model in models().items():
        for label, graph in encoders_of(model).items():
            announce(f"{name}: {label}")
            row = {"model": name, "encoder": label, **described(model, graph)}
            curve = trained(model, graph, jax.random.key(seed))
            encoders.append(row | {"trained": curve["divergence"][-1], "curve": curve})
        edges += [{"model": name, **row} for row in edge_costs(model)]
    return recorder.store(
        {
            "models": {name: _pictured(model) for name, model in models().items()},
            "encoders": encoders,
            "edges": edges,
        }
    )


def summary(record: dict[str, Any]) -> list[str]:
    """Each encoder's divergence, trained and at best, and what each edge is worth."""
    lines = [f"{'model':10} {'encoder':30} {'edges':>5} {'trained':>9} {'least':>9} {'denied':>6}"]
    for row in record["encoders"]:
        lines.append(
            f"{row['model']:10} {row['encoder']:30} {row['num_edges']:5d} {row['trained']:9.5f} "
            f"{row['least']:9.5f} {len(row['denied']):6d}"
        )
    lines += ["", f"{'model':10} {'edge left out of the inverse':30} {'KL(q‖p)':>9} {'KL(p‖q)':>9}"]
    for row in record["edges"]:
        edge = f"{row['parent']} -> {row['child']}"
        lines.append(f"{row['model']:10} {edge:30} {row['least']:9.5f} {row['dependence']:9.5f}")
    return [*lines, "", "all in nats an example; KL(p‖q) is a conditional mutual information"]


def models() -> dict[str, LinearGaussianGraph]:
    """The tree with weights and scales of 1, and the hierarchy with weights that differ."""
    tree = binary_tree(3)
    hierarchy = DAG.from_text(_HIERARCHY)
    size = len(hierarchy.edges)
    weights = jnp.asarray(np.where(np.arange(size) % 3, 1.0, -0.6), float)
    return {
        "tree": LinearGaussianGraph.create(tree, ["z1", "z2", "z3"]),
        "hierarchy": LinearGaussianGraph.create(
            hierarchy, ["z1", "z2", "z3", "z4"], weights=weights
        ),
    }


def encoders_of(model: LinearGaussianGraph) -> dict[str, DAG]:
    """Graphs of encoders, by what they are called."""
    latents, observed = model.latents, model.observed
    nodes = [*observed, *latents]
    inverse = model.dag.faithful_inverse
    return {
        "faithful, topological": inverse(latents, observed),
        "faithful, reverse-topological": inverse(latents, observed, order="reverse-topological"),
        "edges reversed": DAG([(child, parent) for parent, child in model.dag.edges], nodes),
        "mean field": DAG([(x, z) for x in observed for z in latents], nodes),
    }


def described(model: LinearGaussianGraph, encoder: DAG) -> dict[str, Any]:
    """Its factors, what it denies, and the exact divergences of the best q."""
    verdict = check_encoder(model.dag, encoder, model.latents, model.observed)
    return {
        "factors": str(posterior_factorization(encoder, model.latents)),
        "num_edges": len(encoder.edges),
        "denied": [answer.statement for answer in verdict.denied],
        "least": model.least_divergence(encoder),
        "dependence": model.dependence(encoder),
    }


def edge_costs(model: LinearGaussianGraph) -> list[dict[str, Any]]:
    """The divergence of the best q of the faithful inverse with one edge left out, for each."""
    inverse = encoders_of(model)["faithful, topological"]
    rows = []
    for parent, child in inverse.edges:
        rest = [edge for edge in inverse.edges if edge != (parent, child)]
        encoder = DAG(rest, inverse.nodes)
        rows.append(
            {
                "parent": parent,
                "child": child,
                "least": model.least_divergence(encoder),
                "dependence": model.dependence(encoder),
            }
        )
    return rows


def trained(model: LinearGaussianGraph, encoder: DAG, key: Key[Array, ""]) -> dict[str, list[Any]]:
    """Exact divergences along a training on fresh examples, one draw of the ELBO for each.

    Sticking the landing leaves no noise at a posterior that is exact, so that the faithful ones
    arrive.

    Returns:
        step, and divergence in nats an example.
    """
    encoder_key, key = jax.random.split(key)
    model = model.with_encoder(encoder, key=encoder_key)
    objective = Objective(ELBO(), gradient=StickingTheLanding(), num_samples=1)
    optimizer = optax.adam(optax.cosine_decay_schedule(LEARNING_RATE, STEPS))
    parameters, rest = eqx.partition(model.encoder, eqx.is_inexact_array)

    def loss(parameters: Any, key: Key[Array, ""]) -> Float[Array, ""]:
        data_key, draw_key = jax.random.split(key)
        seen = model.sample(data_key, BATCH)
        xs = {name: seen[name] for name in model.observed}
        current = dataclasses.replace(model, encoder=eqx.combine(parameters, rest))
        return -jnp.mean(objective.batch(current, xs, key=draw_key))

    def step(carry: tuple, key: Key[Array, ""]) -> tuple[tuple, None]:
        parameters, state = carry
        updates, state = optimizer.update(jax.grad(loss)(parameters, key), state)
        return (optax.apply_updates(parameters, updates), state), None

    def stretch(carry: tuple, keys: Key[Array, " steps"]) -> tuple[tuple, Any]:
        carry, _ = jax.lax.scan(step, carry, keys)
        return carry, carry[0]

    keys = jax.random.split(key, (STEPS // MEASURED_EVERY, MEASURED_EVERY))
    _, passed = jax.jit(lambda carry: jax.lax.scan(stretch, carry, keys))(
        (parameters, optimizer.init(parameters))
    )
    divergences = []
    for i in range(len(keys)):
        there = eqx.combine(jax.tree.map(lambda leaf, i=i: leaf[i], passed), rest)
        divergences.append(dataclasses.replace(model, encoder=there).divergence())
    start = model.divergence()
    return {
        "step": list(range(0, STEPS + 1, MEASURED_EVERY)),
        "divergence": [start, *divergences],
    }


def _pictured(model: LinearGaussianGraph) -> dict[str, Any]:
    return {
        "edges": [list(edge) for edge in model.dag.edges],
        "latents": list(model.latents),
        "weights": np.asarray(model.weights).round(6).tolist(),
    }


def _paint_training(figure: Figure, record: dict[str, Any]) -> None:
    panels = figure.subplots(1, len(record["models"]), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, record["models"], strict=True):
        rows = [row for row in record["encoders"] if row["model"] == name]
        for row, color in zip(rows, COLORS, strict=False):
            curve = row["curve"]
            axes.plot(
                curve["step"], np.maximum(curve["divergence"], 1e-9), color=color,
                label=row["encoder"],
            )  # fmt: skip
            if row["least"] > 1e-9:
                axes.axhline(row["least"], color=color, linewidth=1, linestyle="--")
        axes.axhline(1e-3, color=EXACT, linewidth=1, linestyle=":")
        axes.set_yscale("log")
        axes.set_ylim(bottom=1e-9)
        axes.set_xlabel("steps")
        axes.set_title(name, fontsize=12, color=INK)
    panels[0].set_ylabel("KL(q‖posterior), nats an example")
    panels[0].text(0.98, 1.25e-3, "1e-3 nat", fontsize=9, color=EXACT, ha="right",
                   transform=panels[0].get_yaxis_transform())  # fmt: skip
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", ncols=len(labels),
        title="dashed: the least that the encoder's graph allows, exactly",
    )  # fmt: skip


def _paint_edges(figure: Figure, record: dict[str, Any]) -> None:
    panels = figure.subplots(1, len(record["models"]), squeeze=False)[0]
    for axes, name in zip(panels, record["models"], strict=True):
        rows = [row for row in record["edges"] if row["model"] == name]
        rows.sort(key=lambda row: -row["least"])
        for shift, field, label, color in (
            (-0.2, "least", "KL(q‖p), the ELBO's loss", COLORS[0]),
            (0.2, "dependence", "KL(p‖q), a conditional mutual information", COLORS[4]),
        ):
            values = [row[field] for row in rows]
            axes.barh(np.arange(len(rows)) + shift, values, 0.38, color=color, label=label)
        axes.set_yticks(range(len(rows)), [f"{row['parent']} → {row['child']}" for row in rows])
        axes.invert_yaxis()
        axes.set_xlabel("nats an example, at best")
        axes.set_title(f"{name}: edge left out of the inverse", fontsize=12, color=INK)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2)


draw = pictures(
    {
        "training": ((11.5, 4.8), _paint_training),
        "edges": ((11.5, 4.8), _paint_edges),
    }
)
