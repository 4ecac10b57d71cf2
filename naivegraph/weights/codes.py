"""Codes of addresses: numbers with a normal distribution that depend on an address alone.

They are worked out anew from the address each time, by the mixing function of SplitMix64 (Steele, Lea and
Flood, "Fast splittable pseudorandom number generators", 2014) and the transform of Box and Muller (1958), so
that a code is the same wherever the weight lies in its tensor, in every process and on every device.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["Keys", "keys_of", "normal_codes"]

Keys = npt.NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def keys_of(name: str, ids: Sequence[npt.NDArray[np.int64]], seed: int) -> Keys:
    """The key of every weight of a tensor.

    Args:
        name: The tensor's name.
        ids: For each of its axes, the ids of the neurons along it.
        seed: Another seed gives other keys.

    Returns:
        The keys, in the shape of the tensor.
    """
    start = hashlib.sha256(f"{seed} {name}".encode()).digest()[:8]
    keys = np.array(np.frombuffer(start, dtype="<u8")[0])
    for each in ids:
        keys = _mixed(keys[..., None] + (each.astype(np.uint64) + np.uint64(1)) * _GOLDEN)
    return keys


def normal_codes(keys: Keys, size: int) -> npt.NDArray[np.float64]:
    """Codes from keys.

    Args:
        keys: The keys, of any shape.
        size: The numbers of a code.

    Returns:
        The codes, `[keys, size]`, each number with mean 0 and variance 1.

    Example:
        >>> keys = keys_of("0.weight", [np.arange(3), np.arange(2)], seed=0)
        >>> normal_codes(keys, 4).shape
        (6, 4)
    """
    flat = keys.reshape(-1, 1)
    places = np.arange(1, 2 * (-(-size // 2)) + 1, dtype=np.uint64) * _GOLDEN
    uniform = ((_mixed(flat + places) >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    radius, angle = np.sqrt(-2 * np.log(uniform[:, ::2])), 2 * np.pi * uniform[:, 1::2]
    both = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=2)
    return np.ascontiguousarray(both.reshape(len(flat), -1)[:, :size])


def _mixed(keys: Keys) -> Keys:
    """The last step of SplitMix64; products wrap around."""
    with np.errstate(over="ignore"):
        keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return keys ^ (keys >> np.uint64(31))
