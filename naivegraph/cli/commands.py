"""The commands, as typed functions."""

import sys
from collections.abc import Mapping, Sequence
from json import dumps
from pathlib import Path
from typing import Any, Literal, cast

import torch
from rich.console import Console
from torch import Tensor, nn

import naivegraph as ng
from naivegraph import demo as digits
from naivegraph.cli.calibration_files import calibration_files
from naivegraph.cli.load_network import build_model, example_inputs, load_weights
from naivegraph.cli.pictures import check_pictures, write_pictures
from naivegraph.cli.usage_errors import UsageError
from naivegraph.costs import cost_named
from naivegraph.latency.latency_cost import latency_of
from naivegraph.progress import working


def inspect(
    model: str | None,
    *,
    shape: Sequence[str] = (),
    arguments: Mapping[str, Any] | None = None,
    weights: str | None = None,
    html: str | None = None,
    svg: str | None = None,
) -> None:
    """Print which widths of a network are free, which are tied together, and why the others are fixed.

    Args:
        model: the function that makes the network, `package.module:function`.
        shape: the shape of each example input, `[name=][dtype:]size,size,...`.
        arguments: keyword arguments for the function.
        weights: a file of weights to load.
        html: the page to write, with the network as a picture.
        svg: the `.svg` file to draw it in.

    Raises:
        NaivegraphError: one of the steps failed; the message says which.
    """
    check_pictures(html, svg)
    network, args, kwargs = built_network(model, shape, arguments, weights)
    with working("running the network once and relating its sizes"):
        report = ng.inspect(network, args, kwargs)
    write_text(str(report))
    _say(write_pictures(report, html, svg))


def explain(
    model: str | None,
    *,
    layer: str | None = None,
    shape: Sequence[str] = (),
    arguments: Mapping[str, Any] | None = None,
    weights: str | None = None,
    html: str | None = None,
    svg: str | None = None,
) -> None:
    """Print what the size of a layer is tied to, why it may be fixed, and the sizes it can take.

    Args:
        model: the function that makes the network, `package.module:function`.
        layer: the name of the layer, another vertex or a parameter.
        shape: the shape of each example input, `[name=][dtype:]size,size,...`.
        arguments: keyword arguments for the function.
        weights: a file of weights to load.
        html: the page to write, with the network as a picture.
        svg: the `.svg` file to draw it in.

    Raises:
        NaivegraphError: one of the steps failed; the message says which.
    """
    if layer is None:
        raise UsageError("say which layer: --layer NAME; naivegraph inspect lists some")
    check_pictures(html, svg)
    network, args, kwargs = built_network(model, shape, arguments, weights)
    with working("running the network once and relating its sizes"):
        found = ng.explain(ng.capture(network, args, kwargs), layer)
    write_text(str(found))
    _say(write_pictures(found, html, svg))


