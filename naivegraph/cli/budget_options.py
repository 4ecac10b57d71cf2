"""The options that say how small a network shall be."""

from jsonargparse import ArgumentParser

from naivegraph.cli.command_parser import add_runtime


def add_budgets(parser: ArgumentParser) -> None:
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
    add_runtime(parser)
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
        "--uniform",
        action="store_true",
        help="only sizes, and with --depth whole layers, that the config of the network can say",
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
