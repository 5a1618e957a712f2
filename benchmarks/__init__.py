"""Benchmarks, run by hand: ratios in one run, medians of interleaved calls."""
