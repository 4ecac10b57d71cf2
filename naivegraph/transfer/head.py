"""Other classes for a pretrained network: a mapping from new ones to old ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from naivegraph.edits.apply.edit import Edit
from naivegraph.edits.plan.index_formula import Floats, Indices
from naivegraph.edits.request import validate
from naivegraph.edits.request.target import graph_verb
from naivegraph.edits.structure.vertices import vertex_of
from naivegraph.errors import EditError
from naivegraph.graph import Vertex
from naivegraph.graph.torch_utils.preserve_state import preserved
from naivegraph.network import Graph
from naivegraph.operators.relation import returned
from naivegraph.transfer.class_labels import with_class_labels
from naivegraph.transfer.kept_function import KeptFunction
from naivegraph.transfer.rearrange import Rearrangement, rearrange, width_along
from naivegraph.widths import relate

__all__ = ["Classes", "head"]

# A number of classes, all new; for each class the old one or "new"; or the same by the number of the class.
Classes = int | Sequence[int | str] | Mapping[int, int | str]
_STARTS = ("mean", "nearest", "zero")
_NEW = "new"


@graph_verb
def head(
    model: Graph,
    vertex: str | Vertex,
    classes: Classes,
    *,
    new: str = "mean",
    examples: Mapping[int, Any] | None = None,
    names: Mapping[int, str] | None = None,
    optimizer: Any = None,
    seed: int = 0,
) -> Edit:
    """Give a network other classes, in place: some of the old ones, in any order, and new ones.

    The weights and the bias of old classes stay as they are, so what the network says of them does, too. All
    that has to have as many entries follows: a tied table, a temperature behind the layer, a config and the
    labels in it, and the `num_classes` or `num_labels` of the network.

    Args:
        model: A graph, or a network and then its example: a tensor or a tuple of positional inputs, and
            `kwargs={...}` for keyword inputs.
        vertex: The layer whose outputs are the classes.
        classes: For each class afterwards the number of the old one, or "new": a list such as
            `[7, "new", 3]`, or a dict `{0: 7, 1: "new", 2: 3}`. A number of classes means that all are new.
        new: The start of new classes. "mean": the mean of all old ones, so that they are as likely as those
            are on average. "nearest": a copy of the old class that the network finds most in `examples`.
            "zero": weights of zero.
        examples: For "nearest": by the number of a new class, inputs of it as the network takes them.
        names: Names of new classes by number, for the labels that a config keeps by class.
        optimizer: An optimizer (or several) whose state follows.
        seed: Unused numbers of the layer's own initialisation are drawn with it.

    Returns:
        The edit. Its notes tell how many classes were kept, and by how much their outputs differ on the
        example.

    Raises:
        EditError: The mapping names an old class twice, or one that is not there; or the vertex has no size
            of its own. Everything is as it was.

    Example:
        >>> import naivegraph as ng
        >>> net = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 10))
        >>> image = torch.randn(1, 8)
        >>> before = net(image)
        >>> edit = ng.transfer.head(net, image, "2", classes=[7, "new", 3])
        >>> torch.allclose(net(image)[:, [0, 2]], before[:, [7, 3]], atol=1e-6)
        True
    """
    last = vertex_of(model, vertex)
    widths = relate(model, free_outputs=True)
    width = width_along(widths, widths.output_axis(last), f"the neurons of {last.name!r}")
    old = _old_classes(classes, width.size, last.name)
    if new not in _STARTS:
        raise EditError(f"new={new!r}: give {', '.join(map(repr, _STARTS))}")
    sums, chosen = _starts(model, last, old, new, examples, width.size)
    named = validate.mapping(names, "names", "of new classes, as in {1: 'cat'}")
    whole = any(width.atom in axis.atoms() for stub in returned(model.output) for axis in widths.of(stub))
    kept = KeptFunction(model, widths)

    def notes(difference: float) -> tuple[str, ...]:
        """Return a sentence on the classes that were kept."""
        stay, come = int((old >= 0).sum()), int((old < 0).sum())
        told = f"{stay} of {width.size} classes were kept and {come} are new"
        if not stay:
            return (f"{told}, which start as {_told(new)}.",)
        begin = f", which start as {_told(new)}" if come else ""
        return (
            f"{told}{begin}; outputs of kept classes differ by at most {difference:.1e} of the "
            "largest one on the example.",
        )

    asked = {"head": last.name, "classes": [int(each) if each >= 0 else _NEW for each in old], "new": new}
    return rearrange(
        model, widths, asked, Rearrangement(width, old, sums, chosen),
        adjust=lambda change, key: with_class_labels(change, model.module, key, named, whole=whole),
        kept=kept, notes=notes, optimizer=optimizer, seed=seed,
    )  # fmt: skip


def _told(new: str) -> str:
    return {"mean": "the mean of the old ones", "nearest": "copies of the nearest old ones", "zero": "zero"}[
        new
    ]


def _old_classes(classes: Any, before: int, name: str) -> Indices:
    """For each class afterwards the old one, or -1.

    Raises:
        EditError: It is no mapping of classes.
    """
    if isinstance(classes, Mapping):
        validated = [validate.whole(key, "a class of classes=", 0) for key in classes]
        if sorted(validated) != list(range(len(validated))):
            missing = sorted(set(range(len(validated))) - set(validated))
            raise EditError(
                f"classes= has {len(validated)} classes, which are to be 0 to {len(validated) - 1}: "
                f"{', '.join(map(str, missing))} {'is' if len(missing) == 1 else 'are'} not among them"
            )
        found = [classes[key] for key in sorted(classes)]
    elif isinstance(classes, Sequence) and not isinstance(classes, str):
        found = list(classes)
    else:
        found = [_NEW] * validate.whole(classes, "a number of classes", 1)
    if not found:
        raise EditError("classes= has no class: a network keeps one at least")
    out = [-1 if isinstance(each, str) and each == _NEW else _old(each, before, name) for each in found]
    stays = [each for each in out if each >= 0]
    twice = next((each for each in stays if stays.count(each) > 1), None)
    if twice is not None:
        places = ", ".join(str(place) for place, each in enumerate(out) if each == twice)
        raise EditError(f"classes= names the old class {twice} more than once, for the new ones {places}")
    return np.array(out, np.int64)


def _old(value: Any, before: int, name: str) -> int:
    if isinstance(value, str):
        raise EditError(f'classes= says {value!r}: give the number of an old class, or "new"')
    return validate.whole(value, f"an old class of {name!r}", 0, before - 1)


def _starts(
    graph: Graph, last: Vertex, old: Indices, new: str, examples: Mapping[int, Any] | None, before: int
) -> tuple[tuple[tuple[Indices, Floats], ...], Indices]:
    """The combinations of old classes that new ones start as, and the combination of each."""
    come = [place for place, each in enumerate(old) if each < 0]
    given = validate.mapping(examples, "examples", "of inputs by new class, as in {1: images}")
    if new != "nearest":
        if given:
            raise EditError(f'examples= are for new="nearest", not {new!r}')
        every: Indices = np.arange(before if new == "mean" else 0)
        return ((every, np.full(len(every), 1 / max(before, 1))),), np.zeros(len(come), np.int64)
    lacking = [str(place) for place in come if place not in given]
    if lacking:
        raise EditError(f'new="nearest" takes examples= of each new class: none of {", ".join(lacking)}')
    found = [_nearest(graph, last, given[place], before) for place in come]
    sums = tuple((np.array([each], np.int64), np.ones(1)) for each in found)
    return sums, np.arange(len(come))


def _nearest(graph: Graph, last: Vertex, inputs: Any, before: int) -> int:
    """The old class of the largest mean probability for these inputs."""
    with torch.no_grad(), preserved(graph.module):
        scores = graph.run(inputs, [last.name])[last.name]
    classes = [dim for dim, size in enumerate(scores.shape) if size == before]
    if not classes:
        raise EditError(f"{last.name!r} gives {tuple(scores.shape)} for an example, without {before} classes")
    probabilities = scores.double().softmax(classes[-1])
    return int(probabilities.mean([d for d in range(scores.dim()) if d != classes[-1]]).argmax())
