"""What is measured on one network for `benchmarks.coverage`, each measure by itself.

A measure gives a dict whose "outcome" is "yes", "no: why" or "none: why" (it says nothing about this network,
for the unchanged network does not do it either); what it raises is recorded as "refused: ..." (an error this
package raises on purpose) or "failed: ..." (any other).
"""

from __future__ import annotations

import contextlib
import copy
import functools
import gc
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import nn

import naivegraph as ng
from benchmarks.common import Example, Network, gap, params
from benchmarks.coverage_peer import peer_run
from benchmarks.function_kept import chosen, compared, difference, gone, outputs, stir, tensors_in
from benchmarks.time_to_edit import Seconds, edit_as_called, edit_by_phases
from benchmarks.zoo import seeded
from naivegraph.widths import constraints_of, relate

Found = dict[str, Any]
YES = "yes"
FRACTION = 0.3
RATIO = 0.5
# The most of the parameters that may be left at half of every width; the second where most lie in tables and
# the output layer.
LIMIT, LIMIT_TABLES = 0.6, 0.7
# Seconds of repeated timing after which no further round starts, and after which the peer is stopped: it is
# known to run for ever on some networks.
ENOUGH = 15.0
PEER_SECONDS = 20.0
# Relative differences of outputs: of the same sums in another order, and of the function in each precision.
SAME = 1e-4
TOLERANCES = {torch.float64: 1e-5, torch.float32: 1e-3}


class OverTimeError(BaseException):
    """A measure took longer than it may; no `Exception`, which what is measured would take for its own."""


