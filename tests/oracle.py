"""What the tests compare with: index sets expanded by numpy, zeroed networks, torch's own counters."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from naivegraph.algebra.axis import Atom, Axis
from naivegraph.widths import SizeConstraints, Width, Widths

__all__ = ["choose", "counted_macs", "counted_params", "mask_of", "snapshot", "unchanged", "zeroed"]

Mask = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]


def mask_of(axis: Axis, kept: dict[Atom, Mask]) -> Mask:
    """Which indices of a resolved axis stay; an atom that is not named stays whole.

    A mask [rows, n] tells of each index of what stands outside, as many as there are rows, what it keeps.
    """
    parts = []
    for term in axis.terms:
        out = np.ones(1, bool)
        for factor in term:
            if isinstance(factor, Axis):
                inner = mask_of(factor, kept)
            elif isinstance(factor, Atom):
                inner = kept.get(factor, np.ones(factor.length, bool))
            else:
                inner = np.ones(int(factor), bool)
            if inner.ndim == 1:
                out = np.logical_and.outer(out, inner).reshape(-1)
            else:
                blocks = out.reshape(-1, len(inner))
                out = (blocks[:, :, None] & inner[None]).reshape(-1)
        parts.append(out)
    return np.concatenate(parts) if parts else np.zeros(0, bool)


def choose(widths: Widths, constraints: SizeConstraints, seed: int, least: int = 1) -> dict[Width, Indices]:
    """Random neurons to keep, `least` or more, in every width that may change and enters no statistic.

    Widths that rows tie together keep the same share of their neurons, if that meets the rows, else all.
    Where each row of a product may keep its own neurons, it does.
    """
    rng = np.random.default_rng(seed)
    counts = {w.atom: w.size for w in widths.widths}
    tied = {atom for row in constraints.width_constraints for atom in row.polynomial.atoms()}
    for width in widths.widths:
        if width.atom in constraints.fixed or width.coupled or width.atom in tied:
            continue
        if width.size > least:
            counts[width.atom] = int(rng.integers(least, width.size))
    stuck = {a for a in tied if a in constraints.fixed or widths.by_atom[a].coupled}
    for _ in tied:
        for row in constraints.width_constraints:
            if stuck & set(row.polynomial.atoms()):
                stuck |= set(row.polynomial.atoms())
    for atom in tied - stuck:
        counts[atom] = max(atom.length // 2, least)
    for row in constraints.width_constraints:
        if row.polynomial.value(lambda atom: counts[atom]):
            counts.update({atom: atom.length for atom in tied})

    def some(width: Width) -> Indices:
        return np.sort(rng.choice(width.size, counts[width.atom], replace=False)).astype(np.int64)

    return {
        w: np.stack([some(w) for _ in range(widths.outer[w.atom].length)])
        if w.atom in widths.outer
        else some(w)
        for w in widths.widths
        if counts[w.atom] != w.size
    }


def zeroed(model: nn.Module, widths: Widths, kept: dict[Width, Indices], nothing: float = 0.0) -> nn.Module:
    """A copy in which every element of a parameter that lives on a neuron not kept is zero.

    Or multiplied by `nothing`, a tiny number, for networks which divide by the norm of a weight.
    """
    masks = {}
    for width, indices in kept.items():
        mask = np.zeros((*indices.shape[:-1], width.size), bool)
        np.put_along_axis(mask, indices, True, axis=-1)
        masks[width.atom] = mask
    out = copy.deepcopy(model)
    parameters = dict(out.named_parameters(remove_duplicate=False))
    with torch.no_grad():
        for name, axes in widths.axes.items():
            for dim, axis in enumerate(axes):
                if name in parameters:
                    shape = [-1 if d == dim else 1 for d in range(len(axes))]
                    factor = np.where(mask_of(axis, masks), 1.0, nothing)
                    parameters[name].mul_(torch.from_numpy(factor).to(parameters[name]).reshape(shape))
    return out


def counted_macs(model: nn.Module, inputs: tuple[Tensor, ...]) -> int:
    """Half of what torch's own counter of floating point operations says."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # it counts nothing of the operator for inference alone
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            model(*inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    flops: int = counter.get_total_flops()
    assert flops % 2 == 0
    return flops // 2


def counted_params(model: nn.Module) -> int:
    """Number of parameters, tied ones once."""
    return sum(p.numel() for p in model.parameters())


def snapshot(model: nn.Module) -> dict[str, Any]:
    """Everything that an edit which failed or was undone must not have changed."""
    out: dict[str, Any] = {}
    tensors = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    for name, tensor in tensors:
        grad = None if tensor.grad is None else (tensor.grad.data_ptr(), tensor.grad.clone())
        out[name] = (id(tensor), tensor.data_ptr(), tensor.detach().clone(), tensor.requires_grad, grad)
    for path, module in model.named_modules():
        fields = {
            k: copy.deepcopy(v)
            for k, v in vars(module).items()
            if not k.startswith("_") or k == "_naivegraph_edits"
        }
        out[f"{path} attributes"] = {
            k: v for k, v in fields.items() if isinstance(v, (int, str, float, tuple, list))
        }
    return out


def unchanged(model: nn.Module, before: dict[str, Any]) -> bool:
    """Whether the model is bit for bit as it was: the same objects, values, gradients, attributes."""
    now = snapshot(model)
    return now.keys() == before.keys() and all(_same(now[key], value) for key, value in before.items())


def _same(one: Any, two: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return one.dtype == two.dtype and torch.equal(one.nan_to_num(7.0), two.nan_to_num(7.0))
    if isinstance(one, tuple) and isinstance(two, tuple):
        return len(one) == len(two) and all(_same(a, b) for a, b in zip(one, two, strict=True))
    return bool(one == two) and type(one) is type(two)
