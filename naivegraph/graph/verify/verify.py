"""Comparison of a graph with the network it was captured from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from naivegraph.errors import CaptureError
from naivegraph.graph.fake.fake_tensor import FakeMode, on_fake_tensors
from naivegraph.graph.record.record_run import copy_tensors, record
from naivegraph.graph.record.record_train_mode import Arguments, doubled
from naivegraph.graph.run.interpreter import Interpreter
from naivegraph.graph.torch_utils.preserve_state import preserved, restored, restored_on_error
from naivegraph.graph.torch_utils.source_lines import line_text
from naivegraph.graph.verify.same_operators import same_operators
from naivegraph.ir.pytree import pairs
from naivegraph.ir.recording import Recording
from naivegraph.ir.signature import bind

__all__ = ["compare", "difference", "disagreement", "record_fake", "record_verified", "verify_graph"]


def record_verified(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], verify: bool | Literal["recorded"]
) -> Recording:
    """Record one run in eval mode and compare the recording with the network.

    Raises:
        CaptureError: See `capture`; the network is as it was.
    """
    with restored_on_error(module):
        with preserved(module, watch=True):
            graph, output = record(module, args, kwargs)
        if verify:
            graph.checks.update(verify_graph(graph, args, kwargs, output, all_checks=verify is True))
    return graph


def record_fake(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Recording | None:
    """Record a run on fake tensors of the inputs, which computes nothing; None where that is not possible.

    The recording is not compared with the network: see `disagreement`. Fake tensors that the forward stores
    in its modules do not stay there.
    """

    def run(fake: FakeMode) -> Recording:
        """Record on fake tensors."""
        with restored(module), preserved(module, buffers=False):
            return record(module, args, kwargs, fake=fake)[0]

    return on_fake_tensors(module, run)


def verify_graph(
    graph: Recording, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any, *, all_checks: bool
) -> dict[str, str]:
    """Compare the graph's outputs with `output` of the recorded run and with the module's own forward.

    Raises:
        CaptureError: They differ on the recorded inputs.
    """
    checks = {"recorded batch": _repeats(graph, (args, kwargs), output, training=False)}
    if all_checks and checks["recorded batch"] == "equal":
        # A second run, as the first may have depended on more than torch calls.
        checks["recorded batch"] = compare(graph, (args, kwargs), training=False)
    if checks["recorded batch"] != "equal":
        first = _first_difference(graph, args, kwargs)
        raise CaptureError(
            f"the graph of {type(graph.module).__name__} does not repeat what its forward does on the "
            f"recorded inputs ({checks['recorded batch']}){first}; look there for something that is not a "
            "torch call, or pass verify=False to get the graph as it is"
        )
    if not all_checks:
        return checks
    larger = doubled((args, kwargs))
    if larger is None:
        checks["another batch"] = "not run: the inputs do not share the size of their first dimension"
    else:
        checks["another batch"] = compare(graph, larger, training=False)
    return checks


def disagreement(
    graph: Recording,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    seen: Callable[[Any], Any] = lambda output: output,
) -> tuple[Any, str]:
    """The output of the module's forward in eval mode, and the difference of the graph's, if any, in words.

    Nothing is computed if both call the same operators; the output is fake tensors then. Of the module's
    output what `seen` leaves is looked at.
    """
    output = same_operators(graph, args, kwargs, seen)
    if output is not None:
        return output, ""
    output = seen(_output(graph.module, graph, (args, kwargs), training=False))
    found = _repeats(graph, (args, kwargs), output, training=False)
    return output, "" if found == "equal" else found


def compare(graph: Recording, arguments: Arguments, *, training: bool) -> str:
    """Compare the outputs of graph and module with all flags set to `training`; return the result in words.

    The words begin with "equal", "differs" or "not run".
    """
    try:
        expected = _output(graph.module, graph, arguments, training)
    except Exception as error:
        # The user's own forward fails here, so there is nothing to compare with.
        return f"not run: the module itself raises {type(error).__name__}: {error}"
    return _repeats(graph, arguments, expected, training=training)


def _repeats(graph: Recording, arguments: Arguments, expected: Any, *, training: bool) -> str:
    """Compare the output of the graph with the expected one; return the result in words."""

    def run(*args: Any, **kwargs: Any) -> Any:
        """Run the graph."""
        return Interpreter(graph.present).run(bind(graph, args, kwargs))

    try:
        found = _output(run, graph, arguments, training)
    except Exception as error:
        return f"differs: the graph raises {type(error).__name__}: {error}"
    return difference(expected, found) or "equal"


def _output(run: Any, graph: Recording, arguments: Arguments, training: bool) -> Any:
    """A copy of the output of a run, after which the module is as before."""
    args, kwargs = copy_tensors(arguments)
    with (
        restored(graph.module),
        preserved(graph.module, training=training, watch=training),
        torch.no_grad(),
    ):
        return copy_tensors(run(*args, **kwargs))  # it may be a buffer, which is about to be restored


def difference(expected: Any, found: Any) -> str:
    """The first difference of two outputs, in words; empty if there is none."""
    try:
        both = list(pairs(expected, found, "output"))
    except ValueError as error:
        return f"differs: {error}"
    for one, two, at in both:
        if isinstance(one, torch.Tensor) != isinstance(two, torch.Tensor):
            return f"differs: {at} is a {type(two).__name__}, not a {type(one).__name__}"
        if isinstance(one, torch.Tensor):
            words = _tensors_differ(one, two)
            if words:
                return f"differs: {at} {words}"
        elif isinstance(one, np.ndarray) and not (isinstance(two, np.ndarray) and _equal_arrays(one, two)):
            return f"differs: {at} is an array of the run that was recorded; a graph makes tensors alone"
        elif isinstance(one, (int, float, str)) and one != two:
            return f"differs: {at} is {two!r}, not {one!r}"
    return ""


def _equal_arrays(one: Any, two: Any) -> bool:
    return one.shape == two.shape and np.array_equal(one, two, equal_nan=one.dtype.kind in "fc")


def _tensors_differ(one: torch.Tensor, two: torch.Tensor) -> str:
    """The difference of two tensors, in words; empty within rounding errors."""
    if one.shape != two.shape:
        return f"has shape {tuple(two.shape)}, not {tuple(one.shape)}"
    if one.dtype != two.dtype:
        return f"has dtype {two.dtype}, not {one.dtype}"
    if one.is_meta:
        return ""  # on the meta device there are no values to compare
    if torch.equal(one, two):
        return ""
    if not (one.is_floating_point() or one.is_complex()):
        return "has other values"
    scale = float(one[torch.isfinite(one)].abs().amax()) if bool(torch.isfinite(one).any()) else 0.0
    if torch.allclose(one, two, rtol=1e-4, atol=1e-5 * scale, equal_nan=True):
        return ""
    return f"has other values (up to {float((one - two).abs().amax()):.2g} apart, at a scale of {scale:.2g})"


def _first_difference(graph: Recording, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Name the first vertex whose value is not what the forward computed, by recording once more."""
    values: dict[str, Any] = {}

    def keep(name: str, value: Any) -> None:
        """Keep a copy of a vertex's value."""
        values[name] = copy_tensors(value)

    with preserved(graph.module):
        record(graph.module, args, kwargs, watch=keep)
    names = [vertex.name for vertex in graph.vertices if vertex.kind != "input" and vertex.name in values]
    found: dict[str, Any] = {}
    with preserved(graph.module), torch.no_grad():
        copied, named = copy_tensors((args, kwargs))
        execution = Interpreter(graph, watch=lambda name, value: found.__setitem__(name, copy_tensors(value)))
        try:
            execution.run(bind(graph, copied, named))
            ran = True
        except Exception:
            # The caller reports this error; the first difference, if there is one, comes before it.
            ran = False
    for name in names:
        if name in found and difference(values[name], found[name]):
            vertex = graph[name]
            place = f" at {line_text(vertex.where)}" if vertex.where else ""
            return f"; the first vertex that differs is {name!r}{place}"
    return "; every vertex is the same, so the output is put together outside torch" if ran else ""
