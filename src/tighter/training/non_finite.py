"""What went wrong in a step whose bound or gradient is not finite."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Key

from tighter._errors import NonFiniteError
from tighter._protocols import as_model
from tighter._rows import rows_of_batch
from tighter.distributions import draw
from tighter.training.steps import Trainable, all_finite, training_bounds


@runtime_checkable
class _OfKnownTerms(Protocol):
    """A bound that is of terms of its own."""

    def terms(self, model: Any, xs: Any, *, key: Key[Array, ""]) -> Any:
        """A named tuple of numbers, one an example each."""
        ...


def explain(
    model: Any,
    objective: Trainable,
    xs: Array,
    *,
    rows: Int[Array, " batch"],
    num_examples: int,
    step: int,
    kept: str,
    key: Key[Array, ""],
) -> NonFiniteError:
    """Find the term and the rows.

    Args:
        model: The model before the step.
        objective: What was to be maximized.
        xs: The step's batch.
        rows: Which examples of the data they are.
        num_examples: How many the data are.
        step: The step, from 0.
        kept: What is left of the run, in words.
        key: The key of the step's draws.

    Returns:
        The error to raise.
    """
    with jax.debug_nans(False):  # noqa: FBT003
        terms = {
            name: np.asarray(bad)
            for name, bad in _bad_terms(model, objective, _as_examples(model, xs), key).items()
        }
    for name, bad in terms.items():
        if bad.any():
            places = [str(row) for row in np.asarray(rows)[bad][:5]]
            more = f" and {bad.sum() - 5} more" if bad.sum() > 5 else ""
            where = f"the {name}, at rows {', '.join(places)}{more} of the training data"
            break
    else:
        with jax.debug_nans(False):  # noqa: FBT003
            gradient = eqx.filter_grad(
                lambda model: jnp.sum(training_bounds(model, objective, xs, num_examples, key=key))
            )(model)
        of_update = bool(all_finite(eqx.filter(gradient, eqx.is_inexact_array)))
        where = "the update" if of_update else "the gradient"
        where += ", with every bound finite"
    return NonFiniteError(
        f"step {step + 1}: a value that is not finite, in {where}; {kept}; try a smaller learning "
        "rate, or look at these rows"
    )


def _as_examples(model: Any, xs: Any) -> Any:
    """Where the data set is one example, every datum as a data set of its own."""
    if as_model(model).minibatch_log_joint is None:
        return xs
    return jax.tree.map(lambda part: part[:, None], xs)


def _bad_terms(
    model: Any, objective: Trainable, xs: Array, key: Key[Array, ""]
) -> dict[str, Bool[Array, " batch"]]:
    """For each term, from the data on, which examples have a draw where it is not finite."""
    if isinstance(objective, _OfKnownTerms):
        told = {"data": xs, **objective.terms(model, xs, key=key)._asdict()}
        return {name: _not_finite(term) for name, term in told.items()}
    from tighter.models import LatentVariableModel  # late: only a failure asks

    missing = as_model(model).takes_missing

    def bad(tree: Any) -> Bool[Array, ""]:
        leaves = [x for x in jax.tree.leaves(tree) if eqx.is_inexact_array(x)]
        return jnp.any(jnp.stack([~jnp.all(jnp.isfinite(leaf)) for leaf in leaves]))

    def bad_data(x: Any) -> Bool[Array, ""]:
        return bad(
            jax.tree.map(lambda part: jnp.where(jnp.isnan(part), 0, part), x) if missing else x
        )

    def terms(log_joint_of: Any, x: Any, posterior: Any, key: Any, index: Array) -> Array:
        z = draw(posterior, key=key)
        told = [(posterior, z, posterior.log_prob(z))]
        if isinstance(model, LatentVariableModel):
            told += [model.log_prior(x)(z), model.log_likelihood(x)(z)]
        else:
            told += [jnp.zeros(()), jnp.zeros(())]
        flags = jnp.stack([bad_data(x), *(bad(part) for part in (*told, log_joint_of(x)(z)))])
        return flags[index].astype(float)

    rows = rows_of_batch(model, xs, key=key)
    draws = jnp.broadcast_to(
        jnp.arange(objective.num_samples * objective.num_outer),
        (rows.keys.shape[0], objective.num_samples * objective.num_outer),
    )
    names = ("data", "posterior", "prior", "likelihood", "log joint")
    return {
        name: jnp.any(rows.evaluate(terms, draws, jnp.full(draws.shape, i, int)) > 0, axis=1)
        for i, name in enumerate(names)
    }


def _not_finite(term: Array) -> Bool[Array, " batch"]:
    return ~jnp.all(jnp.isfinite(term.reshape(term.shape[0], -1)), axis=1)
