"""The command line: `naivegraph inspect`, `naivegraph prune`, `naivegraph demo`."""

from naivegraph.cli.command_line import main

__all__ = ["main"]
