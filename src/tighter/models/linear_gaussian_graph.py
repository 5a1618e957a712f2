"""Linear-Gaussian models of any graph: exact posteriors, and what an encoder's graph costs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Key
from numpyro.distributions import MultivariateNormal, Normal

from tighter._checks import require
from tighter._errors import InputError
from tighter.distributions.gaussian import GaussianOfSquares, gaussian_of_squares
from tighter.graph import DAG
from tighter.models.posteriors.structured import LinearMean, StructuredPosterior

Values = Mapping[str, Array]
Matrix = Float[np.ndarray, "rows columns"]


class LinearGaussianGraph(eqx.Module):
    r"""$x_i = \sum_{j \to i} w_{ji} x_j + s_i \varepsilon_i$ over a graph, each node one number.

    Latents and observations are dicts by name, of shape (1,) each. Evidence and posterior are
    exact, and so is the divergence of the best posterior that an encoder's graph allows.

    Attributes:
        dag: The graph; its nodes are strings.
        latents: Names of the latents, in the graph's order.
        weights: w, in the order of `dag.edges`.
        log_scales: log s, in the order of `dag.nodes`; s is a standard deviation.
        encoder: The approximate posterior; None until `with_encoder`.
    """

    dag: DAG = eqx.field(static=True)
    latents: tuple[str, ...] = eqx.field(static=True)
    weights: Float[Array, " edges"]
    log_scales: Float[Array, " nodes"]
    encoder: StructuredPosterior | None = None

    @classmethod
    def create(
        cls,
        dag: DAG,
        latents: Iterable[str],
        *,
        weights: ArrayLike | None = None,
        scales: ArrayLike | None = None,
    ) -> LinearGaussianGraph:
        """A model with all weights 1 and all scales 1, if nothing else is said.

        Args:
            dag: The graph.
            latents: Names of the latents; all other nodes are observed.
            weights: In the order of `dag.edges`.
            scales: Standard deviations, in the order of `dag.nodes`.

        Raises:
            InputError: If a latent is unknown, there is none or nothing else, a node is no string,
                or the numbers are not as many as edges and nodes.
        """
        chosen = dag.subset(latents)
        num, num_nodes = len(chosen), len(dag)
        require(
            0 < num < num_nodes,
            f"some nodes are latent and some observed, got {num} latents of {num_nodes} nodes",
        )
        for node in dag.nodes:
            named = isinstance(node, str)
            require(named, f"z is a dict by name: a node is a string, got {node!r}")
        num_edges = len(dag.edges)
        weights = jnp.ones(num_edges) if weights is None else jnp.asarray(weights, float)
        scales = jnp.ones(num_nodes) if scales is None else jnp.asarray(scales, float)
        require(
            (weights.shape, scales.shape) == ((num_edges,), (num_nodes,)),
            f"there are {num_edges} weights and {num_nodes} scales, one an edge and one a node, "
            f"got shapes {weights.shape} and {scales.shape}",
        )
        least = np.asarray(scales).min()
        require(least > 0, f"scales are above zero, got {least:g}")
        names = tuple(str(node) for node in dag.nodes if node in chosen)
        return cls(dag, names, weights, jnp.log(scales))

    @property
    def observed(self) -> tuple[str, ...]:
        """Names of the observed nodes, in the graph's order."""
        return tuple(str(node) for node in self.dag.nodes if node not in self.latents)

    def with_encoder(
        self, encoder: DAG, *, hidden: Iterable[int] | None = None, key: Key[Array, ""]
    ) -> LinearGaussianGraph:
        """The same with a posterior of the factors of an encoder's graph.

        Args:
            encoder: A graph whose edges lead to latents.
            hidden: As in `StructuredPosterior.from_graph`; None: linear-Gaussian.
            key: Random key.
        """
        sizes = dict.fromkeys(map(str, self.dag.nodes), 1)
        hidden = None if hidden is None else tuple(hidden)
        of_graph = StructuredPosterior.from_graph(
            encoder, sizes, latents=self.latents, hidden=hidden, key=key
        )
        return dataclasses.replace(self, encoder=of_graph)

    def posterior(self, x: Values) -> Any:
        """The approximate posterior q(z|x).

        Raises:
            InputError: If there is none yet.
        """
        if self.encoder is None:
            raise InputError("the model has no approximate posterior yet: call with_encoder first")
        return self.encoder(x)

    def log_joint(self, x: Values) -> Callable[[Values], Array]:
        """The function z -> log p(x, z), in nats."""
        matrix, scales = self._system()

        def log_joint(z: Values) -> Float[Array, ""]:
            values = self._stacked({**x, **z}, self.dag.nodes)
            return jnp.sum(Normal(matrix @ values, scales, validate_args=False).log_prob(values))

        return log_joint

    def sample(self, key: Key[Array, ""], n: int) -> dict[str, Float[Array, "n 1"]]:
        """`n` draws of all nodes."""
        matrix, scales = self._system()
        size = len(self.dag)
        noise = scales[:, None] * jax.random.normal(key, (size, n))
        values = jnp.linalg.solve(jnp.eye(size) - matrix, noise)
        return {str(node): row[:, None] for node, row in zip(self.dag.nodes, values, strict=True)}

    def exact_posterior(self, x: Values) -> MultivariateNormal:
        """p(z|x), exactly, over the latents in the order of `latents`."""
        joint = self._given(x)
        return MultivariateNormal(joint.mean, scale_tril=joint.factor, validate_args=False)

    def log_evidence(self, x: Values) -> Float[Array, ""]:
        """The logarithm of p(x), exactly, in nats."""
        return self._given(x).log_mass - jnp.sum(self.log_scales)

    def divergence(self) -> float:
        """E KL(q(z|x) ‖ p(z|x)) over the model's own x, exactly, of a linear-Gaussian encoder.

        Raises:
            InputError: If there is no encoder, or it has hidden layers.
        """
        if self.encoder is None or not all(
            isinstance(part.network, LinearMean) for part in self.encoder.conditionals
        ):
            raise InputError("the divergence is exact of a linear-Gaussian encoder, hidden=None")
        order, names = self.encoder.names, (*self.encoder.names, *self.observed)
        weights, bias, log_scales = np.zeros((len(order), len(names))), [], []
        for row, part in zip(weights, self.encoder.conditionals, strict=True):
            network: Any = part.network
            row[[names.index(parent) for parent in part.parents]] = network.weight[0]
            bias.append(float(network.bias[0]))
            log_scales.append(float(network.log_scale[0]))
        problem = _Problem.of(self, order)
        value, _ = problem.divergence(weights, 2 * np.array(log_scales))
        whole = np.linalg.solve(np.eye(len(order)) - weights[:, : len(order)], np.array(bias))
        return float(value + 0.5 * whole @ problem.precision @ whole)

    def least_divergence(self, encoder: DAG) -> float:
        r"""The least E KL(q(z|x) ‖ p(z|x)) that linear-Gaussian q of an encoder's graph come to.

        The gap of the ELBO that no training can close. A closed form in q's weights and variances,
        minimized in double precision; 0 if the encoder is faithful, and
        $\frac12(\sum_i \log \Lambda_{ii} - \log|\Lambda|)$, Λ the posterior's precision, for
        independent factors of all that is observed.

        Args:
            encoder: A graph over the same nodes whose edges lead to latents.

        Returns:
            Nats an example.

        Raises:
            InputError: If a latent is missing in it, a node is strange, or an edge leads to an
                observed node.
        """
        from scipy.optimize import minimize  # imported late: the model alone does without

        self._check_encoder(encoder)
        order = tuple(str(node) for node in encoder.topological_order if node in self.latents)
        names = (*order, *self.observed)
        edges = np.array([[name in encoder.parents(node) for name in names] for node in order])
        rows, columns = np.nonzero(edges)
        problem, size = _Problem.of(self, order), len(order)

        def value_and_slope(flat: np.ndarray) -> tuple[float, np.ndarray]:
            weights = np.zeros((size, len(names)))
            weights[rows, columns] = flat[size:]
            value, (by_weight, by_variance) = problem.divergence(weights, flat[:size])
            return value, np.concatenate([by_variance, by_weight[rows, columns]])

        # From the exact posterior's factors in this order, those without an edge left out.
        exact, log_variances = problem.factors()
        start = np.concatenate([log_variances, exact[rows, columns]])
        found = minimize(
            value_and_slope, start, jac=True, method="BFGS", options={"gtol": 1e-9, "maxiter": 2000}
        )
        return max(float(found.fun), 0.0)

    def dependence(self, encoder: DAG) -> float:
        r"""$\sum_i I(z_i; \text{what is before it} \mid parents_i)$ in the model, in nats.

        The least E KL(p(z|x) ‖ q(z|x)), the other way round, of the encoder's graph: 0 if and only
        if the encoder is faithful to these weights.
        """
        self._check_encoder(encoder)
        covariance = np.linalg.inv(self._precision_in_double())
        place = {str(node): i for i, node in enumerate(self.dag.nodes)}

        def left_over(node: str, given: Iterable[str]) -> float:
            """Variance of a node given others."""
            others = [place[name] for name in given]
            own = covariance[place[node], others]
            explained = own @ np.linalg.solve(covariance[np.ix_(others, others)], own)
            return float(covariance[place[node], place[node]] - explained)

        before, total = list(self.observed), 0.0
        for node in (str(node) for node in encoder.topological_order if node in self.latents):
            parents = [str(parent) for parent in encoder.parents(node)]
            total += 0.5 * np.log(left_over(node, parents) / left_over(node, before))
            before.append(node)
        return max(float(total), 0.0)

    def _check_encoder(self, encoder: DAG) -> None:
        missing = [name for name in self.latents if name not in encoder]
        strange = [node for node in encoder.nodes if node not in self.dag]
        seen = [child for _, child in encoder.edges if child in self.observed]
        for nodes, problem in (
            (missing, "is a latent that the encoder's graph lacks"),
            (strange, "is in the encoder's graph and not in the model's"),
            (seen, "is observed, and an edge of the encoder leads to it"),
        ):
            if nodes:
                raise InputError(f"{nodes[0]} {problem}: an encoder's edges lead to latents")

    def _system(self) -> tuple[Float[Array, "nodes nodes"], Float[Array, " nodes"]]:
        """The weights as a matrix (to, from), and the scales."""
        place = {node: i for i, node in enumerate(self.dag.nodes)}
        pairs = np.array([(place[y], place[x]) for x, y in self.dag.edges]).reshape(-1, 2)
        matrix = jnp.zeros((len(place), len(place))).at[pairs[:, 0], pairs[:, 1]].set(self.weights)
        return matrix, jnp.exp(self.log_scales)

    def _given(self, x: Values) -> GaussianOfSquares:
        """The joint density as a function of the latents, but for the nodes' scales."""
        matrix, scales = self._system()
        whitening = (jnp.eye(len(self.dag)) - matrix) / scales[:, None]
        hidden, seen = self._places()
        pull = whitening[:, seen] @ self._stacked(x, self.observed)
        return gaussian_of_squares(whitening[:, hidden], -pull)

    def _precision_in_double(self) -> Matrix:
        matrix, scales = (np.asarray(part, np.float64) for part in self._system())
        whitening = (np.eye(len(self.dag)) - matrix) / scales[:, None]
        return whitening.T @ whitening

    def _places(self) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the latents, and of the observed nodes."""
        hidden = np.array([node in self.latents for node in self.dag.nodes])
        return np.flatnonzero(hidden), np.flatnonzero(~hidden)

    def _stacked(self, values: Values, names: Iterable[Any]) -> Float[Array, " nodes"]:
        return jnp.concatenate([values[name] for name in names])


class _Problem(NamedTuple):
    """The exact posterior, with the latents in the order in which an encoder draws them.

    Attributes:
        precision: Λ of p(z|x).
        mean: x -> the posterior's mean.
        covariance: Of x.
    """

    precision: Matrix
    mean: Matrix
    covariance: Matrix

    @classmethod
    def of(cls, model: LinearGaussianGraph, order: tuple[str, ...]) -> _Problem:
        names = [str(node) for node in model.dag.nodes]
        hidden = [names.index(name) for name in order]
        seen = [names.index(name) for name in model.observed]
        joint = model._precision_in_double()
        precision = joint[np.ix_(hidden, hidden)]
        mean = -np.linalg.solve(precision, joint[np.ix_(hidden, seen)])
        return cls(precision, mean, np.linalg.inv(joint)[np.ix_(seen, seen)])

    def factors(self) -> tuple[Matrix, Float[np.ndarray, " latents"]]:
        """p(z_i | the latents before it, x): weights as in `divergence`, logs of variances."""
        size = len(self.precision)
        factor = np.linalg.cholesky(np.linalg.inv(self.precision))
        deviations = np.diag(factor)
        among = np.eye(size) - np.linalg.solve(factor / deviations, np.eye(size))
        return np.hstack([among, self.mean - among @ self.mean]), 2 * np.log(deviations)

    def divergence(
        self, weights: Matrix, log_variances: Float[np.ndarray, " latents"]
    ) -> tuple[float, tuple[Matrix, Float[np.ndarray, " latents"]]]:
        r"""E KL(q‖p) of $z = Cz + Dx + \varepsilon$, and its derivatives.

        With $A = (I - C)^{-1}$, q has mean ADx and covariance $A T A^\top$.

        Args:
            weights: C and D side by side, shape (latents, latents + observed).
            log_variances: log T.
        """
        size = len(self.precision)
        whole = np.linalg.inv(np.eye(size) - weights[:, :size])
        variances = np.exp(log_variances)
        covariance = (whole * variances) @ whole.T
        mean = whole @ weights[:, size:]
        shift = mean - self.mean
        pull = self.precision @ shift @ self.covariance
        _, log_determinant = np.linalg.slogdet(self.precision)
        value = 0.5 * (
            np.sum(self.precision * covariance)
            - size
            - log_determinant
            - np.sum(log_variances)
            + np.sum(shift * pull)
        )
        by_among = whole.T @ (self.precision @ covariance + pull @ mean.T)
        by_weight = np.hstack([by_among, whole.T @ pull])
        by_variance = 0.5 * (variances * np.diag(whole.T @ self.precision @ whole) - 1)
        return float(value), (by_weight, by_variance)
