"""Which elements movements take where, checked by moving the numbers of the elements."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from naivegraph.ir.values import Operation, Stub
from naivegraph.operators import movement_of
from naivegraph.operators.move_masks import moved_back, moved_on
from naivegraph.operators.movement import Mask

aten = torch.ops.aten

CASES: list[tuple[Any, tuple[int, ...], tuple[Any, ...]]] = [
    (aten.view.default, (4, 6), ([4, 2, 3],)),
    (aten.view.default, (4, 6), ([2, 12],)),
    (aten.view.default, (1, 4, 1, 6), ([4, 1, 3, 2, 1],)),
    (aten.view.default, (2, 3, 4), ([6, 2, 2],)),
    (aten.view.default, (1, 1), ([],)),
    (aten.view.default, (), ([1, 1],)),
    (aten.view.default, (2, 0, 3), ([0, 5],)),
    (aten.squeeze.dim, (3, 1, 2), (1,)),
    (aten.unsqueeze.default, (3, 2), (-2,)),
    (aten.permute.default, (2, 3, 4), ([1, 2, 0],)),
    (aten.permute.default, (2, 3, 4), ([-1, 0, 1],)),
    (aten.transpose.int, (2, 3, 4), (0, -1)),
    (aten.t.default, (3, 5), ()),
    (aten.t.default, (3,), ()),
    (aten.select.int, (2, 3, 4), (1, -1)),
    (aten.unbind.int, (3, 2, 4), ()),
    (aten.unbind.int, (2, 4, 3), (-1,)),
    (aten.slice.Tensor, (6, 5), (1, 1, 5, 2)),
    (aten.slice.Tensor, (6, 5), ()),
    (aten.slice.Tensor, (6, 5), (0, 3, 3)),
    (aten.split.Tensor, (7, 3), (3,)),
    (aten.split_with_sizes.default, (2, 7), ([3, 4], -1)),
    (aten.unsafe_split.Tensor, (4, 6), (2, 1)),
    (aten.chunk.default, (2, 6), (3, 1)),
    (aten.constant_pad_nd.default, (2, 3), ([1, 2],)),
    (aten.roll.default, (4, 3), ([1], [0])),
    (aten.flip.default, (4, 3), ([1],)),
    (aten.expand.default, (3, 1), ([2, 3, 4],)),
    (aten.repeat.default, (3, 2), ([2, 1, 2],)),
]


def masks(shape: tuple[int, ...], rng: np.random.Generator) -> list[Mask]:
    """Random ones, of length 1 along every other dimension or so."""
    lengths = [tuple(n if rng.random() < 0.6 else min(n, 1) for n in shape) for _ in range(12)]
    return [np.array(rng.random(size) < 0.4) for size in [shape, *lengths]]


@pytest.mark.parametrize(("func", "shape", "args"), CASES)
def test_elements_go_where_their_numbers_go(
    func: torch._ops.OpOverload, shape: tuple[int, ...], args: tuple[Any, ...]
) -> None:
    numbers = torch.arange(1, math.prod(shape) + 1).reshape(shape)
    result = func(numbers, *args)
    results = [result] if isinstance(result, torch.Tensor) else list(result)
    source = Stub(0, shape, torch.float32)
    outs = [Stub(i + 1, tuple(out.shape), torch.float32) for i, out in enumerate(results)]
    operation = Operation(func, (source, *args), {}, tuple(outs))
    movement = movement_of(operation)
    assert movement is not None
    rng = np.random.default_rng(0)
    for mask in masks(shape, rng):
        chosen = numbers.numpy()[np.broadcast_to(mask, shape)]
        reached = list(moved_on(movement, operation, source, mask))
        assert [out for out, _ in reached] == outs
        for (_, got), moved in zip(reached, results, strict=True):
            want = np.isin(moved.numpy(), chosen)
            np.testing.assert_array_equal(np.broadcast_to(got, moved.shape), want)
            assert got.ndim == moved.dim()
    for out, moved in zip(outs, results, strict=True):
        every = frozenset(range(moved.dim()))
        for given in [None, *masks(out.shape, rng)]:
            which = np.broadcast_to(True if given is None else given, out.shape)
            want = np.isin(numbers.numpy(), moved.numpy()[which])
            found = list(moved_back(movement, operation, out, every, given))
            masked = [True if entries is None else entries for _, _, entries in found]
            assert len(found) == 1 or not want.any()
            got = np.broadcast_to(masked[0] if masked else False, shape)
            np.testing.assert_array_equal(got, want)
            assert all(entries is None or entries.ndim == len(shape) for _, _, entries in found)


def test_parts_of_a_concatenation_are_told_apart() -> None:
    first, second = Stub(0, (3, 2), torch.float32), Stub(1, (3, 4), torch.float32)
    out = Stub(2, (3, 6), torch.float32)
    operation = Operation(aten.cat.default, ([first, second], 1), {}, (out,))
    movement = movement_of(operation)
    assert movement is not None
    mask = np.array([[False, True, False, True, True, False]])
    (one, _, left), (two, _, right) = moved_back(movement, operation, out, frozenset({1}), mask)
    assert (one, two) == (first, second)
    np.testing.assert_array_equal(left, np.array([[False, True]] * 3))
    np.testing.assert_array_equal(right, np.array([[False, True, True, False]] * 3))
    ((_, reached),) = moved_on(movement, operation, second, np.array([[True], [False], [True]]))
    np.testing.assert_array_equal(reached, np.array([[0, 0, 1, 1, 1, 1]] * 3) * [[1], [0], [1]])
