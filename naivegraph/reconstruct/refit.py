"""The refit of a network: layer by layer in the order of the graph, both networks run side by side."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from naivegraph.calibration import Calibration, CalibrationBatch
from naivegraph.edits.apply.refit_report import LayerRefit, RefitReport
from naivegraph.errors import EditError
from naivegraph.graph.run.interpreter import Interpreter
from naivegraph.graph.torch_utils.preserve_state import preserved, restored
from naivegraph.ir.pytree import map_leaves
from naivegraph.ir.recording import Recording
from naivegraph.ir.vertex import Vertex
from naivegraph.network import Graph
from naivegraph.reconstruct.correspondence import Correspondence
from naivegraph.reconstruct.frontier import MEMORY, samples_held
from naivegraph.reconstruct.layer_fit import HELD, LayerFit, Summands
from naivegraph.reconstruct.linear_call import LinearCall, LinearCalls, Reached
from naivegraph.reconstruct.surroundings import Behind, Surroundings
from naivegraph.undo import UndoLog

__all__ = ["SAMPLES", "Refit", "run_refit", "some_batches"]

SAMPLES = 1024  # more bring little

# Tables whose rows are looked up: what is kept of them gives what it gave.
_TABLES, _LOOKED_UP = (nn.Embedding, nn.EmbeddingBag), (F.embedding, F.embedding_bag)


class Refit:
    """One refit.

    Both graphs run on many batches at once, from one vertex to the next. So there is, at any time, what later
    vertices still need of both for these, and the moments of one layer. Where all samples would take more
    than `MEMORY`, as in the first layers for large images, the first batches go ahead; the others join where
    they fit, and run up to there one by one.

    Args:
        teacher: The network before the edit; it is left as it is.
        student: The edited network, whose weights change.
        correspondence: The channels of the one in the other.
        batches: The batches.
        undo: The log that restores the weights.
        say: Called with a sentence per layer.

    Attributes:
        written: The tensors that got other values.
    """

    def __init__(
        self,
        teacher: Recording,
        student: Recording,
        correspondence: Correspondence,
        batches: Sequence[CalibrationBatch],
        undo: UndoLog,
        say: Callable[[str], object] = lambda sentence: None,
    ) -> None:
        self._teacher, self._student = teacher, student
        self._correspondence, self._batches, self._undo, self._say = correspondence, batches, undo, say
        self._around, self._before = Surroundings(student), Surroundings(teacher)
        self._place = {vertex.name: number for number, vertex in enumerate(teacher.vertices)}
        self._next = 0  # the teacher's vertex to run next
        self._runs: list[tuple[Interpreter, Interpreter]] = []  # of the batches that are on their way
        self._inputs: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self._samples = 0  # in them
        places = itertools.accumulate((self._place.get(v.name, -1) + 1 for v in student.vertices), max)
        self._room = samples_held(teacher, student, [*places], MEMORY)
        self._changed = False
        self.written: list[torch.Tensor] = []
        self._layers: list[LayerRefit] = []
        self._left: list[tuple[str, str]] = []

    @torch.no_grad()
    def run(self) -> RefitReport:
        """Refit all layers from the first changed one on.

        Raises:
            EditError: One of the networks does not run on a batch, or the graphs run in different orders.
        """
        for position, vertex in enumerate(self._student.vertices):
            self._join(position)
            place = self._place.get(vertex.name)
            if place is not None and place < self._next and not self._around.parameters(vertex):
                place = None  # functions are counted where they are called: it is another one
            if place is None:
                self._changed = True
            else:
                gone = place > self._next  # the teacher calls what the student does not
                self._catch_up(place, vertex)
                self._changed = self._changed or gone or self._differ(vertex, self._teacher.vertices[place])
                self._layer(position, vertex, place)
                self._next = place + 1
            for number in range(len(self._runs)):
                self._step(number, 1, position)
        held = self._samples // HELD
        return RefitReport(tuple(self._layers), tuple(self._left), self._samples, held)

    # Running

    def _join(self, position: int) -> None:
        """Bring as many more batches up to a vertex of the student as there is room for from there on."""
        for number in range(len(self._runs), len(self._batches)):
            batch = self._batches[number]
            if number and self._samples + batch.samples > self._room[position]:
                return
            self._runs.append((Interpreter(self._teacher), Interpreter(self._student)))
            self._inputs.append((_copied(batch.inputs), _copied(batch.inputs)))
            self._samples += batch.samples
            for place in range(self._next):
                self._step(number, 0, place)
            for before in range(position):
                self._step(number, 1, before)

    def _step(self, number: int, which: int, position: int) -> Any:
        """Run one vertex of the teacher (0) or student (1) on a batch."""
        try:
            return self._runs[number][which].step(position, self._inputs[number][which])
        except Exception as error:
            raise self._failed(number, error) from error

    def _failed(self, number: int, error: Exception) -> EditError:
        told = "; ".join(getattr(error, "__notes__", ())[:1])
        batch, place = self._batches[number].number, f" ({told})" if told else ""
        return EditError(f"the network does not run on batch {batch} of calibration=: {error}{place}")

    def _catch_up(self, place: int, vertex: Vertex) -> None:
        """Run the teacher up to a vertex."""
        if place < self._next:
            raise EditError(
                f"the two networks cannot be compared: {vertex.name!r} comes in another order in the teacher"
            )
        for position in range(self._next, place):
            for number in range(len(self._runs)):
                self._step(number, 0, position)

    def _differ(self, vertex: Vertex, other: Vertex) -> bool:
        """Tell whether two vertices of one name compute with other numbers."""
        mine, theirs = self._around.parameters(vertex), self._before.parameters(other)
        return len(mine) != len(theirs) or any(
            one.shape != two.shape or not torch.equal(one, two) for one, two in zip(mine, theirs, strict=True)
        )

    # Layers

    def _layer(self, position: int, vertex: Vertex, place: int) -> None:
        """Run the teacher's vertex on all batches; refit the student's, if it is linear in a weight."""
        with LinearCalls() as seen:
            result = self._step(0, 0, place)
        theirs, mine, fit = Behind(), Behind(), None
        left_out = not self._around.parameters(vertex) and self._before.parameters(
            self._teacher.vertices[place]
        )
        if self._changed and not left_out and self._refittable(vertex, seen.found):
            call = self._reached(0, position)
            ends = seen.found[0].output is result
            # Not by the student's tensor: of a sum whose branch was left out it is what the branch took.
            if ends:
                theirs, mine = self._before.behind(place), self._around.behind(position)
            fit = self._fit(vertex, seen.found[0], call, ends, mine)
        first = 0
        for number, batch in enumerate(self._batches[: len(self._runs)]):
            if number:
                with LinearCalls() as seen:
                    self._step(number, 0, place)
            if fit is not None:
                call = self._reached(number, position) if number else call
                fit.add(seen.found[0], call, first, batch.samples, self._summands(number, theirs, mine))
            first += batch.samples
        if fit is not None:
            self._solve(vertex, fit, call)

    def _refittable(self, vertex: Vertex, calls: Sequence[LinearCall]) -> bool:
        """Tell whether a vertex is one call linear in a weight of its own; note why if it is not."""
        weights = [t for t in self._around.parameters(vertex) if isinstance(t, nn.Parameter) and t.dim() > 1]
        if len(calls) != 1:
            if calls or (
                weights and vertex.target not in _LOOKED_UP and not isinstance(vertex.target, _TABLES)
            ):
                self._left.append((vertex.name, "it is no single call linear in a weight"))
            return False
        if any(map(self._around.shared, weights)) or self._before.shared(calls[0].parameter):
            self._left.append((vertex.name, "its weight is used in several places"))
            return False
        return True

    def _reached(self, number: int, position: int) -> LinearCall:
        """The student's call on a batch, not carried out."""
        try:
            with LinearCalls(stop=True):
                self._runs[number][1].call(position)
        except Reached as reached:
            return reached.call
        except Exception as error:
            raise self._failed(number, error) from error
        raise EditError(f"{self._student.vertices[position].name!r} does not call what it called before")

    def _fit(
        self, vertex: Vertex, teacher: LinearCall, call: LinearCall, ends: bool, behind: Behind
    ) -> LayerFit | None:
        """A fit of a layer; None, with a note, where its outputs have none of the teacher to be like."""
        if _places(teacher) != _places(call):
            self._left.append(
                (vertex.name, "the places that it goes over are neurons, and some of them went")
            )
            return None
        found = self._correspondence.channels(teacher, call)
        if found is None:
            self._left.append((vertex.name, "its outputs are not among those of the network before the edit"))
            return None
        shift = isinstance(call.bias, nn.Parameter) and not self._around.shared(call.bias)
        norm = self._around.norm_after(vertex) if call.bias is None and ends else None
        return LayerFit(call, *found, self._samples, behind, bias=shift or norm is not None)

    def _summands(self, number: int, theirs: Behind, mine: Behind) -> Summands | None:
        """The other summand before and after the edit, of a sum that a branch ends in."""
        if theirs.summand is None or mine.summand is None:
            return None
        teacher, student = self._runs[number]
        return teacher.resolve(theirs.summand), student.resolve(mine.summand)

    def _solve(self, vertex: Vertex, fit: LayerFit, call: LinearCall) -> None:
        """Solve for the weights of a layer and write them."""
        self._say(f"refitting {vertex.name}")
        weights, report = fit.solve(vertex.name)
        self._layers.append(report)
        if weights is None:
            return
        matrix, shift = weights[:, :-1], weights[:, -1].reshape(-1)
        self._write(call.weight, call.layout.weight(matrix, call.weight.shape))
        if call.bias is not None:
            self._write(call.bias, shift.reshape(call.bias.shape))
            return
        norm = self._around.norm_after(vertex)
        if norm is not None and norm.mean is not None:
            self._write(norm.mean, norm.mean.double() - shift)

    def _write(self, tensor: torch.Tensor, values: torch.Tensor) -> None:
        """Give a tensor other values, and push what takes that back."""
        before = tensor.detach().clone()
        self._undo.push(functools.partial(_restore, tensor, before))
        self.written.append(tensor)
        tensor.copy_(values.to(tensor.dtype))


