"""What every objective answers: a bound for each example of a batch, whose derivative it gives."""

from __future__ import annotations

import abc
from typing import Any

import equinox as eqx
from jaxtyping import Array, Float, Key, PyTree

from tighter.bounds import Bound
from tighter.gradients import Bias, Estimator


class AnyObjective(eqx.Module):
    """A bound in nats, larger is better, and an estimate of its derivative."""

    @property
    @abc.abstractmethod
    def num_samples(self) -> int:
        """Draws in a bound."""

    @property
    def num_outer(self) -> int:
        """Independent bounds averaged: one, where more draws do the same."""
        return 1

    @property
    @abc.abstractmethod
    def bias(self) -> Bias:
        """Whether its derivative is, in expectation, the gradient of its value."""

    def at(self, step: Any) -> AnyObjective:
        """The objective of one step of training: the same at every step."""
        return self

    @abc.abstractmethod
    def batch(self, model: Any, xs: PyTree, *, key: Key[Array, ""]) -> Float[Array, " batch"]:
        """The bound for each example of a batch, in nats."""


def check_whole(*, optional: bool = False, **numbers: Any) -> None:
    """Require whole numbers from 1 up, or None where they are optional.

    Raises:
        TypeError: If one is no whole number.
        ValueError: If one is below 1.
    """
    for name, number in numbers.items():
        if optional and number is None:
            continue
        if isinstance(number, bool) or not isinstance(number, int):
            raise TypeError(f"{name} is a whole number, got {number!r}")
        if number < 1:
            or_all = ", or None for all draws" if optional else ""
            raise ValueError(f"{name} is at least 1{or_all}, got {number}")


def check_enough(bound: Bound, gradient: Estimator, num_samples: int) -> None:
    """Require as many draws as a bound and an estimator of its gradient take.

    Raises:
        ValueError: If there are fewer.
    """
    needed = gradient.min_samples(bound)
    if num_samples < needed:
        raise ValueError(
            f"{type(bound).__name__} with {type(gradient).__name__} needs num_samples of {needed} "
            f"or more, got {num_samples}"
        )
