"""Break the core on purpose, one line at a time, and see the conformance tests catch it.

    uv run python -m benchmarks.mutations

Each mutation is applied to a copy of the package, on which a few of the conformance tests run.
Exits with 1 if one survives.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# (what, file, line, its replacement, which tests)
PAIRS = "tests/conformance/test_pairs.py"
ROULETTE = "tests/objectives/test_russian_roulette.py"
FORMS = "tests/objectives/test_closed_forms.py"
STRUCTURED = "tests/distributions/test_structured.py"
MUTATIONS = [
    (
        "IWAE without − log K",
        "bounds/power_means.py",
        "value = top + jnp.where(",
        "value = top + jnp.log(1.0 * mask.size) + jnp.where(",
        ["tests/conformance/test_exact_posterior.py", "-k", "shifted"],
    ),
    (
        "w̃ for w̃² on the path",
        "gradients/pathwise.py",
        "path = weights - bound.curvature(log_weights)",
        "path = weights",
        [PAIRS, "-k", "test_pair and iwae-doubly and linear"],
    ),
    (
        "log q's parameters not stopped",
        "objectives/log_weights.py",
        "z, zeros = _tap(jax.lax.stop_gradient(drawn), drawn, zeros)\n    value = "
        "_log_joint(log_joint_of, x, z) - _density(stop_parameters(posterior), z)",
        "z, zeros = _tap(jax.lax.stop_gradient(drawn), drawn, zeros)\n    value = "
        "_log_joint(log_joint_of, x, z) - _density(posterior, z)",
        [PAIRS, "-k", "iwae-doubly and linear"],
    ),
    (
        "the score's draw not stopped",
        "objectives/log_weights.py",
        "    z = jax.lax.stop_gradient(draw(posterior, key=key))\n    log_density",
        "    z = draw(posterior, key=key)\n    log_density",
        [PAIRS, "-k", "test_pair and iwae-score-function-linear"],
    ),
    (
        "coefficients differentiated",
        "objectives/objective.py",
        "jax.lax.stop_gradient(log_weights).reshape(groups)",
        "log_weights.reshape(groups)",
        [PAIRS, "-k", "test_pair and iwae-score-function-linear"],
    ),
    (
        "no division by the expected count",
        "objectives/objective.py",
        "factor * jnp.take_along_axis",
        "jnp.take_along_axis",
        [PAIRS, "-k", "fewer and iwae"],
    ),
    (
        "total derivative without its score",
        "gradients/pathwise.py",
        "score=-weights, path=weights",
        "score=0 * weights, path=weights",
        [PAIRS, "-k", "fewer and iwae-reparameterized"],
    ),
    (
        "VIMCO's mean over all draws",
        "gradients/score_function.py",
        "mean_of_others = jnp.sum(jnp.where(same, 0, log_weights), axis=1) / (num - 1)",
        "mean_of_others = jnp.broadcast_to(jnp.mean(log_weights), (num,))",
        [PAIRS, "-k", "test_pair and iwae-vimco"],
    ),
    (
        "score function without − a",
        "gradients/score_function.py",
        "score=signal - weights",
        "score=signal",
        [PAIRS, "-k", "test_pair and iwae-vimco"],
    ),
    (
        "log p + log q",
        "objectives/log_weights.py",
        "Drawn(_log_joint(log_joint_of, x, z) - _density(posterior, z))",
        "Drawn(_log_joint(log_joint_of, x, z) + _density(posterior, z))",
        [PAIRS, "-k", "test_pair and elbo-reparameterized-linear"],
    ),
    (
        "Rényi's curvature without 1 − α",
        "bounds/power_means.py",
        "return self.power * weights * (1 - weights)",
        "return weights * (1 - weights)",
        [PAIRS, "-k", "test_pair and renyi and doubly and linear and not wake"],
    ),
    (
        "M bounds added up",
        "objectives/objective.py",
        "(c / self.num_outer).reshape",
        "c.reshape",
        [PAIRS, "-k", "fewer and iwae"],
    ),
    (
        "the path not scaled",
        "_derivatives.py",
        "ct * factor.astype(ct.dtype)",
        "ct",
        [PAIRS, "-k", "test_pair and iwae-doubly and linear"],
    ),
    (
        "a tap's zeros without the axes of a vmap around",
        "objectives/log_weights.py",
        "zeros = jnp.where(False, jax.lax.stop_gradient(like), 0)",
        "zeros = jnp.zeros(like.shape)",
        ["tests/objectives/test_objective.py", "-k", "one_draw_for_many_models"],
    ),
    (
        "a tap's zeros without the axes of coefficients",
        "objectives/log_weights.py",
        "held + sum(jnp.sum(c) for c in coefficients)",
        "held",
        ["tests/objectives/test_objective.py", "-k", "many_bounds"],
    ),
    (
        "a tapped draw without the axes of its zeros",
        "_derivatives.py",
        "jnp.where(False, a.astype(leaf.dtype), leaf)",
        "leaf",
        ["tests/objectives/test_objective.py", "-k", "one_draw_for_many_models"],
    ),
    (
        "the zeros' draw differentiated",
        "objectives/log_weights.py",
        "    held = jax.lax.stop_gradient(log_weight)\n",
        "    held = log_weight\n",
        ["tests/training/test_one_pass.py", "-k", "closure"],
    ),
    (
        "a flow's network in a closure taken for held",
        "integrations/_numpyro_program.py",
        "return not coupled and not hidden",
        "return not coupled",
        ["tests/integrations/test_numpyro_one_pass.py"],
    ),
    (
        "a fault one step too late",
        "training/steps.py",
        "while reached - good > 1:",
        "while reached - good > 2:",
        ["tests/training/test_non_finite.py"],
    ),
    (
        "the total derivative with log q's parameters stopped",
        "objectives/log_weights.py",
        "Drawn(_log_joint(log_joint_of, x, z) - _density(posterior, z))",
        "Drawn(_log_joint(log_joint_of, x, z) - _density(stop_parameters(posterior), z))",
        [PAIRS, "-k", "test_pair and iwae-reparameterized-linear"],
    ),
    (
        "experts by the plain rule",
        "objectives/log_weights.py",
        "with_gradient_of(value, value - apart)",
        "value",
        [STRUCTURED, "-k", "experts_in_turn"],
    ),
    (
        "a mixture's draw without the path of its weights",
        "distributions/mixture.py",
        "z_dot = z_dot - jnp.sum(flow * log_weights_dot)",
        "z_dot = z_dot - 0 * jnp.sum(flow * log_weights_dot)",
        ["tests/distributions/test_mixture.py", "-k", "quadrature and (normal or diagonal)"],
    ),
    (
        "gammas below 1 by the velocity alone",
        "distributions/gamma.py",
        "exponential / jnp.where(small, concentration, 1)",
        "exponential / jax.lax.stop_gradient(jnp.where(small, concentration, 1))",
        ["tests/distributions/test_gamma.py", "-k", "test_gamma and 0.3"],
    ),
    (
        "SUMO's terms not divided by the chance of getting so far",
        "objectives/russian_roulette.py",
        "(size <= count), further, 0)",
        "(size <= count), 1, 0)",
        [ROULETTE, "-k", "largest_bound"],
    ),
    (
        "SUMO's gradient of the first block alone",
        "objectives/russian_roulette.py",
        "gradient = jax.lax.fori_loop(0, blocks.num, block, start)",
        "gradient = jax.lax.fori_loop(0, 1, block, start)",
        [ROULETTE, "-k", "largest_bound"],
    ),
    (
        "KL added",
        "objectives/closed_forms.py",
        "self._expected(rows) - self.beta * paid",
        "self._expected(rows) + self.beta * paid",
        [FORMS, "-k", "those_of_the_elbo and KL"],
    ),
    (
        "an entropy without its gradient",
        "objectives/closed_forms.py",
        "self._expected(rows) + _for_each(rows, _entropy)",
        "self._expected(rows) + jax.lax.stop_gradient(_for_each(rows, _entropy))",
        [FORMS, "-k", "those_of_the_elbo and entropy"],
    ),
    (
        "free bits of each example",
        "objectives/closed_forms.py",
        "free = jnp.mean(divergences, axis=0, keepdims=True) <= self.free_bits",
        "free = divergences <= self.free_bits",
        [FORMS, "-k", "beta_and_free_bits or take_the_pressure"],
    ),
    (
        "upper bounds not corrected for their bias",
        "evaluation/sandwich.py",
        "uppers = np.maximum(corrected[1:], lower)",
        "uppers = np.maximum(whole[1:], lower)",
        ["tests/evaluation/test_sandwich.py"],
    ),
    (
        "the jackknife turned around",
        "evaluation/groups.py",
        "return -((1 - sizes / num) * without).sum(axis=1)",
        "return ((1 - sizes / num) * without).sum(axis=1)",
        ["tests/evaluation/test_errors_and_verdicts.py", "-k", "jackknife"],
    ),
    (
        "smoothing that takes out no tail",
        "evaluation/log_likelihood.py",
        "shares[1] - shares[0]",
        "shares[1]",
        ["tests/evaluation/test_errors_and_verdicts.py", "-k", "smoothing"],
    ),
    (
        "ends of a transformed support not followed",
        "distributions/support.py",
        "return _moved(_ends(distribution.base_dist), of_all)",
        "return _ends_of(distribution.support)",
        ["tests/objectives/test_moving_support.py", "-k", "any_wrapper"],
    ),
    (
        "a prior's numbers moved by weight decay",
        "training/steps.py",
        "lambda alone, update: jnp.zeros_like(update) if alone else update",
        "lambda alone, update: update",
        ["tests/training/test_untrained.py", "-k", "bayesian"],
    ),
]


def main() -> None:
    """Apply each mutation and say whether it was caught."""
    root = Path(__file__).resolve().parents[1]
    survived = []
    for what, file, line, replacement, tests in MUTATIONS:
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree(root / "src", Path(folder) / "src")
            source = Path(folder) / "src"
            path = source / "tighter" / file
            text = path.read_text()
            if line not in text:
                raise SystemExit(f"{what}: the line to break is no longer in {file}")
            path.write_text(text.replace(line, replacement))
            done = subprocess.run(
                [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-m", "", *tests],
                cwd=root,
                env=os.environ | {"PYTHONPATH": str(source)},
                capture_output=True,
                text=True,
                check=False,
            )
        caught = done.returncode == 1 and "failed" in done.stdout
        survived += [] if caught else [what]
        print(f"{'caught  ' if caught else 'SURVIVED'}  {what}", flush=True)
    sys.exit(1 if survived else 0)


if __name__ == "__main__":
    main()
