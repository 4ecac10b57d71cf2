"""Surroundings of a run: versions of packages, the machine, the state of the user's repository."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import subprocess
import sys
from typing import Any

__all__ = ["environment"]


def environment() -> dict[str, Any]:
    """All that may explain later why a result cannot be had again, as data for JSON.

    Example:
        >>> sorted(environment())[:3]
        ['command', 'commit', 'cuda']
    """
    import torch

    cuda = torch.cuda.is_available()
    packages = {
        str(each.metadata["Name"]).lower(): each.version
        for each in importlib.metadata.distributions()
        if each.metadata["Name"]
    }
    return {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": platform.node(),
        "command": sys.argv,
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda,
        "devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if cuda else [],
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "packages": dict(sorted(packages.items())),
    }


def _git(*words: str) -> str:
    """The answer of git about the current folder; empty where there is none."""
    try:
        done = subprocess.run(["git", *words], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
