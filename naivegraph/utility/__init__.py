"""What a neuron is worth: magnitude, batch-norm scale, gradient, chance, or the user's own function."""

from naivegraph.utility.utility import Utility, utilities

__all__ = ["Utility", "utilities"]
