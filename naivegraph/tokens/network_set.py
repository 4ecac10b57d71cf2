"""A data set of networks, with what each has learned, kept as safetensors and JSON."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from naivegraph.errors import LoadError
from naivegraph.tensor_files import read_tensors, write_tensors
from naivegraph.tokens.frame import Frame
from naivegraph.tokens.learning_tasks import LearningTask
from naivegraph.tokens.networks import Networks

__all__ = ["NetworkSet"]

_FORMAT = 1
_NAME = "networks"


@dataclasses.dataclass(frozen=True, eq=False)
class NetworkSet:
    """Networks that have learned tasks.

    Args:
        networks: n networks.
        task: The number of each network's task in `tasks`, `[n]` int64.
        tasks: The tasks.
        loss: The loss of each network on its task, `[n]`: the mean squared error as a share of the targets'
            variance, or the cross entropy.

    Raises:
        ValueError: The numbers of networks differ, or a network has a task that is not there.
    """

    networks: Networks
    task: Tensor
    tasks: list[LearningTask]
    loss: Tensor

    def __post_init__(self) -> None:
        n = len(self.networks)
        if tuple(self.task.shape) != (n,) or tuple(self.loss.shape) != (n,):
            raise ValueError(
                f"there are {n} networks, but task is {tuple(self.task.shape)} and loss "
                f"{tuple(self.loss.shape)}"
            )
        if n and not 0 <= int(self.task.min()) <= int(self.task.max()) < len(self.tasks):
            raise ValueError(f"task names task {int(self.task.max())} of {len(self.tasks)}")

    def __len__(self) -> int:
        return len(self.networks)

    def __getitem__(self, which: slice | Tensor | list[int]) -> Self:
        """Some of the networks, with all tasks."""
        return dataclasses.replace(
            self, networks=self.networks[which], task=self.task[which], loss=self.loss[which]
        )

    def save(self, folder: str | Path) -> None:
        """Write the data set into a folder, as `networks.json` and the tensors it names.

        Raises:
            OSError: It cannot be written.
        """
        tensors = {f"networks.{name}": value for name, value in self.networks.tensors().items()}
        tensors |= {"task": self.task, "loss": self.loss}
        for number, task in enumerate(self.tasks):
            tensors |= {f"tasks.{number}.inputs": task.inputs, f"tasks.{number}.targets": task.targets}
        facts = {
            "format": _FORMAT,
            "frame": dataclasses.asdict(self.networks.frame),
            "tasks": [task.name for task in self.tasks],
        }
        write_tensors(Path(folder), _NAME, facts, tensors)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read a data set that `save` wrote.

        Raises:
            LoadError: A file is missing or damaged; the message says which and how.
        """
        found = read_tensors(Path(folder), _NAME)
        if found is None:
            raise LoadError(
                f"{folder} is no data set of networks: there is no {_NAME}.json; make one by "
                "ng.tokens.generate(...).save(folder)"
            )
        facts, tensors = found
        if facts.get("format") != _FORMAT:
            raise LoadError(
                f"the data set in {folder} is of format {facts.get('format')!r}, and this version reads "
                f"{_FORMAT}"
            )
        try:
            return cls._read(facts, tensors)
        except KeyError as error:
            raise LoadError(f"the data set in {folder} is damaged: there is no {error}") from error
        except (TypeError, ValueError) as error:
            raise LoadError(f"the data set in {folder} is damaged: {error}") from error

    @classmethod
    def _read(cls, facts: dict[str, Any], tensors: dict[str, Tensor]) -> Self:
        """The data set of what was written."""
        start = "networks."
        of_networks: dict[str, Any] = {
            name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)
        }
        tasks = [
            LearningTask(name, tensors[f"tasks.{number}.inputs"], tensors[f"tasks.{number}.targets"])
            for number, name in enumerate(facts["tasks"])
        ]
        return cls(Networks(Frame(**facts["frame"]), **of_networks), tensors["task"], tasks, tensors["loss"])