def _places(call: LinearCall) -> list[int]:
    """The sizes of the input but for its channels: samples and places, as of images and texts."""
    channels = call.layout.channel_dim(call.x.shape)
    return [size for dim, size in enumerate(call.x.shape) if dim != channels]


@torch.no_grad()
def _restore(tensor: torch.Tensor, before: torch.Tensor) -> None:
    tensor.copy_(before)


def _copied(inputs: dict[str, Any]) -> dict[str, Any]:
    """Inputs that a network may write to."""
    copied: dict[str, Any] = map_leaves(
        inputs, lambda leaf: leaf.clone() if isinstance(leaf, torch.Tensor) else leaf
    )
    return copied


def run_refit(
    teacher: Graph,
    student: Graph,
    correspondence: Correspondence,
    batches: list[CalibrationBatch],
    undo: UndoLog,
    say: Callable[[str], object],
) -> tuple[Refit, RefitReport]:
    """Refit the student in eval mode; flags, buffers that runs change, and random numbers are as before.

    Raises:
        EditError: A network does not run on a batch.
    """
    refit = Refit(teacher, student, correspondence, batches, undo, say)
    with (
        restored(student.module), restored(teacher.module),
        preserved(student.module, buffers=False, spared=refit.written),
        preserved(teacher.module, buffers=False),
    ):  # fmt: skip
        return refit, refit.run()


def some_batches(
    graph: Graph, batches: Any, samples: int | None
) -> tuple[list[CalibrationBatch], tuple[str, ...]]:
    """The batches up to a number of samples, and notes on what is unusual about them.

    Raises:
        EditError: There are none, or one does not fit.
    """
    found = list(Calibration(graph, batches).first(samples))
    count = sum(batch.samples for batch in found)
    notes = []
    if samples is not None and count >= samples:
        notes.append(f"The refit used the first {samples:,} samples of the calibration data.")
    if count < HELD:
        notes.append(f"The refit had {count} samples, too few to hold some out: its errors are on the same.")
    return found, tuple(notes)
