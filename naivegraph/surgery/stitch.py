"""Stitching: the beginning of one network, a linear layer, and the end of another as one network."""

from __future__ import annotations

import copy as copying
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch.nn import functional as F

from naivegraph.errors import EditError
from naivegraph.graph.run.neuron_dims import neuron_dimensions, tensor_key
from naivegraph.ir.values import Stub
from naivegraph.network import Graph
from naivegraph.picture import NetworkPicture
from naivegraph.surgery.join import BACK, FRONT, STITCH, back_part, front_part, join
from naivegraph.surgery.joint_moments import JointMoments
from naivegraph.surgery.paired_values import paired_values
from naivegraph.surgery.stitch_fits import FitName, LinearMap, Rank, check_fit, fit_linear_map
from naivegraph.surgery.stitch_layer import HiddenShape, Resize, set_weights, shape_between, stitch_layer
from naivegraph.surgery.train_stitch import train_parts

__all__ = ["Stage", "Stitch", "stitch"]

Stage = Literal["random", "regression", "trained stitch", "trained stitch and downstream"]


@dataclasses.dataclass(frozen=True)
class _Donors:
    """The networks that a stitch is made of, and the vertices where it joins them."""

    front: Graph
    first: str
    back: Graph
    second: str
    resize: Resize | None

    def moments(self, data: Any) -> JointMoments:
        """The moments of the hidden values that the stitch takes and is to give."""
        shapes = _shape(self.front, self.first), _shape(self.back, self.second)
        found = JointMoments()
        for one, other in paired_values(self.front, [self.first], self.back, [self.second], data):
            taken, wanted = one[self.first], other[self.second]
            if self.resize is not None:
                taken = self.resize(taken)
            found.add(shapes[0].rows(taken), shapes[1].rows(wanted))
        return found


class Stitch(Graph):
    """Two networks joined by a layer, as `stitch` makes them: a graph of the parts `front`, `stitch`, `back`.

    It is run, pruned, saved and exported as any graph; its network is `module`.

    Attributes:
        stage: How far it is: "random", "regression", "trained stitch" or "trained stitch and downstream".
        explained: The share of the variance of what the second network has at the vertex that the fit
            explains; None for a stitch that was not fitted.
    """

    stage: Stage
    explained: float | None
    _donors: _Donors

    def __repr__(self) -> str:
        share = "" if self.explained is None else f", {self.explained:.1%} of the variance explained"
        joined = f"{self._donors.first!r} to {self._donors.second!r}"
        return f"Stitch from {joined}: {len(self.vertices)} vertices, stage {self.stage}{share}"

    def picture(
        self,
        *,
        groups: Mapping[str, str] | None = None,
        before: NetworkPicture | None = None,
        title: str | None = None,
    ) -> NetworkPicture:
        """The stitch as a picture (see `Graph.picture`), by default coloured by the donors of vertices."""
        if groups is None and before is None:
            donors = {name: type(graph.module).__name__ for name, graph in self._parts().items()}
            parts = {name: f"{name}, of {donor}" for name, donor in donors.items()} | {STITCH: "the stitch"}
            paths = {vertex.name: vertex.name.partition(".")[0] for vertex in self}
            groups = {name: parts[part] for name, part in paths.items() if part in parts}
        return super().picture(groups=groups, before=before, title=title)

    def _parts(self) -> dict[str, Graph]:
        return {FRONT: self._donors.front, BACK: self._donors.back}

    def fit(self, data: Any, fit: FitName | Rank = "ridge") -> None:
        """Fit the stitch to the hidden values of both networks; its parameters stay the same objects.

        Args:
            data: Batches, as `stitch` takes them.
            fit: The way, as `stitch` takes it.

        Raises:
            EditError: The fit has no answer, or needs layers of other sizes than the stitch has.
        """
        check_fit(fit)
        self._set(fit_linear_map(self._donors.moments(data), fit))

    def _set(self, fitted: LinearMap) -> None:
        set_weights(self.module.get_submodule(STITCH), fitted)
        self.stage, self.explained = "regression", fitted.explained

    def train(
        self,
        data: Any,
        *,
        downstream: bool = False,
        epochs: int = 1,
        lr: float = 1e-3,
        loss: Callable[[Any, Any], torch.Tensor] = F.cross_entropy,
    ) -> list[float]:
        """Train the stitch, and all that follows it if wanted; the rest is frozen, with its statistics.

        It is trained by Adam with a learning rate that falls to zero along a cosine. Parts that are trained
        are in train mode meanwhile. With `downstream`, the second network's own layers are trained, unless
        they were copied.

        Args:
            data: Batches with labels: tuples of inputs and what the loss takes, or dicts.
            downstream: Train the layers of the second network, too.
            epochs: How often to go through the data.
            lr: The learning rate at first.
            loss: A function of output and labels; of a dict it is given the entries that are no inputs.

        Returns:
            The mean loss of each epoch.

        Raises:
            EditError: There are no labels, or the loss is not finite.
        """
        parts = [STITCH, BACK] if downstream else [STITCH]
        found = train_parts(self, parts, data, epochs=epochs, lr=lr, loss=loss)
        self.stage = "trained stitch and downstream" if downstream else "trained stitch"
        return found


