"""A resize as a mixed-integer program, and what to do where it has no answer."""
