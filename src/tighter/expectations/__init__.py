"""Expectations over any distribution, with any estimator of their gradients."""

from tighter.expectations.expectation import expectation

__all__ = ["expectation"]
