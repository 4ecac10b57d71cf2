"""Runs on fake tensors, which have a shape and no values."""
