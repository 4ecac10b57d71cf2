# %% [markdown]
# # Change any network
#
# Resize several layers at once, decide what happens when that cannot be, grow without changing what the
# network computes, keep the optimizer going, and put layers in and take them out.

# %%
import warnings

import torch
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.graph import Rule, Ties

# %% [markdown]
# ## Capture
#
# `ng.capture` runs a network once on an example and remembers what called what. Names of vertices are the
# names of its layers; functions are called what they are.


# %%
class Small(nn.Module):
    """A convolution, two more with a way around them, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(16)
        self.conv1 = nn.Conv2d(16, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 16, 3, padding=1)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, 3, height, width) to (batch, 5)."""
        x = torch.relu(self.norm(self.stem(x)))
        x = x + self.conv2(torch.relu(self.conv1(x)))
        out: Tensor = self.head(x.mean(dim=(2, 3)))
        return out


def build() -> Small:
    """The same network each time."""
    torch.manual_seed(0)
    return Small().eval()


model = build()
image = torch.randn(1, 3, 12, 12)
original = model(image).detach()
graph = ng.capture(model, image)
print(graph.summary())

assert torch.equal(graph(image), original)
assert [vertex.name for vertex in graph.find("conv*")] == ["conv1", "conv2"]

# %% [markdown]
# ## Why does it have this size?
#
# `stem` and `conv2` are added up, so they have the same neurons. `ng.explain` says so, and by which way.
# What the network returns has the size its users expect: `ng.prune` keeps it, `ng.resize` changes it if
# asked.

# %%
explanation = ng.explain(graph, "stem")
print(explanation)

assert "conv2" in [layer for layer, way in explanation.tied_with]
assert (explanation.nearest[0].smaller, explanation.nearest[0].larger) == (15, 17)
assert ng.explain(graph, "head").parts[0].output == ("head", "the network's output")

# %% [markdown]
# Nobody has to make the graph: each verb takes a network followed by its example, too. A graph made once
# saves the time of making it for each question and edit.

# %%
assert str(ng.explain(model, image, "stem")) == str(explanation)

# %% [markdown]
# ## Several requests at once
#
# They are met together, not one after the other. A number is an exact change; `ng.relaxed` may give way;
# bounds and multiples hold whatever happens. Here about 5 more than 16 must be a multiple of 4: 20 is
# nearest.

# %%
edit = ng.resize(
    graph,
    {"conv1": -9, "stem": (ng.relaxed(+5), ng.multiple(4), ng.between(1, 24))},
)
print(edit)

assert model.conv1.out_channels == 23
assert model.stem.out_channels == model.conv2.out_channels == model.head.in_features == 20
edit.undo()
assert torch.equal(model(image), original)

# %% [markdown]
# What goes into a vertex can be asked for too, one entry per input, and a size may be held.

# %%
edit = ng.resize(graph, {"conv2": ng.inputs(-2), "stem": ng.frozen()})

assert (model.conv1.out_channels, model.stem.out_channels) == (30, 16)
edit.undo()

# %% [markdown]
# ## When it cannot be
#
# `stem` and `conv2` share their neurons, so one cannot grow while the other shrinks. By default the nearest
# change is tried with a warning. Here there is none, so a second warning says that nothing was changed, and
# the edit is falsy. Each says which requests contradict each other, by way of which vertices, and the second
# what could be asked instead.

# %%
impossible = {"stem": +4, "conv2": -4}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    edit = ng.resize(graph, impossible)
for warning in caught:
    print(warning.message)

assert not edit
assert len(caught) == 2
assert model.stem.out_channels == 16

# %% [markdown]
# A strategy says otherwise. Strategies are small objects, one inside the other, read from the outside in:
# solve, and if that cannot be, raise.

# %%
message = ""
try:
    ng.resize(graph, impossible, strategy=ng.strategy.Solve(ng.strategy.Raise()))
except ng.InfeasibleError as error:
    message = str(error)
print(message)

assert "stem -> norm -> relu -> add -> conv2" in message

assert not ng.resize(graph, impossible, strategy=ng.strategy.Solve(ng.strategy.Nothing()))

# %% [markdown]
# Others bound how many neurons may come, call a function once the edit is applied, or check the outcome. A
# check that fails takes the edit back.

