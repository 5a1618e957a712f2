"""Sites of a numpyro program's run, and their log densities summed by block."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Collection
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array
from numpyro.distributions.util import is_identically_one

Latents = dict[str, Array]
Site = dict[str, Any]
Run = Any  # numpyro's trace: name -> site


class Parts(NamedTuple):
    """Log densities, summed.

    Attributes:
        outside: Of the sites outside the blocks' plates, a scalar.
        inside: Of those inside, a number a block, for one datum of each.
    """

    outside: Array
    inside: Array


@dataclasses.dataclass(frozen=True)
class Blocks:
    """Plates whose elements are data with a bound each.

    Attributes:
        plates: Names of the plates.
        sizes: Dimension (negative, as numpyro counts) -> size, the leftmost dimension first.
        scale: How many data of the whole data set one in these plates stands for.
        event_dims: Of each random site of the guide that is in the plates.
        subsampled: Names of the other plates that are subsampled.
    """

    plates: frozenset[str]
    sizes: dict[int, int]
    scale: float
    event_dims: dict[str, int]
    subsampled: tuple[str, ...]

    def total(self, sites: list[Site], log_probs: list[Array]) -> Parts:
        """The sites' log densities, summed."""
        outside, inside = jnp.zeros(()), jnp.zeros(tuple(self.sizes.values()))
        for site, log_prob in zip(sites, log_probs, strict=True):
            if is_in(site, self.plates):
                ndim = jnp.ndim(log_prob)
                axes = tuple(axis for axis in range(ndim) if axis - ndim not in self.sizes)
                inside = inside + jnp.sum(log_prob, axis=axes)
            else:
                outside = outside + jnp.sum(log_prob)
        return Parts(outside, inside / self.scale)

    def beside(self, values: Array, name: str, z: Array) -> Array:
        """One value a block, with the axes of a site's draw, to be broadcast against it."""
        event_dim = self.event_dims[name]
        batch = [1] * (z.ndim - event_dim)
        for dim, size in self.sizes.items():
            batch[dim] = size
        return values.reshape(*batch, *[1] * event_dim)


def log_prob(site: Site) -> Array:
    arguments = (site["value"], *([site["intermediates"]] if site["intermediates"] else []))
    try:
        log_prob = site["fn"].log_prob(*arguments)
    except NotImplementedError as error:
        raise TypeError(
            f"log q of a given draw of {site['name']!r} can't be told ({error}): use "
            "Reparameterized()"
        ) from error
    scale = site["scale"]
    return log_prob if scale is None or is_identically_one(scale) else scale * log_prob


def warn_of_unplated(site: Site) -> None:
    """Warn of an axis that no plate is at, though others are: values (N, 1) in a plate of N are N².

    So too, without plates, where distribution and values each repeat along the other's axes. A
    `scan`'s own axis, the leftmost, needs no plate.
    """
    of_values = jnp.shape(site["value"])[: jnp.ndim(site["value"]) - len(site["fn"].event_shape)]
    batch = jnp.broadcast_shapes(site["fn"].batch_shape, of_values)
    plates = {frame.dim for frame in site["cond_indep_stack"]}
    known = plates | ({-len(batch)} if site.get("_control_flow_done", False) else set())
    repeated = batch not in (tuple(site["fn"].batch_shape), of_values)
    dims = [dim for dim in range(-len(batch), 0) if batch[dim] > 1 and dim not in known]
    if dims and (plates or repeated):
        warnings.warn(
            f"no plate is at the batch dimension {dims[-1]} of the site {site['name']!r}, whose "
            f"log density has shape {batch}, all of which is summed: give values of the plates' "
            "shape, (N,) and not (N, 1), or write .to_event() or a plate for the rest",
            stacklevel=2,
        )


def sampled_sites(run: Run) -> list[Site]:
    return [site for site in run.values() if site["type"] == "sample"]


def latent_sites(run: Run) -> list[Site]:
    return [site for site in sampled_sites(run) if not site["is_observed"]]


def random_sites(guide: Run) -> list[Site]:
    return [site for site in latent_sites(guide) if not is_point_mass(site["fn"])]


def values_of(sites: list[Site]) -> Latents:
    return {site["name"]: site["value"] for site in sites}


def is_in(site: Site, plates: Collection[str | None]) -> bool:
    return set(plates) <= {frame.name for frame in site["cond_indep_stack"]}


def is_point_mass(distribution: Any) -> bool:
    return isinstance(base_of(distribution), dist.Delta)


def base_of(distribution: Any) -> Any:
    while isinstance(
        distribution, dist.Independent | dist.ExpandedDistribution | dist.MaskedDistribution
    ):
        distribution = distribution.base_dist
    return distribution
