"""The commands that resize pretrained networks for another task, as typed functions."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import naivegraph as ng
from naivegraph.cli.calibration_files import calibration_files
from naivegraph.cli.commands import built_network, check_output, write_text
from naivegraph.cli.usage_errors import UsageError
from naivegraph.progress import working

__all__ = ["transfer"]


def transfer(
    kind: str,
    model: str | None,
    *,
    shape: Sequence[str] = (),
    arguments: Mapping[str, Any] | None = None,
    weights: str | None = None,
    seed: int = 0,
    output: str | None = None,
    **options: Any,
) -> None:
    """Resize a network for another task, print the edit, and save it.

    Args:
        kind: `head`, `inputs`, `positions` or `student`.
        model: the function that makes the network, `package.module:function`.
        shape: the shape of each example input, `[name=][dtype:]size,size,...`.
        arguments: keyword arguments for the function.
        weights: a file of weights to load first.
        seed: of the random numbers, of which weights are made that no file gives.
        output: the `.safetensors` file to write.
        options: those of the kind.

    Raises:
        NaivegraphError: one of the steps failed; the message says which.
    """
    check_output(output)
    teacher = _needed(options, kind)
    depth = _depth(options.get("depth", "merge"))
    network, args, kwargs = built_network(model, shape, arguments, weights, seed)
    if teacher is not None:
        keywords, file = options["teacher_arguments"], options["teacher_weights"]
        made, *_ = built_network(teacher, shape, keywords, file, seed)
        batches = calibration_files(options["calibration"], args, kwargs)
        with working("filling the smaller network") as say:
            say("")
            report = ng.transfer.student(
                network, made, args, kwargs=kwargs or None, calibration=batches, depth=depth,
                select=options["select"],
            )  # fmt: skip
        write_text(str(report))
    else:
        graph = ng.capture(network, args, kwargs)
        with working("resizing"):
            write_text(str(_edit(kind, graph, options)))
    if teacher is not None and options["teacher_weights"] is None:
        told = f"no --teacher-weights were given, so the bigger network is what {teacher} makes"
        sys.stderr.write(f"naivegraph: {told}\n")
    elif teacher is None and weights is None:
        sys.stderr.write(f"naivegraph: no --weights were given, so what was resized is what {model} makes\n")
    if output is not None:
        ng.save(network, output)
        size = Path(output).stat().st_size
        write_text(f"Saved in {output} ({size:,} bytes); ng.load(<a fresh {model}>, {output!r}) reads it.")


_NEEDS = {
    "head": {"layer": "fc", "classes": "10"},
    "inputs": {"input": "x", "channels": "4"},
    "student": {"teacher": "package.module:function", "calibration": "images.npz"},
}


def _needed(options: Mapping[str, Any], kind: str) -> str | None:
    """Check that the options a kind needs are there before anything takes time, and give its teacher."""
    for name, example in _NEEDS.get(kind, {}).items():
        if options[name] is None:
            raise UsageError(f"say --{name}, such as --{name} {example}")
    teacher: str | None = options.get("teacher")
    return teacher


def _edit(kind: str, graph: ng.Graph, options: Mapping[str, Any]) -> ng.Edit:
    if kind == "head":
        return ng.transfer.head(graph, options["layer"], _classes(options["classes"]), new=options["new"])
    if kind == "inputs":
        return ng.transfer.inputs(graph, options["input"], options["channels"], new=options["new"])
    image = None if options["image"] is None else _sides(options["image"])
    return ng.transfer.positions(
        graph,
        length=options["length"],
        image=image,
        table=options["table"],
    )


def _classes(text: str) -> int | list[int | str]:
    """The classes that words such as `10` or `7,new,3` ask for."""
    words = [word.strip() for word in text.split(",")]
    if not all(word == "new" or word.isdecimal() for word in words):
        raise UsageError(f"--classes takes a number of classes, or a list such as 7,new,3, not {text!r}")
    if len(words) == 1 and words[0] != "new":
        return int(words[0])
    return ["new" if word == "new" else int(word) for word in words]


def _depth(text: str) -> str | dict[str, Any]:
    """Read `--depth`: a word, or blocks by blocks."""
    if not text.lstrip().startswith("{"):
        return text
    try:
        found: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise UsageError(
            f'--depth takes merge, choose or JSON such as {{"blocks.0": ["blocks.0", "blocks.1"]}}, not '
            f"{text!r}"
        ) from error
    return found


def _sides(text: str) -> tuple[int, int]:
    words = text.lower().replace("x", ",").split(",")
    if len(words) != 2 or not all(word.isdecimal() for word in words):
        raise UsageError(f"--image takes a height and a width, such as 96,128, not {text!r}")
    return int(words[0]), int(words[1])
