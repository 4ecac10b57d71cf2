"""A smaller network filled from a bigger one of its kind."""
