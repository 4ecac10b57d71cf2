"""Vertices and edges that come and go: all of an edit or none of it."""
