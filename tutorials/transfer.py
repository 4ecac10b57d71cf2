# %% [markdown]
# # Another task for a trained network
#
# A network has learnt the ten handwritten digits from grey images. It is to tell three classes apart, two of
# which it knows, from images with two channels; and a smaller network is to take its place.

# %%
import copy
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

import naivegraph as ng

digits = load_digits()
order = np.random.default_rng(0).permutation(len(digits.target))
x = torch.tensor(digits.images[order, None] / 16, dtype=torch.float32)
y = torch.tensor(digits.target[order])
train, test = slice(0, 1200), slice(1200, None)


def accuracy(network: nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> float:
    """The share of inputs whose class is found."""
    with torch.no_grad():
        return float((network(inputs).argmax(1) == targets).float().mean())


def fit(network: nn.Module, groups: Any, inputs: torch.Tensor, targets: torch.Tensor, epochs: int) -> None:
    """Train with Adam."""
    optimizer = torch.optim.Adam(groups, lr=3e-3)
    network.train()
    for epoch in range(epochs):
        shuffled = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(epoch))
        for batch in torch.tensor_split(shuffled, len(inputs) // 64):
            optimizer.zero_grad()
            torch.autograd.backward(nn.functional.cross_entropy(network(inputs[batch]), targets[batch]))
            optimizer.step()
    network.eval()


torch.manual_seed(0)
network = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
    nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
    nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 10),
)  # fmt: skip
fit(network, network.parameters(), x[train], y[train], epochs=8)
print(f"ten digits: {accuracy(network, x[test], y[test]):.1%}")
assert accuracy(network, x[test], y[test]) > 0.9

# %% [markdown]
# ## Other classes
#
# Class 0 is to be the digit 7, class 2 the digit 3, and class 1 is new: any other digit. What the network
# says of 7 and 3 stays as it was.

# %%
three = copy.deepcopy(network)
before = three(x[:5])
edit = ng.transfer.head(three, x[:1], "8", classes=[7, "new", 3])
print(edit.notes[-1])
assert torch.allclose(three(x[:5])[:, [0, 2]], before[:, [7, 3]], atol=1e-5)

# %% [markdown]
# ## Other channels
#
# The second channel starts with weights of zero, so nothing changes, whatever it is fed.

# %%
two = ng.transfer.inputs(three, x[:1], "input", channels=2)
print(two.notes[-1])
noise = torch.rand(5, 1, 8, 8)
assert torch.allclose(three(torch.cat([x[:5], noise], 1))[:, [0, 2]], before[:, [7, 3]], atol=1e-5)

# %% [markdown]
# ## Training what is new
#
# Parameters with new rows take larger steps than those that have been there, so that these are not spoilt.

# %%
colour = torch.cat([x, x.flip(3)], 1)
classes = torch.where(y == 7, 0, torch.where(y == 3, 2, 1))
groups = ng.transfer.parameter_groups(three, [edit, two], lr=3e-3)
print({group["name"]: (len(group["params"]), group["lr"]) for group in groups})
fit(three, groups, colour[train], classes[train], epochs=3)
print(f"three classes: {accuracy(three, colour[test], classes[test]):.1%}")
assert accuracy(three, colour[test], classes[test]) > 0.9

# %% [markdown]
# ## Another vocabulary
#
# Tokens move, go and come; the head follows, and the logits of old tokens stay.

# %%
language = nn.Sequential(nn.Embedding(12, 16), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 12))
ids = torch.tensor([[3, 1, 4]])
logits = language(ids)
edit = ng.transfer.vocabulary(language, ids, [4, 3, 1, "new", [0, 2]])
print(edit.notes[-1])
assert torch.allclose(language(torch.tensor([[1, 2, 0]]))[..., :3], logits[..., [4, 3, 1]], atol=1e-5)

# %% [markdown]
# ## A mistake, explained
#
# Nothing changes where a request makes no sense.

# %%
try:
    ng.transfer.head(network, x[:1], "8", classes=[7, 7, "new"])
except ng.EditError as error:
    print(error)
else:
    raise AssertionError("a class was named twice")