def stitch(
    a: Graph,
    first: str,
    b: Graph,
    second: str,
    data: Any = None,
    *,
    fit: FitName | Rank | Literal["random"] = "ridge",
    copy: bool = False,
) -> Stitch:
    """Join the beginning of one network with the end of another by a linear layer.

    Lenc and Vedaldi, "Understanding image representations by measuring their equivariance and equivalence",
    CVPR 2015; Bansal, Nakkiran and Barak, "Revisiting model stitching to compare neural representations",
    NeurIPS 2021. The layer is a 1x1 convolution for maps and a linear layer for tokens and vectors. Maps of
    another height and width are resized bilinearly in front of it.

    Its stages are those of training: "random", "regression" (this function, or `fit` of the result), "trained
    stitch" (`train` of the result), "trained stitch and downstream" (`train(..., downstream=True)`).

    Layers and parameters are those of the two networks, the same objects: pruning the result shrinks them,
    after which the networks they are from need not run any more, and training it downstream changes the
    second one. Take `copy=True` if that is not wanted.

    Args:
        a: The graph of the first network.
        first: The vertex up to which it is used.
        b: The graph of the second one, which may be the same.
        second: The vertex in whose place the layer's output comes.
        data: Inputs to fit the layer to, of which both networks take the same: a tensor, a dict, or batches
            such as a DataLoader's. Labels are left aside. Not needed for "random".
        fit: "ridge": least squares with a penalty of 1e-4 times the mean variance of a neuron.
            "least_squares": without one. "procrustes": the nearest rotation, from the singular value
            decomposition of the cross-covariance, without a scale. "permutation": each neuron to one, by
            linear assignment on the cross-covariance. `ng.surgery.rank(8)`: reduced-rank ridge regression, as
            two layers. "random": the layer as torch makes it. All but the last go with a bias for the means.
        copy: Copy both networks.

    Returns:
        The joined network.

    Raises:
        EditError: There is no such vertex, what they give cannot be joined, a shortcut goes around the
            second one, there is no data, or the fit has no answer.

    Example:
        >>> import torch, naivegraph as ng
        >>> x = torch.randn(64, 4)
        >>> graphs = []
        >>> for width in (8, 16):
        ...     layers = torch.nn.Linear(4, width), torch.nn.Tanh(), torch.nn.Linear(width, 3)
        ...     graphs.append(ng.capture(torch.nn.Sequential(*layers), x))
        >>> s = ng.surgery.stitch(graphs[0], "1", graphs[1], "1", data=x)
        >>> [vertex.name for vertex in s]
        ['input', 'front.0', 'front.1', 'stitch', 'back.2']
        >>> s.stage, s.module.stitch
        ('regression', Linear(in_features=8, out_features=16, bias=True))
        >>> losses = s.train([(x, torch.zeros(64, dtype=torch.long))], epochs=2)
        >>> s.stage
        'trained stitch'
    """
    for given in (a, b):
        if not isinstance(given, Graph):
            raise EditError(f"stitch takes graphs, ng.capture(model, x), not a {type(given).__name__}")
    if fit != "random":
        check_fit(fit)
    if copy:
        same = a is b
        a = copying.deepcopy(a)
        b = a if same else copying.deepcopy(b)
    one, other = _shape(a, first), _shape(b, second)
    donors = _Donors(a, first, b, second, shape_between(one, other, (first, second)))
    fitted = None if fit == "random" else fit_linear_map(donors.moments(data), fit)
    layer = stitch_layer(one, other, donors.resize, fit.rank if isinstance(fit, Rank) else None)
    like = _tensor(a, first)
    made = Stitch.of(join(front_part(a, first), layer.to(like.dtype), back_part(b, second)))
    made.stage, made.explained, made._donors = "random", None, donors
    if fitted is not None:
        made._set(fitted)
    return made


def _tensor(graph: Graph, name: str) -> Stub:
    """The tensor that a vertex gives.

    Raises:
        EditError: It gives none of real numbers, or several.
    """
    output = graph[name].output
    if not isinstance(output, Stub) or not output.dtype.is_floating_point:
        raise EditError(f"{name!r} does not give one tensor of real numbers: name a vertex that does")
    return output


def _shape(graph: Graph, name: str) -> HiddenShape:
    """The shape of what a vertex gives."""
    stub = _tensor(graph, name)
    return HiddenShape(stub.shape, neuron_dimensions(graph)[tensor_key(stub)] if stub.shape else 0)
