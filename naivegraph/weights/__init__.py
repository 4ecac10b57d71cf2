"""Networks that predict, generate and rewrite weights, as `ng.weights`.

| to have | say |
|---|---|
| a network that predicts its own weights | `q = ng.weights.quine(body, dim=16)`, `q.solve(seconds=60)` |
| a network whose weights another one makes | `h = ng.weights.hyper(net, x, layers="layer*.conv*", z=64)` |
"""

from naivegraph.weights.fixed_point import FixedPoint
from naivegraph.weights.hypernetwork import Hypernetwork, hyper
from naivegraph.weights.quine import Quine, quine

__all__ = ["FixedPoint", "Hypernetwork", "Quine", "hyper", "quine"]
