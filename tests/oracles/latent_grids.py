"""Points and weights over each space that a latent lives in: sums that stand for integrals."""

import itertools

import numpy as np

from tighter.models._families import Space


def latent_grid(space, num_latent, *, num_points=241):
    """Points z, and their weights: Σ w f(z) = ∫ f, or the sum over all z where they are discrete.

    On the line equal steps in sinh t, dense in the middle and far out for heavy tails; on the box
    equal steps in the logit, dense at the ends; the simplex is of two entries.
    """
    if space is Space.BITS:
        points = np.array(list(itertools.product([0.0, 1.0], repeat=num_latent)))
        return points, np.ones(len(points))
    if space is Space.CATEGORIES:  # of three
        rows = [np.eye(3)[list(index)] for index in itertools.product(range(3), repeat=num_latent)]
        return np.array(rows), np.ones(len(rows))
    if space is Space.REAL:
        t = np.linspace(-6, 6, num_points)
        axis, weight = np.sinh(t), np.cosh(t) * (t[1] - t[0])
    else:
        far = 80 if space is Space.SIMPLEX else 15
        t = np.linspace(-far, far, num_points)
        axis = 1 / (1 + np.exp(-t))
        weight = axis * axis[::-1] * (t[1] - t[0])
    if space is Space.SIMPLEX:
        return np.stack([axis, axis[::-1]], axis=1), weight
    points = np.stack(np.meshgrid(*[axis] * num_latent, indexing="ij"), -1)
    weights = np.prod(np.meshgrid(*[weight] * num_latent, indexing="ij"), axis=0)
    return points.reshape(-1, num_latent), weights.reshape(-1)


def kolmogorov_smirnov(draws, points, mass, *, discrete):
    """Largest difference of the distribution functions of draws and of mass on points, times √n.

    Along a few directions. Above 2.2 with a chance of 1e-4; a grid adds what is between its points,
    and values that repeat are compared as one.
    """
    draws, points = (np.asarray(a, np.float64).reshape(len(a), -1) for a in (draws, points))
    worst = 0.0
    for direction in np.random.default_rng(4).normal(size=(4, draws.shape[1])):
        place = points @ direction
        order = np.argsort(place)
        place, here = place[order], mass[order]
        # Of a continuum, half of a point's mass is on either side.
        cumulative = np.cumsum(here) - (0 if discrete else here / 2)
        drawn = np.sort(draws @ direction)
        below = np.searchsorted(drawn, place + 1e-6, side="right") / len(drawn)
        distinct = np.append(np.diff(place) > 1e-5, True)
        worst = max(worst, np.abs(below - cumulative)[distinct].max())
    return worst * np.sqrt(len(draws))
