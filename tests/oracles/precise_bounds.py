"""Bounds of a few log weights in decimals of 60 digits, whose exponents have no end.

Derivatives are differences over a step of 1e-20: to 20 digits.
"""

import decimal
import itertools
import math
from decimal import Decimal

import numpy as np

CONTEXT = decimal.Context(
    prec=60, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN, traps=[decimal.InvalidOperation]
)
STEP = Decimal("1e-20")


def log_mean(ell):
    return (sum(x.exp() for x in ell) / len(ell)).ln()


def elbo(ell):
    return sum(ell) / len(ell)


def power_mean(power):
    power = Decimal(power)
    return lambda ell: log_mean([power * x for x in ell]) / power


def thermodynamic(betas, *, right=False):
    betas = [Decimal(beta) for beta in betas]

    def tempered(ell, beta):
        weights = [(beta * x).exp() for x in ell]
        return sum(w * x for w, x in zip(weights, ell, strict=True)) / sum(weights)

    def bound(ell):
        steps = itertools.pairwise(betas)
        return sum((b - a) * tempered(ell, b if right else a) for a, b in steps)

    return bound


def jackknife(order):
    def bound(ell):
        num = len(ell)
        weights = [x.exp() for x in ell]
        value = Decimal(0)
        for j in range(order + 1):
            coefficient = (
                Decimal((-1) ** j * (num - j) ** order)
                / math.factorial(order - j)
                / math.factorial(j)
            )
            logs = [
                (sum(kept) / len(kept)).ln() for kept in itertools.combinations(weights, num - j)
            ]
            value += coefficient * sum(logs) / len(logs)
        return value

    return bound


def combination(*terms):
    return lambda ell: sum(Decimal(weight) * bound(ell) for weight, bound in terms)


def grouped(bound, num):
    def mean(ell):
        size = len(ell) // num
        return sum(bound(ell[i * size : (i + 1) * size]) for i in range(num)) / num

    return mean


def mean_by(f):
    """Of a rising f of a weight, its inverse by halving."""

    def bound(ell):
        center = sum(ell) / len(ell)
        centered = [x - center for x in ell]
        mean = sum(f(x.exp()) for x in centered) / len(ell)
        low, high = min(centered), max(centered)
        while low < (middle := (low + high) / 2) < high:
            low, high = (middle, high) if f(middle.exp()) < mean else (low, middle)
        return center + middle

    return bound


def value(bound, log_weights):
    with decimal.localcontext(CONTEXT):
        return float(bound([Decimal(float(x)) for x in log_weights]))


def derivatives(bound, log_weights):
    """First and second, by each log weight."""
    with decimal.localcontext(CONTEXT):
        ell = [Decimal(float(x)) for x in log_weights]
        at, slopes, bends = bound(ell), [], []
        for k in range(len(ell)):
            up, down = (bound([*ell[:k], ell[k] + h, *ell[k + 1 :]]) for h in (STEP, -STEP))
            slopes.append(float((up - down) / (2 * STEP)))
            bends.append(float((up - 2 * at + down) / STEP**2))
    return np.array(slopes), np.array(bends)
