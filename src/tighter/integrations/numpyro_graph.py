"""The graph of a numpyro model: its sites, and what each is drawn given."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
from jaxtyping import Array
from numpyro.handlers import seed, substitute, trace
from numpyro.infer import init_to_sample
from numpyro.ops.provenance import eval_provenance
from numpyro.primitives import Messenger

from tighter._errors import InputError
from tighter.graph import DAG, Plate
from tighter.integrations._numpyro_sites import is_point_mass


class ProgramGraph(NamedTuple):
    """A numpyro model's graph, and what its nodes are.

    Attributes:
        dag: A node a random site, plates not written out; `dag.unrolled(*plates)` writes them out.
        latents: Sites that are drawn.
        observed: Sites with a value, `numpyro.factor` among them.
        plates: The plates, each with its sites.
    """

    dag: DAG
    latents: tuple[str, ...]
    observed: tuple[str, ...]
    plates: tuple[Plate, ...]

    @property
    def unrolled(self) -> ProgramGraph:
        """The same with every plate written out: z[0], z[1], … for a site z in a plate."""

        def copies(sites: tuple[str, ...]) -> tuple[str, ...]:
            alone = DAG([], sites)
            within = ([site for site in plate.nodes if site in sites] for plate in self.plates)
            plates = [Plate(held, p.size) for held, p in zip(within, self.plates, strict=True)]
            return tuple(map(str, alone.unrolled(*plates).nodes))

        dag = self.dag.unrolled(*self.plates)
        return ProgramGraph(dag, copies(self.latents), copies(self.observed), ())


def graph_of(model: Callable[..., Any], *args: Any, **kwargs: Any) -> DAG:
    """The graph of a numpyro model; `program_graph` says besides what is observed, and the plates.

    Args:
        model: The model.
        args: Its positional arguments.
        kwargs: Its keyword arguments.

    Returns:
        A node a random site, plates not written out.

    Raises:
        InputError: If the model has no random site, or a site inside numpyro's control flow; if it
            branches by a value that is drawn.
    """
    return program_graph(model, *args, **kwargs).dag


def program_graph(model: Callable[..., Any], *args: Any, **kwargs: Any) -> ProgramGraph:
    """The graph of a numpyro model, by following its values: nothing is drawn or computed.

    A site depends on those whose values its log density is computed from. Values that are computed
    without chance (`deterministic`, point masses) are no nodes, and are passed through. Unlike
    `numpyro.infer.inspect.get_dependencies` it has the dependence on observed sites too, where the
    model goes on with what `numpyro.sample` returned. Plates are taken at their word: what is in
    one depends on its own copy of what is in it too.

    Args:
        model: The model.
        args: Its positional arguments.
        kwargs: Its keyword arguments.

    Raises:
        InputError: If the model has no random site, or a site inside numpyro's control flow; if it
            branches by a value that is drawn.

    Example:
        >>> program = program_graph(model, data)
        >>> program.dag.faithful_inverse(program.latents, program.observed)
    """
    with _following():
        values, sites = _values(model, args, kwargs)
    if not sites:
        raise InputError("the model has no random site: there is no graph of it")

    def log_densities(**values: Array) -> dict[str, Array]:
        with trace() as run, seed(rng_seed=0), _Given(values):
            model(*args, **kwargs)
        return {name: run[name]["fn"].log_prob(run[name]["value"]) for name in values}

    with _following():
        found = eval_provenance(log_densities, **values)
    order = {name: i for i, name in enumerate(sites)}
    edges = [
        (parent, child)
        for child in sites
        for parent in sorted(found[child] - {child}, key=order.__getitem__)
    ]
    plates: dict[str, tuple[list[str], int]] = {}
    for name, site in sites.items():
        for plate, size in site.plates.items():
            plates.setdefault(plate, ([], size))[0].append(name)
    return ProgramGraph(
        DAG(edges, sites),
        tuple(name for name, site in sites.items() if not site.observed),
        tuple(name for name, site in sites.items() if site.observed),
        tuple(Plate(held, size) for held, size in plates.values()),
    )


@contextlib.contextmanager
def _following() -> Iterator[None]:
    """Say in one line that a model's course hangs on a value that is drawn."""
    try:
        yield
    except (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError):
        raise InputError(
            "the model does one thing or another by a value that is drawn (`if z > 0`), and so has "
            "no one graph: choose between values by jnp.where"
        ) from None


class _Site(NamedTuple):
    """What there is to know of a site beside its value."""

    observed: bool
    plates: dict[str, int]


class _Given(Messenger):
    """Every random site has these values, observed ones too, so that all can be followed."""

    def __init__(self, values: Mapping[str, Array]) -> None:
        self.values = values
        super().__init__()

    def process_message(self, msg: Any) -> None:
        if msg["type"] == "control_flow":
            raise InputError(
                "sites inside numpyro's scan or cond have no names of their own: write the steps "
                "as a Python loop, a few of them will do"
            )
        if msg["type"] == "sample" and msg["name"] in self.values:
            msg["value"] = self.values[msg["name"]]


def _values(
    model: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, _Site]]:
    """Shapes of the random sites' values, and the sites, in the model's order."""
    sites: dict[str, _Site] = {}

    def run() -> dict[str, Any]:
        drawn = substitute(seed(model, 0), substitute_fn=init_to_sample)
        with _Given({}):
            found = trace(drawn).get_trace(*args, **kwargs)
        random = {
            name: site
            for name, site in found.items()
            if site["type"] == "sample" and (site["is_observed"] or not is_point_mass(site["fn"]))
        }
        for name, site in random.items():
            plates = {frame.name: frame.size for frame in site["cond_indep_stack"]}
            sites[name] = _Site(bool(site["is_observed"]), plates)
        return {name: site["value"] for name, site in random.items()}

    return jax.eval_shape(run), sites
