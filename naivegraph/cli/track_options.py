"""Options of the commands `train` and `runs`."""

from jsonargparse import ArgumentParser

from naivegraph.cli.command_parser import Given

__all__ = ["add_runs", "add_training"]


def add_training(parser: ArgumentParser) -> None:
    """Add the options of a training that are not those of its config."""
    _add_place(parser)
    parser.add_argument(
        "--no-wait", action="store_true", help="do not wait for another process that trains it"
    )


def add_runs(parser: ArgumentParser) -> None:
    """Add the options that say which runs to show, and how."""
    parser.add_argument(
        "words",
        nargs="*",
        action=Given,
        default=[],
        help="list [EXPERIMENT], find EXPERIMENT CONDITION..., compare RUN RUN..., show RUN or open RUN",
    )
    _add_place(parser)
    parser.add_argument(
        "--metrics", type=str, nargs="+", default=[], metavar="NAME", help="the metrics to show"
    )
    parser.add_argument("--limit", type=int, default=50, metavar="N", help="the most runs to list")
    parser.add_argument("--port", type=int, metavar="N", help="the port for the page of a run")
    parser.add_argument("--browser", action="store_true", help="open the page of a run in a browser")


def _add_place(parser: ArgumentParser) -> None:
    """Add the options that say where runs are kept."""
    parser.add_argument(
        "--folder", type=str, help="the folder of runs and checkpoints (default: experiments)"
    )
    parser.add_argument(
        "--uri",
        type=str,
        help="where MLflow keeps runs: sqlite:///FILE or a server (default: MLFLOW_TRACKING_URI, or a file "
        "in the folder)",
    )
