"""Widths: which neurons of a graph always occur together, where they live and what they cost."""

from naivegraph.widths.inplace import Demands, demands_of
from naivegraph.widths.widths import FixedAxis, Width, Widths, relate

__all__ = ["Demands", "FixedAxis", "Width", "Widths", "demands_of", "relate"]
