"""Schemas: search spaces as graphs that are walked into networks."""