# %%
edit = ng.resize(graph, {"conv1": ng.relaxed(+8)}, strategy=ng.strategy.MostNew(4))
assert model.conv1.out_channels == 36
edit.undo()

seen: list[float] = []
edit = ng.resize(
    graph, {"conv1": -4}, strategy=ng.strategy.After(lambda done: seen.append(done.after.params))
)
assert seen == [sum(parameter.numel() for parameter in model.parameters())]
edit.undo()

try:
    ng.resize(graph, {"conv1": -4}, strategy=ng.strategy.Validate(lambda done: done.after.params < 1000))
except ng.InfeasibleError as error:
    message = str(error)
print(message)

assert "did not pass validation" in message
assert model.conv1.out_channels == 32

# %% [markdown]
# ## Rules of your own
#
# What a function needs of its sizes can be declared, for functions that are not made of torch operators or
# to demand more than these do: here that the neurons come in fours and the first one stays.


# %%
class Fours(Rule):
    """What is returned has the neurons of what is taken; they come in fours, and the first one stays."""

    def tie(self, ties: Ties) -> None:
        """State what holds of the dimensions."""
        for taken, given in zip(ties.inputs[0], ties.outputs[0], strict=True):
            ties.equal(taken, given)
        ties.step(ties.inputs[0][1], 4)
        ties.neurons(ties.inputs[0][1], [0], keep=True)


x = ng.input_node("x", 3)
hidden = ng.call(torch.sigmoid, ng.layer(nn.Linear(3, 8), x, name="wide"), rule=Fours(), name="fours")
written = ng.Graph([x], [ng.layer(nn.Linear(8, 2), hidden, name="last")])

ng.resize(written, {"wide": ng.relaxed(+3)})
assert written.sizes["wide"] == 12

try:
    ng.resize(written, {"wide": -1}, strategy=ng.strategy.Solve(ng.strategy.Raise()))
except ng.InfeasibleError as error:
    message = str(error)
print(message)

assert "the rule declared for fours says wide is a multiple of 4" in message
assert "wide can be 8 instead of 11" in message

# %% [markdown]
# ## Grow, and compute the same
#
# New neurons start as their layer starts any neuron; the weights by which what follows takes them in are
# zero. So the network computes what it did before, and yet they learn from the first step on. With
# "duplicate", new neurons are copies of old ones instead, which share out their effect (the way of
# Net2Net).

# %%
for initialise in ("layer", "duplicate"):
    edit = ng.resize(graph, {"conv1": +4, "stem": +4}, initialise=initialise)
    assert (model.conv1.out_channels, model.stem.out_channels) == (36, 20)
    torch.testing.assert_close(model(image), original)
    edit.undo()

# %% [markdown]
# ## Kernels
#
# A convolution's kernel changes its size too. Padding follows, so that every tensor keeps its size. A kernel
# grows with zeros around it: the network computes what it did.

# %%
edit = ng.resize_kernel(graph, {"conv1": 5, "stem": (1, 3)})
print(edit)

assert (model.conv1.kernel_size, model.conv1.padding) == ((5, 5), (2, 2))
assert (model.stem.kernel_size, model.stem.padding) == ((1, 3), (0, 1))
edit.undo()

# %% [markdown]
# Both sides of a layer's input are padded alike, so it takes an even change; the message says which sizes
# are near. With a utility, the part of the kernel that is worth most stays, and the sides may differ.

# %%
try:
    ng.resize_kernel(graph, {"conv1": 2})
except ng.EditError as error:
    message = str(error)
print(message)

assert "sizes it can have: 1 and 3" in message

edit = ng.resize_kernel(graph, {"conv1": 2}, utility="magnitude")
assert model.conv1.weight.shape == (32, 16, 2, 2)
assert model(image).shape == original.shape
edit.undo()
assert torch.equal(model(image), original)

# %% [markdown]
# ## Keep training
#
# Give the optimizer along, and what it remembers of every weight follows. Parameters stay the same objects.

# %%
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
batch = torch.randn(8, 3, 12, 12)


