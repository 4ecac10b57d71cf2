#!/usr/bin/env bash
# lightning 2.6.6 (torch 2.13.0): a callback saves a checkpoint (trainer.save_checkpoint) in on_train_epoch_start of
# epoch 2. A training that goes on from it trains epoch 2 on one batch of eight, without a warning, and goes on with
# epoch 3. One of the end of epoch 1 gives all eight.
# Expected: that epoch 2 is trained whole, as nothing of it had been when the checkpoint was saved.
# For naivegraph: naivegraph.track saves as epochs end.
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


class Net(LightningModule):
    """Counts its batches of each epoch."""

    def __init__(self):
        super().__init__()
        self.layer, self.batches = torch.nn.Linear(1, 1), [0] * 4

    def training_step(self, batch, number):
        self.batches[self.current_epoch] += 1
        return self.layer(batch).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)


def run(callback, checkpoint=None):
    net = Net()
    trainer = Trainer(
        max_epochs=4, accelerator="cpu", logger=False, callbacks=[callback],
        enable_progress_bar=False, enable_model_summary=False,
    )
    trainer.fit(net, torch.utils.data.DataLoader(torch.arange(8.0).reshape(8, 1)), ckpt_path=checkpoint)
    return net.batches


class Start(Checkpoint):
    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == 2:
            trainer.save_checkpoint("start.ckpt")

    def on_train_epoch_end(self, trainer, pl_module):
        if trainer.current_epoch == 1:
            trainer.save_checkpoint("end.ckpt")


whole = run(Start())
late, early = run(Checkpoint(), "start.ckpt"), run(Checkpoint(), "end.ckpt")
for name, seen in (("not stopped", whole), ("from the start of epoch 2", late), ("from the end of epoch 1", early)):
    print(f"{name}: batches of epochs 2 and 3: {seen[2]}, {seen[3]}")
assert early[2] == 8, "the end of epoch 1 does not give all of epoch 2 any more"
assert late[2] < 8, "the start of epoch 2 gives all of it now"
print("as described: a checkpoint of the start of an epoch loses the epoch")
PYTHON
