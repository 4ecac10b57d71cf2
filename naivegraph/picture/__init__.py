"""Pictures of graphs, before and after edits: SVG by graphviz, and pages of HTML to search and zoom in."""

from naivegraph.picture.network_picture import NetworkPicture, Pictured

__all__ = ["NetworkPicture", "Pictured"]
