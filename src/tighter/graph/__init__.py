"""Directed acyclic graphs: what depends on what, why, and what an encoder must look like."""

from tighter.graph.agreement import Check, PartialCorrelation, check_table, partial_correlation
from tighter.graph.dag import DAG
from tighter.graph.encoder import (
    Factor,
    Factorization,
    Faithfulness,
    check_encoder,
    posterior_factorization,
)
from tighter.graph.equivalence import EquivalenceClass
from tighter.graph.explanation import Junction, Path, Separation
from tighter.graph.independence import Independence
from tighter.graph.plates import Plate

__all__ = [
    "DAG",
    "Check",
    "EquivalenceClass",
    "Factor",
    "Factorization",
    "Faithfulness",
    "Independence",
    "Junction",
    "PartialCorrelation",
    "Path",
    "Plate",
    "Separation",
    "check_encoder",
    "check_table",
    "partial_correlation",
    "posterior_factorization",
]
