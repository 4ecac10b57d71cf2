"""Spaces, from which networks are proposed."""

from __future__ import annotations

import random
from typing import Protocol

from naivegraph.search.study.protocols import Proposal
from naivegraph.search.study.study_history import History

__all__ = ["Space"]


class Space(Protocol):
    """A space, from which networks are proposed.

    Two more are used where a space has them. `build(structure)` makes the network, an `nn.Module`, in the
    worker; without it, the evaluation gets the structure itself. `fingerprint`, a text, tells spaces apart,
    so that no two share a folder; without it, the name of the class does.
    """

    def propose(self, history: History, rng: random.Random) -> Proposal | None:
        """Propose a network that is worth an evaluation; None if there are no more.

        Args:
            history: What has been found so far, as far as this proposal may know it.
            rng: Random numbers of this proposal; no others may be used, so that a seed gives the same study.
        """
        ...
