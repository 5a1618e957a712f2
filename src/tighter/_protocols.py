"""What a model and a posterior have and may have, with the defaults of what one lacks.

Own models derive from `ModelHooks`, own posteriors from `PosteriorHooks`. A user's need not: what
comes from one is asked through `as_model` and `as_posterior`, which answer with its own where it
has it and with the default where it doesn't. They are made where they are asked and carried
nowhere: what is differentiated, compiled, stored and given back is the user's own object.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Key, PyTree
from numpyro.distributions import Distribution, constraints

from tighter._errors import InputError

LogDensity = Callable[[Any], Array]


@runtime_checkable
class Model(Protocol):
    """What every model has, for one example x."""

    def log_joint(self, x: Any) -> LogDensity:
        """Z -> log p(x, z), a scalar in nats."""
        ...

    def posterior(self, x: Any) -> Any:
        """q(z | x)."""
        ...


@runtime_checkable
class Posterior(Protocol):
    """What an approximate posterior has: a density, and `rsample` or (without a path) `sample`.

    Any pytree with these methods is one; so is a `numpyro.distributions.Distribution` with empty
    batch shape. Its parameters are its inexact array leaves.
    """

    def log_prob(self, value: Any) -> Array:
        """Log density of one latent, a scalar in nats."""
        ...


class ModelHooks:
    """What a model may have beside `log_joint` and `posterior`, with its default.

    Attributes:
        log_joint: x -> (z -> log p(x, z)), of one example, in nats.
        posterior: x -> q(z|x), of one example.
        prior: p(z); None where there is none, or none that is known without an example.
        prior_family: The family that the prior is of; None where it is of none.
        likelihood: z -> p(x|z); None where there is none of z alone.
        log_likelihood: x -> (z -> log p(x|z)), in nats; None where it isn't known apart.
        completion: x -> `Completion`, how missing entries are filled in; None where they can't be.
        minibatch_log_joint: (xs, num_examples) -> (z -> log joint of the whole data set, estimated
            from some of it). The data set is one example then, and the bound is that of all the
            data. None where every example has latents of its own.
        takes_missing: Whether entries of x may be missing (NaN).
        origin: What is taken from examples in double precision, so that single can tell them apart;
            the model is `moved` alike.
    """

    log_joint: Callable[[Any], LogDensity]
    posterior: Callable[[Any], Any]
    prior: Any = None
    prior_family: Any = None
    likelihood: Callable[[Any], Any] | None = None
    log_likelihood: Callable[[Any], LogDensity] | None = None
    completion: Callable[[Any], Any] | None = None
    minibatch_log_joint: Callable[[Any, Any], LogDensity] | None = None
    takes_missing: bool = False
    origin: Any = 0.0

    def moved(self, by: Any) -> Any:
        """The model of examples + by, with the same densities."""
        return self

    def check_examples(self, xs: PyTree) -> None:
        """Refuse examples that the model can't explain: outside of the support of p(x|z).

        Raises:
            InputError: If they are others; that their leading axes are the same and that they are
                finite was looked at before.
        """
        _check_likelihood(self, xs)

    def in_training(self, xs: PyTree, *, key: Key[Array, ""]) -> Any:
        """Itself as one step of training sees it: statistics of the batch, dropout."""
        return self

    def after_step(self, xs: PyTree, *, key: Key[Array, ""]) -> Any:
        """Itself with the statistics that are averaged, and not trained, moved on."""
        return self

    def for_scoring(self) -> Any:
        """Itself with the posterior that log-likelihoods are to be estimated with."""
        return self


class PosteriorHooks:
    """What a posterior may have beside `log_prob`, with its default.

    Experts in turn draw from one of several densities and are weighed by their mixture.

    Attributes:
        log_prob: z -> log density, a scalar in nats.
        sample: (key, sample_shape) -> draws; None where there is `rsample`.
        rsample: The same, moving with the parameters; None where there are no such draws.
        has_rsample: Whether the draws of `rsample` carry the derivatives of all parameters.
        num_strata: What a number of draws is a multiple of; None where draws are alike.
        num_experts: Draws in a turn at most.
        turn: Draws until every expert that is there has come once.
        drawn_log_prob: z -> log density of what a draw is of; None where that is `log_prob`.
        carry: z -> z, moving as a draw of `log_prob` would, beside `drawn_log_prob`.
    """

    log_prob: Callable[[Any], Array]
    sample: Callable[..., Any] | None = None
    rsample: Callable[..., Any] | None = None
    has_rsample: bool = True
    num_strata: int | None = None
    num_experts: int = 1
    turn: Any = 1
    drawn_log_prob: Callable[[Any], Array] | None = None
    carry: Callable[[Any], Any] | None = None

    def stratum(self, index: Array) -> Any:
        """The posterior that a draw is of."""
        return self


def as_model(model: Any) -> ModelHooks:
    """Anything with `log_joint(x)` and `posterior(x)`, with the defaults of what else it lacks.

    Raises:
        InputError: With what a model is, if it is none, or with what a method of it takes.
    """
    if isinstance(model, ModelHooks):
        return model
    name_of_type = type(model).__name__
    for name, (by_place, by_name) in _CALLED_WITH.items():
        method, is_needed = _found(model, name), name in ("log_joint", "posterior")
        if is_needed and not callable(method):
            raise InputError(f"{_A_MODEL}; {name_of_type} has no {name}(x)")
        written = None if method is None else _signature_of_another(method, by_place, by_name)
        if written is not None and is_needed:
            of_class = "; make an instance of it" if isinstance(model, type) else ""
            raise InputError(f"{_A_MODEL}; got {name}{written}{of_class}")
        if written is not None:
            arguments = ", ".join(["self", *by_place, *(["*", *by_name] if by_name else [])])
            raise InputError(
                f"{name_of_type} has {name}{written}, which is called otherwise: write `def "
                f"{name}({arguments})`, or give it another name"
            )
    return _OwnModel(model)


def as_posterior(posterior: Any) -> PosteriorHooks:
    """Anything with `log_prob`, and `rsample` or `sample`, with the defaults of what it lacks.

    Raises:
        TypeError: With what a posterior is, if it is none.
    """
    if isinstance(posterior, PosteriorHooks):
        return posterior
    found = [_found(posterior, name) is not None for name in ("log_prob", "rsample", "sample")]
    if not found[0] or not any(found[1:]):
        raise TypeError(
            "a posterior has log_prob(z) and rsample(key, sample_shape) or sample(key, "
            f"sample_shape), got {type(posterior).__name__}"
        )
    return _OwnPosterior(posterior)


def prior_if_any(model: Any) -> Any | None:
    """The prior of a model; None where it has none, or none that is known without an example."""
    try:
        return as_model(model).prior
    except AttributeError:
        return None


def untrained_fields(module: Any) -> tuple[str, ...]:
    """The fields of a module, a model or a part of one, that no optimizer moves.

    It names them itself, in an attribute `untrained`: a prior's numbers, averages.
    """
    return tuple(getattr(module, "untrained", ()))


class _OfAnother:
    """What another object has comes first, and of what it lacks the default for it."""

    def __init__(self, another: Any):
        self._another = another

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_"):
            return super().__getattribute__(name)
        found = _found(self._another, name)
        if found is not None:
            return found
        default = super().__getattribute__(name)
        is_method = isinstance(default, types.MethodType)
        return types.MethodType(default.__func__, self._another) if is_method else default


class _OwnModel(_OfAnother, ModelHooks):
    """A user's model that derives from nothing of ours."""


