"""The options of `naivegraph transfer`, a command for each kind of transfer."""

from typing import Any

from jsonargparse import ArgumentParser

from naivegraph.cli.command_parser import add_network, command_parser
from naivegraph.cli.help_examples import TRANSFER_EXAMPLES


def add_transfers(parser: ArgumentParser) -> None:
    """Add a command for each kind of transfer."""
    kinds = parser.add_subcommands(required=True, dest="kind")
    head = _saved_transfer("Give a network other classes.")
    head.add_argument("--layer", type=str, metavar="NAME", help="the layer whose outputs are the classes")
    head.add_argument(
        "--classes",
        type=str,
        metavar="LIST",
        help="for each class the old one or new, as in 7,new,3; or a number of classes, which are all new",
    )
    head.add_argument("--new", type=str, default="mean", help="the start of new classes: mean or zero")
    kinds.add_subcommand("head", head, help="other classes")
    inputs = _saved_transfer("Give an input another number of channels.")
    inputs.add_argument("--input", type=str, metavar="NAME", help="the input, by its name")
    inputs.add_argument("--channels", type=int, metavar="N", help="the number of channels afterwards")
    inputs.add_argument(
        "--new", type=str, default="zero", help="the weights of new channels: zero, mean or repeat"
    )
    kinds.add_subcommand("inputs", inputs, help="other input channels")
    positions = _saved_transfer("Give a network positions for longer texts or images of another size.")
    positions.add_argument("--image", type=str, metavar="HEIGHT,WIDTH", help="the size of images afterwards")
    positions.add_argument("--length", type=int, metavar="N", help="the number of positions afterwards")
    positions.add_argument("--table", type=str, metavar="NAME", help="the table of positions, if not clear")
    kinds.add_subcommand("positions", positions, help="longer texts, images of another size")
    student = _saved_transfer("Fill a smaller network from a bigger one.")
    student.add_argument("--teacher", type=str, metavar="MODEL", help="what makes the bigger network")
    student.add_argument(
        "--teacher-arguments", type=dict[str, Any], default={}, metavar="JSON", help="its keyword arguments"
    )
    student.add_argument("--teacher-weights", type=str, metavar="FILE", help="its weights")
    student.add_argument("--calibration", type=str, metavar="PATH", help="inputs to choose and to fit by")
    student.add_argument(
        "--depth",
        type=str,
        default="merge",
        metavar="HOW",
        help="merge blocks, choose some, or JSON with the teacher's blocks for each of the student's",
    )
    student.add_argument(
        "--select",
        type=str,
        default="reconstruction",
        help="the neurons that stay: reconstruction, l2 or uniform",
    )
    kinds.add_subcommand("student", student, help="a smaller network from a bigger one")


def _saved_transfer(description: str) -> ArgumentParser:
    """The parser of a kind of transfer, with the options that all have."""
    parser = command_parser(description, TRANSFER_EXAMPLES)
    add_network(parser)
    parser.add_argument("--seed", type=int, default=0, help="seed of the weights, where --weights gives none")
    parser.add_argument("--output", type=str, metavar="FILE", help="where to save the network (.safetensors)")
    return parser
