"""The command line: its parser, and one sentence where something is wrong."""

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser

from naivegraph import __version__
from naivegraph.cli.budget_options import add_budgets
from naivegraph.cli.command_parser import (
    HelpFormatter,
    add_network,
    add_pictures,
    add_runtime,
    command_parser,
)
from naivegraph.cli.help_examples import (
    DEMO_EXAMPLES,
    EXPLAIN_EXAMPLES,
    INSPECT_EXAMPLES,
    PROFILE_EXAMPLES,
    PRUNE_EXAMPLES,
    RUNS_EXAMPLES,
    SEARCH_EXAMPLES,
    TOKENS_EXAMPLES,
    TRADEOFF_EXAMPLES,
    TRAIN_EXAMPLES,
    TRANSFER_EXAMPLES,
    WEIGHTS_EXAMPLES,
)
from naivegraph.cli.search_options import add_study
from naivegraph.cli.tokens_options import add_tokens
from naivegraph.cli.track_options import add_runs, add_training
from naivegraph.cli.transfer_options import add_transfers
from naivegraph.cli.weights_options import WEIGHTS_KINDS, add_weights
from naivegraph.errors import NaivegraphError


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
    except (NaivegraphError, ArgumentError, OSError) as error:
        if debug or isinstance(error, BrokenPipeError):
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
    inspect = command_parser(
        "Show which sizes of a network are free, tied together or fixed, and why.", INSPECT_EXAMPLES
    )
    add_network(inspect)
    add_pictures(inspect)
    subcommands.add_subcommand("inspect", inspect, help="show which sizes are free, tied together or fixed")
    explain = command_parser(
        "Show what the size of a layer is tied to, and the sizes it can take.", EXPLAIN_EXAMPLES
    )
    add_network(explain)
    explain.add_argument("--layer", type=str, metavar="NAME", help="the layer, by its name")
    add_pictures(explain)
    subcommands.add_subcommand("explain", explain, help="show what the size of a layer is tied to")
    prune = command_parser("Prune a network to an exact budget, and save it.", PRUNE_EXAMPLES)
    add_network(prune)
    add_budgets(prune)
    add_pictures(prune)
    subcommands.add_subcommand("prune", prune, help="prune a network to a budget")
    profile = command_parser(
        "Measure what the calls of a network cost in time on this machine.", PROFILE_EXAMPLES
    )
    add_network(profile)
    profile.add_argument(
        "--runtime",
        type=str,
        default="eager",
        help="what runs the network: eager, channels_last, compiled or onnxruntime",
    )
    profile.add_argument("--output", type=str, metavar="FILE", help="where to save the profile (.json)")
    subcommands.add_subcommand("profile", profile, help="measure what calls cost in time")
    tradeoff = command_parser(
        "Show the most that a network can keep at several budgets of one cost.", TRADEOFF_EXAMPLES
    )
    add_network(tradeoff)
    tradeoff.add_argument("--cost", type=str, default="macs", help="a cost by name, or latency")
    tradeoff.add_argument("--points", type=int, default=10, metavar="N", help="the number of budgets")
    add_runtime(tradeoff)
    tradeoff.add_argument(
        "--seed", type=int, default=0, help="seed of the weights, where --weights gives none"
    )
    tradeoff.add_argument("--json", action="store_true", help="print the result as JSON instead of a table")
    tradeoff.add_argument("--plot", type=str, metavar="FILE", help="draw the tradeoff (.svg)")
    subcommands.add_subcommand("tradeoff", tradeoff, help="show utility against a cost")
    search = command_parser(
        "Run a search for architectures that goes on after a kill, or show one.", SEARCH_EXAMPLES
    )
    add_study(search)
    subcommands.add_subcommand("search", search, help="search for architectures, or show what was found")
    transfer = command_parser("Resize a pretrained network for another task, and save it.", TRANSFER_EXAMPLES)
    subcommands.add_subcommand("transfer", transfer, help="resize a pretrained network for another task")
    add_transfers(transfer)
    train = command_parser("Train a network of a config once, or go on with it after a stop.", TRAIN_EXAMPLES)
    add_training(train)
    subcommands.add_subcommand("train", train, help="train a network of a config, once")
    runs = command_parser("List, find, compare and show the runs that were trained.", RUNS_EXAMPLES)
    add_runs(runs)
    subcommands.add_subcommand("runs", runs, help="list, find, compare and show runs")
    weights = command_parser("Train networks that predict weights, as a config says.", WEIGHTS_EXAMPLES)
    subcommands.add_subcommand("weights", weights, help="train networks that predict weights")
    add_weights(weights)
    tokens = command_parser(
        "Handle networks as data: make them, train on them, draw new ones.", TOKENS_EXAMPLES
    )
    subcommands.add_subcommand("tokens", tokens, help="an autoencoder of networks, and new ones drawn of it")
    add_tokens(tokens)
    demo = command_parser(
        "Train, prune, fine-tune, save and load a network for handwritten digits.", DEMO_EXAMPLES
    )
    demo.add_argument("--macs", type=float, default=0.5, help="fraction of the multiply-accumulates to keep")
    demo.add_argument(
        "--output", type=str, metavar="FILE", help="where to save the pruned network (.safetensors)"
    )
    subcommands.add_subcommand("demo", demo, help="see it all on real data, in seconds")
    return parser


def _read(words: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Read the command line into the name of a command and its options."""
    if words[:1] == ["train"] and not _asks_help(words[1:]):
        return "train", {"words": list(words[1:])}  # the config says which words there are
    if words[:1] == ["weights"] and words[1:2] and words[1] in WEIGHTS_KINDS and not _asks_help(words[2:]):
        return "weights", {"kind": words[1], "words": [word for word in words[2:] if word != "--debug"]}
    parsed = build_parser().parse_args(words)
    options = dict(parsed[parsed.command])
    if "kind" in options:  # a command that has commands of its own
        kind = options["kind"]
        options = {"kind": kind, **dict(parsed[parsed.command][kind])}
    for shared in ("config", "debug"):
        options.pop(shared, None)
    return parsed.command, options


def _asks_help(words: Sequence[str]) -> bool:
    """True if the words ask for help alone; with a config they ask for what that takes."""
    return bool(words) and not {*words} - {"-h", "--help"}


def _carry_out(command: str, options: dict[str, Any]) -> None:
    """Run a command; torch is imported here, so that help and errors in the words come at once."""
    from naivegraph.cli import (
        budget_commands,
        commands,
        search_commands,
        tokens_commands,
        track_commands,
        transfer_commands,
        weights_commands,
    )

    table: dict[str, Callable[..., None]] = {
        "inspect": commands.inspect,
        "explain": commands.explain,
        "prune": commands.prune,
        "profile": budget_commands.profile,
        "tradeoff": budget_commands.tradeoff,
        "search": search_commands.search,
        "transfer": transfer_commands.transfer,
        "train": track_commands.train,
        "runs": track_commands.runs,
        "weights": weights_commands.weights,
        "tokens": tokens_commands.tokens,
        "demo": commands.demo,
    }
    table[command](**options)


def _sentence(error: Exception) -> str:
    """Say an error in one line, in the words of the command line."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
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
