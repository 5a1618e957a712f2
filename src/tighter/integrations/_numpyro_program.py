"""A numpyro model and guide as functions of parameters, a key and draws: log p and log q a block.

A guide's sites are of two kinds. Random ones are the latents, with log q. Point masses
(`AutoDelta`'s sites, and those that an autoguide computes from its `_auto_latent`) are functions of
latents and parameters, with their log density (a Jacobian) on the model's side: so the parameters
of such a function are the model's, for any estimator.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import random
from jax.lax import stop_gradient
from jaxtyping import Array
from numpyro.handlers import replay, seed, substitute, trace
from numpyro.ops.provenance import eval_provenance
from numpyro.primitives import Messenger
from numpyro.util import check_model_guide_match

from tighter._errors import InputError
from tighter.distributions import check_fixed_support, stop_parameters
from tighter.integrations._numpyro_sites import (
    Blocks,
    Latents,
    Parts,
    Run,
    Site,
    base_of,
    is_in,
    is_point_mass,
    latent_sites,
    log_prob,
    random_sites,
    sampled_sites,
    values_of,
    warn_of_unplated,
)

Parameters = Mapping[str, Any]


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


class Led(NamedTuple):
    """One draw that went to the densities with derivatives of its own.

    Attributes:
        log_model: log p of the model's sites less that of the guide's point masses.
        log_guide: log q with its parameters held.
        log_density: log q of the draw held fixed, with its parameters' derivatives.
        mutable: Values at `numpyro.mutable` sites.
    """

    log_model: Parts
    log_guide: Parts
    log_density: Parts
    mutable: dict[str, Any]


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
        return values_of(random_sites(self._guide(parameters, key, given)))

    def draw_outside(self, parameters: Parameters, key: Array) -> Latents:
        """The guide's random sites outside the plate, at one draw."""
        sites = random_sites(self._guide(parameters, key))
        return values_of([site for site in sites if not is_in(site, {self.plate})])

    def log_guide(
        self, parameters: Parameters, key: Array, latents: Latents, blocks: Blocks
    ) -> Parts:
        """Log q of given latents, in nats."""
        sites = random_sites(self._guide(parameters, key, latents))
        return blocks.total(sites, [log_prob(site) for site in sites])

    def is_factorized(self, parameters: Parameters, key: Array) -> bool:
        """Whether the guide's sites all are random, of distributions that no draw is part of.

        And whether the distributions are all that their log densities take of the parameters: not
        so of a flow whose network is a closure, which could not be held.
        """
        parameters = jax.tree.map(jnp.asarray, dict(parameters))
        guide = self._guide(parameters, key)
        if any(site["is_observed"] or is_point_mass(site["fn"]) for site in sampled_sites(guide)):
            return False
        if _mutable(guide):  # the model may read there what was made of a draw
            return False
        sites = random_sites(guide)
        latents = values_of(sites)
        leaves = [_floating(site["fn"]) for site in sites]

        def traced(parameters: Parameters, latents: Latents, leaves: Any, values: Latents) -> Any:
            sites = random_sites(self._guide(parameters, key, latents))
            held = [
                {**_at(site, values[site["name"]]), "fn": _with_floating(site["fn"], arrays)}
                for site, arrays in zip(sites, leaves, strict=True)
            ]
            return [_floating(site["fn"]) for site in sites], [log_prob(site) for site in held]

        of_leaves, of_densities = eval_provenance(
            traced, parameters=parameters, latents=latents, leaves=leaves, values=latents
        )
        coupled = any("latents" in names for names in jax.tree.leaves(of_leaves))
        hidden = any("parameters" in names for names in jax.tree.leaves(of_densities))
        return not coupled and not hidden

    def check_fixed_support(self, parameters: Parameters, key: Array, estimator: str) -> None:
        """Refuse derivatives by what moves the support of a random site, given those before it.

        Raises:
            TypeError: When one is taken.
        """
        with _Held():
            guide = self._guide(parameters, key)
        for site in random_sites(guide):
            check_fixed_support(site["fn"], estimator)

    def led(
        self,
        parameters: Parameters,
        key: Array,
        lead: Callable[[Latents], tuple[Latents, Any]],
        blocks: Blocks,
        *,
        latents: Latents | None = None,
        given: Latents | None = None,
        factorized: bool = False,
    ) -> tuple[Led, Any]:
        """One draw led through a function on its way to every density, and what else that gives.

        Args:
            parameters: Values of the parameters.
            key: The draw's key.
            lead: Latents -> the same with other derivatives, and anything.
            blocks: Of the program.
            latents: The draw, if it has been drawn.
            given: Some of its latents.
            factorized: Whether the guide is; then it runs once, and otherwise once for each of
                draw, log p and log q.
        """
        held = stop_gradient(dict(parameters))
        if factorized and latents is None:
            guide = self._guide(parameters, key, given)
            drawn = values_of(random_sites(guide))
            values, other = lead(drawn)
            moved = {name: _at(guide[name], value) for name, value in values.items()}
            held_sites = [{**site, "fn": stop_parameters(site["fn"])} for site in moved.values()]
            log_guide = blocks.total(held_sites, [log_prob(site) for site in held_sites])
            fixed = [_at(guide[name], stop_gradient(z)) for name, z in drawn.items()]
            log_density = blocks.total(fixed, [log_prob(site) for site in fixed])
            guide.update(moved)
            model, mutable = self._model(parameters, key, guide)
            return Led(_log_model(model, guide, blocks), log_guide, log_density, mutable), other
        drawn = self.draw(parameters, key, given) if latents is None else latents
        values, other = lead(drawn)
        densities, _ = self.densities(parameters, key, values)
        log_guide = self.log_guide(held, key, values, blocks)
        log_density = self.log_guide(parameters, key, stop_gradient(drawn), blocks)
        return Led(densities.log_model, log_guide, log_density, densities.mutable), other

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
        for site in sampled_sites(model) + random_sites(guide):
            warn_of_unplated(site)
        blocks = self._blocks(model, guide)
        sites = random_sites(guide)
        log_guide = blocks.total(sites, [log_prob(site) for site in sites])
        log_model = _log_model(model, guide, blocks)
        return Densities(log_model, log_guide, values_of(sites), mutable), blocks

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
        for site in latent_sites(model):
            if site["name"] not in guide:
                raise InputError(
                    f"the model draws the site {site['name']!r} and the guide does not: add it to "
                    "the guide, observe it, or sum it out in the model (it is not enumerated)"
                )
        for site in random_sites(guide):
            if self.path_needed_by and not site["fn"].has_rsample:
                raise TypeError(
                    f"{self.path_needed_by} differentiates through the draws, and the guide's site "
                    f"{site['name']!r} ({type(base_of(site['fn'])).__name__}) has no "
                    "reparameterized ones: use VIMCO or ScoreFunction"
                )

    def _blocks(self, model: Run, guide: Run) -> Blocks:
        sites = sampled_sites(model) + sampled_sites(guide)
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
            if len(frames) != 1 or not any(
                is_in(site, {self.plate}) for site in random_sites(guide)
            ):
                raise InputError(
                    f"no random site of the guide is in the plate {self.plate!r}, or it has two "
                    "dimensions: name the plate that the local latents are in, in model and guide"
                )
        plates = frozenset(frame.name for frame in frames)
        return Blocks(
            plates,
            {frame.dim: frame.size for frame in sorted(frames, key=lambda frame: frame.dim)},
            math.prod((scales[name] for name in plates), start=1.0),
            {s["name"]: s["fn"].event_dim for s in random_sites(guide) if is_in(s, plates)},
            tuple(name for name, scale in scales.items() if scale != 1 and name not in plates),
        )


