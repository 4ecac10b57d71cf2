"""The command line: its parser, and one sentence where something is wrong."""

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser, DefaultHelpFormatter

from naivegraph import __version__
from naivegraph.cli.help_examples import (
    DEMO_EXAMPLES,
    INSPECT_EXAMPLES,
    PROFILE_EXAMPLES,
    PRUNE_EXAMPLES,
    SEARCH_EXAMPLES,
    TRADEOFF_EXAMPLES,
    TRANSFER_EXAMPLES,
)
from naivegraph.errors import NaivegraphError


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


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the words after `naivegraph`; those of this process if None.

    Returns:
        The exit code: 0, or 2 with one sentence on standard error where something is wrong.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    try:
        with _importable(Path.cwd()):
            command, options = _read(words)
            _carry_out(command, options)
    except (NaivegraphError, ArgumentError) as error:
        if debug:
            raise
        sys.stderr.write(f"naivegraph: {_sentence(error)}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("naivegraph: stopped\n")
        return 130
    return 0


def build_parser() -> ArgumentParser:
    """Build the parser of all commands."""
    parser = ArgumentParser(
        prog="naivegraph",
        description="Change the shape of any PyTorch network: prune it to an exact budget.",
        version=__version__,
        exit_on_error=False,
        formatter_class=HelpFormatter,
    )
    subcommands = parser.add_subcommands(required=True, dest="command")
    inspect = _command(
        "Show which sizes of a network are free, tied together or fixed, and why.", INSPECT_EXAMPLES
    )
    _add_network(inspect)
    subcommands.add_subcommand("inspect", inspect, help="show which sizes are free, tied together or fixed")
    prune = _command("Prune a network to an exact budget, and save it.", PRUNE_EXAMPLES)
    _add_network(prune)
    _add_budgets(prune)
    subcommands.add_subcommand("prune", prune, help="prune a network to a budget")
    profile = _command("Measure what the calls of a network cost in time on this machine.", PROFILE_EXAMPLES)
    _add_network(profile)
    profile.add_argument(
        "--runtime",
        type=str,
        default="eager",
        help="what runs the network: eager, channels_last, compiled or onnxruntime",
    )
    profile.add_argument("--output", type=str, metavar="FILE", help="where to save the profile (.json)")
    subcommands.add_subcommand("profile", profile, help="measure what calls cost in time")
    tradeoff = _command(
        "Show the most that a network can keep at several budgets of one cost.", TRADEOFF_EXAMPLES
    )
    _add_network(tradeoff)
    tradeoff.add_argument("--cost", type=str, default="macs", help="a cost by name, or latency")
    tradeoff.add_argument("--points", type=int, default=10, metavar="N", help="the number of budgets")
    _add_runtime(tradeoff)
    tradeoff.add_argument(
        "--seed", type=int, default=0, help="seed of the weights, where --weights gives none"
    )
    tradeoff.add_argument("--json", action="store_true", help="print the result as JSON instead of a table")
    tradeoff.add_argument("--plot", type=str, metavar="FILE", help="draw the tradeoff (.svg)")
    subcommands.add_subcommand("tradeoff", tradeoff, help="show utility against a cost")
    search = _command(
        "Run a search for architectures that goes on after a kill, or show one.", SEARCH_EXAMPLES
    )
    _add_study(search)
    subcommands.add_subcommand("search", search, help="search for architectures, or show what was found")
    transfer = _command("Resize a pretrained network for another task, and save it.", TRANSFER_EXAMPLES)
    subcommands.add_subcommand("transfer", transfer, help="resize a pretrained network for another task")
    _add_transfers(transfer)
    demo = _command("Train, prune, fine-tune, save and load a network for handwritten digits.", DEMO_EXAMPLES)
    demo.add_argument("--macs", type=float, default=0.5, help="fraction of the multiply-accumulates to keep")
    demo.add_argument(
        "--output", type=str, metavar="FILE", help="where to save the pruned network (.safetensors)"
    )
    subcommands.add_subcommand("demo", demo, help="see it all on real data, in seconds")
    return parser


def _add_transfers(parser: ArgumentParser) -> None:
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
    student.add_argument("--depth", type=str, default="merge", help="merge blocks, or choose some of them")
    kinds.add_subcommand("student", student, help="a smaller network from a bigger one")


def _saved_transfer(description: str) -> ArgumentParser:
    """The parser of a kind of transfer, with the options that all have."""
    parser = _command(description, TRANSFER_EXAMPLES)
    _add_network(parser)
    parser.add_argument("--seed", type=int, default=0, help="seed of the weights, where --weights gives none")
    parser.add_argument("--output", type=str, metavar="FILE", help="where to save the network (.safetensors)")
    return parser


def _command(description: str, examples: str) -> ArgumentParser:
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


def _add_network(parser: ArgumentParser) -> None:
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


def _add_budgets(parser: ArgumentParser) -> None:
    """Add the options that say how small the network shall be."""
    parser.add_argument(
        "--macs", type=float, help="budget of multiply-accumulates: a fraction (0.5) or a number (2e9)"
    )
    parser.add_argument(
        "--params", type=float, help="budget of parameters: a fraction (0.5) or a number (1e6)"
    )
    parser.add_argument(
        "--weight-bytes", type=float, help="budget of bytes of parameters: a fraction (0.5) or a number (4e6)"
    )
    parser.add_argument(
        "--memory", type=float, help="budget of bytes one run allocates at its peak: a fraction or a number"
    )
    parser.add_argument(
        "--training-memory",
        type=float,
        help="budget of bytes a run in training saves: a fraction or a number",
    )
    parser.add_argument(
        "--budget",
        type=str,
        nargs="+",
        default=[],
        metavar="COST=NUMBER",
        help="budgets of any costs by name, several at once; an unknown name lists them",
    )
    parser.add_argument(
        "--ratio", type=float, help="fraction of every free size to keep, instead of a budget"
    )
    parser.add_argument(
        "--latency", type=str, metavar="TIME", help="budget of the time of one run: a share (0.6) or 12ms"
    )
    _add_runtime(parser)
    parser.add_argument(
        "--round-to",
        type=str,
        metavar="N",
        help="sizes are multiples of this; auto for what the runtime is quick at (with --latency by itself)",
    )
    parser.add_argument(
        "--keep",
        type=str,
        nargs="+",
        default=[],
        metavar="LAYER",
        help="layers whose output sizes do not change, by path or pattern (layer1.*)",
    )
    parser.add_argument(
        "--depth",
        type=str,
        nargs="*",
        metavar="PATTERN",
        help="leave branches of residual sums out, too; all, or those inside of layers by path or pattern",
    )
    parser.add_argument(
        "--at-least",
        type=str,
        nargs="+",
        default=[],
        metavar="[LAYER=]NUMBER",
        help="least that stays of every layer, or of one: a fraction (0.2) or a number (8)",
    )
    parser.add_argument(
        "--utility",
        type=str,
        help="values of neurons: l2 (if there is no --calibration), l1, magnitude, bn_scale or random; with "
        "--calibration fisher (by default), reconstruction, taylor, activation, variance or fluctuation",
    )
    parser.add_argument(
        "--calibration",
        type=str,
        metavar="PATH",
        help="inputs to choose by, and to refit what is left: .npz (inputs by name), .npy or .safetensors, "
        "or a folder of these or of images",
    )
    parser.add_argument(
        "--backend", type=str, default="highs", help="solver, where one is needed: highs, pulp:CBC and others"
    )
    parser.add_argument(
        "--gap", type=float, default=1e-3, help="stop within this fraction of the most that can be kept"
    )
    parser.add_argument(
        "--time-limit", type=float, default=20.0, help="seconds after which the best answer so far is taken"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the weights, where --weights gives none")
    parser.add_argument("--json", action="store_true", help="print the result as JSON instead of a table")
    parser.add_argument("--output", type=str, metavar="FILE", help="where to save the network (.safetensors)")


def _add_runtime(parser: ArgumentParser) -> None:
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


def _add_study(parser: ArgumentParser) -> None:
    """Add the options that describe a study, and how to run or show it."""
    parser.add_argument(
        "words",
        nargs="*",
        action=Given,
        default=[],
        help="`show FOLDER` to look at a study; nothing to run one",
    )
    parser.add_argument("--folder", type=str, help="folder of the study to run; it is made if there is none")
    parser.add_argument("--space", type=str, help="package.module:name of a space, or of what makes one")
    parser.add_argument(
        "--space-arguments",
        type=dict[str, Any],
        default={},
        metavar="JSON",
        help="its keyword arguments",
    )
    parser.add_argument("--evaluate", type=str, help="package.module:function (module, rung, seed) -> dict")
    parser.add_argument(
        "--objectives",
        type=dict[str, str],
        default={},
        metavar="JSON",
        help="max or min, by name",
    )
    parser.add_argument(
        "--limits", type=dict[str, float], default={}, metavar="JSON", help="greatest values, by name"
    )
    parser.add_argument(
        "--rungs", type=int, nargs="+", default=[1], metavar="N", help="epochs at the end of each rung"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of proposals and evaluations")
    parser.add_argument("--ahead", type=int, default=16, metavar="N", help="evaluations that can run at once")
    parser.add_argument("--data", type=str, default="", metavar="NAME", help="a name for what is trained on")
    parser.add_argument("--recipe", type=str, default="", metavar="NAME", help="a name for how it is trained")
    parser.add_argument("--networks", type=int, metavar="N", help="networks the study shall have in all")
    parser.add_argument("--seconds", type=float, help="time after which no more networks are started")
    parser.add_argument(
        "--engine", type=str, default="processes", help="what runs them: serial, processes, ray or dask"
    )
    parser.add_argument("--workers", type=int, metavar="N", help="networks at once; as many as processors")
    parser.add_argument("--plot", type=str, metavar="FILE", help="draw front and best over time (.svg)")
    parser.add_argument("--genealogy", type=str, metavar="FILE", help="draw who is whose child (.svg)")
    parser.add_argument("--report", type=str, metavar="FILE", help="write a report (.md or .html)")


def _read(words: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Read the command line into the name of a command and its options."""
    parsed = build_parser().parse_args(words)
    options = dict(parsed[parsed.command])
    if "kind" in options:  # a command that has commands of its own
        kind = options["kind"]
        options = {"kind": kind, **dict(parsed[parsed.command][kind])}
    for shared in ("config", "debug"):
        options.pop(shared, None)
    return parsed.command, options


def _carry_out(command: str, options: dict[str, Any]) -> None:
    """Run a command; torch is imported here, so that help and errors in the words come at once."""
    from naivegraph.cli import budget_commands, commands, search_commands, transfer_commands

    table: dict[str, Callable[..., None]] = {
        "inspect": commands.inspect,
        "prune": commands.prune,
        "profile": budget_commands.profile,
        "tradeoff": budget_commands.tradeoff,
        "search": search_commands.search,
        "transfer": transfer_commands.transfer,
        "demo": commands.demo,
    }
    table[command](**options)


def _worth_naming(default: object) -> bool:
    """Check whether a default is worth mentioning in the help."""
    return (
        isinstance(default, str | float | int)
        and not isinstance(default, bool)
        and default != argparse.SUPPRESS
    )


def _sentence(error: Exception) -> str:
    """Say an error in one line, in the words of the command line."""
    text = " ".join(str(error).split())
    match = re.fullmatch(r'Parser key "(\w+)": Expected an? <class \'(\w+)\'>\. Got value: (.*)', text)
    if match is None:
        return text
    kinds = {"float": "a number", "int": "a whole number", "dict": "JSON such as '{\"num_classes\": 10}'"}
    option = match[1].replace("_", "-")
    return f"--{option} is to be {kinds.get(match[2], match[2])}, but is {match[3]!r}"


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let modules in a folder be imported, as `python -m` does with the current one."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
