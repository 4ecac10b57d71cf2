# %% [markdown]
# # Networks as data
#
# Many small networks that share a *frame* are a data set like any other. Here a transformer learns to read
# and to write them, and then draws networks that nobody trained.

# %%
from pathlib import Path

import torch

from naivegraph import tokens

frame = tokens.Frame("dense", inputs=3, outputs=1, depth=2, width=5, activations=("relu", "tanh"))
made = tokens.generate(500, frame, seed=0, tasks=10, steps=200)
print(f"{len(made)} networks, median loss over variance {float(made.loss.median()):.2f}")

# %% [markdown]
# ## One order of neurons
# Networks that differ in the order of their neurons alone compute the same. `canonical` gives all of them the
# same order, without which there is nothing to learn.

# %%
networks = tokens.canonical(made.networks)
pool = torch.cat([task.inputs for task in made.tasks])
x = pool[:100]
assert torch.allclose(networks.run(x), made.networks.run(x), atol=1e-4)
print("tokens:", tuple(networks.tokens().shape))

# %% [markdown]
# ## An autoencoder
# Structure is scored by cross entropy, weights by squared error, and the decoded network by what it computes.
# `untrained` networks lend their structures, so that it sees many more than were trained.

# %%
meta = torch.stack([tokens.meta_features(task.inputs, task.targets) for task in made.tasks])[made.task]
trained = tokens.train(
    networks,
    meta,
    inputs=pool,
    untrained=tokens.canonical(tokens.random_structure(frame, 2000, seed=1)),
    size=tokens.VAESize(latent=48, linear=32, dim=32),
    settings=tokens.TrainSettings(steps=500, every=250),
)
model, held_out = trained.model, trained.held_out

# %% [markdown]
# ## What to look at
# The edges can be nearly all right and the network useless. *Output error over variance* tells: 1 is what a
# constant would have.

# %%
scores = tokens.scores(model, networks[held_out], x, meta[held_out])
for name, value in scores.row().items():
    print(f"{name:15} {value}")
assert scores.edges > 0.9
assert scores.output_error < 0.7

# %% [markdown]
# ## New networks
# Latent vectors are drawn, decoded, and repaired to the nearest network: all are valid. `like` asks for a
# network for data of this kind.

# %%
drawn = tokens.sample(model, 20, seed=0)
print(
    f"valid: {int(drawn.valid_before.sum())} of 20 before repair, {int(drawn.networks.valid().sum())} after"
)
assert drawn.networks.valid().all()
task = made.tasks[0]
alike = tokens.sample(model, 1, like=(task.inputs, task.targets), seed=0)
print(alike.networks.module(0))

# %% [markdown]
# Do meta-features matter? Networks are to be likelier with those of their own data than with those of other.

# %%
told = tokens.conditioning(model, networks[held_out], meta[held_out], x)
print(told.row())

# %% [markdown]
# ## Pictures

# %%
with torch.no_grad():
    latent = model.encode(networks[held_out], meta[held_out]).mean
    decoded = tokens.repair(frame, model.decode(latent[:1], meta[held_out][:1]).tokens())
Path("pictures").mkdir(exist_ok=True)
both = tokens.draw_networks([networks[held_out[:1]], decoded], ["original", "decoded"])
both.save("pictures/original_and_decoded.svg")
spread = meta[held_out].nan_to_num(0.0).std(0)
column = int(spread.argmax())
name = tokens.meta_feature_names()[column]
space = tokens.draw_latent_space(latent, meta[held_out][:, column], name)
space.save("pictures/latent_space.svg")
