"""Data sets: reading them, splitting them, and turning gray pixels into binary ones."""

from tighter.data.binarization import Binarization, binarize, check_pixels
from tighter.data.dataset import Dataset, Splits, split
from tighter.data.sources import load

__all__ = ["Binarization", "Dataset", "Splits", "binarize", "check_pixels", "load", "split"]
