"""The making of a profile: random prunings are timed, and each call's time is fitted to its sizes."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn

from naivegraph.algebra.axis import Atom
from naivegraph.edits.request import validate
from naivegraph.errors import EditError
from naivegraph.graph.torch_utils.preserve_state import same_seed
from naivegraph.latency.call_work import CallWork, work_of_calls
from naivegraph.latency.least_squares import fit_nonnegative
from naivegraph.latency.machine import machine_of
from naivegraph.latency.profile import CallTime, Profile
from naivegraph.latency.runtimes import AnyRuntime, runtime_of
from naivegraph.latency.stopwatch import compare
from naivegraph.network import Graph
from naivegraph.prune.budget_program import pose
from naivegraph.prune.captured import captured
from naivegraph.prune.trial import Sized, Trials
from naivegraph.widths import constraints_of, relate

__all__ = ["profile", "take_profile"]

Progress = Callable[[str], None]
Run = Callable[[], object]
Amounts = tuple[float, float, float]

_INSIDE = 12  # random prunings whose calls are timed
_WHOLE = 6  # random prunings that are timed as a whole
_FEWEST = 3  # of these that are needed
_TURNS = 7  # turns in which a whole pruning is timed


def profile(
    model: nn.Module | Graph,
    args: Any = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    runtime: AnyRuntime = "eager",
    progress: Progress | None = None,
) -> Profile:
    """Measure what the calls of a network cost in time on this machine, by their sizes.

    Copies of the network with about twelve random choices of sizes are timed, call by call where the runtime
    runs calls one by one, else as a whole; the network itself is left as it is. Each call's time is then a
    constant, a share of its multiply-accumulates and a share of its bytes, none below 0, by least squares.

    Args:
        model: A graph, or a network and then its example, as for `ng.prune`.
        args: The example's positional inputs. The latency is that of the example's batch size.
        kwargs: Its keyword inputs.
        runtime: "eager", "channels_last", "compiled" (torch.compile), "onnxruntime", or a function
            `f(model, example)` that returns a function without arguments which runs the model.
        progress: Called with a sentence before each step that may take long.

    Returns:
        The profile: print it for the slowest calls, `save` it, and give it to
        `ng.prune(latency=, profile=)`.

    Raises:
        CaptureError: The network could not be captured.
        EditError: It cannot be copied, or does not run in the runtime.

    Example:
        >>> import torch, naivegraph as ng
        >>> net = torch.nn.Sequential(torch.nn.Linear(64, 512), torch.nn.ReLU(), torch.nn.Linear(512, 64))
        >>> profile = ng.profile(net, torch.ones(32, 64))
        >>> profile.calls["0"].macs, profile.seconds > 0
        (1048576.0, True)
    """
    if progress is not None:
        validate.function(progress, "progress", "a function of a sentence")
    chosen = runtime_of(runtime)
    say = progress or (lambda sentence: None)
    found = captured(model, args, kwargs, say)
    widths = relate(found.graph)
    program = pose(widths, constraints_of(widths), {})
    with same_seed():
        return take_profile(Trials(found, program, chosen), say)


def take_profile(trials: Trials, say: Progress) -> Profile:
    """A profile of the network that these trials are of.

    Raises:
        EditError: It does not run in the runtime, or no copies of other sizes run.
    """
    widths = trials.program.widths
    work = work_of_calls(widths)
    sizes = tuple(width.size for width in trials.program.free)
    whole = trials.sized(trials.change(sizes), sizes)
    inside = trials.runtime.inside
    if inside is None:
        return _from_whole(trials, work, whole, say)
    samples = [(_amounts(work, None), trials.call_times(whole, inside))]
    for number, (other, _) in enumerate(_prunings(trials, _INSIDE), 1):
        say(f"timing random prunings ({number} of {_INSIDE})")
        samples.append((_amounts(work, trials.counts(other.sizes)), trials.call_times(other, inside)))
    run = trials.run(whole)
    seconds = trials.clock.median_seconds(run)
    calls = {name: _fitted([(a[name], t[name]) for a, t in samples if name in t]) for name in work}
    errors = [
        abs(sum(_predicted(calls[name], amounts[name]) for name in times) / sum(times.values()) - 1)
        for amounts, times in samples
    ]
    offset = seconds - sum(call.seconds for call in calls.values())
    return _profile(trials, seconds, calls, offset, errors)


def _from_whole(trials: Trials, work: Mapping[str, CallWork], whole: Sized, say: Progress) -> Profile:
    """The profile of a runtime whose calls cannot be timed: all have the same rates."""
    reference = trials.run(whole)
    seconds = trials.clock.median_seconds(reference)
    amounts = _amounts(work, None)
    samples = [(_total(amounts), seconds)]
    for number, (other, run) in enumerate(_prunings(trials, _WHOLE), 1):
        say(f"timing random prunings in {trials.runtime.name} ({number} of {_WHOLE})")
        ratio = compare(run, reference, trials.clock, least=_TURNS, most=_TURNS)
        samples.append((_total(_amounts(work, trials.counts(other.sizes))), ratio.value * seconds))
    features = np.array([amounts for amounts, _ in samples])
    offset, per_mac, per_byte = fit_nonnegative(features, np.array([time for _, time in samples])).tolist()
    busy = [name for name, (_, macs, read) in amounts.items() if macs or read]
    each = offset / max(len(busy), 1)  # what is the same for all sizes is taken to be that of making calls
    calls = {
        name: CallTime(each if macs or read else 0.0, per_mac, per_byte, macs, read)
        for name, (_, macs, read) in amounts.items()
    }
    errors = [
        abs((offset + per_mac * macs + per_byte * read) / time - 1) for (_, macs, read), time in samples
    ]
    offset = seconds - sum(call.seconds for call in calls.values())
    return _profile(trials, seconds, calls, offset, errors)


def _profile(
    trials: Trials, seconds: float, calls: Mapping[str, CallTime], offset: float, errors: Sequence[float]
) -> Profile:
    return Profile(
        trials.runtime.name,
        machine_of(trials.device),
        seconds,
        calls,
        offset,
        statistics.median(errors),
        len(errors) - 1,
    )


def _prunings(trials: Trials, number: int) -> Iterator[tuple[Sized, Run]]:
    """Copies of random sizes, one after the other, and what runs them; those that do not run are left out.

    Raises:
        EditError: Hardly any runs, although sizes may change.
    """
    steps, rng = trials.program.steps(trials.runtime.step), np.random.default_rng(0)
    found = 0
    refused: list[EditError] = []
    for _ in range(number):
        sizes = trials.random_sizes(rng, steps)
        if sizes is None:
            continue
        try:
            sized = trials.sized(trials.change(sizes), sizes)
            run = trials.run(sized)
        except EditError as error:
            refused.append(error)
            continue
        found += 1
        yield sized, run
    if trials.program.free and found < _FEWEST:
        reason = f": {refused[0]}" if refused else ""
        raise EditError(f"copies of the network with other sizes do not run, so nothing can be timed{reason}")


def _amounts(work: Mapping[str, CallWork], sizes: Mapping[Any, int] | None) -> dict[str, Amounts]:
    """The amounts of work of each call."""

    def count(atom: Atom) -> int:
        """The number of neurons of a width."""
        return atom.length if sizes is None else sizes.get(atom, atom.length)

    return {name: each.amounts(count) for name, each in work.items()}


def _total(amounts: Mapping[str, Amounts]) -> Amounts:
    return 1.0, sum(macs for _, macs, _ in amounts.values()), sum(read for _, _, read in amounts.values())


def _fitted(samples: Sequence[tuple[Amounts, float]]) -> CallTime:
    features = np.array([amounts for amounts, _ in samples])
    times = np.maximum(np.array([time for _, time in samples]), 1e-9)
    fixed, per_mac, per_byte = fit_nonnegative(features, times).tolist()
    return CallTime(fixed, per_mac, per_byte, float(features[0, 1]), float(features[0, 2]))


def _predicted(call: CallTime, amounts: Amounts) -> float:
    return call.fixed + call.per_mac * amounts[1] + call.per_byte * amounts[2]
