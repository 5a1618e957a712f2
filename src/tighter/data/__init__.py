"""Data sets: reading them (tables too), splitting them, turning gray pixels into binary ones."""

from tighter.data._columns import Column
from tighter.data.binarization import Binarization, binarize, check_pixels
from tighter.data.dataset import Dataset, Splits, split
from tighter.data.schema import Schema, infer_schema
from tighter.data.sources import load
from tighter.data.table import read_table, write_table

__all__ = [
    "Binarization",
    "Column",
    "Dataset",
    "Schema",
    "Splits",
    "binarize",
    "check_pixels",
    "infer_schema",
    "load",
    "read_table",
    "split",
    "write_table",
]
