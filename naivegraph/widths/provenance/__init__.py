"""Provenance: the entries of parameters that a tensor is linear in."""
