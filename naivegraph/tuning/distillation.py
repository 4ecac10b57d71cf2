"""Distillation: a loss by which an edited network learns to give what it gave before."""

from __future__ import annotations

import contextlib
import fnmatch
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from naivegraph.edits.plan.change import Change
from naivegraph.edits.request import validate
from naivegraph.edits.request.target import check_model
from naivegraph.errors import EditError, NaivegraphError, nearest
from naivegraph.graph.export.history import history_of
from naivegraph.graph.run.neuron_dims import neuron_dimensions, tensor_key
from naivegraph.graph.torch_utils.module_paths import parameters_of
from naivegraph.graph.torch_utils.preserve_state import preserved
from naivegraph.graph.torch_utils.unwrap import unwrapped
from naivegraph.ir.pytree import leaves, stubs_in
from naivegraph.network import Graph
from naivegraph.reconstruct.correspondence import Correspondence
from naivegraph.tuning.present_graph import present_graph
from naivegraph.widths import relate

__all__ = ["Distillation", "Distilled", "distillation"]

Output = Literal["kl", "mse"]
Seen = dict[str, list[torch.Tensor]]


class Distilled(NamedTuple):
    """One batch of a distillation.

    Attributes:
        output: The student's output, for a loss by labels.
        loss: The distillation loss, a tensor of no dimensions.
    """

    output: Any
    loss: torch.Tensor


def distillation(
    student: nn.Module | Graph,
    teacher: nn.Module | Graph,
    args: Any = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    hidden: str | Sequence[str] = (),
    output: Output = "kl",
    temperature: float = 4.0,
    hidden_weight: float = 1.0,
) -> Distillation:
    """Make a loss by which an edited network learns to give what its teacher gives.

    - Outputs, "kl": the Kullback-Leibler divergence of the outputs' softmax at a temperature, along the
      dimension of their neurons, times the square of the temperature (Hinton, Vinyals and Dean, "Distilling
      the knowledge in a neural network", 2015, section 2). "mse": the mean squared error.
    - Hidden values: the squared error between a layer's output and the teacher's at the neurons that are
      left of it, divided by the teacher's mean square there, so that layers count the same (Romero et al.,
      "FitNets: hints for thin deep nets", ICLR 2015, without their regressor: the edits tell the neurons).

    The loss is the mean of the first over outputs, and `hidden_weight` times the mean of the second over
    layers. It follows edits of the student that come later.

    Args:
        student: The edited network, or its graph.
        teacher: The network before the edits: a copy made then (`copy.deepcopy`). It is run in eval mode,
            without gradients, and left as it is.
        args: An example of the student, unless it is a graph: its positional inputs.
        kwargs: Its keyword inputs.
        hidden: Layers whose values are compared, by path or pattern; none by default.
        output: See above.
        temperature: For "kl".
        hidden_weight: The factor of hidden values.

    Returns:
        A function of the network's inputs that runs both and returns the student's output and the loss. In
        Lightning keep it as an attribute and call it in `training_step`; for a `transformers.Trainer` there
        is `ng.DistillationMixin`.

    Raises:
        CaptureError: The student could not be captured.
        EditError: An argument makes no sense, or it cannot be known which neurons are left of the teacher.

    Example:
        >>> import copy, torch, naivegraph as ng
        >>> _ = torch.manual_seed(0)
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
        >>> teacher = copy.deepcopy(net)
        >>> edit = ng.prune(net, torch.ones(1, 4), macs=0.5)
        >>> distil = ng.distillation(net, teacher, torch.ones(1, 4), hidden="0")
        >>> optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
        >>> losses = []
        >>> for _ in range(60):
        ...     output, loss = distil(torch.randn(32, 4))
        ...     optimizer.zero_grad()
        ...     _ = loss.backward()  # of labels: (loss + cross_entropy(output, labels)).backward()
        ...     optimizer.step()
        ...     losses.append(loss.item())
        >>> losses[-1] < losses[0]
        True
    """
    check_model("distillation", student)
    check_model("distillation", teacher)
    if output not in ("kl", "mse"):
        raise EditError(f'output={output!r}: give "kl" or "mse"')
    if validate.at_least_zero(temperature, "temperature") == 0:
        raise EditError("temperature must be above 0, not 0")
    validate.at_least_zero(hidden_weight, "hidden_weight")
    example = None if isinstance(student, Graph) else (args, kwargs)
    subject: nn.Module | Graph = student if isinstance(student, Graph) else unwrapped(student)
    before: nn.Module = teacher.module if isinstance(teacher, Graph) else unwrapped(teacher)
    patterns = (hidden,) if isinstance(hidden, str) else tuple(hidden)
    return Distillation(subject, before, example, patterns, output, float(temperature), float(hidden_weight))


