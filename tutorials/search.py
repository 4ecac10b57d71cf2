# %% [markdown]
# # A search, from one network to a front
#
# A network for handwritten digits is changed again and again: wider, narrower, deeper, with a connection
# past some layers. Children start with what their parents have learnt. What remains in the end is a front:
# networks of which none is both better and smaller than another.

# %%
import random
import tempfile
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

import naivegraph as ng
from naivegraph import search

digits = load_digits()
order = np.random.default_rng(0).permutation(len(digits.target))
x = torch.tensor(digits.images[order, None] / 16, dtype=torch.float32)
y = torch.tensor(digits.target[order])
train, choose, keep = slice(0, 600), slice(600, 900), slice(900, None)

# %% [markdown]
# ## The first network
#
# Any network that `ng.capture` takes will do, also a pretrained one.

# %%
torch.manual_seed(0)
first = nn.Sequential(
    nn.Conv2d(1, 8, 3, padding=1),
    nn.ReLU(),
    nn.Conv2d(8, 16, 3, stride=2, padding=1),
    nn.ReLU(),
    nn.Flatten(),
    nn.Linear(256, 10),
)
graph = ng.capture(first, x[:2])

# %% [markdown]
# ## One mutation
#
# Mutations work on a copy. Those that say so keep the function, and this one does: what is new starts with
# zeros.

# %%
genome = search.Genome(graph)
parent = graph(x[:4])
print(search.wider()(genome, random.Random(1)))
assert torch.allclose(genome.graph(x[:4]), parent, atol=1e-5)

# %% [markdown]
# ## A mutation of one's own
#
# A class with one method. It changes the graph with the verbs of naivegraph, and an edit that is not
# possible raises an error that the search takes for "not here".


# %%
class Norm(search.Mutation):
    """A batch norm behind a convolution."""

    def __call__(self, genome: search.Genome, rng: random.Random) -> str:
        name = rng.choice([v.name for v in genome.graph if isinstance(v.target, nn.Conv2d)])
        ng.insert(genome.graph, nn.BatchNorm2d, after=name)
        return f"norm behind {name}"


# %% [markdown]
# ## The study
#
# A space proposes networks, here children of the best so far under a cap of parameters. An evaluation
# trains and measures one. All of it is kept in a folder, and the same call goes on after a stop.
# `engine="processes"` trains several at once.

# %%
space = search.Evolution(
    graph,
    [search.wider(), search.narrower(), search.deeper(), search.skip(), Norm()],
    select=search.nsga2(8),
    population=4,
    cross=0.2,
    limits={"params": 8_000},
)
folder = Path(tempfile.mkdtemp()) / "digits"
study = search.Study(
    folder,
    space=space,
    evaluate=search.Classification(x[train], y[train], x[choose], y[choose]),
    objectives={"accuracy": "max", "params": "min"},
    rungs=(1, 3),
    seed=1,
    ahead=2,
)
study.run(networks=10, engine="serial")

# %% [markdown]
# ## What was found
#
# By the numbers measured above networks were chosen, so they flatter. The last images were kept back for
# one measurement in the end.

# %%
for candidate in study.front:
    print(
        f"{candidate.values['accuracy']:.3f} {candidate.values['params']:6,.0f}  {candidate.lineage.mutation}"
    )

best = study.best
assert best is not None
accuracy = (best.graph(x[keep]).argmax(1) == y[keep]).double().mean()
print(f"the best on images that were kept back: {float(accuracy):.3f}")

study.plot(folder / "front.svg")
study.genealogy(folder / "tree.svg")

# %% [markdown]
# The result is a graph as any other: prune it, save it, or take `to_module()`.

# %%
small = best.graph
print(ng.prune(small, macs=0.7))
small.to_module()

# %% [markdown]
# ## All of it in one call
#
# `search.fit` takes images or rows of a table, and starts from a small network of its own.

# %%
quick = search.fit(x[train], y[train], networks=3, seconds=None, rungs=(1,), engine="serial")
print(quick.best)
