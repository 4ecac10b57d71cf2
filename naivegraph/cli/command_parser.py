"""The parser of a command, and the options that several commands have."""

import argparse
from typing import Any

from jsonargparse import ArgumentParser, DefaultHelpFormatter


class HelpFormatter(DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Help that leaves the examples as they are written, and tells defaults that are numbers or words."""

    def _get_help_string(self, action: argparse.Action) -> str:
        """Return the help of one option."""
        help_text = action.help or ""
        return f"{help_text} (default: {action.default})" if _worth_naming(action.default) else help_text


class Given(argparse.Action):
    """Action of a positional that may come from a config file instead: nothing where it is missing."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option: str | None = None,
    ) -> None:
        """Store the value, if there is one."""
        if values is not None:
            setattr(namespace, self.dest, values)


def command_parser(description: str, examples: str) -> ArgumentParser:
    """The parser of a command, with the options that all commands have."""
    parser = ArgumentParser(
        description=description,
        epilog=examples,
        formatter_class=HelpFormatter,
        exit_on_error=False,
        print_config=None,
    )
    parser.add_argument(
        "--config", action="config", metavar="FILE", help="read options from a YAML or JSON file"
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def add_network(parser: ArgumentParser) -> None:
    """Add the options that say which network is meant."""
    parser.add_argument(
        "model",
        nargs="?",
        action=Given,
        help="package.module:function that makes the network, or timm:name; also found in the current folder",
    )
    parser.add_argument(
        "--shape",
        type=str,
        nargs="+",
        default=[],
        metavar="SHAPE",
        help="shape of each example input, [name=][dtype:]sizes: 1,3,224,224 or int64:1,16 or mask=bool:1,16",
    )
    parser.add_argument(
        "--arguments",
        type=dict[str, Any],
        default={},
        metavar="JSON",
        help="keyword arguments for the function",
    )
    parser.add_argument(
        "--weights",
        type=str,
        metavar="FILE",
        help="weights to load: .safetensors (also one that --output wrote), or a state dict or checkpoint of "
        "torch.save",
    )


def add_runtime(parser: ArgumentParser) -> None:
    """Add the options that say how latency is measured."""
    parser.add_argument(
        "--runtime",
        type=str,
        default="eager",
        help="what runs the network where its latency counts: eager, channels_last, compiled or onnxruntime",
    )
    parser.add_argument(
        "--profile",
        type=str,
        metavar="FILE",
        help="a file of `naivegraph profile`, instead of measuring anew",
    )


def _worth_naming(default: object) -> bool:
    """Check whether a default is worth mentioning in the help."""
    return (
        isinstance(default, str | float | int)
        and not isinstance(default, bool)
        and default != argparse.SUPPRESS
    )


def add_pictures(parser: ArgumentParser) -> None:
    """Add the options for pictures of the network."""
    parser.add_argument(
        "--html", type=str, metavar="FILE", help="draw the network as a page to zoom and search in (.html)"
    )
    parser.add_argument("--svg", type=str, metavar="FILE", help="draw it by graphviz, if installed (.svg)")
