#!/usr/bin/env bash
# A forward whose arguments are called `input` and `input_1` (as are `sum` and `sum_1`, `type` and `type_1`) is traced
# by torch.fx to code that computes with the first one twice: nodes are not called as Python's own functions are, so
# the argument `input` becomes a node `input_1`, the code begins with `input_1 = input`, and the argument `input_1` is
# overwritten before it is read. Nothing is raised. torch.export.export(...).module() does the same. Guessed: the
# network's own output, or an error; seen: input - input instead of input - input_1.
#
# Seen with torch 2.13.0 (Python 3.11, Linux x86-64): the network gives 2.0, both copies of it 0.0. Exits 0 while that
# is so, 1 once it is not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import torch
from torch import Tensor, fx, nn


class Difference(nn.Module):
    """The difference of two arguments."""

    def forward(self, input: Tensor, input_1: Tensor) -> Tensor:
        return input - input_1


net, values = Difference(), (torch.tensor(5.0), torch.tensor(3.0))
right = float(net(*values))
traced = float(fx.symbolic_trace(net)(*values))
exported = float(torch.export.export(net, values).module()(*values))
print(f"torch {torch.__version__}: the network {right}, torch.fx {traced}, torch.export {exported}")
holds = (right, traced, exported) == (2.0, 0.0, 0.0)
print("as described" if holds else "no longer so")
raise SystemExit(not holds)
PYTHON
