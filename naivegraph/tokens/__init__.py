"""Networks as data, as `ng.tokens`: made in numbers, read and written as tokens.

| to have | say |
|---|---|
| the places that all networks of a data set share | `frame = Frame("dense", 4, 1, depth=3, width=8)` |
| networks as tensors, run all at once | `networks.run(x)`, `networks.module(0)` |
| tokens, and networks again | `networks.tokens()`, `ng.tokens.Networks.from_tokens(frame, tokens)` |
"""

from naivegraph.tokens.frame import Frame
from naivegraph.tokens.networks import Networks

__all__ = ["Frame", "Networks"]
