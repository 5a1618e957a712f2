"""The path from a start to p(x, z), and what moves a chain along it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key, PyTree
from numpyro.distributions import Distribution, biject_to

from tighter._errors import InputError
from tighter._extras import check_installed
from tighter._protocols import Posterior
from tighter._rows import check_scalar
from tighter.distributions import Chain, name_of


class Path(eqx.Module):
    r"""From q(z) to p(x, z) for one example, $\log f_\beta = (1 - \beta) \log q + \beta \log p$.

    A position is z itself, or where q's support is constrained (positive, a simplex, ...) what
    numpyro's `biject_to` makes it of; $f_\beta$ is a density of positions.

    Attributes:
        x: The example.
        log_joint: z -> log p(x, z), in nats.
        start: q, normalized.
        spread: Half of the range of the middle 68 % of q's draws, for each number of a position.
    """

    x: PyTree
    log_joint: Callable[[Any], Array]
    start: Any
    spread: PyTree

    def log_density(self, position: PyTree, temperature: Float[Array, ""]) -> Float[Array, ""]:
        """Log f_β of a position at β = `temperature`, in nats."""
        log_start, log_ratio = self._parts(position)
        # At β = 0 a ratio that is not finite has no say.
        return log_start + jnp.where(temperature == 0, 0, temperature * log_ratio)

    def log_ratio(self, position: PyTree) -> Float[Array, ""]:
        """The derivative of log f_β with respect to β: log p(x, z) − log q(z), in nats."""
        return self._parts(position)[1]

    def _parts(self, position: PyTree) -> tuple[Float[Array, ""], Float[Array, ""]]:
        z, log_determinant = _from_reals(self.start, position)
        log_joint = check_scalar(self.log_joint(z), "log_joint(z)", "sum the log densities")
        log_start = check_scalar(self.start.log_prob(z), "log_prob(z)", "write .to_event()")
        return log_start + log_determinant, log_joint - log_start


@runtime_checkable
class Transition(Protocol):
    """What moves a chain: any callable that leaves a path's f_β as it is."""

    def __call__(
        self,
        position: PyTree,
        path: Path,
        temperature: Float[Array, ""],
        step_size: Float[Array, ""],
        *,
        key: Key[Array, ""],
    ) -> tuple[PyTree, Float[Array, ""]]:
        """The next position, and the rate of acceptance, that `step_size` is adapted by."""
        ...


class Hamiltonian(eqx.Module):
    """A Hamiltonian Monte Carlo transition (blackjax).

    Step sizes are in units of the path's `spread`, and vary by half around the one given from one
    transition to the next, so that no trajectory keeps closing on itself.

    Args:
        num_leapfrog: Leapfrog steps.

    References:
        Neal, "MCMC using Hamiltonian dynamics", 2011, secs. 3.2, 4.1 and 4.2.
    """

    num_leapfrog: int = eqx.field(static=True, default=10)

    def __call__(
        self,
        position: PyTree,
        path: Path,
        temperature: Float[Array, ""],
        step_size: Float[Array, ""],
        *,
        key: Key[Array, ""],
    ) -> tuple[PyTree, Float[Array, ""]]:
        """The next position, and the acceptance probability of the proposal."""
        check_installed("blackjax")
        # Imported late: it takes two seconds, that training need not wait for.
        from blackjax.mcmc import hmc

        def log_density(position: PyTree) -> Float[Array, ""]:
            return path.log_density(position, temperature)

        varying_key, proposal_key = jax.random.split(key)
        factor = jax.random.uniform(varying_key, dtype=step_size.dtype, minval=0.5, maxval=1.5)
        kernel: Any = hmc.build_kernel()
        state, info = kernel(
            proposal_key,
            hmc.init(position, log_density),
            log_density,
            factor * step_size,
            ravel_pytree(path.spread)[0] ** 2,
            self.num_leapfrog,
        )
        return state.position, info.acceptance_rate


def to_reals(start: Any, z: PyTree) -> PyTree:
    """The position of z."""
    if isinstance(start, Chain):
        return {name: to_reals(part, z[name]) for name, part in _conditionals(start, z)}
    return _bijection(start).inv(z) if isinstance(start, Distribution) else z


def _from_reals(start: Any, position: PyTree) -> tuple[PyTree, Any]:
    """The z of a position, and the log determinant of dz/dposition."""
    if isinstance(start, Chain):
        z, total = {}, 0.0
        for name, part in _conditionals(start, z):
            z[name], log_determinant = _from_reals(part, position[name])
            total = total + log_determinant
        return z, total
    if not isinstance(start, Distribution):
        return position, 0.0
    bijection = _bijection(start)
    z = bijection(position)
    return z, jnp.sum(bijection.log_abs_det_jacobian(position, z))


def _conditionals(chain: Chain, z: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Each latent's distribution given those before it, whose values are read as they come."""
    given: dict[str, Any] = {}
    for name, part in zip(chain.names, chain.parts, strict=True):
        yield name, part if isinstance(part, Posterior) else part(given)
        given = {**given, name: z[name]}


def _bijection(start: Distribution) -> Any:
    try:
        return biject_to(start.support)
    except NotImplementedError as error:
        raise InputError(
            f"annealing moves latents in unconstrained space, and {name_of(start)} has a support "
            f"that numpyro's biject_to has no map to: {start.support}"
        ) from error


def spread_of(draws: Float[Array, "draws ..."]) -> Float[Array, ...]:
    """Half of the range of the middle 68 %: the standard deviation of a normal, and robust."""
    low, high = jnp.quantile(draws, jnp.array([0.16, 0.84], draws.dtype), axis=0)
    half = (high - low) / 2
    return jnp.where((half > 0) & jnp.isfinite(half), half, 1)
