"""A change of a network as plain data, worked out before anything is touched."""
