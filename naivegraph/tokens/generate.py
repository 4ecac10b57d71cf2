"""Data sets of networks: many small networks trained as one masked batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from naivegraph.progress import working
from naivegraph.tokens.frame import Frame, Kind
from naivegraph.tokens.learning_tasks import LearningTask, made_tasks
from naivegraph.tokens.network_set import NetworkSet
from naivegraph.tokens.networks import Networks
from naivegraph.tokens.random_structure import random_structure

__all__ = ["generate", "train_networks"]

_TASKS = 20
_BATCH = 32
_TOGETHER = {False: 1000, True: 100}  # networks trained together, of vectors and of images: what caches hold
_RATE = 0.02

_USUAL = {
    "dense": Frame("dense", inputs=4, outputs=1, depth=3, width=8),
    "convolutional": Frame("convolutional", inputs=1, outputs=1, depth=3, width=6, kernel=9),
    "residual": Frame("residual", inputs=4, outputs=1, depth=4, width=6),
}


def generate(
    count: int,
    frame: Frame | Kind,
    seed: int = 0,
    *,
    tasks: Sequence[LearningTask] | int = _TASKS,
    steps: int = 300,
    density: float = 1.0,
) -> NetworkSet:
    """Make a data set of networks of random structures, each trained on one of several tasks.

    Args:
        count: The number of networks.
        frame: The frame, or a kind for a small one of it.
        seed: The seed of structures, weights and made tasks.
        tasks: What they learn, in turn; a number of made tasks by default.
        steps: The steps of Adam, on 32 samples each; 0 leaves the weights random.
        density: The share of edges between neurons that are there.

    Raises:
        ValueError: A number is out of range, there is no such kind, or a task does not fit the frame.

    Example:
        >>> made = generate(10, "dense", seed=1, tasks=2, steps=5)
        >>> len(made), made.task.tolist(), bool(made.networks.valid().all())
        (10, [0, 1, 0, 1, 0, 1, 0, 1, 0, 1], True)
    """
    frame = _frame(frame)
    if isinstance(tasks, int):
        tasks = made_tasks(frame, tasks, seed)
    _check_tasks(frame, tasks)
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 0:
        raise ValueError(f"steps={steps} is to be a whole number of at least 0")
    networks = random_structure(frame, count, seed, density=density)
    task = torch.arange(count) % len(tasks)
    trained, loss = train_networks(networks, task, tasks, steps, seed)
    return NetworkSet(trained, task, list(tasks), loss)


def train_networks(
    networks: Networks, task: Tensor, tasks: Sequence[LearningTask], steps: int, seed: int
) -> tuple[Networks, Tensor]:
    """Train networks, each on its own task, many at once.

    As Adam changes each number by its own derivative, each network learns what it would learn alone.

    Args:
        networks: n networks.
        task: The number of the task of each, `[n]`.
        tasks: The tasks.
        steps: The steps; the rate falls from .02 to 0 as a cosine.
        seed: The seed of the samples.

    Returns:
        The networks trained, and the loss of each on all of its task, `[n]`.
    """
    together = _TOGETHER[networks.frame.images]
    parts, losses = [], []
    with working("training networks") as say:
        for part in torch.split(torch.arange(len(networks)), together):

            def _told(step: int, first: int = int(part[0])) -> None:
                say(f"training networks: {first} of {len(networks)} done, step {step} of {steps}")

            trained = _trained(networks[part], task[part], tasks, steps, seed, _told)
            parts.append(trained)
            losses.append(_final_loss(trained, task[part], tasks))
    names = networks.tensors()
    every = {name: torch.cat([getattr(part, name) for part in parts]) for name in names}
    return networks.replaced(**every), torch.cat(losses)


def _trained(
    networks: Networks,
    task: Tensor,
    tasks: Sequence[LearningTask],
    steps: int,
    seed: int,
    told: Callable[[int], None],
) -> Networks:
    """Networks trained together."""
    random = torch.Generator().manual_seed(seed)
    numbers = {
        name: value.clone().requires_grad_()
        for name, value in networks.tensors().items()
        if name in ("weights", "bias", "scale", "shift")
    }
    adam = torch.optim.Adam(numbers.values(), lr=_RATE)
    for step in range(steps):
        told(step)
        adam.param_groups[0]["lr"] = _RATE * (1 + math.cos(math.pi * step / steps)) / 2
        inputs, targets = _samples(task, tasks, random)
        out = networks.replaced(**numbers).run(inputs)
        adam.zero_grad()
        torch.autograd.backward(_losses(out, targets).sum())
        adam.step()
    found = {name: value.detach() for name, value in numbers.items()}
    # What is at places without an edge or a neuron was never used.
    found["weights"] = found["weights"] * networks.edges[..., None]
    found |= {name: value * networks.presence for name, value in found.items() if name != "weights"}
    return networks.replaced(**found)


def _samples(task: Tensor, tasks: Sequence[LearningTask], random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Some samples of each network's task, `[n, b, ...]`."""
    drawn = [torch.randint(len(each.inputs), (_BATCH,), generator=random) for each in tasks]
    inputs = torch.stack([each.inputs[rows] for each, rows in zip(tasks, drawn, strict=True)])
    targets = torch.stack([each.targets[rows] for each, rows in zip(tasks, drawn, strict=True)])
    return inputs[task], targets[task]


