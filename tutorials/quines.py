# %% [markdown]
# # Networks that know their own weights
#
# A *quine* is a program that prints itself. A network can come close: give it the address of one of its
# weights, and let it return the weight's value.

# %%
import torch
from torch import nn

import naivegraph as ng
from naivegraph.learning import Epochs, QuineLearner, perceptron, train

torch.manual_seed(0)
body = perceptron([8, 12, 12, 1], activation="gelu", double=True)
q = ng.weights.quine(body, dim=8)
print(q.report())

# %% [markdown]
# ## Training is not enough
# Steps of Adam make the loss small by making the weights small: the *relative* loss tells.

# %%
torch.manual_seed(0)
learner = QuineLearner(perceptron([8, 12, 12, 1], activation="gelu"), dim=8)
adam = torch.optim.Adam(learner.module.parameters(), lr=3e-3)
plan = Epochs(epochs=60, batch_size=32, score="relative")
trained = train(learner, adam, "quine_by_adam", plan)
first, last = trained.history[0], trained.history[-1]
for score in ("loss", "relative"):
    print(f"{score}: {first[score]:.2f} -> {last[score]:.2f}")
assert last["loss"] < 0.5 * first["loss"]
assert last["relative"] > 0.5

# %% [markdown]
# ## Solving
# As many equations as weights: the method of Levenberg and Marquardt solves them. The norm of the weights is
# kept within bounds, or everything ends at zero.

# %%
report = q.solve(seconds=30, tolerance=1e-6)
print(report)
assert report.kind == "true"
assert report.relative < 1e-4

collapsed = ng.weights.quine(perceptron([8, 12, 12, 1], activation="gelu", double=True), dim=8, gain=1.0)
nothing = collapsed.solve(seconds=10, tolerance=1e-8, norm=None)
print(nothing)
assert nothing.kind != "true"

# %% [markdown]
# ## Another shape
# An edit takes neurons out, and the weights that are left keep their addresses. The smaller network predicts
# them otherwise, until it is solved for again.

# %%
ng.resize(q.graph, {"0": -2})
print(q.report())
again = q.solve(seconds=30, tolerance=1e-6)
print(again)
assert again.kind == "true"

# %% [markdown]
# ## Regeneration
# Every weight becomes its prediction. At a fixed point that changes next to nothing; but errors grow where
# the spectral radius is above 1, and a true quine has always been such a point so far.

# %%
changes = q.regenerate(3)
print([f"{change:.1e}" for change in changes])
assert changes[0] < 1e-2
assert again.radius > 1

# %% [markdown]
# The whole way as a picture: the relative loss after each step, and what was done in between.

# %%
q.history.picture().save("quine.svg")
assert isinstance(body, nn.Sequential)
