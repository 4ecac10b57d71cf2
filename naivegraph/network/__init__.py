"""The graph that people work with: a network captured, or written by hand."""

from naivegraph.network.capture import capture
from naivegraph.network.graph_api import Graph

__all__ = ["Graph", "capture"]
