"""What went wrong in a step whose bound or gradient is not finite."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Key, PyTree

from tighter._errors import NonFiniteError
from tighter._protocols import as_model
from tighter._rows import rows_of_batch
from tighter.distributions import draw
from tighter.training.feed import Block
from tighter.training.order import Order
from tighter.training.steps import (
    State,
    Steps,
    Trainable,
    all_finite,
    leading_size,
    training_bounds,
)


@runtime_checkable
class _OfKnownTerms(Protocol):
    """A bound that is of terms of its own."""

    def terms(self, model: Any, xs: Any, *, key: Key[Array, ""]) -> Any:
        """A named tuple of numbers, one an example each."""
        ...


def explain(steps: Steps, state: State, block: Block, order: Order, *, kept: str) -> NonFiniteError:
    """Find the term and the rows of a step that is at fault.

    Args:
        steps: The steps of the run.
        state: The state before the step.
        block: Holds the step's examples.
        order: Of the epochs, by which its rows are found.
        kept: What is left of the run, in words.

    Returns:
        The error to raise.
    """
    if jax.process_count() > 1:  # none of them has all of the batch
        return NonFiniteError(
            f"step {int(state.step) + 1}: a value that is not finite; {kept}; resumed in one "
            "process, it says in which term and rows"
        )
    model = eqx.combine(state.arrays, steps.static)
    step, num_examples = state.step, steps.num_examples
    rows = order.rows(int(step), int(step) + 1)
    xs, key = steps.batch(block, step)
    objective = steps.objective.at(step)
    with jax.debug_nans(False):  # noqa: FBT003
        terms = _bad_terms(model, objective, _as_examples(model, xs), key)
        found = next(((name, bad) for name, bad in terms.items() if bad.any()), None)
        if found is not None:
            places = [str(row) for row in rows[found[1]][:5]]
            more = f" and {found[1].sum() - 5} more" if found[1].sum() > 5 else ""
            where = f"the {found[0]}, at rows {', '.join(places)}{more} of the training data"
        else:
            gradient = eqx.filter_grad(
                lambda model: jnp.sum(training_bounds(model, objective, xs, num_examples, key=key))
            )(model)
            of_update = bool(all_finite(eqx.filter(gradient, eqx.is_inexact_array)))
            where = f"the {'update' if of_update else 'gradient'}, with every bound finite"
    return NonFiniteError(
        f"step {int(step) + 1}: a value that is not finite, in {where}; {kept}; try a smaller "
        "learning rate, or look at these rows"
    )


def _as_examples(model: Any, xs: Any) -> Any:
    """Where the data set is one example, every datum as a data set of its own."""
    if as_model(model).minibatch_log_joint is None:
        return xs
    return jax.tree.map(lambda part: part[:, None], xs)


def _bad_terms(
    model: Any, objective: Trainable, xs: PyTree, key: Key[Array, ""]
) -> dict[str, Bool[np.ndarray, " batch"]]:
    """For each term, from the data on, which examples have a draw where it is not finite."""
    if isinstance(objective, _OfKnownTerms):
        known = {"data": xs, **objective.terms(model, xs, key=key)._asdict()}
        finite: dict[str, Any] = {
            name: np.isfinite(np.asarray(term)) for name, term in known.items()
        }
        return {name: ~part.reshape(len(part), -1).all(axis=1) for name, part in finite.items()}
    from tighter.models import LatentVariableModel  # late: only a failure asks

    missing = as_model(model).takes_missing

    def bad(tree: Any) -> Bool[Array, ""]:
        leaves = [x for x in jax.tree.leaves(tree) if eqx.is_inexact_array(x)]
        return jnp.any(jnp.stack([~jnp.all(jnp.isfinite(leaf)) for leaf in leaves]))

    def terms(log_joint_of: Any, x: Any, posterior: Any, key: Any) -> Bool[Array, " terms"]:
        z = draw(posterior, key=key)
        prior = likelihood = jnp.zeros(())
        if isinstance(model, LatentVariableModel):
            prior, likelihood = model.log_prior(x)(z), model.log_likelihood(x)(z)
        of_posterior, log_joint = (posterior, z, posterior.log_prob(z)), log_joint_of(x)(z)
        if missing:
            x = jax.tree.map(lambda part: jnp.where(jnp.isnan(part), 0, part), x)
        return jnp.stack([bad(part) for part in (x, of_posterior, prior, likelihood, log_joint)])

    rows = rows_of_batch(model, xs, key=key)
    num_draws = objective.num_samples * objective.num_outer
    draws = jnp.broadcast_to(jnp.arange(num_draws), (leading_size(xs), num_draws))
    flags: Any = np.asarray(rows.evaluate(terms, draws)).any(axis=1)
    names = ("data", "posterior", "prior", "likelihood", "log joint")
    return {name: flags[:, i] for i, name in enumerate(names)}