def prune(
    model: str | None,
    *,
    shape: Sequence[str] = (),
    arguments: Mapping[str, Any] | None = None,
    weights: str | None = None,
    macs: float | None = None,
    params: float | None = None,
    weight_bytes: float | None = None,
    memory: float | None = None,
    training_memory: float | None = None,
    budget: Sequence[str] = (),
    ratio: float | None = None,
    latency: str | None = None,
    runtime: str = "eager",
    profile: str | None = None,
    round_to: str | None = None,
    keep: Sequence[str] = (),
    depth: Sequence[str] | None = None,
    uniform: bool = False,
    at_least: Sequence[str] = (),
    utility: str | None = None,
    calibration: str | None = None,
    backend: str = "highs",
    gap: float = 1e-3,
    time_limit: float = 20.0,
    seed: int = 0,
    json: bool = False,
    output: str | None = None,
    html: str | None = None,
    svg: str | None = None,
) -> None:
    """Prune a network to a budget, print the edit, and save it.

    Args:
        model: the function that makes the network, `package.module:function`.
        shape: the shape of each example input, `[name=][dtype:]size,size,...`.
        arguments: keyword arguments for the function.
        weights: a file of weights to load first.
        macs: the budget of multiply-accumulates: a fraction up to 1, or a number.
        params: the budget of parameters: a fraction up to 1, or a number.
        weight_bytes: the budget of bytes of parameters: a fraction up to 1, or a number.
        memory: the budget of bytes that one run allocates at its peak: a fraction up to 1, or a number.
        training_memory: the budget of bytes that a run saves in training: a fraction up to 1, or a number.
        budget: budgets of any costs, `name=number`.
        ratio: the fraction of every free size to keep (of heads, where an axis is heads times head size),
            instead of a budget.
        latency: the budget of the time of one run: a share up to 1, or a time (12ms).
        runtime: what runs the network where its latency counts, by name.
        profile: a file that `naivegraph profile --output` wrote.
        round_to: sizes are multiples of this; `auto` for what the runtime is quick at.
        keep: layers, by path or pattern, whose output sizes do not change.
        uniform: take only sizes, and of `depth` whole layers, that the config of the network can say.
        depth: the branches of residual sums that may be left out, by path or pattern of what they are in; all
            for an empty list.
        at_least: the least that stays of every layer, a fraction or a number, or `layer=number`.
        utility: the name of a criterion for the values of neurons.
        calibration: a file or folder of inputs, for utilities by data and to refit what is left.
        backend: the solver, by name.
        gap: stop once what is kept is within this fraction of the most possible.
        time_limit: seconds after which the best answer so far is taken.
        seed: of the random numbers, of which weights are made that no file gives.
        json: print the result as JSON instead of a table.
        output: the `.safetensors` file to write.
        html: the page to write, with the network before and after as a picture.
        svg: the `.svg` file to draw it in.

    Raises:
        NaivegraphError: one of the steps failed; the message says which.
    """
    budgets = _budgets(budget)
    short = (macs, params, weight_bytes, memory, training_memory, ratio, latency)
    if not budgets and all(each is None for each in short):
        raise UsageError(
            "say how small the network shall be: --macs 0.5, --params 0.5, --latency 0.5 or --ratio 0.5"
        )
    check_output(output)
    check_pictures(html, svg)
    least = _at_least(at_least)
    network, args, kwargs = built_network(model, shape, arguments, weights, seed)
    batches = None if calibration is None else calibration_files(calibration, args, kwargs)
    with working("pruning") as say:
        edit = ng.prune(
            network,
            args,
            kwargs,
            budgets=budgets,
            macs=macs,
            params=params,
            weight_bytes=weight_bytes,
            memory=memory,
            training_memory=training_memory,
            ratio=ratio,
            latency=None if latency is None else latency_of(latency),
            runtime=runtime,
            profile=profile,
            round_to=_step(round_to),
            keep=keep,
            depth=False if depth is None else list(depth) or True,
            uniform=uniform,
            at_least=least,
            utility=utility,
            calibration=batches,
            backend=backend,
            gap=gap,
            time_limit=time_limit,
            progress=say,
        )
    if output is not None:
        ng.save(network if edit.graph is None else edit.graph, output)
    if weights is None:
        sys.stderr.write(f"naivegraph: no --weights were given, so what was pruned is what {model} makes\n")
    drawn = write_pictures(edit, html, svg)
    if json:
        sys.stdout.write(dumps(_as_data(edit, output), indent=2) + "\n")
        return
    write_text(str(edit))
    if ratio is None:  # a ratio leaves nothing to choose, so there is nothing to certify
        write_text(digits.in_words(edit))
    _say(drawn)
    if output is not None:
        size = Path(output).stat().st_size
        write_text(f"Saved in {output} ({size:,} bytes); ng.load(<a fresh {model}>, {output!r}) reads it.")


