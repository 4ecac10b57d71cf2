"""Options of the command `weights`, whose config says the others."""

from jsonargparse import ArgumentParser

from naivegraph.cli.command_parser import HelpFormatter
from naivegraph.cli.help_examples import WEIGHTS_EXAMPLES

__all__ = ["WEIGHTS_KINDS", "add_weights"]

WEIGHTS_KINDS = {
    "train": "train what a config says, or go on with it",
    "tune": "search for the best values, then train with them",
    "parallel": "train all combinations of values, side by side",
}


def add_weights(parser: ArgumentParser) -> None:
    """Add the commands of the command."""
    kinds = parser.add_subcommands(required=True, dest="kind")
    for name, text in WEIGHTS_KINDS.items():
        kind = ArgumentParser(
            description=f"{text[0].upper()}{text[1:]}.",
            epilog=WEIGHTS_EXAMPLES,
            formatter_class=HelpFormatter,
            exit_on_error=False,
        )
        kind.add_argument("words", nargs="*", help="--config f.yaml, and values over it")
        kinds.add_subcommand(name, kind, help=text)
