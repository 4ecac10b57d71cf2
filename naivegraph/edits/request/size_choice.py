"""Options for the choice of sizes and neurons, the same in every verb."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from naivegraph.calibration import check_calibration
from naivegraph.edits.request import validate
from naivegraph.errors import EditError
from naivegraph.solvers import Backend
from naivegraph.utility import Utility, check_utility
from naivegraph.utility.scores import Loss

__all__ = ["SizeChoice"]


@dataclasses.dataclass(frozen=True)
class SizeChoice:
    """The user's options for the choice of sizes, validated as far as possible without the network.

    Attributes:
        utility: The values of neurons; see `naivegraph.utility.utility`.
        loss: The loss of the network, for the criteria "taylor" and "fisher".
        strategy: The strategy for sizes that are not possible; None for the verb's default.
        backend: The solver.
        calibration: Batches of example inputs, for utilities by data.

    Raises:
        EditError: One of them makes no sense.
    """

    utility: Utility = None
    loss: Loss | None = None
    strategy: Callable[[Any], Any] | None = None
    backend: str | Backend = "highs"
    calibration: Any = None

    def __post_init__(self) -> None:
        check_utility(self.utility, self.loss)
        check_calibration(self.calibration)
        if isinstance(self.strategy, type):
            name = self.strategy.__name__
            raise EditError(f"strategy={name} is a class: give {name}(...)")
        if self.strategy is not None:
            validate.function(self.strategy, "strategy", "one of ng.strategy, or a function as they are")
        validate.backend(self.backend)
