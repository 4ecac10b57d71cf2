"""A graph as it is: interpreting, querying, checking and summarising it."""