@contextlib.contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """Raise `OverTimeError` inside once the wall time is over; bounds may lie inside one another."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise OverTimeError(f"over {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, stop)
    left = signal.setitimer(signal.ITIMER_REAL, seconds)[0]
    started = time.monotonic()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - started), 0.01))


def attempt(measure: Callable[[], Found], seconds: float) -> Found:
    """What a measure finds, or why it found nothing."""
    gc.collect()
    started = time.monotonic()
    try:
        with bounded(seconds):
            found = measure()
    except OverTimeError as error:
        found = {"outcome": f"failed: {error}"}
    except ng.NaivegraphError as error:
        found = {"outcome": f"refused: {said(error)}"}
    except Exception as error:  # one network or measure that fails must not end the run
        found = {"outcome": f"failed: {said(error)}"}
    return {**found, "wall s": round(time.monotonic() - started, 2)}


def said(error: BaseException) -> str:
    """Class and message of an error on one line."""
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words if len(words) < 400 else words[:400] + ' ...'}"


def unless(wrong: Mapping[str, bool]) -> str:
    """Yes, or what is wrong."""
    reasons = [reason for reason, true in wrong.items() if true]
    return f"no: {'; '.join(reasons)}" if reasons else YES


class Trial:
    """One network and what is left of it from measure to measure.

    Args:
        network: How to build it.
        bound: Seconds one timed run of ours may take.
    """

    def __init__(self, network: Network, bound: float) -> None:
        self.network = network
        self.bound = bound
        self.examples = [network.example(0), network.example(1)]
        self.pristine: nn.Module | None = seeded(network, 0)
        self.pruned: nn.Module | None = None
        self.graph: ng.Graph | None = None

    def fresh(self) -> nn.Module:
        """A copy of the network as built."""
        return seeded(self.network, 0) if self.pristine is None else copy.deepcopy(self.pristine)

    def measures(self) -> dict[str, Callable[[], Found]]:
        """Every measure by its name, in the order in which they have to be made."""
        return {
            "captured": self.captured,
            "train mode": self.train_mode,
            "free": self.free,
            "pruned": self.prune,
            "budget": self.budget,
            "to_module": self.as_module,
            "saved": self.saved,
            "time": self.times,
            "function kept": self.function,
            "exported": self.exported,
            "trained": self.trained,
        }

    # -- the graph --

    def captured(self) -> Found:
        """Whether the graph does what the network does, on the recorded and on another batch."""
        model = self.pristine or self.fresh()
        args, kwargs = self.examples[0]
        self.graph = graph = ng.capture(model, args, kwargs)
        graph.lint()
        off = [difference(outputs(model, *e), outputs(graph, *e)) for e in self.examples]
        wrong = {
            f"the recorded batch differs by {off[0]:.1e}": off[0] > SAME,
            f"another batch differs by {off[1]:.1e}": off[1] > SAME,
        }
        return {"outcome": unless(wrong), "parameters": params(model), "vertices": len(graph)}

    def train_mode(self) -> Found:
        """Whether the graph does what the network does in train mode, with the same seed."""
        model = self.fresh()
        graph = ng.capture(model, *self.examples[0], verify=False)
        state = copy.deepcopy(model.state_dict())
        model.train()
        found = []
        runs: tuple[Any, ...] = (model, graph)
        for run in runs:
            model.load_state_dict(state)
            torch.manual_seed(7)
            try:
                found.append(outputs(run, *self.examples[1]))
            except Exception as error:
                if run is model:
                    return {"outcome": f"none: the network itself does not run: {said(error)}"}
                raise
        off = difference(*found)
        return {"outcome": unless({f"differs by {off:.1e}": off > SAME})}

    def free(self) -> Found:
        """The share of the parameters' elements that live on neurons which may go."""
        graph = self.graph or ng.capture(self.fresh(), *self.examples[0], verify=False)
        widths = relate(graph)
        constraints = constraints_of(widths)
        related = {w.atom: np.ones(w.size, np.bool_) for w in widths.widths}
        in_place = {atom: mask for atom, mask in related.items() if atom not in constraints.fixed}
        shares = []
        for removed in (related, in_place):
            on = 0
            for axes in widths.parameters().values():
                still = [int(np.count_nonzero(~gone(axis, removed))) for axis in axes]
                on += int(np.prod([axis.length for axis in axes]) - np.prod(still))
            shares.append(on / max(graph.params, 1))
        held = list(dict.fromkeys(constraints.fixed.values()))
        return {
            "outcome": unless({"no width may change": not in_place}),
            "related": shares[0],
            "in place": shares[1],
            "held": held[:5],
        }

    # -- the pruned network --

    def prune(self) -> Found:
        """Half of every width, by default settings: the network's own forward and how much is left."""
        model = self.fresh()
        found = self._edited(model, ratio=RATIO)
        self.pruned = model
        return found

    def budget(self) -> Found:
        """The most parameters that may be left, as a budget: the same, by default settings."""
        model = self.fresh()
        return self._edited(model, params=_limit(model))

    def _edited(self, model: nn.Module, **asked: float) -> Found:
        before = [outputs(model, *example) for example in self.examples]
        count, limit = params(model), _limit(model)
        started = time.process_time()
        edit = ng.prune(model, *self.examples[0], **asked)  # type: ignore[arg-type]
        passed = time.process_time() - started
        after = [outputs(model, *example) for example in self.examples]
        shapes = [[[x.shape for x in found] for found in runs] for runs in (before, after)]
        left = params(model) / count
        wrong = {
            "the output has another shape": shapes[0] != shapes[1],
            f"{left:.3f} of the parameters are left, more than {limit}": left > limit,
            "the output is not finite": _finite(before[0]) and not _finite(after[0]),
            "the counted parameters are not those of the edit": edit.after.params != params(model),
        }
        return {
            "outcome": unless(wrong),
            "params": left,
            "limit": limit,
            "macs": edit.after.macs / max(edit.before.macs, 1),
            "gap": gap(edit),
            "cpu s": passed,
            "notes": edit.notes,
        }

    def _pruned(self) -> nn.Module:
        if self.pruned is None:
            model = self.fresh()
            ng.prune(model, *self.examples[0], ratio=RATIO)
            self.pruned = model
        return self.pruned

    def as_module(self) -> Found:
        """The pruned network captured again, as a module of its own."""
        model = self._pruned()
        module = ng.capture(model, *self.examples[0]).to_module()
        off = max(difference(outputs(model, *e), outputs(module, *e)) for e in self.examples)
        return {"outcome": unless({f"differs by {off:.1e}": off > SAME})}

    def saved(self) -> Found:
        """The pruned network saved, and loaded into one built with other weights."""
        model = self._pruned()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "pruned.safetensors"
            ng.save(model, path)
            loaded = ng.load(seeded(self.network, 1), path)
        off = max(difference(outputs(model, *e), outputs(loaded, *e)) for e in self.examples)
        return {"outcome": unless({f"differs by {off:.1e}": off > 1e-6})}

    def exported(self) -> Found:
        """`torch.export` of the pruned network."""

        def export(model: nn.Module) -> str:
            args, kwargs = self.examples[0]
            program = torch.export.export(model, args, kwargs).module()
            off = difference(outputs(model, args, kwargs), outputs(program, args, kwargs))
            return unless({f"differs by {off:.1e}": off > SAME})

        return {"outcome": self._like_the_original(export, self._pruned())}

    def trained(self) -> Found:
        """A backward pass and a step of SGD on the pruned network in train mode; changes it."""
        step = functools.partial(_train, example=self.examples[1])
        return {"outcome": self._like_the_original(step, self._pruned())}

    def _like_the_original(self, run: Callable[[nn.Module], str], model: nn.Module) -> str:
        """What a run says of the pruned network, or that the original does not get through it either."""
        try:
            return run(model)
        except Exception as error:
            try:
                run(self.fresh())
            except Exception as same:
                return f"none: nor does the original: {said(same)}"
            raise error

    # -- removing against zeroing --

    def function(self) -> Found:
        """Zero random neurons, remove exactly these: the same function, in float64 where it runs in that."""
        self.pristine = self.graph = None
        model = seeded(self.network, 0).double()
        examples = [_double(example) for example in self.examples]
        try:
            outputs(model, *examples[0])
        except RuntimeError:
            model, examples = seeded(self.network, 0), self.examples
        stir(model, torch.Generator().manual_seed(0))
        dtype = next(model.parameters()).dtype
        widths = relate(ng.capture(model, *examples[0], verify=False))
        constraints = constraints_of(widths)
        if all(w.coupled or w.size == 1 or w.atom in constraints.fixed for w in widths.widths):
            return {"outcome": "none: no width may change without changing a statistic"}
        kept, tested = chosen(widths, constraints, FRACTION, 0)
        removed = sum(w.size - len(indices) for w, indices in kept.items())
        same, changed = compared(model, widths, constraints, kept, examples)
        wrong = {
            f"removed differs from zeroed by {same:.1e}": not same < TOLERANCES[dtype],
            f"zeroing does not show ({changed:.1e})": not changed > TOLERANCES[dtype],
        }
        return {
            "outcome": unless(wrong),
            "dtype": str(dtype),
            "tested": tested,
            "neurons": removed,
            "off": same,
            "zeroing": changed,
        }

    # -- time --

    def times(self) -> Found:
        """CPU seconds of both tools, interleaved, the least of up to three runs of each."""
        (args, kwargs), started = self.examples[0], time.monotonic()
        ours: dict[str, Callable[[nn.Module], Seconds]] = {
            "phases": lambda model: edit_by_phases(model, args, "ratio", kwargs),
            "as called": lambda model: edit_as_called(model, args, "ratio", kwargs),
        }
        best: dict[str, Seconds] = {}
        wrong: dict[str, str] = {}
        peer: Found = {}
        for repetition in range(3):
            for way, run in ours.items():
                if way not in wrong:
                    found = attempt(functools.partial(_timed, run, self.fresh()), self.bound)
                    if found["outcome"] != YES:
                        wrong[way] = found["outcome"]
                    elif way not in best or sum(found["s"].values()) < sum(best[way].values()):
                        best[way] = found["s"]
            if repetition == 0 or peer["outcome"] == YES:
                peer = self._peer(peer)
            if time.monotonic() - started > ENOUGH:
                break
        return {"outcome": next(iter(wrong.values()), YES), **best, "peer": peer}

    def _peer(self, before: Found) -> Found:
        """One more run of the peer, by default and, if that does not work, with the heads it asks for."""
        found: Found = {}
        said: dict[str, str] = {}
        for way in [before["way"]] if before else ["default", "heads named"]:
            run = functools.partial(peer_run, self.fresh(), self.examples[0], RATIO, way == "heads named")
            found = {**attempt(run, PEER_SECONDS), "way": way}
            said[way] = found["outcome"]
            if found["outcome"] == YES:
                break
        if before and found["outcome"] == YES:
            return {**found, "cpu s": min(found["cpu s"], before["cpu s"]), "outcomes": before["outcomes"]}
        return {**found, "outcomes": said}


