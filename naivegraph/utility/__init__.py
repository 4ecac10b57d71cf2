"""Utilities of neurons: criteria, the contract of `utility=`, and the choice of neurons to keep."""

from naivegraph.utility.criteria import Criterion, OfWidths, Random
from naivegraph.utility.utility import Utility, check_utility, entry_values, utilities

__all__ = ["Criterion", "OfWidths", "Random", "Utility", "check_utility", "entry_values", "utilities"]
