"""Benchmarks: one file per claim, each compares side by side in one run."""
