"""Widths: which neurons of a graph always occur together, where they live and what they cost."""

from naivegraph.widths.code.rewritable import rewritable
from naivegraph.widths.code.size_constraints import SizeConstraints, constraints_of
from naivegraph.widths.widths import FixedAxis, Width, Widths, relate

__all__ = ["FixedAxis", "SizeConstraints", "Width", "Widths", "constraints_of", "relate", "rewritable"]
