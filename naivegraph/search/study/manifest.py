"""The file that says of which study a folder is."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from naivegraph.errors import StudyError
from naivegraph.kernel_lock import KernelLock
from naivegraph.search.study.study_files import read_json, write_json

__all__ = ["MANIFEST", "open_folder"]

MANIFEST = "study.json"
_FORMAT = 1
_FOLDERS = ("proposals", "networks", "results", "weights", "locks", "aside")


def open_folder(folder: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Make the folder of a study, or check that it is the folder of this one.

    Args:
        folder: The folder; it is made if there is none.
        settings: All that proposals depend on, as data for JSON; `space` is the fingerprint of the space.

    Returns:
        The manifest: `settings`, and the `id` of the study.

    Raises:
        StudyError: The folder cannot be written, holds something else, a damaged manifest, or another study.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = {path.name for path in folder.iterdir()}
    except OSError as error:
        raise StudyError(f"{folder} cannot be the folder of a study: {error.strerror or error}") from error
    if MANIFEST not in found:
        foreign = sorted(name for name in found if name not in _FOLDERS and not name.startswith("."))
        if foreign or (found & {"results", "proposals"} and _filled(folder)):
            shown = ", ".join((foreign or sorted(found))[:3])
            raise StudyError(
                f"{folder} is not the folder of a study: it has no {MANIFEST}, but {shown}. Give an empty "
                "folder or one that is not there yet"
            )
    _make(folder)
    with KernelLock(folder / "locks" / "manifest.lock"):
        manifest = read_manifest(folder)
        if manifest is None:
            manifest = {"format": _FORMAT, "id": uuid.uuid4().hex, "settings": dict(settings)}
            write_json(folder / MANIFEST, manifest)
    _compare(folder, manifest["settings"], settings)
    return manifest


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Read a manifest; None if there is none.

    Raises:
        StudyError: It is damaged, or of another format.
    """
    path = folder / MANIFEST
    try:
        manifest = read_json(path)
        if manifest is not None and not (
            isinstance(manifest["settings"], dict) and isinstance(manifest["id"], str)
        ):
            raise ValueError("its settings or its id are none")
    except (ValueError, KeyError) as error:
        raise StudyError(
            f"{path} is damaged ({error}), so it cannot be told of which study this folder is. Results in it "
            "are as they were: restore this file from a copy, or use another folder"
        ) from error
    except OSError as error:
        raise StudyError(f"{path} cannot be read: {error.strerror or error}") from error
    if manifest is not None and manifest.get("format") != _FORMAT:
        raise StudyError(
            f"{path} has format {manifest.get('format')!r}; this version of naivegraph reads {_FORMAT}"
        )
    return manifest


def _filled(folder: Path) -> bool:
    """Tell whether there are results in a folder without a manifest."""
    return any(True for name in ("results", "proposals") for _ in (folder / name).glob("*.json"))


def _make(folder: Path) -> None:
    """Make the folders within."""
    try:
        for name in _FOLDERS:
            (folder / name).mkdir(exist_ok=True)
    except OSError as error:
        raise StudyError(f"{folder} cannot be written: {error.strerror or error}") from error


def _compare(folder: Path, written: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Check that settings are those of the study in the folder."""
    if written.get("space") != asked.get("space"):
        raise StudyError(
            f"{folder} holds a study of another space ({written.get('space')!r}, not "
            f"{asked.get('space')!r}); give each space a folder of its own"
        )
    other = [name for name in asked if written.get(name) != asked[name]]
    if other:
        told = "; ".join(f"{name} was {written.get(name)!r} and is {asked[name]!r}" for name in other)
        raise StudyError(
            f"the study in {folder} was begun with other settings: {told}. Its proposals depend on them: "
            "go on with those, or use another folder"
        )
