"""The folder of a study, which is the truth: what is in it has happened, and nothing else has.

| folder | one file per | with |
|---|---|---|
| `proposals` | number of a proposal | the name of the architecture, its parents, the mutation |
| `networks` | architecture | its structure, as JSON |
| `results` | architecture, data and recipe and seed, rung | what was measured, or the traceback |
| `weights` | the same, and what a network starts from | a state dict, as safetensors |
| `locks` | architecture | nothing: a lock of the kernel, held while it is trained |
| `aside` | file that was damaged | that file |
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from naivegraph.errors import StudyError
from naivegraph.kernel_lock import KernelLock
from naivegraph.search.study.result import Result
from naivegraph.search.study.study_files import read_json, write_bytes, write_json

__all__ = ["Store", "recipe_digest"]


def recipe_digest(data: object, recipe: object, seed: int) -> str:
    """A short name for what a result depends on beside architecture and rung.

    Example:
        >>> recipe_digest("digits", "sgd", 0) == recipe_digest("digits", "sgd", 1)
        False
    """
    return hashlib.sha256(json.dumps([data, recipe, seed], sort_keys=True).encode()).hexdigest()[:8]


class Store:
    """Files of a study.

    Args:
        folder: The folder, with the folders within.
        digest: What `recipe_digest` gives.
    """

    def __init__(self, folder: str | os.PathLike[str], digest: str) -> None:
        self.folder = Path(folder)
        self.digest = digest

    def lock(self, name: str, part: str = "") -> KernelLock:
        """The lock of an architecture, not yet claimed; `part` tells several of one architecture apart."""
        return KernelLock(self.folder / "locks" / f"{name}{part}.lock")

    def claim(self, name: str) -> KernelLock | None:
        """Claim the right to send an architecture to an engine; None if another process has it."""
        lock = self.lock(name, ".sent")
        return lock if lock.claim() else None

    # Results

    def result_path(self, name: str, rung: int) -> Path:
        """The file of a result."""
        return self.folder / "results" / f"{name}.{self.digest}.{rung}.json"

    def result(self, name: str, rung: int) -> Result | None:
        """Read a result; None if there is none. A damaged one is told, set aside, and counts as none."""
        return self._read_result(self.result_path(name, rung), name, rung)

    def _read_result(self, path: Path, name: str, rung: int) -> Result | None:
        try:
            data = read_json(path)
            if data is None:
                return None
            result = Result.from_json(data)
            if (result.name, result.rung) != (name, rung):
                raise ValueError(f"it is of {result.name!r}, rung {result.rung}")
        except (ValueError, TypeError) as error:
            self.set_aside(path, str(error))
            return None
        return result

    def results(self, known: Mapping[tuple[str, int], Result]) -> dict[tuple[str, int], Result]:
        """All results with this store's data, recipe and seed, by architecture and rung.

        Args:
            known: Results that were read before, and are not read again.
        """
        found: dict[tuple[str, int], Result] = {}
        for entry in os.scandir(self.folder / "results"):
            parts = entry.name.split(".")
            if len(parts) != 4 or parts[1] != self.digest or not parts[2].isdecimal() or parts[3] != "json":
                continue
            key = (parts[0], int(parts[2]))
            result = known.get(key) or self._read_result(Path(entry.path), *key)
            if result is not None:
                found[key] = result
        return found

    def write_result(self, result: Result, weights: bytes | None = None) -> None:
        """Write a result, and before it the weights that come with it.

        Raises:
            StudyError: It cannot be written, such as where the disk is full.
        """
        if weights is not None:
            write_bytes(self.weights_path(result.name, result.rung), weights)
        write_json(self.result_path(result.name, result.rung), result.to_json())

    # Weights

    def weights_path(self, name: str, rung: int | None) -> Path:
        """The file of the weights after a rung; those that the architecture starts from if None."""
        part = "start" if rung is None else f"{self.digest}.{rung}"
        return self.folder / "weights" / f"{name}.{part}.safetensors"

    # Proposals

    def _proposal_path(self, number: int) -> Path:
        return self.folder / "proposals" / f"{number:08d}.json"

    def proposal(self, number: int) -> dict[str, Any] | None:
        """Read a proposal; None if there is none. One that is damaged is told and set aside."""
        path = self._proposal_path(number)
        try:
            data = read_json(path)
            if data is not None and not (isinstance(data["name"], str) and isinstance(data["parents"], list)):
                raise ValueError("its name or its parents are none")
        except (ValueError, KeyError) as error:
            self.set_aside(path, str(error))
            return None
        return data

    def write_proposal(
        self, number: int, data: Mapping[str, Any], structure: Mapping[str, Any], weights: bytes | None
    ) -> dict[str, Any]:
        """Write a proposal, unless another process has written this number; return the one that is there.

        Raises:
            StudyError: It cannot be written.
        """
        with self.lock("proposals"):
            known = self.proposal(number)
            if known is not None:
                return known
            name = str(data["name"])
            if weights is not None and not self.weights_path(name, None).exists():
                write_bytes(self.weights_path(name, None), weights)
            if self._read_structure(name) is None:
                write_json(self._structure_path(name), structure)
            write_json(self._proposal_path(number), data, flush=False)
            return dict(data)

    # Structures

    def _structure_path(self, name: str) -> Path:
        return self.folder / "networks" / f"{name}.json"

    def _read_structure(self, name: str) -> dict[str, Any] | None:
        path = self._structure_path(name)
        try:
            return read_json(path)
        except ValueError as error:
            self.set_aside(path, str(error))
            return None

    def structure(self, name: str) -> dict[str, Any]:
        """Read the structure of an architecture.

        Raises:
            StudyError: There is none, or it is damaged.
        """
        structure = self._read_structure(name)
        if structure is None:
            raise StudyError(
                f"the structure of network {name!r} is lost: {self._structure_path(name)} is missing or was "
                "damaged. Restore it from a copy; all else is as it was"
            )
        return structure

    def set_aside(self, path: Path, reason: str) -> None:
        """Tell that a file is damaged, and move it to where it is in nobody's way."""
        place = self.move_aside(path)
        warnings.warn(
            f"{path} is damaged ({reason}); it is set aside as {place}, and made again", stacklevel=2
        )

    def move_aside(self, path: Path) -> Path:
        """Move a file to where it is in nobody's way."""
        place = self.folder / "aside" / f"{path.name}.{os.getpid()}"
        with contextlib.suppress(FileNotFoundError):  # another process has done so
            path.replace(place)
        return place
