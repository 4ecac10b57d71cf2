#!/usr/bin/env bash
# lightning 2.6.6 (torch 2.13.0): a training with a sampler that has set_epoch, and with workers that load data, goes
# on from a checkpoint of the end of an epoch. The first epoch after that sees the samples in the order of epoch 0,
# as the workers begin before set_epoch is called; later epochs, and trainings without workers, are right.
# Expected: the order which that epoch has in a training that was not stopped.
# For naivegraph: naivegraph.track gives the sampler the epoch to begin with.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 lightning==2.6.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import logging
import warnings

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

warnings.simplefilter("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Order(torch.utils.data.Sampler):
    """Another order each epoch, told by set_epoch, which Lightning calls."""

    epoch = 0

    def __len__(self):
        return 8

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __iter__(self):
        generator = torch.Generator().manual_seed(self.epoch)
        return iter(torch.randperm(8, generator=generator).tolist())


class Net(LightningModule):
    """Notes which sample it sees in each epoch."""

    def __init__(self):
        super().__init__()
        self.layer, self.seen = torch.nn.Linear(1, 1), {}

    def training_step(self, batch, number):
        self.seen.setdefault(self.current_epoch, []).append(int(batch[0, 0]))
        return self.layer(batch).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)


def run(workers=0, callback=None, checkpoint=None):
    net = Net()
    data = torch.utils.data.DataLoader(torch.arange(8.0).reshape(8, 1), sampler=Order(), num_workers=workers)
    trainer = Trainer(
        max_epochs=4, accelerator="cpu", logger=False, callbacks=[callback or Checkpoint()],
        enable_progress_bar=False, enable_model_summary=False,
    )
    trainer.fit(net, data, ckpt_path=checkpoint)
    return net.seen


class End(Checkpoint):
    def on_train_epoch_end(self, trainer, pl_module):
        if trainer.current_epoch == 1:
            trainer.save_checkpoint("end.ckpt")


for workers in (0, 1):
    whole = run(workers, End())
    resumed = run(workers, checkpoint="end.ckpt")
    print(f"workers {workers}: not stopped, epochs 0 and 2: {whole[0]}, {whole[2]}")
    print(f"workers {workers}: resumed, epoch 2: {resumed[2]}")
    assert resumed[3] == whole[3], "epoch 3 is another one now"
    assert (resumed[2] == whole[2]) == (workers == 0), "the order with workers is right now, or that without wrong"
    assert workers == 0 or resumed[2] == whole[0], "it is not the order of epoch 0 any more"
print("as described: with workers, the resumed epoch has the order of epoch 0")
PYTHON
