"""Removing neurons leaves the function of the rest unchanged.

In float64: choose random neurons of every width that may change and enters no statistic, zero in the network
every parameter element that lives on them and run it; remove exactly those from a copy; compare the outputs.
Then prune at 50 % with default settings and compare the counted costs with what the edit says.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

import naivegraph as ng
from benchmarks.common import Network, Row, macs, networks, params, parser, say, write
from naivegraph.edits import plan
from naivegraph.edits.change import apply
from naivegraph.graph import capture
from naivegraph.prune.problem import pose
from naivegraph.solvers.budget import optimise
from naivegraph.widths import Width, Widths, demands_of, relate
from naivegraph.widths.axis import Atom, Axis

Mask = npt.NDArray[np.bool_]
NETWORKS = (
    "resnet56",
    "efficientnet_lite0",
    "minilm",
    "densenet121",
    "vit_base_patch16_224",
    "vit_b_16",
    "mobilenet_v3_large",
)


def outputs(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[torch.Tensor]:
    """The floating-point tensors a network returns, detached."""
    with torch.no_grad():
        out = model(*args, **kwargs)
    values = [out] if isinstance(out, torch.Tensor) else list(out.values()) if hasattr(out, "values") else out
    return [value.clone() for value in values if isinstance(value, torch.Tensor)]


def difference(one: list[torch.Tensor], two: list[torch.Tensor]) -> float:
    """The largest difference, relative to the largest value."""
    return max(float((a - b).abs().max() / a.abs().max()) for a, b in zip(one, two, strict=True))


def stir(model: nn.Module, generator: torch.Generator) -> None:
    """Give norms random scales, biases and statistics, and what is all zero values: else removals would not show."""
    for module in model.modules():
        state = dict(module.named_parameters(recurse=False)) | dict(module.named_buffers(recurse=False))
        if isinstance(module, (nn.modules.batchnorm._BatchNorm, nn.LayerNorm)):
            for name, tensor in state.items():
                if tensor.is_floating_point():
                    noise = torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype)
                    tensor.data = noise + 0.5 if name in ("weight", "running_var") else noise * 0.4 - 0.2
    for parameter in model.parameters():
        if not parameter.detach().any():
            noise = torch.rand(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter.data = noise * 0.1 - 0.05


def gone(axis: Axis, removed: Mapping[Atom, Mask]) -> Mask:
    """Which indices of an axis live on a removed neuron; worked out index by index, apart from the library."""
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


def zeroed(model: nn.Module, widths: Widths, removed: Mapping[Atom, Mask]) -> nn.Module:
    """A copy in which every parameter element that lives on a removed neuron is zero."""
    out = copy.deepcopy(model)
    for name, parameter in out.named_parameters():
        for dim, axis in enumerate(widths.axes[name]):
            places = torch.from_numpy(np.flatnonzero(gone(axis, removed)))
            parameter.data.index_fill_(dim, places, 0.0)
    return out


def chosen(widths: Widths, fraction: float, seed: int) -> tuple[dict[Width, npt.NDArray[np.int64]], str]:
    """Random neurons to keep of every width that may be compared exactly, in counts that the code allows."""
    demands = demands_of(widths)
    coupled = {w.atom: "enters a statistic" for w in widths.widths if w.coupled}
    posed = pose(widths, demands, coupled)
    sizes = optimise(posed.ratio(1 - fraction, posed.steps(1)), gap=1e-3, time_limit=60.0).k
    generator = np.random.default_rng(seed)
    kept = {
        width: np.sort(generator.permutation(width.size)[: max(int(size), 1)])
        for width, size in zip(posed.free, sizes, strict=True)
    }
    held = sum(w.atom in demands.holds and not w.coupled for w in widths.widths)
    return kept, f"{len(posed.free)} of {len(widths)} ({len(coupled)} coupled, {held} held)"


def exact(network: Network, fraction: float, seed: int, model: nn.Module) -> tuple[Row, bool]:
    """Zero and remove the same neurons; compare."""
    args = tuple(a.double() for a in network.args())
    kwargs = network.kwargs()
    widths = relate(capture(model, args, kwargs, verify=False))
    kept, free = chosen(widths, fraction, seed)
    removed = {width.atom: ~np.isin(np.arange(width.size), indices) for width, indices in kept.items()}
    before = outputs(model, args, kwargs)
    silent = outputs(zeroed(model, widths, removed), args, kwargs)
    apply(plan(widths, demands_of(widths), kept), model)
    after = outputs(model, args, kwargs)
    same, changed = difference(silent, after), difference(before, silent)
    right = same < 1e-5 < changed
    gone_count = sum(int(mask.sum()) for mask in removed.values())
    row = {
        "network": network.name,
        "weights": network.weights,
        "widths tested": free,
        "neurons removed": f"{gone_count:,} of {sum(w.size for w in kept):,}",
        "parameters left": f"{params(model):,}",
        "zeroing changed the output by": f"{changed:.2g}",
        "removed against zeroed": f"{same:.1e}",
        "kept": "yes" if right else "NO",
    }
    return row, right


def half(network: Network, **budget: float) -> tuple[Row, bool]:
    """Prune by default settings; compare shapes and counts."""
    model, args, kwargs = network.build(), network.args(), network.kwargs()
    before, full = outputs(model, args, kwargs), macs(model, args, kwargs)
    started = time.process_time()
    edit = ng.prune(model, args, kwargs, **budget)  # type: ignore[arg-type]
    seconds = time.process_time() - started
    counted = macs(model, args, kwargs)
    shapes = [x.shape for x in before] == [y.shape for y in outputs(model, args, kwargs)]
    right = shapes and counted == edit.after.macs and full == edit.before.macs
    right = right and params(model) == edit.after.params and counted <= budget.get("macs", 1.0) * full
    row = {
        "network": network.name,
        "asked": ", ".join(f"{name}={value}" for name, value in budget.items()),
        "MACs before": f"{full:,}",
        "MACs after, counted": f"{counted:,}",
        "left": f"{counted / full:.4%}",
        "parameters left": f"{edit.after.params / edit.before.params:.2%}",
        "gap": f"{edit.certificate.gap:.4%}",
        "CPU s": f"{seconds:.2f}",
        "same shape, edit's counts exact": "yes" if right else "NO",
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
