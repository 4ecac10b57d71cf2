# %% [markdown]
# # Experiments that are kept
#
# A config is trained once: asked for again, its run is returned; stopped, it is taken up. Runs are found by
# what they were given and by what they reached, and give their networks back, pruned ones too.

# %%
import logging
import shutil
import sys
import warnings
from pathlib import Path

import naivegraph as ng
from naivegraph.tables import as_text

warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # Lightning's own
logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)

# %% [markdown]
# ## A network, data, and a config that names them
#
# They are plain functions of a module; nothing in them knows of experiments.

# %%
Path("my_experiment.py").write_text(
    """
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import TensorDataset


def network(width=32, depth=1):
    middle = [layer for _ in range(depth) for layer in (nn.Linear(width, width), nn.ReLU())]
    return nn.Sequential(nn.Linear(64, width), nn.ReLU(), *middle, nn.Linear(width, 10))


def digits(train: bool = True):
    data = load_digits()
    part = slice(0, 600) if train else slice(600, 1000)
    images = torch.tensor(data.data[part] / 16, dtype=torch.float32)
    return TensorDataset(images, torch.tensor(data.target[part]))
""",
    encoding="utf-8",
)
sys.path.insert(0, ".")

config = {
    "experiment": "digits",
    "model": {"class_path": "my_experiment.network"},
    "data": {
        "train": {"class_path": "my_experiment.digits"},
        "validation": {"class_path": "my_experiment.digits", "init_args": {"train": False}},
    },
    "loader": {"batch_size": 64},
    "task": {"init_args": {"optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.01}}}},
    "trainer": {"max_epochs": 4, "accelerator": "cpu", "enable_progress_bar": False, "log_every_n_steps": 5},
}

# %% [markdown]
# ## Trained once
#
# The second call trains nothing, nor does one that differs in what belongs to the machine. Words count over
# files, as on the command line: `naivegraph train --config digits.yaml --model.init_args.depth 2`.

# %%
run = ng.track.once(config)
print(run)
again = ng.track.once([config, {"trainer": {"devices": 1}, "loader": {"num_workers": 0}}])
assert again == run
deeper = ng.track.once(config, words=["--model.init_args.depth", "2"])
assert deeper != run

# %% [markdown]
# ## Found again
#
# By parameters and by metrics; numbers are compared as numbers.

# %%
found = ng.track.find("digits", {"model/init_args/depth": (">", 1), "metrics/val_accuracy": (">", 0.5)})
assert found == [deeper]
print(as_text([ng.track.runs_table(ng.track.runs("digits"))], 120))
print(as_text(ng.track.comparison_table([run, deeper]), 120))

# %% [markdown]
# ## Pruned on the way
#
# A callback prunes as the third epoch begins; the optimizer follows. The run has a table of each edit, and
# gives the small network back: a fresh one is made by the code, edited and filled from a safetensors file.

# %%
pruning = {"class_path": "naivegraph.track.LightningPruning", "init_args": {"macs": 0.5, "start": 2}}
small = ng.track.once([config, {"trainer": {"callbacks": [pruning]}}])
print(small.edits[0])
before, after = (sum(p.numel() for p in each.model().parameters()) for each in (run, small))
print(f"{before:,} parameters, {after:,} after")
assert after < 0.6 * before
assert small.metrics["val_accuracy"] > 0.4

# %% [markdown]
# ## Taken up after a stop
#
# What is left of a run that was killed is its last checkpoint: as if it had been, its model is taken away
# here and it is called unfinished. The call that follows goes on from there, and ends with the same numbers.

# %%
metrics = small.metrics
small.store.set_status(small.id, "RUNNING")
shutil.rmtree(small.artifact("model/model.safetensors").parent)
resumed = ng.track.once([config, {"trainer": {"callbacks": [pruning]}}])
assert resumed == small
assert resumed.metrics == metrics
assert len(list((resumed.folder / "checkpoints").glob("*.ckpt"))) == 2
