"""Any bound and any estimator of its gradient as the loss of `numpyro.infer.SVI`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpyro.infer.elbo as numpyro_elbo
from jax import random
from jaxtyping import Array

from tighter._checks import check_counts, require
from tighter.gradients import Reparameterized
from tighter.integrations._numpyro_bounds import Blockwise, Nested
from tighter.integrations._numpyro_program import Program
from tighter.objectives.objective import Objective


class ELBO(numpyro_elbo.ELBO):
    r"""Minus a bound on the log evidence, for `SVI(model, guide, optimizer, loss=ELBO(objective))`.

    Three forms, each a lower bound on log p(data) in expectation if F is one:

    - Every site of model and guide is in a plate (local latents): each datum has importance
      weights of its own, $\frac NB \sum_n F(\ell_{1n}, \dots, \ell_{Kn})$.
    - Some site is not (a global latent; an autoguide of one joint `_auto_latent`): draw k of it
      goes with draw k of all others, $F(\sum_n \ell_{1n}, \dots, \sum_n \ell_{Kn})$.
    - `local_plate` is named: for each of K draws β of what is outside of it, L of what is inside,
      $F(\dots, \log\frac{p(\beta_k)}{q(\beta_k)} + \frac NB \sum_n F(\ell_{kn1}, \dots,
      \ell_{knL}), \dots)$: weights per datum for local latents, per data set for global ones.

    A bound of the global latents plus one of each datum, over the same K draws, would be a fourth:
    it can exceed log p(data), as β's draws are then averaged apart from what they explain.

    Plates are taken at their word: sites in one are independent over it, given the sites outside.
    Scaled log weights of a subsample inside F are no bound, unless F is linear or has one draw:
    they are refused. With `num_samples=1`, `local_plate` subsamples with any bound.

    Keys are derived as numpyro does, so that values and gradients are the same to rounding: with
    the bound `ELBO()` those of `Trace_ELBO(num_particles=K)` (each draw has its own subsample),
    with another bound, or `num_backward`, those of `RenyiELBO(alpha, num_particles=K)` (one
    subsample for all draws), where that is right. It is not where the model's sites all are in a
    plate and the guide's are not, as with an `AutoContinuous`: log q of the whole data set is
    subtracted there from log p of every datum. With `local_plate`, keys are split once more.

    Discrete latents take `VIMCO` or `ScoreFunction`; they are not enumerated. A point mass
    (`AutoDelta`) has no log q, and its parameters count as the model's. `mutable` sites keep the
    state of the first draw. With `chunk_size` (of the K·M draws) the draws themselves stay in
    memory, what model and guide compute from them does not. SVI's `forward_mode_differentiation`
    goes with estimators that have it (see `Objective`).

    Args:
        objective: Bound, estimator, numbers of draws; `num_samples` is numpyro's `num_particles`.
        local_plate: Name of the plate of the local latents, if they get draws of their own.
        num_local: L, draws in `local_plate` for each draw outside of it.

    Raises:
        TypeError: If the objective is none; in a step, if the estimator needs a path that a site
            of the guide does not have.
        InputError: If `local_plate` and `num_local` don't go together or with the objective; in a
            step, if the model draws what the guide does not, or the value would be no bound.

    Example:
        >>> objective = tt.Objective(tt.bounds.IWAE(), num_samples=10)
        >>> svi = SVI(model, AutoNormal(model), optax.adam(1e-2), loss=ELBO(objective))

    References:
        Burda, Grosse & Salakhutdinov, "Importance weighted autoencoders", 2016, eq. 8; numpyro
        issue 1607 and pyro issue 3104, on weights per datum.
    """

    def __init__(
        self, objective: Objective, *, local_plate: str | None = None, num_local: int = 1
    ) -> None:
        if not isinstance(objective, Objective):
            raise TypeError(f"objective is a tighter.Objective, got {objective!r}")
        require(num_local is not None, "num_local is a whole number of at least 1, got None")
        check_counts(num_local=num_local)
        self.objective = objective
        self.local_plate = local_plate
        self.num_local = num_local
        self._check_local()
        self.can_infer_discrete = not objective.gradient.uses_path
        super().__init__(num_particles=objective.num_samples * objective.num_outer)

    def loss_with_mutable_state(
        self,
        rng_key: Array,
        param_map: Mapping[str, Any],
        model: Callable[..., Any],
        guide: Callable[..., Any],
        *args: Any,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Minus the bound, in nats, with the estimator as its derivative, and the mutable state.

        Args:
            rng_key: Random key, typed or not.
            param_map: Values of the `numpyro.param` sites, and of the `numpyro.mutable` ones.
            model: A numpyro model.
            guide: Its guide.
            args: Positional arguments of both.
            kwargs: Keyword arguments of both.

        Returns:
            `loss`, a scalar, and `mutable_state`, a dictionary or None.
        """
        objective = self.objective
        path = type(objective.gradient).__name__ if objective.gradient.uses_path else None
        program = Program(model, guide, args, kwargs, path, self.local_plate)
        num = self.num_particles
        if objective.bound.is_linear and not objective.num_backward and not self.local_plate:
            keys = random.split(rng_key, num) if num > 1 else rng_key[None]
        else:
            plate_key, rng_key = random.split(rng_key)
            program = program.with_plates(plate_key)
            keys = random.split(rng_key, num)
        if not objective.gradient.is_total_derivative:
            program.check_fixed_support(param_map, keys[0], type(objective.gradient).__name__)
        if self.local_plate is None:
            draws = Blockwise(objective, program, keys)
        else:
            draws = Nested(objective, program, keys, self.num_local)
        bound, mutable = draws.bound(param_map)
        return {"loss": -bound, "mutable_state": mutable or None}

    def _check_local(self) -> None:
        """Refuse what `local_plate` can't be right with."""
        objective = self.objective
        if self.local_plate is None:
            require(
                self.num_local == 1,
                f"num_local is of draws in local_plate, got {self.num_local} and no plate: name "
                "it, or raise the objective's num_samples",
            )
            return
        gradient = objective.gradient
        path_alone = isinstance(gradient, Reparameterized) or not gradient.uses_score
        require(
            gradient.uses_path and path_alone,
            f"local_plate takes an estimator through the path alone, got "
            f"{type(gradient).__name__}: take DoublyReparameterized(), or leave local_plate out",
        )
        require(
            objective.num_backward is None,
            "local_plate backpropagates every draw: leave num_backward out",
        )
        needed = gradient.min_samples(objective.bound)
        require(
            self.num_local >= needed,
            f"{type(objective.bound).__name__} needs num_local of {needed} or more, got "
            f"{self.num_local}",
        )
