"""A graph as a module of its own."""
