"""Schemas that several tests use."""

from __future__ import annotations

from typing import Any

from naivegraph import search


def residual(last: int | None = None) -> search.Schema:
    """Residual blocks, some with strides whose padding is free."""
    s = search.Schema()
    stem = s.node("stem", search.conv(3), channels=(8, 64), multiple=8, activation="relu")
    block = s.node(
        "block",
        search.conv(3),
        channels=(4, 256),
        norm="batch",
        activation="relu",
        growth=search.scale(0.5, 2),
    )
    total = s.node("sum", merge="add", inputs=2)
    down = s.node(
        "down", search.conv(3, stride=2, padding=(0, 1)), channels=(8, 256), growth=search.scale(1, 2)
    )
    pool = s.node("pool", search.global_pool(), channels=last)
    flat = s.node("flat", search.flatten())
    head = s.node("head", search.dense(), channels=10)
    split = [search.new(block), search.new(total, priority=1)]
    stem.then(*split)
    block.then(search.join(total)).then(block)
    total.then(*split).then(down).then(pool)
    down.then(*split)
    pool.then(flat)
    flat.then(head)
    return s


def unet(between: bool = False, **up: Any) -> search.Schema:
    """A U-Net: each way down leaves a concatenation behind, which each way up joins."""
    s = search.Schema()
    wide: dict[str, Any] = {"channels": (8, 64), "norm": "batch", "activation": "relu"}
    enc = s.node("enc", search.conv(3), growth=search.scale(1, 2), **wide)
    down = s.node("down", search.max_pool(2))
    rise = s.node("up", search.conv_transpose(2, stride=2, **up), channels=(8, 64))
    mid = s.node("mid", search.conv(3), **wide)
    cat = s.node("cat", merge="concat", inputs=2)
    dec = s.node("dec", search.conv(3), growth=search.scale(0.5, 1), **wide)
    head = s.node("head", search.conv(1), channels=1)
    enc.then(search.new(down), search.new(cat, priority=1), weight=2).then(enc).then(rise)
    down.then(enc)
    if between:
        rise.then(mid)
        mid.then(search.join(cat))
    else:
        rise.then(search.join(cat))
    cat.then(dec)
    dec.then(dec).then(rise, weight=2).then(head)
    return s
