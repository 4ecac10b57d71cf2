"""Pruning on a schedule while the Trainer of transformers trains, and its checkpoints of edited networks."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from naivegraph.edits.save.replay import replay
from naivegraph.errors import EditError, LoadError
from naivegraph.graph.export.history import history_of
from naivegraph.graph.torch_utils.unwrap import unwrapped
from naivegraph.hf.save_folder import edits_in_config
from naivegraph.prune.gradually import Schedule
from naivegraph.track.pruning_schedule import PruningSchedule, first_inputs

__all__ = ["EditsInTrainer", "TransformersPruning"]

_FILE = "naivegraph_edits.json"


class TransformersPruning(TrainerCallback):  # type: ignore[misc]
    """Prunes the network of a `transformers.Trainer` to its budgets in rounds, each as an epoch begins.

    The optimizer follows. For checkpoints that can be taken up let the Trainer have `EditsInTrainer`.

    Args:
        macs: As for `ng.prune`: a fraction is of what the network costs before the first round.
        params: As for `ng.prune`.
        budgets: As for `ng.prune`.
        start: The epoch of the first round, counted from 0.
        every: Epochs from round to round.
        rounds: The number of rounds.
        schedule: As for `ng.prune_gradually`.
        at_least: As for `ng.prune_gradually`.
        example: The keyword inputs to capture the network with; those of the first sample of the data if
            None.
        options: Other options of `ng.prune`, such as `uniform=True`.

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
        budgets: Mapping[Any, float] | None = None,
        start: int = 1,
        every: int = 1,
        rounds: int = 1,
        schedule: Schedule = "cubic",
        at_least: float | Mapping[Any, float] | None = None,
        example: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self.plan = PruningSchedule(
            budgets,
            macs=macs,
            params=params,
            start=start,
            every=every,
            rounds=rounds,
            schedule=schedule,
            at_least=at_least,
            **options,
        )
        self._example = example
        self.tables: list[str] = []

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Prune, if a round is due."""
        if not self.plan.due(round(state.epoch or 0)):
            return
        if args.world_size > 1:
            raise EditError("several processes train the network: prune in a training by one")
        network = unwrapped(more["model"])
        example = self._example
        if example is None:
            loader = more["train_dataloader"]
            _, example = first_inputs(network, loader.collate_fn([loader.dataset[0]]))
        device = next(network.parameters()).device
        placed = {name: value.to(device) for name, value in example.items()}
        optimizer = more["optimizer"]
        while hasattr(optimizer, "optimizer"):  # that of accelerate
            optimizer = optimizer.optimizer
        self.tables.append(str(self.plan.prune(network, (), placed, [optimizer])))


class EditsInTrainer:
    """Makes the checkpoints of a `transformers.Trainer` hold the edits of its network; it comes before that.

    `train(resume_from_checkpoint=...)` then edits a fresh network as it was edited, before weights are read,
    and pruning goes on with the rounds that are left. A folder of `save_model(folder)` is opened by
    `from_pretrained`, once `naivegraph.hf` is imported.

    Example:
        >>> class Trainer:  # stands for transformers.Trainer
        ...     def train(self, resume_from_checkpoint=None, **options): ...
        ...     def save_model(self, output_dir=None, _internal_call=False): ...
        >>> class PruningTrainer(EditsInTrainer, Trainer):
        ...     pass
    """

    args: Any
    model: Any
    callback_handler: Any

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save as ever, with the edits in a file beside; in the config, too, where the user asks for it.

        In checkpoints the config is as ever: the Trainer reads it by a class that knows no edits.
        """
        network = unwrapped(self.model)
        parent: Any = super()
        with contextlib.nullcontext() if _internal_call else edits_in_config(network):
            parent.save_model(output_dir, _internal_call)
        place = Path(self.args.output_dir if output_dir is None else output_dir)
        data = {"edits": history_of(network), "plans": [each.plan.state() for each in self._prunings()]}
        (place / _FILE).write_text(json.dumps(data), encoding="utf-8")

    def train(self, resume_from_checkpoint: Any = None, **options: Any) -> Any:
        """Train as ever, from a checkpoint of an edited network, too.

        Raises:
            LoadError: The edits in the checkpoint are damaged, or are of another network.
        """
        folder = self._checkpoint(resume_from_checkpoint)
        if folder is not None and (folder / _FILE).exists():
            self._read_edits(folder / _FILE)
        parent: Any = super()
        return parent.train(resume_from_checkpoint=resume_from_checkpoint, **options)

    def _checkpoint(self, asked: Any) -> Path | None:
        from transformers.trainer_utils import get_last_checkpoint

        if asked is True:
            with contextlib.suppress(FileNotFoundError):
                asked = get_last_checkpoint(self.args.output_dir)
        return Path(asked) if isinstance(asked, (str, Path)) else None

    def _read_edits(self, path: Path) -> None:
        network = unwrapped(self.model)
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            edits, plans = list(data["edits"]), list(data["plans"])
        except (ValueError, KeyError, TypeError) as error:
            raise LoadError(f"{path} is damaged ({error})") from error
        done = history_of(network)
        if edits[: len(done)] != done:
            raise LoadError(f"the network was edited already, not as in {path}: train a freshly built one")
        try:
            replay(network, edits[len(done) :])
        except EditError as error:
            raise LoadError(f"{path} is of another network: {error}") from error
        for each, state in zip(self._prunings(), plans, strict=False):
            each.plan.restore(state)

    def _prunings(self) -> list[TransformersPruning]:
        return [each for each in self.callback_handler.callbacks if isinstance(each, TransformersPruning)]