def _timed(run: Callable[[nn.Module], Seconds], model: nn.Module) -> Found:
    return {"outcome": YES, "s": run(model)}


def _finite(tensors: list[torch.Tensor]) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in tensors)


def _limit(model: nn.Module) -> float:
    """How much may be left: more where tables and the output layer are more than half of the parameters."""
    layers = [m for m in model.modules() if isinstance(m, (nn.Linear, nn.modules.conv._ConvNd))]
    tables = [m for m in model.modules() if isinstance(m, nn.Embedding)]
    ends = {p: p.numel() for m in [*layers[-1:], *tables] for p in m.parameters()}
    return LIMIT_TABLES if sum(ends.values()) > params(model) / 2 else LIMIT


def _double(example: Example) -> Example:
    args, kwargs = example

    def double(value: Any) -> Any:
        return value.double() if isinstance(value, torch.Tensor) and value.is_floating_point() else value

    return tuple(map(double, args)), {name: double(value) for name, value in kwargs.items()}


def _train(model: nn.Module, example: Example) -> str:
    args, kwargs = example
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    tensors = [t for t in tensors_in(model(*args, **kwargs)) if t.requires_grad]
    # Away from zero, which is what a last layer of zeros gives: torchvision makes one.
    losses = [(tensor.float() - 1).square().mean() for tensor in tensors]
    torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    before = {name: p.detach().clone() for name, p in model.named_parameters() if p.grad is not None}
    optimizer.step()
    moved = any(not torch.equal(before[n], p) for n, p in model.named_parameters() if n in before)
    model.eval()
    after = outputs(model, *example)
    wrong = {
        "no parameter has a gradient": not gradients,
        "a gradient is not finite": not _finite(gradients),
        "the step changes nothing": not moved,
        "the output is not finite": not _finite(after),
    }
    return unless(wrong)
