# %% [markdown]
# # A study from the command line
#
# `naivegraph search --config tutorials/digits_study.yaml` runs the study that the file describes: networks
# for handwritten digits, in a minute and a half. It names two things of this module: the space and the
# evaluation. The same command goes on where it was stopped; `naivegraph search show runs/digits` shows what
# there is.

# %%
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

# %% [markdown]
# ## The space
#
# A function that makes it, so that the file can set its arguments.


# %%
def space(largest: int = 20_000) -> search.Evolution:
    """Children of a small convolutional network, none larger than so many parameters."""
    torch.manual_seed(0)
    first = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(256, 10),
    )
    mutations: list[search.Mutation] = [
        search.wider(),
        search.narrower(),
        search.deeper(),
        search.shallower(),
        search.skip(),
        search.kernel((1, 3, 5)),
    ]
    graph = ng.capture(first, x[:2])
    return search.Evolution(
        graph, mutations, select=search.nsga2(12), population=6, cross=0.15, limits={"params": largest}
    )


# %% [markdown]
# ## The evaluation
#
# Trained on two thirds of the images, measured on others. By these networks are chosen, so what is reported
# of the one you take should come from images kept back: the last 400.

# %%
evaluate = search.Classification(x[:1000], y[:1000], x[1000:-400], y[1000:-400])

# %% [markdown]
# Nothing runs until a study does. The name by which its folder knows this space:

# %%
print(space().fingerprint)
