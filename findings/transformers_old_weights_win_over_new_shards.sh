#!/usr/bin/env bash
# transformers 5.23.0 (torch 2.13.0, safetensors as it requires): a network is saved into a folder as one file,
# and later, changed, into the same folder in shards (max_shard_size). The first file, model.safetensors, stays,
# and from_pretrained reads it: the network that comes back is the first one, without a warning.
# Expected: that saving replaces the weights that an earlier save of the same folder wrote.
# For naivegraph: naivegraph.hf.save_pretrained removes the weights of an earlier save.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.23.0
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import os

import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

logging.set_verbosity_error()
logging.disable_progress_bar()
config = LlamaConfig(
    vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, bos_token_id=0, eos_token_id=1,
)
net = LlamaForCausalLM(config).eval()
net.save_pretrained("saved")
with torch.no_grad():
    for parameter in net.parameters():
        parameter.fill_(0.5)
net.save_pretrained("saved", max_shard_size="10KB")
files = sorted(name for name in os.listdir("saved") if "safetensors" in name)
again = LlamaForCausalLM.from_pretrained("saved")
changed = all(bool((parameter == 0.5).all()) for parameter in again.parameters())
print("files:", *files)
print("what comes back is what was saved last:", changed)
assert "model.safetensors" in files and len(files) > 2, "the old file is removed now"
assert not changed, "the shards are read now"
print("as described: the old file stays and wins")
PYTHON
