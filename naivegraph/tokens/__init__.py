"""Networks as data, as `ng.tokens`: made in numbers, read and written as tokens.

| to have | say |
|---|---|
| the places that all networks of a data set share | `frame = Frame("dense", 4, 1, depth=3, width=8)` |
| networks as tensors, run all at once | `networks.run(x)`, `networks.module(0)` |
| trained networks in numbers, kept in files | `made = ng.tokens.generate(2000, frame)`, `made.save("a")` |
| tokens, and networks again | `networks.tokens()`, `ng.tokens.Networks.from_tokens(frame, tokens)` |
"""

from naivegraph.tokens.frame import Frame
from naivegraph.tokens.generate import generate
from naivegraph.tokens.learning_tasks import LearningTask
from naivegraph.tokens.network_set import NetworkSet
from naivegraph.tokens.networks import Networks

__all__ = ["Frame", "LearningTask", "NetworkSet", "Networks", "generate"]
