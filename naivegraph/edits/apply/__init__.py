"""Application of a change to tensors, attributes and optimizer state, and the edit that results."""
