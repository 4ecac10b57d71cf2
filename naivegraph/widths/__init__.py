"""Widths: runs of neurons that change together, the parameters they are in, constraints on their sizes."""

from naivegraph.widths.code.rewritable import rewritable
from naivegraph.widths.code.size_constraints import SizeConstraints, constraints_of
from naivegraph.widths.relate_graph import relate
from naivegraph.widths.widths import FixedAxis, Width, Widths

__all__ = ["FixedAxis", "SizeConstraints", "Width", "Widths", "constraints_of", "relate", "rewritable"]