def demo(*, macs: float = 0.5, output: str | None = None) -> None:
    """Train a network on handwritten digits, prune it, fine-tune it, save it and load it again.

    Args:
        macs: the fraction of the multiply-accumulates to keep.
        output: the `.safetensors` file to write; a temporary one if None.

    Raises:
        NaivegraphError: one of the steps failed; the message says which.
    """
    digits.run(Console(), macs=macs, output=None if output is None else Path(output))


def built_network(
    model: str | None,
    shape: Sequence[str],
    arguments: Mapping[str, Any] | None,
    weights: str | None,
    seed: int | None = None,
) -> tuple[nn.Module, tuple[Tensor, ...], dict[str, Tensor]]:
    """Build the network in eval mode, and its example inputs."""
    if model is None:
        raise UsageError("name a model: package.module:function, such as torchvision.models:resnet18")
    args, kwargs = example_inputs(shape)
    with working(f"building {model}"):
        if seed is not None:
            torch.manual_seed(seed)
        network = build_model(model, arguments)
        if weights is not None:
            network = load_weights(network, Path(weights))
    return network.eval(), args, kwargs


def check_output(output: str | None) -> None:
    """Check that a file can be written, and holds what its name says."""
    if output is None:
        return
    if Path(output).suffix != ".safetensors":
        raise UsageError(
            f"--output {output}: a .safetensors file is written, which ng.load reads; from there, torch.save "
            "and torch.onnx.export write others"
        )
    if not Path(output).absolute().parent.is_dir():
        raise UsageError(f"{output} cannot be written: there is no folder {Path(output).absolute().parent}")


def _as_data(edit: ng.Edit, output: str | None) -> dict[str, Any]:
    """The result as what JSON can say."""
    certificate = edit.certificate
    return {
        "before": dict(edit.before),
        "after": dict(edit.after),
        "sizes": {name: [row.before, row.after] for name, row in edit.sizes.items()},
        "certificate": None
        if certificate is None
        else {"kept": certificate.value, "at_most": certificate.bound, "gap": certificate.gap},
        "latency": None
        if edit.latency is None
        else {
            name: getattr(edit.latency, name)
            for name in ("before", "asked", "predicted", "measured", "low", "high", "rounds", "step")
        },
        "notes": list(edit.notes),
        "output": output,
    }


def _step(text: str | None) -> int | Literal["auto"] | None:
    """The step of sizes: a whole number, or a word as `ng.prune` takes it."""
    if text is None or text == "auto":
        return cast('Literal["auto"] | None', text)
    if not text.isdecimal():
        raise UsageError(f"--round-to is to be a whole number or auto, but is {text!r}")
    return int(text)


def _at_least(words: Sequence[str]) -> float | dict[str, float] | None:
    """The least sizes that words such as `0.1` or `conv1=8` ask for."""
    found: dict[str, float] = {}
    for word in words:
        name, sign, number = word.rpartition("=")
        try:
            value = int(number) if number.isdecimal() and int(number) != 1 else float(number)
        except ValueError as error:
            raise UsageError(
                f"--at-least takes a fraction or a number, alone or by layer (conv1=8), not {word!r}"
            ) from error
        found[name if sign else "*"] = value
    return found.get("*") if set(found) == {"*"} else found or None


def _budgets(words: Sequence[str]) -> dict[str, int | float]:
    """The budgets that words such as `macs=0.5` ask for."""
    found: dict[str, int | float] = {}
    for word in words:
        name, sign, number = word.partition("=")
        if not sign:
            raise UsageError(
                f"--budget takes the name of a cost and a number, such as macs=0.5, not {word!r}"
            )
        if name in found:
            raise UsageError(f"--budget names {name} twice")
        found[name] = cost_named(name).parse(number)
    return found


def _say(text: str | None) -> None:
    if text is not None:
        write_text(text)


def write_text(text: str) -> None:
    """Write text as it is, without colours or line breaks of the terminal's own."""
    Console(soft_wrap=True).print(text, markup=False, highlight=False)
