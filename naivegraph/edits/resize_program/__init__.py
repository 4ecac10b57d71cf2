"""A resize as a mixed-integer program, and strategies for programs without an answer."""
