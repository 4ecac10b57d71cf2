#!/usr/bin/env bash
# transformers 5.23.0 (torch 2.13.0): the first layer of a decoder is taken out of its ModuleList, as scripts that
# prune depth do, and the others keep their layer_idx. generate() goes on as if nothing were wrong, for it counts
# the tokens itself. The plain forward with past_key_values asks the cache for its length, which is that of its
# first entry, by now empty: every later token gets position 0 onwards again, without a word. A middle or last
# layer can be taken out without that.
# Expected: an error, or the same logits with the cache as without it.
# For naivegraph: layers that ng.prune(..., depth=True, uniform=True) leaves out are numbered anew, caches follow.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.23.0
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import copy

import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

logging.set_verbosity_error()
torch.manual_seed(0)
config = LlamaConfig(
    vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
    num_key_value_heads=2, eos_token_id=None,
)
net = LlamaForCausalLM(config).eval()
for parameter in net.parameters():
    if parameter.dim() > 1:
        torch.nn.init.normal_(parameter, std=0.3)
ids = torch.randint(1, 90, (1, 9))


@torch.no_grad()
def error(model):
    """The largest difference of the last logits with and without a cache, and whether generate agrees."""
    whole = model(ids, use_cache=False).logits[:, -1]
    cache = model(ids[:, :-1], use_cache=True).past_key_values
    length = cache.get_seq_length()
    last = model(ids[:, -1:], past_key_values=cache).logits[:, -1]
    same = [model.generate(ids, max_new_tokens=8, do_sample=False, use_cache=use, pad_token_id=0) for use in (True, False)]
    return float((last - whole).abs().max()), length, torch.equal(*same)


found = {None: error(net)}
for gone in range(3):
    pruned = copy.deepcopy(net)
    del pruned.model.layers[gone]
    found[gone] = error(pruned)
for gone, (off, length, same) in found.items():
    print(f"layer taken out: {gone}; cache of 8 tokens says {length}; logits off by {off:.1e}; generate agrees: {same}")
assert all(same for _, _, same in found.values()), "generate differs now"
assert max(found[gone][0] for gone in (None, 1, 2)) < 1e-4, "other layers matter now"
assert found[0][0] > 0.1, "the forward with a cache is right now"
print("as described: without the first layer the forward with a cache is wrong, and nothing says so")
PYTHON
