"""Networks are timed where freed memory is kept: by the page faults of runs in a process of their own."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource
import torch
from torch import nn
from naivegraph.latency.freed_memory import keep_freed_memory

torch.set_num_threads(1)
layers = [nn.Conv2d(3, 64, 3, 2, 1)]
for _ in range(4):
    layers += [nn.Hardswish(), nn.Conv2d(64, 64, 3, 1, 1, groups=64)]
net, image = nn.Sequential(*layers).eval(), torch.randn(1, 3, 224, 224)


def faults():
    with torch.no_grad():
        for _ in range(3):
            net(image)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(5):
            net(image)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 5


print(faults())
keep_freed_memory()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is about glibc's allocator")
def test_runs_take_no_fresh_pages() -> None:
    # Dask, for one, sets such a variable for its workers; then glibc's thresholds no longer move.
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    words = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=plain)
    before, after = map(float, done.stdout.split())
    assert before > 100  # or there is nothing to test
    assert after < before / 10
