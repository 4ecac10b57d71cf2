"""Counts of torch's allocator during a run, by which predictions of memory are judged."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

__all__ = ["allocator_peak", "peak_bytes", "sizes_over_time"]


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
    with torch.no_grad():
        return allocator_peak(lambda: net(*args))
