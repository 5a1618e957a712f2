"""A Bayesian model written as a function, whose parameters are the latent."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Float, Key, PyTree
from numpyro.distributions import Distribution

from tighter._checks import check_above, check_counts, require
from tighter._errors import InputError
from tighter._examples import check_finite
from tighter._programs import compiled
from tighter.distributions import draw, stop_parameters
from tighter.models._families import PosteriorFamily
from tighter.models._model import LatentVariableModel
from tighter.models.bayesian.parameters import ParameterPosterior, ParameterPrior, leading_axis
from tighter.models.bayesian.peak import Distance, climb, distance, factor_of_inverse, settle
from tighter.models.bayesian.posteriors import family_from_name, initial_output

# Second derivatives of more parameters than this take longer than the fit that they start.
_MOST_CURVED = 1000
# A start that the posterior is far from is moved, with at most so many parameters.
_MOST_MOVED = 100
# Draws of which moments are taken, and ten more a parameter.
_MOMENT_DRAWS = 4000


class BayesianModel(LatentVariableModel):
    r"""$p(\theta) \prod_n p(d_n \mid \theta)$ with a posterior q(θ) over all parameters.

    The data set is the example, and θ the latent: `objective(model.log_joint(data),
    model.posterior(data), key=key)` is a bound on the log evidence of the data, and
    `log_likelihood(model, data[None], ...)` estimates it. Parameters are in the prior's own space
    everywhere; q is made from real numbers by numpyro's bijections.

    The prior is held by `fit`; arrays in `log_likelihood` (an `eqx.Module`) are trained.

    Args:
        log_likelihood: (parameters, datum) -> log p(datum | parameters), a scalar in nats. A
            likelihood that is no sum over the data takes all of it as one datum: give the data
            with a leading axis of 1.
        prior: A numpyro distribution, or a dict of them; `ImproperUniform` for a flat one.
        posterior: "mean-field", "full-rank", "low-rank:R", "student-t", "mixture:C", "flow" (the
            same as "coupling"), "masked-autoregressive" or "spline", or a family over real numbers.
        start: Parameters at which q starts; by default where the real numbers are zero.
        start_scale: q's standard deviation at the start, in the real numbers.
        key: Random key, for what a flow, a mixture or a low rank starts from.

    Raises:
        InputError: If the prior is no prior or `start` not of its shape, the family is unknown, or
            `start_scale` not finite or not above zero; by `log_joint`, if the likelihood of a datum
            is no real scalar, or reads what the prior lacks.

    Example:
        >>> model = BayesianModel(
        ...     lambda parameters, datum: dist.Normal(
        ...         datum["x"] @ parameters["slopes"], parameters["sd"]
        ...     ).log_prob(datum["y"]),
        ...     {"slopes": dist.Normal(jnp.zeros(3), 10.0), "sd": dist.HalfCauchy(2.5)},
        ...     posterior="full-rank",
        ... ).initialized_from({"x": xs, "y": ys})
        >>> tt.fit(model, {"x": xs, "y": ys}, objective, ...)

    References:
        Kucukelbir, Tran, Ranganath, Gelman & Blei, "Automatic differentiation variational
        inference", 2017; Hoffman, Blei, Wang & Paisley, "Stochastic variational inference", 2013.
    """

    untrained: ClassVar[tuple[str, ...]] = ("parameter_prior", "location", "scale")

    datum_log_likelihood: Any
    parameter_prior: ParameterPrior
    family: PosteriorFamily
    output: Float[Array, ...]
    location: Float[Array, " free"]
    scale: Float[Array, " free"] | Float[Array, "free free"]

    def __init__(
        self,
        log_likelihood: Callable[[PyTree, PyTree], Any],
        prior: PyTree,
        *,
        posterior: str | PosteriorFamily = "mean-field",
        start: PyTree = None,
        start_scale: float = 0.1,
        key: Key[Array, ""] | None = None,
    ):
        require(
            callable(log_likelihood),
            "log_likelihood is a function (parameters, datum) -> nats, got "
            f"{type(log_likelihood).__name__}",
        )
        check_above(0.0, start_scale=start_scale)
        key = jax.random.key(0) if key is None else key
        family_key, output_key = jax.random.split(key)
        self.datum_log_likelihood = log_likelihood
        self.parameter_prior = ParameterPrior(prior)
        num_free = self.parameter_prior.num_free
        self.family = family_from_name(posterior, num_free, key=family_key)
        self.output = initial_output(self.family, num_free, key=output_key)
        self.location = jnp.zeros(num_free)
        if start is not None:
            values = self.parameter_prior.checked(start, "start")
            self.location = self.parameter_prior.free(values)[0]
            require(
                jnp.all(jnp.isfinite(self.location)),
                "start lies outside of the prior's support: give one within",
            )
        self.scale = jnp.full(num_free, float(start_scale))

    def initialized_from(self, data: PyTree, *, num_steps: int = 200) -> BayesianModel:
        """The same with q at the nearest peak of the posterior density, as wide as it curves.

        q is a Gaussian there (Laplace's approximation in the real numbers), full-rank where the
        family allows. Where importance weights say that the mass is elsewhere (few groups, not
        centered) it is moved from there to where its ELBO is largest. Where no peak is found from
        the start (a funnel has none) nothing changes; a warning says so, or that the weights would
        still move a mean by half a standard deviation, or are few. Inside `jit` nothing is said.

        Args:
            data: The data, with leading axis N.
            num_steps: Newton steps at most.

        Raises:
            InputError: If there are more parameters than second derivatives can be taken of, or
                the data or the log density at the start are not finite.
        """
        num_free = self.location.size
        require(
            num_free <= _MOST_CURVED,
            f"second derivatives are taken of {_MOST_CURVED:,} parameters at most, got "
            f"{num_free:,}: leave `initialized_from` out, and give start and start_scale",
        )
        check_finite(data, "data", missing=False)
        location, scale, first, found = _at_peak(self, data, num_steps)
        at = lambda *q: eqx.tree_at(lambda model: (model.location, model.scale), self, q)  # noqa: E731
        if isinstance(first, Tracer):
            return at(location, scale)
        require(
            jnp.isfinite(first),
            f"the log density at the start is {float(first)}: give other parameters as start",
        )
        if not bool(found):
            warnings.warn(
                "no peak of the posterior density was found: q is left where it was; give other "
                "parameters as start, or see whether the posterior has one",
                stacklevel=2,
            )
            return self
        model = at(location, scale)
        off = _off(model, data)
        if off.is_large and num_free <= _MOST_MOVED:
            model = at(*_settled(model, data))
            off = _off(model, data)
        if off.is_large:
            warnings.warn(
                "the posterior is not near the Gaussian that q starts as: importance weights, "
                f"{float(off.ess):.0f} of 2,048 effective, move a mean by {float(off.shift):.2g} "
                "standard deviations; train by fit, and look at posterior_check",
                stacklevel=2,
            )
        return model

    def with_posterior(
        self, posterior: str | PosteriorFamily, *, key: Key[Array, ""]
    ) -> BayesianModel:
        """The same model with another family, which starts as wide as this q and where it is.

        A flow or a mixture learns what a Gaussian, fitted first, has left over.

        Args:
            posterior: A family or its name.
            key: Random key.

        Raises:
            InputError: If there is no such family.
        """
        family_key, output_key, draws_key = jax.random.split(key, 3)
        num_free = self.location.size
        family = family_from_name(posterior, num_free, key=family_key)
        output = initial_output(family, num_free, key=output_key)
        location, covariance = _moments(self, draws_key)
        if family.takes_any_map:
            scale = jnp.linalg.cholesky(covariance)
        else:
            scale = jnp.sqrt(jnp.diagonal(covariance))
        return eqx.tree_at(
            lambda model: (model.family, model.output, model.location, model.scale),
            self,
            (family, output, location, scale),
        )

    @property
    def prior(self) -> ParameterPrior:
        """p(θ), its own numbers held."""
        return stop_parameters(self.parameter_prior)

    def posterior(self, x: PyTree = None) -> ParameterPosterior:
        """q(θ), the same whatever the data that are given."""
        location, scale = jax.lax.stop_gradient((self.location, self.scale))
        return ParameterPosterior(
            self.family.distribution(self.output), location, scale, self.prior
        )

    def likelihood(self, z: PyTree) -> DataLikelihood:
        """p(data | θ): a density and no draws, as a function is all that is known of it."""
        return DataLikelihood(self.datum_log_likelihood, z)

    def log_likelihoods(self, parameters: PyTree, data: PyTree) -> Float[Array, " N"]:
        """Log p(datum | θ) of each datum, in nats."""
        return _of_each(self.datum_log_likelihood, parameters, data)

    def log_likelihood(self, x: PyTree) -> Callable[[PyTree], Array]:
        """The function θ -> log p(data | θ), in nats."""
        return lambda z: jnp.sum(self.log_likelihoods(z, x))

    def log_joint(self, x: PyTree) -> Callable[[PyTree], Array]:
        """The function θ -> log p(data, θ), in nats.

        Args:
            x: The data; a pytree of arrays with the same leading axis N.

        Raises:
            InputError: If the leading axes differ, or the likelihood of a datum is no scalar.
        """
        return self.minibatch_log_joint(x, None)

    def minibatch_log_joint(
        self, xs: PyTree, num_examples: int | None
    ) -> Callable[[PyTree], Array]:
        """The function θ -> log p(θ) + N/B · Σ log p(datum | θ), in nats.

        Its mean over minibatches drawn at random is the log joint of all data.

        Args:
            xs: B of the data.
            num_examples: N; None if they are all.
        """
        batch_size = leading_axis(xs, "data are arrays")
        scale = 1.0 if num_examples is None else num_examples / batch_size
        log_likelihood = self.log_likelihood(xs)
        return lambda z: self.prior.log_prob(z) + scale * log_likelihood(z)

    def draws(self, num_samples: int, *, key: Key[Array, ""]) -> PyTree:
        """Parameters from q: arrays with leading axis S.

        Raises:
            InputError: If S is no whole number of at least 1.
        """
        check_counts(num_samples=num_samples)
        return _draws(self, num_samples, key)


class DataLikelihood(eqx.Module):
    """p(data | θ) at one θ."""

    datum_log_likelihood: Any
    parameters: PyTree

    def log_prob(self, value: PyTree) -> Float[Array, ""]:
        """Log density of data with leading axis N, in nats."""
        return jnp.sum(_of_each(self.datum_log_likelihood, self.parameters, value))

    def sample(self, key: Key[Array, ""], sample_shape: tuple[int, ...] = ()) -> NoReturn:
        """There are none.

        Raises:
            InputError: Always.
        """
        raise InputError(
            "a likelihood written as a function has no draws: posterior_predictive takes a "
            "function that draws"
        )


def _of_each(log_likelihood: Any, parameters: PyTree, data: PyTree) -> Float[Array, " N"]:
    leading_axis(data, "data are arrays")
    return jax.vmap(lambda datum: _scalar(log_likelihood, parameters, datum))(data)


def _scalar(log_likelihood: Any, parameters: PyTree, datum: PyTree) -> Float[Array, ""]:
    """The function's value, refused if it is no number."""
    wanted = "log_likelihood(parameters, datum) is a scalar for one datum, got "
    try:
        value = log_likelihood(parameters, datum)
    except KeyError as error:
        if not isinstance(parameters, dict) or not error.args or error.args[0] in parameters:
            raise
        parts = f"; a datum has {', '.join(map(str, datum))}" if isinstance(datum, dict) else ""
        raise InputError(
            f"log_likelihood reads {error.args[0]!r}, and the prior has "
            f"{', '.join(map(str, parameters))}{parts}"
        ) from error
    kind = type(value).__name__
    require(
        not isinstance(value, Distribution),
        f"{wanted}the distribution {kind}: end with .log_prob(datum)",
    )
    require(
        not isinstance(value, str | None) and jax.tree_util.all_leaves([value]),
        f"{wanted}{kind}: return a number of nats",
    )
    value = jnp.asarray(value)
    require(jnp.isrealobj(value), f"{wanted}{value.dtype}: a log density is a real number")
    require(
        value.shape == (),
        f"{wanted}shape {value.shape}: sum over the datum's entries, or, if it was written for "
        "all of the data at once, give these with a leading axis of 1",
    )
    return value.astype(jnp.result_type(float, value))


@compiled
def _moments(model: BayesianModel, key: Key[Array, ""]) -> tuple[Array, Array]:
    """Mean and covariance of q in the real numbers, by draws."""
    posterior = model.posterior()
    keys = jax.random.split(key, _MOMENT_DRAWS + 10 * model.location.size)
    free = jax.vmap(lambda key: posterior.free(draw(posterior.base, key=key)))(keys)
    # About the mean, as large numbers that vary little would lose their digits in squares.
    location = model.location + jnp.mean(free - model.location[None], axis=0)
    centered = free - location[None]
    return location, centered.T @ centered / len(keys)


@compiled
def _draws(model: BayesianModel, num_samples: int, key: Key[Array, ""]) -> PyTree:
    return model.posterior().rsample(key, (num_samples,))


def _log_density(model: BayesianModel, data: PyTree) -> Callable[[Array], Array]:
    """Log p(data, θ) of the real numbers that θ is made from, in nats."""
    log_joint, prior = model.log_joint(data), model.prior

    def log_density(free: Array) -> Array:
        parameters, log_det = prior.constrained(free)
        return log_joint(parameters) + log_det

    return log_density


@compiled
def _at_peak(
    model: BayesianModel, data: PyTree, num_steps: int
) -> tuple[Array, Array, Array, Array]:
    """Location and scale of Laplace's approximation; log density at the start; if it is a peak."""
    log_density = _log_density(model, data)
    peak = climb(log_density, model.location, num_steps=num_steps)
    if model.family.takes_any_map:
        now = jnp.diag(model.scale) if model.scale.ndim == 1 else model.scale
        curved = factor_of_inverse(peak.precision)
    else:
        now = model.scale
        curved = jax.lax.rsqrt(jnp.diagonal(peak.precision))
    location = jnp.where(peak.found, peak.location, model.location)
    scale = jnp.where(peak.found, curved, now)
    return location, scale, log_density(model.location), peak.found


@compiled
def _settled(model: BayesianModel, data: PyTree) -> tuple[Array, Array]:
    """Location and scale of the Gaussian of the largest ELBO near q."""
    diagonal, log_density = model.scale.ndim == 1, _log_density(model, data)
    location, factor = settle(log_density, model.location, _factor(model), diagonal=diagonal)
    return location, jnp.diagonal(factor) if diagonal else factor


@compiled
def _off(model: BayesianModel, data: PyTree) -> Distance:
    """How far the posterior is from the Gaussian of q's location and scale."""
    return distance(_log_density(model, data), model.location, _factor(model))


def _factor(model: BayesianModel) -> Float[Array, "free free"]:
    return jnp.diag(model.scale) if model.scale.ndim == 1 else model.scale
