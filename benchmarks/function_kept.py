"""Removing neurons leaves the function of the rest unchanged.

In float64: choose random neurons of every width that may change and enters no statistic, zero in the network
every parameter element that lives on them and run it; remove exactly those from a copy; compare the outputs,
on the example it was captured with and on one of another size (batch, length of text). Then prune at 50 %
with default settings and compare the counted costs with what the edit says.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

import naivegraph as ng
from benchmarks.common import Example, Network, Row, gap, macs, networks, params, parser, say, write
from naivegraph.algebra.axis import Atom, Axis
from naivegraph.edits.apply.apply import apply
from naivegraph.edits.plan.plan import plan
from naivegraph.network import capture
from naivegraph.prune.budget_program import pose
from naivegraph.prune.floors import ratios
from naivegraph.solvers.budget import optimise
from naivegraph.widths import SizeConstraints, Width, Widths, constraints_of, relate

Mask = npt.NDArray[np.bool_]
Kept = Mapping[Width, npt.NDArray[np.int64]]
NETWORKS = (
    "resnet56",
    "efficientnet_lite0",
    "minilm",
    "densenet121",
    "vit_base_patch16_224",
    "vit_b_16",
    "mobilenet_v3_large",
)


def outputs(
    model: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> list[torch.Tensor]:
    """The floating-point tensors a network returns, detached."""
    with torch.no_grad():
        return [value.clone() for value in tensors_in(model(*args, **kwargs)) if value.is_floating_point()]


def tensors_in(value: Any) -> list[torch.Tensor]:
    """The tensors in what a network returns, at any depth."""
    if isinstance(value, torch.Tensor):
        return [value]
    if hasattr(value, "values"):
        value = list(value.values())
    return (
        [tensor for part in value for tensor in tensors_in(part)] if isinstance(value, (list, tuple)) else []
    )


def difference(one: list[torch.Tensor], two: list[torch.Tensor]) -> float:
    """The largest difference, relative to the largest value; infinite where the shapes differ."""
    if [a.shape for a in one] != [b.shape for b in two]:
        return math.inf
    pairs = [(a, b) for a, b in zip(one, two, strict=True) if a.numel() and not torch.equal(a, b)]
    return max((float((a - b).abs().max() / a.abs().max()) for a, b in pairs), default=0.0)


def stir(model: nn.Module, generator: torch.Generator) -> None:
    """Give norms and whatever is all zero or tiny random values; as initialised, a removal might not show."""
    for module in model.modules():
        state = dict(module.named_parameters(recurse=False)) | dict(module.named_buffers(recurse=False))
        if isinstance(module, (nn.modules.batchnorm._BatchNorm, nn.LayerNorm)):
            for name, tensor in state.items():
                if tensor.is_floating_point():
                    noise = torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype)
                    tensor.data = noise + 0.5 if name in ("weight", "running_var") else noise * 0.4 - 0.2
    for parameter in model.parameters():
        largest = float(parameter.detach().abs().max()) if parameter.numel() else 1.0
        if largest < 1e-3:
            noise = torch.rand(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter.data = noise * 0.1 - 0.05 if largest == 0 else noise * 0.4 + 0.1


def gone(axis: Axis, removed: Mapping[Atom, Mask]) -> Mask:
    """Which indices of an axis live on a removed neuron; worked out apart from the library's own way."""
    parts = []
    for term in axis.terms:
        here: Mask = np.zeros(1, np.bool_)
        for factor in term:
            if isinstance(factor, Axis):
                inner = gone(factor, removed)
            elif isinstance(factor, Atom):
                inner = removed.get(factor, np.zeros(factor.length, np.bool_))
            else:
                inner = np.zeros(int(factor), np.bool_)
            here = (here[:, None] | inner[None, :]).reshape(-1)
        parts.append(here)
    return np.concatenate(parts) if parts else np.zeros(0, np.bool_)


def _tried(model: nn.Module, example: Example) -> list[torch.Tensor]:
    """The outputs, none if the network fails."""
    try:
        return outputs(model, *example)
    except RuntimeError as error:
        say(f"the changed network fails on an example of another size: {error}")
        return []


def zeroed(model: nn.Module, widths: Widths, removed: Mapping[Atom, Mask]) -> nn.Module:
    """A copy in which every parameter element that lives on a removed neuron is zero."""
    out = copy.deepcopy(model)
    for name, parameter in out.named_parameters():
        for dim, axis in enumerate(widths.axes[name]):
            places = torch.from_numpy(np.flatnonzero(gone(axis, removed)))
            parameter.data.index_fill_(dim, places, 0.0)
    return out


def chosen(widths: Widths, constraints: SizeConstraints, fraction: float, seed: int) -> tuple[Kept, str]:
    """Random neurons to keep of every width that may be compared exactly, in counts that the code allows."""
    coupled = {w.atom: "enters a statistic" for w in widths.widths if w.coupled}
    posed = pose(widths, constraints, coupled)
    sizes = optimise(posed.ratio(ratios(widths, 1 - fraction), posed.steps(1)), gap=1e-3, time_limit=60.0).k
    generator = np.random.default_rng(seed)
    kept = {
        width: np.sort(generator.permutation(width.size)[: max(int(size), 1)])
        for width, size in zip(posed.free, sizes, strict=True)
    }
    held = sum(w.atom in constraints.fixed and not w.coupled for w in widths.widths)
    return kept, f"{len(posed.free)} of {len(widths)} ({len(coupled)} coupled, {held} held)"


