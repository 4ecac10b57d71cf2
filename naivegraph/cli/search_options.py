"""The options that describe a study."""

from typing import Any

from jsonargparse import ArgumentParser

from naivegraph.cli.command_parser import Given


def add_study(parser: ArgumentParser) -> None:
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
