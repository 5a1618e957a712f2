"""Bounds on log p(x): arithmetic on K log weights, in nats, larger is better."""

from tighter.bounds.bound import Bound, Custom, Side, as_bound
from tighter.bounds.combination import Combination, Grouped
from tighter.bounds.f_divergence import FDivergence
from tighter.bounds.jackknife import Jackknife
from tighter.bounds.power_means import CUBO, ELBO, IWAE, Renyi
from tighter.bounds.table import BOUNDS, bound_from_name
from tighter.bounds.thermodynamic import Thermodynamic

__all__ = [
    "BOUNDS",
    "CUBO",
    "ELBO",
    "IWAE",
    "Bound",
    "Combination",
    "Custom",
    "FDivergence",
    "Grouped",
    "Jackknife",
    "Renyi",
    "Side",
    "Thermodynamic",
    "as_bound",
    "bound_from_name",
]
