"""A numpyro model and guide as functions of parameters, a key and draws: log p and log q a block.

A guide's sites are of two kinds. Random ones are the latents, with log q. Point masses
(`AutoDelta`'s sites, and those that an autoguide computes from its `_auto_latent`) are functions of
latents and parameters, with their log density (a Jacobian) on the model's side: so the parameters
of such a function are the model's, for any estimator.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpyro.distributions as dist
from jax import random
from jaxtyping import Array
from numpyro.distributions.util import is_identically_one
from numpyro.handlers import replay, seed, substitute, trace
from numpyro.primitives import Messenger
from numpyro.util import check_model_guide_match

from tighter._errors import InputError

Latents = dict[str, Array]
Parameters = Mapping[str, Any]
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


class Densities(NamedTuple):
    """One draw from the guide.

    Attributes:
        log_model: log p of the model's sites less that of the guide's point masses.
        log_guide: log q of the guide's random sites.
        latents: Values at the guide's random sites.
        mutable: Values at `numpyro.mutable` sites.
    """

    log_model: Parts
    log_guide: Parts
    latents: Latents
    mutable: dict[str, Any]


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
            if _is_in(site, self.plates):
                ndim = jnp.ndim(log_prob)
                axes = tuple(axis for axis in range(ndim) if axis - ndim not in self.sizes)
                inside = inside + jnp.sum(log_prob, axis=axes)
            else:
                outside = outside + jnp.sum(log_prob)
        return Parts(outside, inside / self.scale)

    def beside(self, values: Array, name: str, draws: Array) -> Array:
        """One value a block, after a leading axis of draws, in the shape of a site's draws."""
        event_dim = self.event_dims[name]
        batch = [1] * (draws.ndim - 1 - event_dim)
        for dim, size in self.sizes.items():
            batch[dim] = size
        num = values.shape[0]
        spread = values.reshape(num, *batch, *[1] * event_dim)
        return jnp.broadcast_to(spread, (num, *draws.shape[1:]))


@dataclasses.dataclass(frozen=True)
class Program:
    """Model and guide with their arguments.

    A key is split into the model's and the guide's as numpyro does. What else than its latents a
    run draws (subsamples, `numpyro.prng_key`) is the same for the same key, whether its latents
    are drawn or given.

    Attributes:
        model: A numpyro model.
        guide: Its guide.
        args: Positional arguments of both.
        kwargs: Keyword arguments of both.
        path_needed_by: Name of the estimator, if it differentiates through draws.
        plate: Name of the plate whose elements are the blocks; None for all plates that every
            site is in.
    """

    model: Callable[..., Any]
    guide: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    path_needed_by: str | None
    plate: str | None = None

    def with_plates(self, key: Array) -> Program:
        """The same with subsamples that are those of this key for every draw."""
        hidden = ["sample", "prng_key", "control_flow"]
        model, guide = (seed(f, key, hide_types=hidden) for f in (self.model, self.guide))
        return dataclasses.replace(self, model=model, guide=guide)

    def draw(self, parameters: Parameters, key: Array, given: Latents | None = None) -> Latents:
        """The guide's random sites at one draw, some of them given."""
        return _values(_random(self._guide(parameters, key, given)))

    def draw_outside(self, parameters: Parameters, key: Array) -> Latents:
        """The guide's random sites outside the plate, at one draw."""
        sites = _random(self._guide(parameters, key))
        return _values([site for site in sites if not _is_in(site, {self.plate})])

    def log_guide(
        self, parameters: Parameters, key: Array, latents: Latents, blocks: Blocks
    ) -> Parts:
        """Log q of given latents, in nats."""
        sites = _random(self._guide(parameters, key, latents))
        return blocks.total(sites, [_log_prob(site) for site in sites])

    def log_model(
        self, parameters: Parameters, key: Array, latents: Latents, blocks: Blocks
    ) -> Parts:
        """Log p of given latents less log densities of point masses, in nats."""
        guide = self._guide(parameters, key, latents)
        model, _ = self._model(parameters, key, guide)
        return _log_model(model, guide, blocks)

    def densities(
        self, parameters: Parameters, key: Array, given: Latents | None = None
    ) -> tuple[Densities, Blocks]:
        """Both at one draw, some of its latents given; and what the blocks are.

        Raises:
            InputError: If the model draws a site that the guide has not.
            TypeError: If the estimator needs a path that a site's draws don't have.
        """
        guide = self._guide(parameters, key, given)
        model, mutable = self._model(parameters, key, guide)
        self._check(model, guide)
        check_model_guide_match(model, guide)
        blocks = self._blocks(model, guide)
        sites = _random(guide)
        log_guide = blocks.total(sites, [_log_prob(site) for site in sites])
        log_model = _log_model(model, guide, blocks)
        return Densities(log_model, log_guide, _values(sites), mutable), blocks

    def _guide(self, parameters: Parameters, key: Array, latents: Latents | None = None) -> Run:
        guide_key = random.split(key)[1]
        guide = substitute(seed(self.guide, guide_key), data=dict(parameters))
        with _Given(latents or {}):
            return trace(guide).get_trace(*self.args, **self.kwargs)

    def _model(self, parameters: Parameters, key: Array, guide: Run) -> tuple[Run, dict[str, Any]]:
        model_key = random.split(key)[0]
        mutable = _mutable(guide)
        replayed = replay(seed(self.model, model_key), guide)
        substituted = substitute(replayed, data={**parameters, **mutable})
        model = trace(substituted).get_trace(*self.args, **self.kwargs)
        return model, {**mutable, **_mutable(model)}

    def _check(self, model: Run, guide: Run) -> None:
        for site in _latent(model):
            if site["name"] not in guide:
                raise InputError(
                    f"the model draws the site {site['name']!r} and the guide does not: add it to "
                    "the guide, observe it, or sum it out in the model (it is not enumerated)"
                )
        for site in _random(guide):
            if self.path_needed_by and not site["fn"].has_rsample:
                raise TypeError(
                    f"{self.path_needed_by} differentiates through the draws, and the guide's site "
                    f"{site['name']!r} ({type(_base(site['fn'])).__name__}) has no "
                    "reparameterized ones: use VIMCO or ScoreFunction"
                )

    def _blocks(self, model: Run, guide: Run) -> Blocks:
        sites = _samples(model) + _samples(guide)
        frames = [set(site["cond_indep_stack"]) for site in sites]
        scales = {
            site["name"]: site["args"][0] / site["value"].shape[0]
            for site in [*guide.values(), *model.values()]
            if site["type"] == "plate"
        }
        if self.plate is None:
            common = set.intersection(*frames) if frames else set()
            frames = {frame for frame in common if frame.name in scales}
        else:
            frames = {frame for frame in set.union(*frames) if frame.name == self.plate}
            if len(frames) != 1 or not any(_is_in(site, {self.plate}) for site in _random(guide)):
                raise InputError(
                    f"no random site of the guide is in the plate {self.plate!r}, or it has two "
                    "dimensions: name the plate that the local latents are in, in model and guide"
                )
        plates = frozenset(frame.name for frame in frames)
        return Blocks(
            plates,
            {frame.dim: frame.size for frame in sorted(frames, key=lambda frame: frame.dim)},
            math.prod((scales[name] for name in plates), start=1.0),
            {s["name"]: s["fn"].event_dim for s in _random(guide) if _is_in(s, plates)},
            tuple(name for name, scale in scales.items() if scale != 1 and name not in plates),
        )


