"""The options of `naivegraph tokens`, a command for each step from making networks to drawing new ones."""

from jsonargparse import ArgumentParser

from naivegraph.cli.command_parser import command_parser
from naivegraph.cli.help_examples import TOKENS_EXAMPLES

__all__ = ["add_tokens"]


def add_tokens(parser: ArgumentParser) -> None:
    """Add a command for each step."""
    kinds = parser.add_subcommands(required=True, dest="kind")
    generate = command_parser("Make and train many small networks, and save them.", TOKENS_EXAMPLES)
    _add_generation(generate, networks=2000, tasks=50)
    generate.add_argument("--output", type=str, metavar="FOLDER", help="where to save the networks")
    kinds.add_subcommand("generate", generate, help="make and train many small networks")
    train = command_parser(
        "Train an autoencoder on networks, or go on with it after a stop.", TOKENS_EXAMPLES
    )
    _add_networks(train)
    train.add_argument("--output", type=str, metavar="FOLDER", help="where to save the model")
    _add_training(train, steps=3000)
    kinds.add_subcommand("train", train, help="train an autoencoder on networks")
    evaluate = command_parser("Score an autoencoder on networks that it has not seen.", TOKENS_EXAMPLES)
    _add_model(evaluate)
    _add_networks(evaluate)
    _add_svg(evaluate)
    kinds.add_subcommand("evaluate", evaluate, help="score an autoencoder on networks it has not seen")
    sample = command_parser("Draw new networks, all of them valid.", TOKENS_EXAMPLES)
    _add_model(sample)
    sample.add_argument("--count", type=int, default=8, metavar="N", help="the number of networks")
    sample.add_argument(
        "--like", type=str, metavar="FILE", help="data the networks are to be for: an .npz of inputs, targets"
    )
    sample.add_argument("--seed", type=int, default=0, help="seed of what is drawn")
    sample.add_argument("--temperature", type=float, default=1.0, help="less than 1 for likelier networks")
    sample.add_argument("--output", type=str, metavar="FOLDER", help="where to save the networks")
    kinds.add_subcommand("sample", sample, help="draw new networks")
    demo = command_parser("Do all of it, small: generate, train, evaluate, sample.", TOKENS_EXAMPLES)
    _add_generation(demo, networks=600, tasks=20)
    _add_training(demo, steps=600)
    _add_svg(demo)
    demo.add_argument("--output", type=str, metavar="FOLDER", help="where to save all of it")
    kinds.add_subcommand("demo", demo, help="all of it, in under three minutes")


def _add_generation(parser: ArgumentParser, networks: int, tasks: int) -> None:
    parser.add_argument(
        "--frame", type=str, default="dense", help="the networks: dense, convolutional or residual"
    )
    parser.add_argument("--networks", type=int, default=networks, metavar="N", help="the number of networks")
    parser.add_argument("--tasks", type=int, default=tasks, metavar="N", help="the tasks that they learn")
    parser.add_argument(
        "--learn", type=int, default=300, metavar="STEPS", help="how long each network learns"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of everything random")


def _add_training(parser: ArgumentParser, steps: int) -> None:
    parser.add_argument("--steps", type=int, default=steps, metavar="N", help="the steps of the autoencoder")
    parser.add_argument("--latent", type=int, default=128, metavar="N", help="the numbers of a latent vector")
    parser.add_argument(
        "--no-meta", action="store_true", help="leave out the meta-features of data, which pymfe measures"
    )
    if not any(action.dest == "seed" for action in parser._actions):
        parser.add_argument("--seed", type=int, default=0, help="seed of everything random")


def _add_networks(parser: ArgumentParser) -> None:
    parser.add_argument("--data", type=str, metavar="FOLDER", help="networks that `generate` saved")


def _add_model(parser: ArgumentParser) -> None:
    parser.add_argument("--model", type=str, metavar="FOLDER", help="a model that `train` saved")


def _add_svg(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--svg", type=str, metavar="FOLDER", help="where to draw networks and the latent space (.svg)"
    )
