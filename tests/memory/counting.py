"""Counts of torch's allocator during a run, by which predictions of memory are judged."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from naivegraph.graph.record.record_run import slow_attention
from naivegraph.ir.pytree import leaves

__all__ = ["allocator_peak", "left_bytes", "peak_bytes", "sizes_over_time"]


def sizes_over_time(run: Callable[[], Any]) -> list[int]:
    """The bytes that a run has allocated in all, after each block handed out or taken back."""
    gc.collect()  # what is freed meanwhile would count
    gc.disable()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        result = run()
    gc.enable()
    inner: Any = profiled.profiler
    events = [(e.start_ns(), e.nbytes()) for e in inner.kineto_results.events() if e.name() == "[memory]"]
    del result
    totals, total = [0], 0
    for _, size in sorted(events, key=lambda event: event[0]):
        total += size
        totals.append(total)
    return totals


def allocator_peak(run: Callable[[], Any]) -> int:
    """The most that a run has allocated at one time."""
    return max(sizes_over_time(run))


def peak_bytes(net: nn.Module, *args: Any) -> int:
    """The most that a network's forward has allocated at one time, without gradients."""
    with torch.no_grad(), slow_attention():
        return allocator_peak(lambda: net(*args))


def left_bytes(net: nn.Module, args: tuple[Tensor, ...]) -> int:
    """The bytes that a forward in train mode leaves while the backward functions of its outputs are held."""
    flags = [(module, module.training) for module in net.modules()]
    buffers = [buffer.clone() for buffer in net.buffers()]
    net.train()
    total = sizes_over_time(lambda: _functions(net(*args)))[-1]
    for module, flag in flags:
        module.training = flag
    for buffer, before in zip(net.buffers(), buffers, strict=True):
        buffer.copy_(before)
    return total


def _functions(output: Any) -> list[Any]:
    """The backward functions of what a network gives."""
    return [leaf.grad_fn for leaf in leaves(output) if isinstance(leaf, Tensor)]
