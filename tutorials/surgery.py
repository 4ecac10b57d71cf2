# %% [markdown]
# # Looking inside networks, and joining them
#
# Two networks have learnt the ten handwritten digits apart from each other. What does a hidden layer
# hold? Can the end of one network go on from where the other has come to? And does it show in how alike
# the layers are?

# %%
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


class Net(nn.Module):
    """Three convolutions with batch norms; activations work in place."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width)
        self.conv2, self.norm2 = nn.Conv2d(width, 2 * width, 3, 2, 1), nn.BatchNorm2d(2 * width)
        self.conv3, self.norm3 = nn.Conv2d(2 * width, 2 * width, 3, 2, 1), nn.BatchNorm2d(2 * width)
        self.relu, self.fc = nn.ReLU(inplace=True), nn.Linear(2 * width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Classify images of 8 by 8 pixels."""
        x = self.relu(self.norm1(self.conv1(x)))
        x = self.relu(self.norm2(self.conv2(x)))
        x = self.relu(self.norm3(self.conv3(x)))
        return self.fc(x.mean((2, 3)))  # type: ignore[no-any-return]


def accuracy(network: nn.Module) -> float:
    """The share of test images whose digit is found."""
    with torch.no_grad():
        return float((network(x[test]).argmax(1) == y[test]).float().mean())


def batches(epoch: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Training images in a random order, 64 at a time."""
    shuffled = torch.randperm(1200, generator=torch.Generator().manual_seed(epoch))
    return [(x[train][part], y[train][part]) for part in torch.tensor_split(shuffled, 18)]


def trained(width: int, seed: int) -> ng.Graph:
    """A network of its own weights, as a graph."""
    torch.manual_seed(seed)
    network = Net(width).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for epoch in range(6):
        for images, labels in batches(epoch):
            optimizer.zero_grad()
            torch.autograd.backward(nn.functional.cross_entropy(network(images), labels))
            optimizer.step()
    return ng.capture(network.eval(), x[:2])


small, large = trained(8, seed=1), trained(12, seed=2)
print(f"small {accuracy(small.module):.1%}, large {accuracy(large.module):.1%}")

# %% [markdown]
# ## Looking inside
#
# Every layer and every function that the forward calls is a vertex with a name. `run` gives the values of
# any of them, as they were before anything changed them in place, and takes any of them instead of the
# input.

# %%
print([vertex.name for vertex in small])
inside = small.run(x[test], ["norm2", "relu_1"])
assert (inside["norm2"] < 0).any()
assert (inside["relu_1"] >= 0).all()
assert torch.equal(small.run({"relu_1": inside["relu_1"]}, ["fc"])["fc"], small(x[test]))

# %% [markdown]
# ## Cutting
#
# A part of a network is a network of its own, on the very same layers.

# %%
front = ng.surgery.cut(small, inputs=["x"], outputs=["relu_1"])
back = ng.surgery.cut(small, inputs=["relu_1"])
assert torch.equal(back(front(x[test])), small(x[test]))
assert front.module.get_submodule("conv1") is small.module.get_submodule("conv1")

# %% [markdown]
# ## Stitching
#
# The beginning of the small network, a linear layer for each pixel of the map, the end of the large one.
# The layer is fitted to what both have there on some images; nothing is trained.

# %%
cuts = ["relu", "relu_1", "relu_2"]
stitched: dict[str, float] = {}
for cut in cuts:
    s = ng.surgery.stitch(small, cut, large, cut, data=x[train][:500], copy=True)
    stitched[cut] = accuracy(s.module)
    print(f"{cut:7} {s!r}, accuracy {stitched[cut]:.1%}")
    assert stitched[cut] > 0.5  # one in ten would be chance

# %% [markdown]
# Other fits say more of how the two differ. A rotation keeps distances; a permutation would mean that
# neurons do the same and only stand in another order, which they do not.

# %%
s = ng.surgery.stitch(small, "relu_1", large, "relu_1", data=x[train][:500], copy=True)
for fit in ("ridge", "procrustes", "permutation"):
    s.fit(x[train][:500], fit)
    print(f"{fit:12} accuracy {accuracy(s.module):.1%}")

# %% [markdown]
# ## Comparing
#
# Centred kernel alignment (CKA) compares layers of any size: do the same images lie close together?

# %%
found = ng.surgery.similarity(small, large, x[train], first=cuts, second=cuts)
print(found.table())
found.plot().save("similarity.svg")

# %% [markdown]
# It does not tell how well layers can be stitched: here the cut with the highest CKA is the worst one.

# %%
for cut in cuts:
    print(f"{cut:7} CKA {found[cut, cut]:.3f}, stitched {stitched[cut]:.1%}")
assert found["relu", "relu"] > found["relu_2", "relu_2"]
assert stitched["relu"] < stitched["relu_2"] - 0.1

# %% [markdown]
# Here is why. The large network is stitched to itself by a layer of rank 3, which keeps the directions in
# which images differ most. CKA hardly sees the difference, as these directions rule it; the layers that
# follow do, as they need the others, too. The earlier the cut, the more layers follow.

# %%
narrow = ng.surgery.stitch(
    large, "relu", large, "relu", data=x[train][:500], fit=ng.surgery.rank(3), copy=True
)
alike = ng.surgery.similarity(large, narrow, x[train], first="relu", second="stitch.expand")
print(f"rank 3: CKA {alike['relu', 'stitch.expand']:.3f}, accuracy {accuracy(narrow.module):.1%}")
assert alike["relu", "stitch.expand"] > 0.9
assert accuracy(narrow.module) < accuracy(large.module) - 0.1

# %% [markdown]
# ## Training in stages
#
# A random stitch, one by regression, one that is trained while all else is frozen, and at last what
# follows it is trained, too. What is frozen are parameters and the statistics of batch norms.

# %%
torch.manual_seed(0)
s = ng.surgery.stitch(small, "relu", large, "relu", fit="random", copy=True)
print(f"{s.stage}: {accuracy(s.module):.1%}")
s.fit(x[train][:500])
print(f"{s.stage}: {accuracy(s.module):.1%}")
s.train(batches(0), epochs=3)
print(f"{s.stage}: {accuracy(s.module):.1%}")
s.train(batches(1), downstream=True, epochs=3)
print(f"{s.stage}: {accuracy(s.module):.1%}")
assert accuracy(s.module) > 0.9

with ng.surgery.frozen(s, except_="back.fc"):
    free = [name for name, parameter in s.module.named_parameters() if parameter.requires_grad]
print("left free:", free)
assert free == ["back.fc.weight", "back.fc.bias"]

# %% [markdown]
# What was joined is a network as any other: it can be pruned, saved and exported.

# %%
before = accuracy(s.module)
edit = ng.prune(s, macs=0.7, calibration=x[train][:500])
left = edit.after.macs / edit.before.macs
print(f"{left:.0%} of the products, accuracy {before:.1%} -> {accuracy(s.module):.1%}")