class Distillation:
    """A teacher and a student; made by `distillation`.

    Attributes:
        teacher: The network before the edits.
        layers: The layers whose values are compared.
    """

    def __init__(
        self,
        subject: nn.Module | Graph,
        teacher: nn.Module,
        example: tuple[Any, Any] | None,
        hidden: Sequence[str],
        output: Output,
        temperature: float,
        hidden_weight: float,
    ) -> None:
        self.teacher = teacher
        self._subject, self._example, self._hidden = subject, example, hidden
        self._output, self._temperature, self._hidden_weight = output, temperature, hidden_weight
        self._shapes: dict[str, torch.Size] = {}
        self._neurons: dict[str, tuple[int, torch.Tensor]] = {}
        self._output_dims: list[int] = []
        shared = {id(parameter) for parameter in parameters_of(teacher).values()}
        if any(id(parameter) in shared for parameter in parameters_of(self.student).values()):
            raise EditError(
                "the teacher shares parameters with the student: give a copy of the network that was made "
                "before the edit (copy.deepcopy)"
            )
        self._follow()

    @property
    def student(self) -> nn.Module:
        """The edited network."""
        return self._subject.module if isinstance(self._subject, Graph) else self._subject

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers whose values are compared."""
        self._follow()
        return tuple(self._neurons)

    def __call__(self, *args: Any, **kwargs: Any) -> Distilled:
        """Run student and teacher on a batch.

        Args:
            args: The positional inputs.
            kwargs: The keyword inputs.

        Raises:
            NaivegraphError: The two gave outputs of different structure.
        """
        with self.watching(self.student) as seen:
            output = (self._subject if self._rewired else self.student)(*args, **kwargs)
        return Distilled(output, self.loss(output, seen, args, kwargs))

    @property
    def _rewired(self) -> bool:
        """Tell if the network's own forward computes something else than the graph."""
        return isinstance(self._subject, Graph) and self._subject.rewired

    @contextlib.contextmanager
    def watching(self, model: nn.Module) -> Iterator[Seen]:
        """Collect the values of hidden layers while a block runs the student, or a wrapper of it.

        Args:
            model: What is run.
        """
        self._follow()
        with _watched(unwrapped(model), list(self._neurons)) as seen:
            yield seen

    def inputs_of(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """The entries of a batch that the teacher takes, without labels."""
        taken = inspect.signature(self.teacher.forward).parameters
        return {name: value for name, value in batch.items() if name in taken and name != "labels"}

    def loss(self, output: Any, seen: Seen, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> torch.Tensor:
        """The loss of one batch that the student has been run on.

        Args:
            output: The student's output.
            seen: The values of its hidden layers, from `watching`.
            args: The positional inputs.
            kwargs: The keyword inputs.

        Raises:
            NaivegraphError: The two gave outputs of different structure.
        """
        device = next((t.device for t in leaves((args, kwargs)) if isinstance(t, torch.Tensor)), None)
        if device is not None and any(p.device != device for p in self.teacher.parameters()):
            self.teacher.to(device)
        watched = _watched(self.teacher, list(self._neurons))
        with torch.no_grad(), preserved(self.teacher, buffers=False), watched as known:
            target = self.teacher(*args, **kwargs)
        terms = list(self._output_terms(output, target))
        if not terms:
            raise NaivegraphError("student and teacher have no floating-point output of one shape in common")
        total = torch.stack(terms).mean()
        hints = [
            self._hint(name, mine, theirs)
            for name in self._neurons
            for mine, theirs in zip(seen.get(name, []), known.get(name, []), strict=False)
        ]
        return total + self._hidden_weight * torch.stack(hints).mean() if hints else total

    def _output_terms(self, output: Any, target: Any) -> Iterator[torch.Tensor]:
        """The loss of each output that has samples and neurons."""
        mine, theirs = ([t for t in leaves(each) if _valued(t)] for each in (output, target))
        if len(mine) != len(theirs):  # a loss by labels, say, which one of them gives
            raise NaivegraphError(f"the student gives {len(mine)} outputs, the teacher {len(theirs)}")
        for number, (one, two) in enumerate(zip(mine, theirs, strict=True)):
            if one.shape != two.shape:
                raise NaivegraphError(
                    f"output {number + 1} of the student has shape {tuple(one.shape)}, the teacher's "
                    f"{tuple(two.shape)}"
                )
            dim = self._output_dims[number] if number < len(self._output_dims) else -1
            if self._output == "mse":
                yield F.mse_loss(one, two.to(one.dtype))
                continue
            heat = self._temperature
            logs, targets = (t.float().movedim(dim, -1).flatten(0, -2) / heat for t in (one, two))
            yield heat**2 * F.kl_div(
                logs.log_softmax(-1), targets.log_softmax(-1), log_target=True, reduction="batchmean"
            )

    def _hint(self, name: str, mine: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
        """The loss of one layer's values."""
        dim, neurons = self._neurons[name]
        left = theirs.index_select(dim, neurons.to(theirs.device)).float()
        return F.mse_loss(mine.float(), left) / left.square().mean().clamp_min(1e-12)

    def _follow(self) -> None:
        """Work out which neurons are left, where sizes have changed since."""
        shapes = {name: parameter.shape for name, parameter in parameters_of(self.student).items()}
        if shapes == self._shapes:
            return
        graph = present_graph(self._subject, self._example)
        dims = neuron_dimensions(graph)
        outputs = [s for s in stubs_in(graph.output) if len(s.shape) > 1 and s.dtype.is_floating_point]
        self._output_dims = [dims.get(tensor_key(stub), -1) for stub in outputs]
        self._neurons = _neurons_left(graph, self.teacher, self._hidden, dims)
        self._shapes = shapes


def _valued(leaf: Any) -> bool:
    """Tell whether an output has samples and neurons."""
    return isinstance(leaf, torch.Tensor) and leaf.is_floating_point() and leaf.dim() > 1


@contextlib.contextmanager
def _watched(module: nn.Module, names: Sequence[str]) -> Iterator[Seen]:
    """Collect what layers give, by name, while a block runs; hooks are taken out after it."""
    seen: Seen = {name: [] for name in names}

    def note(name: str) -> Any:
        """Make a hook that notes what a layer gives."""

        def hook(layer: nn.Module, args: Any, result: Any) -> None:
            """Note the first tensor."""
            first = next((leaf for leaf in leaves(result) if isinstance(leaf, torch.Tensor)), None)
            if first is not None:
                seen[name].append(first)

        return hook

    hooks = [module.get_submodule(name).register_forward_hook(note(name)) for name in names]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _neurons_left(
    graph: Graph, teacher: nn.Module, patterns: Sequence[str], dims: Mapping[Any, int]
) -> dict[str, tuple[int, torch.Tensor]]:
    """For each layer that is compared: the dimension of its neurons, and which of the teacher's are left.

    Raises:
        EditError: A pattern names nothing, or the neurons of a layer cannot be followed.
    """
    if not patterns:
        return {}
    called = {v.path: v for v in graph.vertices if v.kind == "layer" and stubs_in(v.output)}
    both = {name: v for name, v in called.items() if name in dict(teacher.named_modules())}
    chosen: dict[str, None] = {}
    for pattern in patterns:
        found = [name for name in both if fnmatch.fnmatchcase(name, pattern)]
        if not found:
            raise EditError(
                f"hidden names {pattern!r}, and no layer that both networks call has that path"
                f"{nearest(pattern, both)}"
            )
        chosen.update(dict.fromkeys(found))
    done, before = history_of(graph.module), history_of(teacher)
    changes = (
        [Change.from_json(text) for text in done[len(before) :]] if done[: len(before)] == before else []
    )
    origins = Correspondence(changes, teacher, graph.module)
    widths = relate(graph, free_outputs=True)
    known = parameters_of(teacher)
    out: dict[str, tuple[int, torch.Tensor]] = {}
    for name in chosen:
        vertex = both[name]
        stub = stubs_in(vertex.output)[0]
        dim, axis = dims[tensor_key(stub)], widths.output_axis(vertex)
        for parameter, axes in widths.parameters().items():
            places = [d for d, each in enumerate(axes) if each == axis]
            if not places or parameter not in known:
                continue
            left = origins.along(parameter, places[0])
            if left is not None and len(left) == axis.length:
                out[name] = dim, left
                break
        else:
            raise EditError(
                f"hidden names {name!r}, whose neurons cannot be followed to the teacher's: no parameter of "
                "both networks has them alone; name a layer with weights"
            )
    return out
