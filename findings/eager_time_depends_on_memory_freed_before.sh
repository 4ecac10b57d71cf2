#!/usr/bin/env bash
# The time of a network in eager PyTorch on a processor depends on what the process freed before. glibc gives a block
# above a threshold back to the system when it is freed, and so does the end of its heap; the next run pays for
# fresh pages, zeroed by the kernel, in each of its activations. The threshold rises to the size of the largest
# block above it that was freed (mallopt(3), M_MMAP_THRESHOLD: "dynamic"), up to 32 MB. So the same network, in the
# same process, faults on thousands of pages per run, or on none once any tensor of 30 MB was made and dropped. How
# much that matters differs from network to network: of a MobileNetV3-large and a pruning of it the ratio of
# processor times was 0.53 before and 0.72 after (torchvision 0.28.0), so what is pruned to a share of a latency in a
# process that has loaded weights is measured otherwise in one that has not.
#
# Seen with torch 2.13.0 (Python 3.11, glibc 2.36, Linux x86-64): more than 500 faults per run before, fewer than a
# tenth of them after. Exits 0 while that is so, 1 once it is not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import resource

import torch
from torch import nn

torch.set_num_threads(1)
layers = [nn.Conv2d(3, 16, 3, 2, 1), nn.Hardswish()]
for _ in range(4):
    layers += [nn.Conv2d(16, 64, 1), nn.Hardswish(), nn.Conv2d(64, 64, 3, 1, 1, groups=64), nn.Conv2d(64, 16, 1)]
net, image = nn.Sequential(*layers).eval(), torch.randn(1, 3, 224, 224)


def faults() -> float:
    """The page faults of one run, in the steady state."""
    with torch.no_grad():
        for _ in range(5):
            net(image)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(20):
            net(image)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 20


first = faults()
torch.ones(7_500_000)  # 30 MB, dropped at once
second = faults()
print(f"page faults per run: {first:.0f}, and {second:.0f} once a tensor of 30 MB was made and dropped")
holds = first > 500 and second < first / 10
print("as described" if holds else "no longer so")
raise SystemExit(not holds)
PYTHON
