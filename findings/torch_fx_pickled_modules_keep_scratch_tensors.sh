#!/usr/bin/env bash
# A torch.fx.GraphModule that makes tensors of its own in each call (zeros to add to, noise) computes something else
# once it was pickled and loaded. Pickle keeps its code alone, which torch traces anew when it loads; a call without
# an argument that depends on the inputs runs right then, and its result becomes a constant of the module. So
# zeros that are written into are never zero again, and each call adds to what the one before left; noise is the same
# in every call; and state_dict() has an entry more, _tensor_constant0. Nothing is said. copy.deepcopy is not
# concerned, torch.save is.
#
# naivegraph's exported modules are pickled as their nodes instead (tests/graph/export/test_exported_pickles.py).
#
# Seen with torch 2.13.0 (Python 3.11, Linux x86-64); output seen:
#   made: 1.0 1.0, noise anew: True, state: []
#   loaded: 1.0 2.0 3.0, noise anew: False, state: ['_tensor_constant0', '_tensor_constant1']
# The first number is 1.0 in a module that never ran before it was pickled: what runs as it loads is the making of
# the zeros, not the addition. Exits 0 while that is so, 1 once it is not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import pickle
import sys

import torch
from torch import fx, nn

graph = fx.Graph()
x = graph.placeholder("x")
scratch = graph.call_function(torch.zeros, (1,))
noise = graph.call_function(torch.randn, (8,))
graph.output((graph.call_method("add_", (scratch, x)), noise))
made = fx.GraphModule(nn.Module(), graph)
loaded = pickle.loads(pickle.dumps(made))


def look(module, calls):
    sums, noises = zip(*[(float(out[0]), out[1].clone()) for out in (module(torch.ones(1)) for _ in range(calls))])
    return sums, not torch.equal(noises[0], noises[1]), list(module.state_dict())


for name, found in (("made", look(made, 2)), ("loaded", look(loaded, 3))):
    print(f"{name}: {' '.join(map(str, found[0]))}, noise anew: {found[1]}, state: {found[2]}")
sums, anew, state = look(pickle.loads(pickle.dumps(made)), 3)
as_seen = look(made, 2) == ((1.0, 1.0), True, []) and len(set(sums)) == 3 and not anew and len(state) == 2
sys.exit(not as_seen)
PYTHON
