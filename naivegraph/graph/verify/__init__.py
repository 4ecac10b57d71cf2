"""Comparing a graph with its network, in eval mode and in train mode."""
