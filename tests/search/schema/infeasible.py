"""Schemas without a network, made at random: a chain of blocks, and in it one conflict of a known kind."""

from __future__ import annotations

import random
from collections.abc import Callable

from naivegraph import search
from naivegraph.search import Schema, SchemaNode

__all__ = ["KINDS", "infeasible"]

Plant = Callable[[Schema, SchemaNode, random.Random], SchemaNode]


def _chain(s: Schema, last: SchemaNode, draw: random.Random, name: str, count: int) -> SchemaNode:
    """Blocks that keep sizes, after a node; the last of them."""
    for number in range(count):
        kind = draw.choice(["conv", "depthwise", "residual", "wide"])
        title = f"{name}{number}"
        if kind == "conv":
            node = s.node(title, search.conv(draw.choice([1, 3, 5])), channels=(4, 64), norm="batch")
        elif kind == "depthwise":
            node = s.node(title, search.depthwise(3), activation="relu")
        elif kind == "wide":
            node = s.node(title, search.conv(3), channels=(8, 64), multiple=draw.choice([2, 4, 8]))
        else:
            inner = s.node(f"{title}in", search.conv(3))
            node = s.node(title, merge="add", inputs=2)
            last.then(search.new(inner), search.new(node, priority=1))
            inner.then(search.join(node))
            last = node
            continue
        last.then(node)
        last = node
    return last


def _fork(
    s: Schema, last: SchemaNode, one: SchemaNode, two: SchemaNode, merge: str, channels: object = None
) -> SchemaNode:
    """Two nodes after one, and a merge of both."""
    both = s.node("both", merge=merge, inputs=2, channels=channels)  # type: ignore[arg-type]
    last.then(search.new(one), search.new(two))
    one.then(search.auto(both, priority=2))
    two.then(search.auto(both, priority=2))
    return both


def _unequal_sum(s: Schema, last: SchemaNode, draw: random.Random) -> SchemaNode:
    low = draw.randrange(4, 20)
    one = s.node("left", search.conv(3), channels=(low, low + 5))
    two = s.node("right", search.conv(1), channels=(low + 6 + draw.randrange(5), low + 30))
    return _fork(s, last, one, two, "add")


def _no_multiple(s: Schema, last: SchemaNode, draw: random.Random) -> SchemaNode:
    times = draw.choice([8, 16])
    one = s.node("left", search.conv(3), channels=(4, 128), multiple=times)
    two = s.node("right", search.conv(1), channels=(times + 1, 2 * times - 1))
    return _fork(s, last, one, two, "add")


def _small_concat(s: Schema, last: SchemaNode, draw: random.Random) -> SchemaNode:
    most = draw.randrange(6, 20)
    one = s.node("left", search.conv(3), channels=(4, most))
    two = s.node("right", search.conv(1), channels=(4, most))
    return _fork(s, last, one, two, "concat", 2 * most + draw.randrange(1, 20))


def _small_map(s: Schema, last: SchemaNode, draw: random.Random) -> SchemaNode:
    for number in range(draw.randrange(2, 4)):
        down = s.node(f"down{number}", search.conv(3, stride=2, padding=1), channels=(4, 64))
        last.then(down)
        last = down
    end = s.node("large", search.conv(1), channels=(4, 64), spatial=(draw.randrange(10, 16), None))
    last.then(end)
    return end


def _odd_unet(s: Schema, last: SchemaNode, draw: random.Random) -> SchemaNode:
    down = s.node("down", search.max_pool(2))
    up = s.node("up", search.conv_transpose(2), channels=(4, 32))
    both = s.node("both", merge="concat", inputs=2)
    last.then(search.new(down), search.new(both, priority=1))
    down.then(up)
    up.then(search.join(both))
    return both


def _odd_gate(s: Schema, last: SchemaNode, draw: random.Random) -> SchemaNode:
    odd = s.node("odd", search.conv(3), channels=2 * draw.randrange(3, 12) + 1)
    gate = s.node("gate", search.depthwise(3), activation="glu")
    last.then(odd)
    odd.then(gate)
    return gate


def _odd_heads(s: Schema, last: SchemaNode, draw: random.Random) -> SchemaNode:
    heads = draw.choice([4, 5, 7])
    few = s.node("few", search.conv(1), channels=(heads + 1, 2 * heads - 1))
    look = s.node("look", search.attention(heads))
    last.then(few)
    few.then(look)
    return look


KINDS: dict[str, Plant] = {
    "unequal sum": _unequal_sum,
    "no multiple": _no_multiple,
    "small concat": _small_concat,
    "small map": _small_map,
    "odd U-Net": _odd_unet,
    "odd gate": _odd_gate,
    "odd heads": _odd_heads,
}


def infeasible(seed: int) -> tuple[str, Schema, tuple[int, int, int]]:
    """The kind of conflict, the schema, and the shape of its input."""
    draw = random.Random(seed)
    kind = list(KINDS)[seed % len(KINDS)]
    size = draw.choice([15, 17, 19]) if kind == "odd U-Net" else draw.randrange(12, 20)
    s = Schema()
    last = _chain(s, s.node("stem", search.conv(3), channels=(4, 64)), draw, "a", draw.randrange(1, 5))
    last = KINDS[kind](s, last, draw)
    last = _chain(s, last, draw, "z", draw.randrange(1, 5))
    last.then(s.node("head", search.global_pool()))
    return kind, s, (3, size, size)
