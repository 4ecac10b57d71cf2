"""Random valid networks of a frame, made with numpy alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from naivegraph.tokens import Frame, Networks

FRAMES = [
    Frame("dense", 3, 2, depth=3, width=5),
    Frame("dense", 6, 4, depth=2, width=3, activations=("tanh", "relu", "sigmoid"), norm=True),
    Frame("convolutional", 2, 3, depth=2, width=4, kernel=9),
    Frame("convolutional", 3, 1, depth=3, width=2, kernel=9, norm=True),
    Frame("residual", 4, 2, depth=4, width=4),
    Frame("residual", 2, 6, depth=3, width=5, kernel=9, norm=True),
]


def name_of(frame: Frame) -> str:
    """A name for a test of a frame."""
    return f"{frame.kind}-{frame.kernel}-{'norm' if frame.norm else 'plain'}"


def random_networks(
    frame: Frame, count: int, seed: int, *, density: float = 0.8, dtype: torch.dtype = torch.float64
) -> Networks:
    """Networks with random layers, neurons, edges and numbers; hidden layers have two neurons at least."""
    rng = np.random.default_rng(seed)
    networks = Networks.empty(frame, count, dtype)
    for name, value in networks.tensors().items():
        if name in ("weights", "bias", "scale", "shift"):
            value.copy_(torch.from_numpy(rng.normal(size=tuple(value.shape))))
    for i in range(count):
        given = np.arange(frame.columns) < frame.inputs
        for layer in range(int(rng.integers(0, frame.depth + 1))):
            networks.operator[i, layer] = int(rng.integers(1, frame.head))
            there = np.zeros(frame.columns, dtype=bool)
            skip = networks.skips is not None and not given[frame.width :].any() and rng.random() < 0.7
            if skip:
                there |= given
            else:
                size = int(rng.integers(2, frame.width + 1))
                there[rng.choice(frame.width, size, replace=False)] = True
            if networks.skips is not None:
                networks.skips[i, layer] = skip
            networks.presence[i, layer, : frame.width] = torch.from_numpy(there[: frame.width])
            _connect(networks, i, layer, there[: frame.width], given, rng, density)
            given = there
        _connect(networks, i, frame.depth, np.ones(frame.outputs, dtype=bool), given, rng, density)
    return networks


def _connect(
    networks: Networks,
    i: int,
    layer: int,
    there: npt.NDArray[np.bool_],
    given: npt.NDArray[np.bool_],
    rng: np.random.Generator,
    density: float,
) -> None:
    """Draw edges of a layer from those of the layer before."""
    edges = there[:, None] & given & (rng.random((len(there), len(given))) < density)
    networks.edges[i, layer, : len(there)] = torch.from_numpy(edges)


def inputs_of(frame: Frame, count: int, seed: int) -> torch.Tensor:
    """Random inputs."""
    size = (count, frame.inputs, 5, 4) if frame.images else (count, frame.inputs)
    return torch.from_numpy(np.random.default_rng(seed).normal(size=size))
