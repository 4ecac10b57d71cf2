"""Known networks as schemas."""

from __future__ import annotations

from naivegraph import search
from naivegraph.search import SchemaNode


def resnet18(first: int = 64) -> search.Schema:
    """ResNet-18 (He et al., "Deep residual learning for image recognition", 2016), as in torchvision."""
    s = search.Schema()
    stem_conv = search.conv(7, stride=2, bias=False)
    stem = s.node("stem", stem_conv, channels=first, norm="batch", activation="relu")
    last = s.node("pool", search.max_pool(3, stride=2, padding=1))
    stem.then(last)
    for stage in range(4):
        for block in range(2):
            strided = stage > 0 and block == 0
            last = _residual_block(s, f"{stage + 1}_{block}", last, first << stage, strided)
    average, flat = s.node("average", search.global_pool()), s.node("flat", search.flatten())
    last.then(average)
    average.then(flat)
    flat.then(s.node("head", search.dense(), channels=1000))
    return s


def _residual_block(
    s: search.Schema, name: str, last: SchemaNode, channels: int, strided: bool
) -> SchemaNode:
    """A block after a node; the node that ends it."""
    stride = 2 if strided else 1
    one_conv = search.conv(3, stride=stride, bias=False)
    one = s.node(f"one{name}", one_conv, channels=channels, norm="batch", activation="relu")
    two = s.node(f"two{name}", search.conv(3, bias=False), channels=channels, norm="batch")
    total = s.node(f"sum{name}", merge="add", activation="relu", inputs=2)
    one.then(two)
    if strided:
        short_conv = search.conv(1, stride=2, bias=False)
        short = s.node(f"short{name}", short_conv, channels=channels, norm="batch")
        last.then(search.new(one), search.new(short, priority=1))
        two.then(search.new(total, priority=2))
        short.then(search.join(total))
    else:
        last.then(search.new(one), search.new(total, priority=1))
        two.then(search.join(total))
    return total


def small_unet() -> search.Schema:
    """A U-Net of any depth, which halves maps and doubles channels, with two convolutions on each level."""
    s = search.Schema()
    wide, keep, half = search.scale(2), search.keep(), search.scale(0.5)
    enc = s.node("enc", search.conv(3), channels=(8, 32), growth=wide, activation="relu")
    enc2 = s.node("enc2", search.conv(3), channels=(8, 32), growth=keep, activation="relu")
    down = s.node("down", search.max_pool(2))
    up = s.node("up", search.conv_transpose(2), channels=(8, 32), growth=half)
    cat = s.node("cat", merge="concat", inputs=2)
    dec = s.node("dec", search.conv(3), channels=(8, 32), growth=half, activation="relu")
    dec2 = s.node("dec2", search.conv(3), channels=(8, 32), growth=keep, activation="relu")
    enc.then(enc2)
    enc2.then(search.new(down), search.new(cat, priority=1)).then(up)
    down.then(enc)
    up.then(search.join(cat))
    cat.then(dec)
    dec.then(dec2)
    dec2.then(up).then(s.node("head", search.conv(1), channels=2))
    return s


def decoder_block() -> search.Schema:
    """A block of a transformer's decoder (Vaswani et al., 2017), with norms first."""
    s = search.Schema()
    x, memory = s.node("x"), s.node("memory")
    norms = [s.node(f"norm{number}", norm="layer") for number in range(3)]
    sums = [s.node(f"sum{number}", merge="add", inputs=2) for number in range(3)]
    own = s.node("own", search.attention(heads=4))
    cross = s.node("cross", search.cross_attention(heads=4))
    wide = s.node("wide", search.dense(), growth=search.scale(2), activation="gelu")
    back = s.node("back", search.dense())
    x.then(search.new(norms[0]), search.new(sums[0], priority=1))
    norms[0].then(own)
    own.then(search.join(sums[0]))
    sums[0].then(search.new(norms[1]), search.new(sums[1], priority=1))
    memory.then(search.new(cross, port="memory", priority=1))
    norms[1].then(search.join(cross, port="query"))
    cross.then(search.join(sums[1]))
    sums[1].then(search.new(norms[2]), search.new(sums[2], priority=1))
    norms[2].then(wide)
    wide.then(back)
    back.then(search.join(sums[2]))
    return s
