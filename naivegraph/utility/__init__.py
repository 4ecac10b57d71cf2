"""What neurons are worth: criteria, the contract of `utility=`, and which neurons to keep of so many."""

from naivegraph.utility.criteria import Criterion, OfWidths, Random
from naivegraph.utility.utility import Utility, check_utility, entry_values, utilities

__all__ = ["Criterion", "OfWidths", "Random", "Utility", "check_utility", "entry_values", "utilities"]
