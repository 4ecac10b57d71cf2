"""Pruning on a schedule while Lightning trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Callback as LightningCallback

from naivegraph.errors import EditError
from naivegraph.graph.export.history import history_of
from naivegraph.prune.gradually import Schedule
from naivegraph.track.edits_in_checkpoint import hold_edits
from naivegraph.track.lightning_logger import log_edit
from naivegraph.track.pruning_schedule import PruningSchedule, first_inputs

__all__ = ["LightningPruning"]


class LightningPruning(LightningCallback):  # type: ignore[misc]
    """Prunes a network to its budgets in rounds, each before the first batch of an epoch; optimizers follow.

    Checkpoints hold the edits, so that a training goes on from them (`trainer.fit(..., ckpt_path=...)`) with
    the pruned network, its optimizer and the rounds that are left. They are read by `load_from_checkpoint`
    of a LightningModule with `ng.track.EditsInCheckpoint`, as the tasks of this package have it; of any other
    by `ng.track.load_from_checkpoint`.

    Args:
        macs: As for `ng.prune`: a fraction is of what the network costs before the first round.
        params: As for `ng.prune`.
        budgets: As for `ng.prune`.
        network: The attribute of the LightningModule that is pruned.
        start: The epoch of the first round.
        every: Epochs from round to round.
        rounds: The number of rounds.
        schedule: As for `ng.prune_gradually`.
        at_least: As for `ng.prune_gradually`.
        example: The positional inputs of the network to capture it with; the first sample of the batch if
            None.
        options: Other options of `ng.prune`, such as `utility="l1"`.

    Attributes:
        tables: What each edit changed, in words.

    Raises:
        EditError: An argument makes no sense; or while training, that the network cannot be pruned so.
    """

    def __init__(
        self,
        *,
        macs: float | None = None,
        params: float | None = None,
        budgets: Mapping[str, float] | None = None,
        network: str = "network",
        start: int = 1,
        every: int = 1,
        rounds: int = 1,
        schedule: Schedule = "cubic",
        at_least: float | Mapping[str, float] | None = None,
        example: Any = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._plan = PruningSchedule(
            budgets,
            macs=macs,
            params=params,
            start=start,
            every=every,
            rounds=rounds,
            schedule=schedule,
            at_least=at_least,
            **(options or {}),
        )
        self._network, self._example = network, example
        self.tables: list[str] = []

    def state_dict(self) -> dict[str, Any]:
        """The rounds that are done, and the costs before them."""
        return {"plan": self._plan.state(), "tables": list(self.tables)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on after the rounds that are done."""
        self._plan.restore(state_dict["plan"])
        self.tables = list(state_dict["tables"])

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Check what is to be pruned, and have the edits in checkpoints, whatever the LightningModule.

        Raises:
            EditError: There is no such network, or several processes train it.
        """
        if not hasattr(pl_module, self._network):
            raise EditError(f"network={self._network!r}: {type(pl_module).__name__} has no such attribute")
        if trainer.world_size > 1:
            raise EditError(
                "several processes train the network, whose communication is set up for its sizes: prune in "
                "a training by one (Trainer(devices=1))"
            )
        hold_edits(pl_module)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Prune, if a round is due."""
        if batch_idx or not self._plan.due(trainer.current_epoch):
            return
        network = getattr(pl_module, self._network)
        args, kwargs = first_inputs(network, batch) if self._example is None else (self._example, {})
        known = len(history_of(network))
        edit = self._plan.prune(network, args, kwargs, list(trainer.optimizers))
        self.tables.append(str(edit))
        if edit:
            log_edit(trainer, edit, known)
