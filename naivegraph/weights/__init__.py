"""Networks that predict, generate and rewrite weights, as `ng.weights`.

| to have | say |
|---|---|
| a network that predicts its own weights | `q = ng.weights.quine(body, dim=16)`, `q.solve(seconds=60)` |
| a network with a task that predicts its own weights, too | `a = ng.weights.auxiliary(body, task=loader)` |
| a network whose weights another one makes | `h = ng.weights.hyper(net, x, layers="layer*.conv*", z=64)` |
| a layer that changes its own weights while it reads a sequence | `ng.weights.SelfReferential(32, 32)` |
| a network that reads and changes its own parameters by address | `ng.weights.Introspective(body)` |
"""

from naivegraph.weights.auxiliary import Auxiliary, AuxiliaryReport, auxiliary
from naivegraph.weights.fixed_point import FixedPoint
from naivegraph.weights.hypernetwork import Hypernetwork, hyper
from naivegraph.weights.introspective import FastWeights, Introspective
from naivegraph.weights.quine import Quine, quine
from naivegraph.weights.self_referential import SelfReferential

__all__ = [
    "Auxiliary",
    "AuxiliaryReport",
    "FastWeights",
    "FixedPoint",
    "Hypernetwork",
    "Introspective",
    "Quine",
    "SelfReferential",
    "auxiliary",
    "hyper",
    "quine",
]