def compared(
    model: nn.Module, widths: Widths, constraints: SizeConstraints, kept: Kept, examples: list[Example]
) -> tuple[float, float]:
    """How far removing is from zeroing, and zeroing from doing nothing; the network is left as it was."""
    removed = {width.atom: ~np.isin(np.arange(width.size), indices) for width, indices in kept.items()}
    before = outputs(model, *examples[0])
    still = zeroed(model, widths, removed)
    silent = [outputs(still, *example) for example in examples]
    del still
    edit = apply(plan(widths, constraints, kept), model)
    after = [_tried(model, example) for example in examples]
    edit.undo()
    return max(map(difference, silent, after)), difference(before, silent[0])


def tied(constraints: SizeConstraints, kept: Kept) -> list[dict[Width, npt.NDArray[np.int64]]]:
    """The widths in groups which no row of the demands ties to one another."""
    group = {width.atom: {width.atom} for width in kept}
    for row in constraints.width_constraints:
        atoms = [atom for atom in row.polynomial.atoms() if atom in group]
        together = set().union(*(group[atom] for atom in atoms))
        group.update(dict.fromkeys(together, together))
    every = {id(atoms): atoms for atoms in group.values()}.values()
    return [{width: kept[width] for width in kept if width.atom in atoms} for atoms in every]


def guilty(
    wrong_by: Callable[[Kept], float], groups: list[dict[Width, npt.NDArray[np.int64]]]
) -> list[Width]:
    """The widths whose removal alone changes something, by halving."""
    together = {width: indices for group in groups for width, indices in group.items()}
    if not groups or wrong_by(together) < 1e-5:
        return []
    if len(groups) == 1:
        return list(together)
    half = len(groups) // 2
    return guilty(wrong_by, groups[:half]) + guilty(wrong_by, groups[half:])


def exact(network: Network, fraction: float, seed: int, model: nn.Module) -> tuple[Row, bool]:
    """Zero and remove the same neurons; compare."""
    examples = [network.example(0), network.example(1)]
    examples = [(tuple(value.double() for value in args), kwargs) for args, kwargs in examples]
    widths = relate(capture(model, *examples[0], verify=False))
    constraints = constraints_of(widths)
    kept, free = chosen(widths, constraints, fraction, seed)
    same, changed = compared(model, widths, constraints, kept, examples)
    right = same < 1e-5 < changed
    if same >= 1e-5:
        groups = tied(constraints, kept)
        for width in guilty(lambda part: compared(model, widths, constraints, part, examples)[0], groups):
            say(f"{network.name}: wrong by itself: {width.name}, {width.size} neurons, in {width.lives}")
    count = sum(w.size for w in kept)
    row = {
        "network": network.name,
        "weights": network.weights,
        "widths tested": free,
        "neurons removed": f"{count - sum(map(len, kept.values())):,} of {count:,}",
        "zeroing changed the output by": f"{changed:.2g}",
        "removed against zeroed": f"{same:.1e}",
        "kept": "yes" if right else "NO",
    }
    return row, right


def half(network: Network, **budget: float) -> tuple[Row, bool]:
    """Prune by default settings; compare shapes and counts."""
    model, (args, kwargs), other = network.build(), network.example(0), network.example(1)
    before, full = outputs(model, args, kwargs), macs(model, args, kwargs)
    elsewhere = outputs(model, *other)
    started = time.process_time()
    edit = ng.prune(model, args, kwargs, **budget)  # type: ignore[arg-type]
    seconds = time.process_time() - started
    counted = macs(model, args, kwargs)
    shapes = [x.shape for x in before] == [y.shape for y in outputs(model, args, kwargs)]
    shapes = shapes and [x.shape for x in elsewhere] == [y.shape for y in _tried(model, other)]
    right = shapes and counted == edit.after.macs and full == edit.before.macs
    right = right and params(model) == edit.after.params and counted <= budget.get("macs", 1.0) * full
    row = {
        "network": network.name,
        "asked": ", ".join(f"{name}={value}" for name, value in budget.items()),
        "MACs before": f"{full:,}",
        "MACs after, counted": f"{counted:,}",
        "left": f"{counted / full:.4%}",
        "parameters left": f"{edit.after.params / edit.before.params:.2%}",
        "gap": f"{gap(edit):.4%}",
        "CPU s": f"{seconds:.2f}",
        "runs, same shapes, counts exact": "yes" if right else "NO",
    }
    return row, right


def main() -> int:
    """Run the benchmark."""
    arguments = parser(
        __doc__, "python -m benchmarks.function_kept --networks resnet56 minilm --fraction 0.3"
    )
    arguments.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS, metavar="NAME")
    arguments.add_argument("--fraction", type=float, default=0.3, help="fraction of each width to remove")
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    every = networks(given.data)
    kept, halves, right = [], [], True
    for name in given.networks:
        torch.manual_seed(given.seed)
        network = every[name]
        say(f"{name}: removing random neurons")
        model = network.build().double()
        if network.weights == "random":
            stir(model, torch.Generator().manual_seed(given.seed))
        row, fine = exact(network, given.fraction, given.seed, model)
        kept.append(row)
        right &= fine
        del model
        for budget in ({"macs": 0.5}, {"ratio": 0.5}):
            say(f"{name}: {budget}")
            row, fine = half(network, **budget)
            halves.append(row)
            right &= fine
    write(
        given.out,
        "function_kept",
        [("Random neurons removed, float64", kept), ("50 % by default settings, float32", halves)],
        f"About {given.fraction:.0%} of every tested width, seed {given.seed}. Differences are the largest "
        "absolute difference over the largest absolute value; random networks have random norm parameters.",
    )
    return 0 if right else 1


if __name__ == "__main__":
    raise SystemExit(main())
