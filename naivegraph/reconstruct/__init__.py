"""Weights of an edited network, refitted to what the network before the edit computes."""

from naivegraph.reconstruct.reconstruct import reconstruct

__all__ = ["reconstruct"]
