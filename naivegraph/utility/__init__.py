"""Utilities of neurons: criteria, the contract of `utility=`, and the choice of neurons to keep."""

from naivegraph.utility.activation_criteria import Activation, Fluctuation, Variance
from naivegraph.utility.criteria import Criterion, CriterionData, OfWidths, Random, register_criterion
from naivegraph.utility.gradient_criteria import Fisher, Taylor
from naivegraph.utility.reconstruction import Reconstruction
from naivegraph.utility.utility import Utility, check_utility, entry_values, utilities

__all__ = [
    "Activation",
    "Criterion",
    "CriterionData",
    "Fisher",
    "Fluctuation",
    "OfWidths",
    "Random",
    "Reconstruction",
    "Taylor",
    "Utility",
    "Variance",
    "check_utility",
    "entry_values",
    "utilities",
]

for _criterion in (Taylor(), Fisher(), Activation(), Variance(), Fluctuation(), Reconstruction()):
    register_criterion(_criterion.name, _criterion)
