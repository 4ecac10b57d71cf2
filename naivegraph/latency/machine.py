"""The machine that latency is measured on, in words that tell one from another."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

__all__ = ["machine_of"]


def machine_of(device: torch.device) -> dict[str, str]:
    """The device, the number of torch's threads, and torch's version.

    Example:
        >>> list(machine_of(torch.device("cpu")))
        ['device', 'threads', 'torch']
    """
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {"device": name, "threads": str(torch.get_num_threads()), "torch": torch.__version__}


def _processor() -> str:
    """The model of the processor, as far as the system tells it."""
    listed = Path("/proc/cpuinfo")
    if listed.exists():
        for line in listed.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
