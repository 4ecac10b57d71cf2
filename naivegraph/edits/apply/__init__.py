"""Changing tensors, attributes and optimizer state, and the edit that tells of it."""
