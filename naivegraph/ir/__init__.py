"""The data of a recorded network: vertices, the values they pass on, and how these nest."""