def train(steps: int) -> float:
    """Train a little towards zero; gives the last loss."""
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        loss = model(batch).square().mean()
        loss.backward()
        optimizer.step()
    model.eval()
    return float(loss.detach())


before = train(5)
momenta = optimizer.state[model.stem.weight]["exp_avg"].clone()
edit = ng.resize(graph, {"conv1": -8, "stem": +8}, optimizer=optimizer)

assert (model.conv1.out_channels, model.stem.out_channels) == (24, 24)
assert torch.equal(optimizer.state[model.stem.weight]["exp_avg"][:16], momenta)
assert not optimizer.state[model.stem.weight]["exp_avg"][16:].any()
assert train(20) < before

# %% [markdown]
# ## Save, load, replay
#
# A saved network carries its edits, so a freshly built one becomes the same. An edit alone can be written
# as JSON as well, and replayed on another copy: that gives the shape, and the weights that copy had.

# %%
ng.save(model, "grown.safetensors")
loaded = ng.load(build(), "grown.safetensors").eval()
assert torch.equal(loaded(image), model(image))

copy = build()
ng.replay(copy, edit.to_json())
assert copy.conv1.weight.shape == model.conv1.weight.shape
assert [p.shape for p in copy.parameters()] == [p.shape for p in model.parameters()]
assert torch.equal(copy.stem.weight[:16], build().stem.weight)

# %% [markdown]
# ## Other layers
#
# From here on the order of the calls changes, which the `forward` of the class cannot know. The graph runs
# the new network, and `to_module` gives it as a module of its own.
#
# A convolution which starts as the identity changes nothing yet:

# %%
model = build()
graph = ng.capture(model, image)
inserted = ng.insert(
    graph, lambda size: nn.Conv2d(size, size, 3, padding=1), after="conv1", identity=True, name="extra"
)

assert [vertex.name for vertex in graph.outputs_of("conv1")] == ["extra"]
torch.testing.assert_close(graph(image), original)

# %% [markdown]
# It is part of the network now, and resized like all else. `conv1` and `extra` are independent of each
# other.

# %%
resized = ng.resize(graph, {"conv1": -8, "extra": +8})
assert (graph.sizes["conv1"], graph.sizes["extra"]) == (24, 40)
assert model.conv2.in_channels == 40

# %% [markdown]
# Removing a layer joins what it took to what used it; the sizes are made to fit, by growing the smaller
# where that can be.

# %%
removed = ng.remove(graph, "extra")
assert graph.sizes["conv1"] == model.conv2.in_channels == 40

for edit in (removed, resized, inserted):
    edit.undo()
assert torch.equal(graph(image), original)

# %% [markdown]
# An edge more, and an edge less. `conv1` has 32 neurons and the sum 16, so `stem` and `conv2` grow to 32.

# %%
connected = ng.connect(graph, "conv1", "add")
assert graph.sizes["add"] == graph.sizes["conv1"] == model.stem.out_channels == 32

module = graph.to_module()
torch.testing.assert_close(module(image), graph(image))
module.train()
module(batch).sum().backward()
assert all(parameter.grad is not None for parameter in module.parameters())
connected.undo()

disconnected = ng.disconnect(graph, "relu", "add")  # no way around the convolutions any more
assert not torch.equal(graph(image), original)
disconnected.undo()
assert torch.equal(graph(image), original)

# %% [markdown]
# Blocks are taken out and doubled whole. They are found from the graph: here from `relu`, where the ways
# part, to the sum where they meet. What the shortcut carries is left; a copy may start as the identity.

# %%
blocks = graph.blocks()
for block in blocks:
    print(block)

shorter = ng.remove(graph, blocks[0])
assert blocks[0].vertices[0] not in graph
assert shorter.after.macs < shorter.before.macs
shorter.undo()
assert torch.equal(graph(image), original)

# %% [markdown]
# Whether something can be done is asked without an exception.

# %%
answer = ng.can(graph, "connect", "head", "add")
print(answer)

assert not answer
assert ng.can(graph, "remove", blocks[0])

# %% [markdown]
# What would go in circles is refused, and the circle is named.

# %%
try:
    ng.connect(graph, "head", "add")
except ng.EditError as error:
    message = str(error)
print(message)

assert "add -> mean -> head -> add" in message
