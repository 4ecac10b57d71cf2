# %% [markdown]
# # Change the sizes of a small network
#
# A network of two layers is written by hand, with weights so simple that every number can be checked in the
# head. Then it grows, shrinks and is pruned, and each time everything that hangs together changes together.

# %%
import numpy as np
import torch
from torch import Tensor, nn

import naivegraph as ng

# %% [markdown]
# ## The network
#
# `ng.input_node` is where a network begins, `ng.layer` calls a layer on what came before, and `ng.call` a
# function. All weights are one. What `split` gives is scaled in three ways, and the three are put next to
# each other.


# %%
def ones(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer without bias whose weights are all one."""
    linear = nn.Linear(inputs, outputs, bias=False)
    nn.init.ones_(linear.weight)
    return linear


x = ng.input_node("in", 6)
start = ng.layer(ones(6, 6), x, name="start")
split = ng.layer(ones(6, 2), start, name="split")
joined = ng.concat(2 * split, 3 * split, 5 * split, name="joined")
out = ng.call(torch.add, start, joined, name="out")  # as start + joined, with a name
graph = ng.Graph([x], [out])

print(graph.summary())

# %% [markdown]
# On six ones, every neuron of `start` gives 6 and both of `split` give 36. So the first two of `out` are 6
# + 2 * 36 = 78, the next two 6 + 3 * 36 = 114, and the last two 6 + 5 * 36 = 186.


# %%
def run() -> list[float]:
    """What the network gives for six ones."""
    result: list[float] = graph(torch.ones(1, 6)).detach()[0].tolist()
    return result


assert run() == [78, 78, 114, 114, 186, 186]
assert graph.sizes["start"] == 6
assert graph.sizes["split"] == 2

# %% [markdown]
# ## Grow
#
# `out` is a sum, so `start` and `joined` must be as wide as each other; `joined` is three times `split`.
# `out` can therefore have 3, 6, 9... neurons, but never 8. `ng.relaxed(+2)` asks for *about* two more, and
# gets three.
#
# Left alone, a new neuron starts as its layer starts any neuron, and what follows ignores it at first. Here
# the new weights are to be zero, so that they are easy to see.


# %%
def zeros(tensor: Tensor, name: str) -> None:
    """Fill what is new with zeros."""
    nn.init.zeros_(tensor)


grown = ng.resize(graph, {"out": ng.relaxed(+2)}, initialise=zeros)
print(grown)

assert graph.sizes["out"] == graph.sizes["start"] == 9
assert graph.sizes["split"] == 3
assert run() == [78, 78, 0, 114, 114, 0, 186, 186, 0]

# %% [markdown]
# `split` has one new neuron, at its end. It comes up three times in `joined`, each time at the end of its
# part, and `start` got its new neurons in the very same places.
#
# ## Shrink
#
# A plain number asks for exactly that change. Which neurons go is a matter of their *utility*. A function of
# a vertex gives a number for each of its neurons (a dict by vertex, or a criterion's name, would do as well).
# This one prefers those that come later.


# %%
def later(vertex: ng.Vertex) -> np.ndarray:
    """Neurons are worth more the later they come."""
    return np.arange(graph.sizes[vertex.name])


edit = ng.resize(graph, {"out": -3}, utility=later)

assert graph.sizes["out"] == 6
assert run() == [42, 0, 60, 0, 96, 0]

# %% [markdown]
# The new neurons were last, so they stayed, and each part lost one of its old ones: `split` now adds up
# three sixes, and 6 + 2 * 18 = 42. That was not clever. `undo` takes it back, and the other way round it is
# better.

# %%
edit.undo()
assert run() == [78, 78, 0, 114, 114, 0, 186, 186, 0]


def earlier(vertex: ng.Vertex) -> np.ndarray:
    """Neurons are worth more the earlier they come."""
    return np.arange(graph.sizes[vertex.name], 0, -1)


edit = ng.resize(graph, {"out": -3}, utility=earlier)
assert run() == [78, 78, 114, 114, 186, 186]
edit.undo()

# %% [markdown]
# With no utility given, a neuron is worth the mean size of its weights, and the zeros go.

# %%
edit = ng.resize(graph, {"out": -3})
assert run() == [78, 78, 114, 114, 186, 186]
edit.undo()

# %% [markdown]
# ## Prune
#
# Nobody has to say how many. A neuron whose utility is negative is better gone, so subtracting 40 % of the
# mean prunes whatever is below that, in the whole network at once: only its inputs never change.


# %%
def above(vertex: ng.Vertex) -> Tensor | None:
    """The mean size of a neuron's weights, less 40 % of the layer's mean; nothing for functions."""
    if not isinstance(vertex.target, nn.Linear):
        return None
    size = vertex.target.weight.detach().abs().mean(dim=1)
    return size - 0.4 * size.mean()


edit = ng.resize(graph, utility=above)

assert list(graph.sizes.values()) == [6, 6, 2, 2, 2, 2, 6, 6]
assert run() == [78, 78, 114, 114, 186, 186]

# %% [markdown]
# ## All the way back
#
# Edits are undone in reverse order, and leave the very bits that were there before.

# %%
edit.undo()
grown.undo()

assert list(graph.sizes.values()) == [6, 6, 2, 2, 2, 2, 6, 6]
assert run() == [78, 78, 114, 114, 186, 186]
