"""Calibration data from files: arrays of inputs, or images."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from naivegraph.cli.usage_errors import UsageError, first_line

__all__ = ["CalibrationFiles", "calibration_files"]

_ARRAYS = (".npz", ".npy", ".safetensors")
_IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
_BATCH = 32  # images, or single samples, at once


def calibration_files(path: str, args: Sequence[Tensor], kwargs: Mapping[str, Tensor]) -> "CalibrationFiles":
    """Find the files that a path stands for.

    Args:
        path: a file of arrays, or a folder with such files, or with images (also in folders within it).
        args: the example's positional inputs.
        kwargs: its keyword inputs.

    Raises:
        UsageError: there are none, or images do not suit the network's inputs.
    """
    place = Path(path)
    if not place.exists():
        raise UsageError(f"--calibration {path}: there is no such file or folder")
    files = sorted(place.rglob("*")) if place.is_dir() else [place]
    arrays = [file for file in files if file.suffix.lower() in _ARRAYS]
    images = [file for file in files if file.suffix.lower() in _IMAGES]
    if not arrays and not images:
        raise UsageError(
            f"--calibration {path} holds neither arrays ({', '.join(_ARRAYS)}) nor images "
            f"({', '.join(_IMAGES)})"
        )
    example = next(iter((*args, *kwargs.values())), None)
    if example is None:
        raise UsageError("--calibration needs an example of the inputs: --shape")
    if not arrays and (len(args) + len(kwargs) != 1 or example.dim() != 4 or example.shape[1] not in (1, 3)):
        raise UsageError(
            f"--calibration {path} holds images, for networks with one input of 1 or 3 channels "
            "(--shape 1,3,224,224); give arrays"
        )
    return CalibrationFiles(arrays or images, example, not arrays)


class CalibrationFiles:
    """Batches from files, read as they are needed.

    An `.npz` or `.safetensors` file is a batch: inputs by name, and labels, which are left aside; or, with
    one array alone, that of the only input. An `.npy` file is a batch, or a single sample where it has one
    dimension less. Images are scaled to the size of the example and to values from 0 to 1.

    Attributes:
        files: The files, in order.
    """

    def __init__(self, files: Sequence[Path], example: Tensor, images: bool) -> None:
        self.files = list(files)
        self._example, self._images = example, images

    def __iter__(self) -> Iterator[Any]:
        single: list[Tensor] = []
        for file in self.files:
            batch = self._image(file) if self._images else self._arrays(file)
            if isinstance(batch, Tensor) and batch.dim() == self._example.dim() - 1:
                single.append(batch)
                if len(single) == _BATCH:
                    yield self._stack(single)
                    single = []
            else:
                yield batch
        if single:
            yield self._stack(single)

    def _stack(self, samples: list[Tensor]) -> Tensor:
        shapes = {tuple(sample.shape) for sample in samples}
        if len(shapes) > 1:
            raise UsageError(f"--calibration: samples of different shapes, {' and '.join(map(str, shapes))}")
        return torch.stack(samples)

    def _arrays(self, file: Path) -> Any:
        """Read a file of arrays."""
        try:
            if file.suffix.lower() == ".npy":
                return torch.from_numpy(np.load(file, allow_pickle=False))
            if file.suffix.lower() == ".npz":
                with np.load(file, allow_pickle=False) as archive:
                    found = {name: torch.from_numpy(archive[name]) for name in archive.files}
            else:
                found = safetensors.torch.load_file(file)
        except (OSError, ValueError, TypeError, EOFError, safetensors.SafetensorError) as error:
            raise UsageError(f"--calibration: {file} cannot be read: {first_line(error)}") from error
        if not found:
            raise UsageError(f"--calibration: {file} holds no arrays")
        return next(iter(found.values())) if len(found) == 1 else found

    def _image(self, file: Path) -> Tensor:
        """An image as the network takes it, `[channels, height, width]` from 0 to 1."""
        try:
            from PIL import Image
        except ImportError as error:
            raise UsageError("--calibration with images needs Pillow: pip install pillow") from error
        channels, height, width = self._example.shape[1:]
        try:
            with Image.open(file) as opened:
                resized = opened.convert("L" if channels == 1 else "RGB").resize((width, height))
                pixels = torch.from_numpy(np.array(resized, np.float32) / 255)
        except OSError as error:
            raise UsageError(f"--calibration: {file} cannot be read: {first_line(error)}") from error
        return pixels.reshape(height, width, channels).movedim(-1, 0)