def _losses(out: Tensor, targets: Tensor) -> Tensor:
    """The loss of each network, `[n]`."""
    if targets.is_floating_point():
        return (out - targets).square().mean((1, 2))
    return F.cross_entropy(out.mT, targets, reduction="none").mean(1)


@torch.no_grad()
def _final_loss(networks: Networks, task: Tensor, tasks: Sequence[LearningTask]) -> Tensor:
    """The loss of each network on all samples of its task."""
    loss = torch.zeros(len(networks))
    for number, each in enumerate(tasks):
        own = (task == number).nonzero()[:, 0]
        if len(own):
            out = networks[own].run(each.inputs)
            targets = each.targets.expand(len(own), *each.targets.shape)
            spread = 1.0 if each.classes else each.targets.var(0, correction=0).mean().clamp_min(1e-12)
            loss[own] = _losses(out, targets) / spread
    return loss


def _frame(frame: Frame | Kind) -> Frame:
    """A frame, or the usual one of a kind."""
    if isinstance(frame, Frame):
        return frame
    if frame not in _USUAL:
        raise ValueError(f"frame={frame!r} is no Frame, and no kind: {', '.join(map(repr, _USUAL))}")
    return _USUAL[frame]


def _check_tasks(frame: Frame, tasks: Sequence[LearningTask]) -> None:
    """The tasks fit the frame, and each other."""
    if not tasks:
        raise ValueError("tasks= has no task")
    for each in tasks:
        if each.inputs.dim() != (4 if frame.images else 2) or each.inputs.shape[1] != frame.inputs:
            raise ValueError(
                f"task {each.name!r} has inputs {tuple(each.inputs.shape)}, where the frame has "
                f"{frame.inputs} {'channels of images' if frame.images else 'numbers'}"
            )
        if each.classes != tasks[0].classes:
            raise ValueError(f"{each.name!r} and {tasks[0].name!r} are tasks of numbers and of classes mixed")
        needed = int(each.targets.max()) + 1 if each.classes else each.targets.shape[1]
        if needed > frame.outputs or (not each.classes and needed < frame.outputs):
            raise ValueError(f"task {each.name!r} needs {needed} outputs, and the frame has {frame.outputs}")
        if each.classes and int(each.targets.min()) < 0:
            raise ValueError(f"task {each.name!r} has a class below 0")
        if each.inputs.shape[1:] != tasks[0].inputs.shape[1:]:
            raise ValueError(f"the images of {each.name!r} and {tasks[0].name!r} are of two sizes")
