"""The command line: `naivegraph inspect`, `naivegraph prune`, `naivegraph demo`."""

from naivegraph.cli.run import main

__all__ = ["main"]
