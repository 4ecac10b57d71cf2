"""Schemas: search spaces as graphs of blocks that are walked into networks."""
