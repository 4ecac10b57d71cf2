# %% [markdown]
# # First steps
#
# Take a network, ask for half of its multiply-accumulates, look at the answer, save it, and take it back.
# An editor that knows `# %%` cells runs one block at a time; as a whole this file is one of the tests.

# %%
import torch
from torch import Tensor, nn

import naivegraph as ng

# %% [markdown]
# ## A network
#
# Any `nn.Module` will do. This one has a residual connection: what comes in is added to what two convolutions
# make of it, so the two sides of the sum must have the same channels. naivegraph finds that out by itself.


# %%
class Small(nn.Module):
    """Two convolutions with a way around them, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.conv1 = nn.Conv2d(16, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 16, 3, padding=1)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, 3, height, width) to (batch, 5)."""
        x = torch.relu(self.stem(x))
        x = x + self.conv2(torch.relu(self.conv1(x)))
        out: Tensor = self.head(x.mean(dim=(2, 3)))
        return out


torch.manual_seed(0)
model = Small().eval()
image = torch.randn(1, 3, 12, 12)
original = model(image)

# %% [markdown]
# ## What can be changed?
#
# The network is run once on the example, and every size in it is related to the others. What is *free* can be
# pruned; what is *fixed* says why.

# %%
print(ng.inspect(model, (image,)))

# %% [markdown]
# ## Half of the multiply-accumulates
#
# The budget is met from below, as tightly as whole channels allow. The model stays the same object.

# %%
edit = ng.prune(model, (image,), macs=0.5)
print(edit)

assert 0.45 * edit.before.macs <= edit.after.macs <= 0.5 * edit.before.macs
assert model.stem.out_channels == model.conv2.out_channels  # the two sides of the sum

# %% [markdown]
# ## How good is that?
#
# Which channels stay is one integer program. Its certificate has the utility that was kept, an upper bound on
# what any other choice within the budget could keep, and the gap between the two.

# %%
certificate = edit.certificate
assert certificate is not None  # as it is where nothing had to be chosen
print(f"kept {certificate.value:.4g}, at most {certificate.bound:.4g} possible, gap {certificate.gap:.3%}")

assert certificate.value <= certificate.bound * (1 + 1e-9)

# %% [markdown]
# ## Save, and load into a fresh network

# %%
ng.save(model, "small.safetensors")
fresh = Small().eval()
ng.load(fresh, "small.safetensors")

assert [p.shape for p in fresh.parameters()] == [p.shape for p in model.parameters()]
assert torch.equal(fresh(image), model(image))

# %% [markdown]
# ## Take it back
#
# An edit knows the way back, bit for bit.

# %%
edit.undo()

assert model.stem.out_channels == 16
assert model.conv1.out_channels == 32
assert torch.equal(model(image), original)

# %% [markdown]
# ## Keep a layer, round the sizes, limit the parameters too
#
# `keep` names layers whose output sizes do not change; several budgets may be given at once.

# %%
edit = ng.prune(model, (image,), macs=0.6, params=0.6, round_to=4, keep=["stem"])
print(edit)

assert model.stem.out_channels == 16
assert model.conv1.out_channels % 4 == 0
assert edit.after.params <= 0.6 * edit.before.params
