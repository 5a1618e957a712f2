"""Data sets: reading them (tables too), splitting them, turning gray pixels into binary ones."""

from tighter.data.columns import Column
from tighter.data.corpus import Corpus, Tokenizing, count_words
from tighter.data.counts import read_counts
from tighter.data.dataset import Dataset, Splits, split
from tighter.data.filling import fill_csv
from tighter.data.pixels import Binarization, binarize, check_pixels
from tighter.data.schema import Schema, infer_schema
from tighter.data.sources import load
from tighter.data.table import read_table, write_table
from tighter.data.text import read_documents

__all__ = [
    "Binarization",
    "Column",
    "Corpus",
    "Dataset",
    "Schema",
    "Splits",
    "Tokenizing",
    "binarize",
    "check_pixels",
    "count_words",
    "fill_csv",
    "infer_schema",
    "load",
    "read_counts",
    "read_documents",
    "read_table",
    "split",
    "write_table",
]
