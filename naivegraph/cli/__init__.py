"""The command line: `naivegraph inspect`, `naivegraph prune`, `naivegraph search`, `naivegraph demo`."""

from naivegraph.cli.command_line import main

__all__ = ["main"]
