# %% [markdown]
# # Search spaces as schemas
#
# Describe ResNets and U-Nets of any size in a few lines, draw networks whose shapes always fit, see why a
# mistake has none, breed the next generation, and write an operation of your own.

# %%
import json
from pathlib import Path

import torch
from torch import nn

import naivegraph as ng
from naivegraph import search
from naivegraph.errors import SchemaError

# %% [markdown]
# ## ResNets
#
# A node is a kind of block: merge, operation, norm, activation. `then` adds an alternative: what follows. In
# `block.then(search.join(total))` the block joins the sum that waits for it; `search.new` makes a new one.
# What waits has its turn by priority, the lowest number first.

# %%
resnet = search.Schema()
stem = resnet.node("stem", search.conv(3), channels=(16, 64), multiple=8, norm="batch", activation="relu")
one = resnet.node(
    "one", search.conv(3), channels=(8, 256), norm="batch", activation="relu", growth=search.scale(0.5, 2)
)
two = resnet.node("two", search.conv(3), channels=(8, 256), norm="batch")
total = resnet.node("sum", merge="add", inputs=2, activation="relu")
down = resnet.node(
    "down", search.conv(3, stride=2), channels=(16, 256), growth=search.scale(1, 2), activation="relu"
)
pool = resnet.node("pool", search.mean(), channels=128)
head = resnet.node("head", search.dense(), channels=10)

block = [search.new(one), search.new(total, priority=1)]
stem.then(*block)
one.then(two)
two.then(search.join(total))
total.then(*block, weight=2).then(down).then(pool)
down.then(*block)
pool.then(head)

# %% [markdown]
# A walk draws the topology with 20 to 30 nodes; then one program decides all channels at once, so that the
# 128 channels at the end are met by every sum that leads there.

# %%
walk = resnet.walk((3, 32, 32), seed=3, nodes=(20, 30))
print(walk)
assert 20 <= len(walk) <= 30
assert walk.steps[-2].made.channels == 128

graph = walk.graph()
assert graph(torch.randn(2, 3, 32, 32)).shape == (2, 10)

# %% [markdown]
# What is compiled is a graph as any: it can be pruned, resized, saved. Its module has a source.

# %%
print(ng.prune(graph, macs=0.5))
module = graph.to_module()
print(module.code[:300])

# %% [markdown]
# ## U-Nets
#
# Each way down leaves a concatenation behind, which the way up on that level joins. Padding and output
# padding that are free are for the program to choose, so that 31 pixels fit as well as 32.


# %%
def unet(output_padding: int | tuple[int, int]) -> search.Schema:
    """U-Nets of any depth."""
    s = search.Schema()
    enc = s.node("enc", search.conv(3), channels=(8, 64), growth=search.scale(1, 2), activation="relu")
    half = s.node("down", search.max_pool(2), spatial=(4, None))
    up = s.node("up", search.conv_transpose(2, output_padding=output_padding), channels=(8, 64))
    cat = s.node("cat", merge="concat", inputs=2)
    dec = s.node("dec", search.conv(3), channels=(8, 64), growth=search.scale(0.5, 1), activation="relu")
    out = s.node("out", search.conv(1), channels=1)
    enc.then(search.new(half), search.new(cat, priority=1)).then(up)
    half.then(enc)
    up.then(search.join(cat))
    cat.then(dec)
    dec.then(up).then(out)
    return s


for pixels in (28, 31, 32):
    walk = unet((0, 1)).walk((1, pixels, pixels), nodes=(11, 15))
    assert walk.steps[-1].made.sizes == (1, pixels, pixels)

# %% [markdown]
# ## A mistake, explained
#
# Without the free output padding, what comes up from 15 pixels has 30, and is to be put beside 31. The
# explanation names the smallest set of rules that conflict, the nearest change that would do, and how far the
# furthest walk came. In a notebook it is a picture.

# %%
wrong = unet(0)
try:
    wrong.compile((1, 31, 31), nodes=(11, 15))
except SchemaError as error:
    print(error)

explanation = wrong.explain((1, 31, 31), nodes=(11, 15))
Path("explanation.svg").write_text(explanation.svg())
assert "cat" in {rule.node for rule in explanation.rules}

changed, shape = explanation.changed()
print(shape)
changed.compile(shape, nodes=(11, 15))

# %% [markdown]
# ## Genomes
#
# A walk is a list of numbers, one per node, that decide all that was drawn there. Children inherit them.

# %%
parents = [resnet.walk((3, 32, 32), seed=seed, nodes=(20, 30)) for seed in (1, 2)]
child = search.breed(parents, seed=7)
stored = json.dumps(child.genome)
again = resnet.walk((3, 32, 32), genome=json.loads(stored), nodes=(20, 30))
assert str(again) == str(child)
print(search.structure_name(child.graph()), "is the name of the child's architecture")

# %% [markdown]
# ## Attention to another input, gates, modules of your own
#
# A node with ports takes several tensors. Gated units halve the channels. Any module goes in through its
# factory.


# %%
class Shuffle(nn.Module):
    """Channels in another order."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Turn the channels of (batch, length, channels) round."""
        return x.flip(-1)


decoder = search.Schema()
query = decoder.node("query", search.dense(), channels=(16, 64), multiple=8, activation="swiglu")
memory = decoder.node("memory")
look = decoder.node("look", search.cross_attention(heads=4))
turn = decoder.node("turn", search.module(lambda given: Shuffle(), name="shuffle"), norm="layer")
query.then(search.join(look, port="query"))
memory.then(search.new(look, port="memory", priority=1))
look.then(turn)
graph = decoder.compile({"memory": search.tokens(9, 24), "query": search.tokens(5, 20)})
print(graph.summary())
out = graph(torch.randn(2, 9, 24), torch.randn(2, 5, 20))
assert out.shape[:2] == (2, 5)