class _Held(Messenger):
    """No derivative passes a random site's value."""

    def postprocess_message(self, msg: Any) -> None:
        if msg["type"] == "sample" and not msg["is_observed"]:
            msg["value"] = stop_gradient(msg["value"])


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
    of_model = sampled_sites(model)
    # Observed sites of a guide are on this side too: they are no draws.
    of_guide = [
        site for site in sampled_sites(guide) if site["is_observed"] or is_point_mass(site["fn"])
    ]
    log_probs = [log_prob(site) for site in of_model] + [-log_prob(site) for site in of_guide]
    return blocks.total(of_model + of_guide, log_probs)


def _mutable(run: Run) -> dict[str, Any]:
    return {name: site["value"] for name, site in run.items() if site["type"] == "mutable"}


def _at(site: Site, value: Array) -> Site:
    """The site with another value."""
    return {**site, "value": value, "intermediates": []}


def _floating(distribution: Any) -> list[Array]:
    """The arrays that a derivative can go to."""
    return [leaf for leaf in jax.tree.leaves(distribution) if eqx.is_inexact_array(leaf)]


def _with_floating(distribution: Any, arrays: list[Array]) -> Any:
    """The distribution with other ones."""
    given = iter(arrays)
    leaves, structure = jax.tree.flatten(distribution)
    return jax.tree.unflatten(
        structure, [next(given) if eqx.is_inexact_array(leaf) else leaf for leaf in leaves]
    )