class _OwnPosterior(_OfAnother, PosteriorHooks):
    """A user's posterior, or one of numpyro's."""


def _found(thing: Any, name: str) -> Any | None:
    """What a thing has by a name; None where it has nothing."""
    return getattr(thing, name, None)


_A_MODEL = (
    "a model has log_joint(x), which returns the function z -> log p(x, z), and posterior(x), "
    "which returns q(z|x), both of one example x"
)
# The methods of a model, and what they are called with: arguments by place, then by name.
_CALLED_WITH: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "log_joint": (("x",), ()),
    "posterior": (("x",), ()),
    "completion": (("x",), ()),
    "minibatch_log_joint": (("xs", "num_examples"), ()),
    "moved": (("by",), ()),
    "check_examples": (("xs",), ()),
    "in_training": (("xs",), ("key",)),
    "after_step": (("xs",), ("key",)),
    "for_scoring": ((), ()),
}


def _signature_of_another(
    method: Any, by_place: tuple[str, ...], by_name: tuple[str, ...]
) -> str | None:
    """How a method is written that can't be called with these arguments; None if it can."""
    if not callable(method):
        return f" = {method!r}"
    try:
        signature = inspect.signature(method)
    except ValueError:  # a builtin may have none
        return None
    try:
        signature.bind(*by_place, **dict.fromkeys(by_name))
    except TypeError:
        return str(signature)
    return None


def _check_likelihood(model: Any, xs: PyTree) -> None:
    """Refuse examples outside of the support of p(x|z), where that is the same for every z."""
    made: list[Any] = []

    def trace(x: Any) -> None:
        posterior = as_posterior(model.posterior(x))
        drawn = posterior.rsample if posterior.sample is None else posterior.sample
        made.append(model.likelihood(drawn(jax.random.key(0), ())))  # type: ignore[misc]

    try:
        dtype = jnp.result_type(float)
        jax.eval_shape(
            trace, jax.tree.map(lambda part: jax.ShapeDtypeStruct(part.shape[1:], dtype), xs)
        )
    except Exception:  # there is no likelihood of z alone, and nothing to ask
        return
    likelihood = made[0]
    if not isinstance(likelihood, Distribution) or not isinstance(xs, np.ndarray | jax.Array):
        return
    support: Any = likelihood.support
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(support)):
        return
    if likelihood.event_shape != xs.shape[1:]:
        return
    base = support
    while isinstance(base, type(constraints.independent(constraints.real, 1))):
        base = base.base_constraint
    if base is constraints.boolean:  # as everywhere, numbers in between are means of bits
        inside, within = (xs >= 0) & (xs <= 1), "0, 1 and what is between"
    else:
        inside, within = np.asarray(support(xs)), f"{base}"
    bad = ~inside.reshape(len(xs), -1).all(axis=1)
    if as_model(model).takes_missing:
        bad &= ~np.isnan(xs).reshape(len(xs), -1).any(axis=1)
    if bad.any():
        row = int(bad.argmax())
        raise InputError(
            f"the likelihood of {type(model).__name__} explains {within}, but {bad.sum()} of "
            f"{len(xs)} examples are outside, row {row} first, with numbers from "
            f"{np.min(xs[row]):g} to {np.max(xs[row]):g}: rescale the data, or take another "
            "likelihood"
        )
