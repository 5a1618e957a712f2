"""What a bound hides, and which bound and estimator to take: measured on the user's model."""

from tighter.diagnostics.calibration import Calibration, simulation_based_calibration
from tighter.diagnostics.compare import Comparison, compare
from tighter.diagnostics.gaps import InferenceGaps, inference_gaps
from tighter.diagnostics.gradient_noise import GradientNoise, gradient_noise
from tighter.diagnostics.importance_posterior import (
    ImportanceWeightedPosterior,
    importance_weighted_posterior,
)
from tighter.diagnostics.surgery import ElboSurgery, elbo_surgery
from tighter.diagnostics.topics import c_v, npmi, topic_diversity
from tighter.diagnostics.units import (
    ActiveUnits,
    AggregatedPosterior,
    active_units,
    aggregated_posterior,
)
from tighter.evaluation.sandwich import Sandwich, sandwich

__all__ = [
    "ActiveUnits",
    "AggregatedPosterior",
    "Calibration",
    "Comparison",
    "ElboSurgery",
    "GradientNoise",
    "ImportanceWeightedPosterior",
    "InferenceGaps",
    "Sandwich",
    "active_units",
    "aggregated_posterior",
    "c_v",
    "compare",
    "elbo_surgery",
    "gradient_noise",
    "importance_weighted_posterior",
    "inference_gaps",
    "npmi",
    "sandwich",
    "simulation_based_calibration",
    "topic_diversity",
]