class _Given(Messenger):
    """Random sites get these values, after their draws: so keys are used as without it."""

    def __init__(self, latents: Latents) -> None:
        self.latents = latents
        super().__init__()

    def process_message(self, msg: Any) -> None:
        if msg["type"] == "control_flow" and self.latents:
            held = {"type": "sample", "is_observed": False, "infer": {}}
            sites = {name: {**held, "name": name, "value": z} for name, z in self.latents.items()}
            msg["kwargs"]["substitute_stack"].append(("replay", sites))

    def postprocess_message(self, msg: Any) -> None:
        if msg["type"] == "sample" and msg["name"] in self.latents:
            msg["value"] = self.latents[msg["name"]]
            msg["intermediates"] = []


def _log_model(model: Run, guide: Run, blocks: Blocks) -> Parts:
    of_model = _samples(model)
    # Observed sites of a guide are on this side too: they are no draws.
    of_guide = [
        site for site in _samples(guide) if site["is_observed"] or _is_point_mass(site["fn"])
    ]
    log_probs = [_log_prob(site) for site in of_model] + [-_log_prob(site) for site in of_guide]
    return blocks.total(of_model + of_guide, log_probs)


def _log_prob(site: Site) -> Array:
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


def _samples(run: Run) -> list[Site]:
    return [site for site in run.values() if site["type"] == "sample"]


def _latent(run: Run) -> list[Site]:
    return [site for site in _samples(run) if not site["is_observed"]]


def _random(guide: Run) -> list[Site]:
    return [site for site in _latent(guide) if not _is_point_mass(site["fn"])]


def _values(sites: list[Site]) -> Latents:
    return {site["name"]: site["value"] for site in sites}


def _mutable(run: Run) -> dict[str, Any]:
    return {name: site["value"] for name, site in run.items() if site["type"] == "mutable"}


def _is_in(site: Site, plates: Collection[str | None]) -> bool:
    return set(plates) <= {frame.name for frame in site["cond_indep_stack"]}


def _is_point_mass(distribution: Any) -> bool:
    return isinstance(_base(distribution), dist.Delta)


def _base(distribution: Any) -> Any:
    while isinstance(
        distribution, dist.Independent | dist.ExpandedDistribution | dist.MaskedDistribution
    ):
        distribution = distribution.base_dist
    return distribution
