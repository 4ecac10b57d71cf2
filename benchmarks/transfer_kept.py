"""Classes, channels, tokens and positions changed, by ours and by what users call today: what stays the same.

For each network and change: the largest difference of outputs that are to stay, relative to the largest of
them, and the CPU time. What stays: with a new input channel everything, where the new channel is fed noise;
with other classes and tokens the outputs of old ones; with more positions texts that were not too long
before. Weights are random, as every one of these has to hold for any.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

import naivegraph as ng
from benchmarks.common import Row, parser, say, timm, transformers, write

_Change = Callable[[nn.Module], object]


def _row(
    name: str,
    change: str,
    net: nn.Module,
    ours: _Change,
    peer: _Change,
    kept: Callable[[nn.Module, bool], Tensor],
) -> Row:
    """The difference that each way makes to what is to stay: `kept` gives it, before and after."""
    with torch.no_grad():
        before, found = kept(net, False), dict[str, str]()
        for who, way in (("ours", ours), ("theirs", peer)):
            twin, start = copy.deepcopy(net), time.process_time()
            try:
                result = way(twin)
                took = time.process_time() - start
                after = kept(result if isinstance(result, nn.Module) else twin, True)
                apart = float((after - before).abs().max() / before.abs().max())
                found[who], found[f"{who}, CPU s"] = f"{apart:.1e}", f"{took:.2f}"
            except Exception as error:  # of any library: the row tells
                found[who], found[f"{who}, CPU s"] = f"{type(error).__name__}: {error}"[:80], ""
    say(f"{name}, {change}: {found}")
    return {"network": name, "change": change, **found}


def _images() -> Iterator[Row]:
    adapt: Any = __import__("timm.models._manipulate", fromlist=["adapt_input_conv"]).adapt_input_conv
    x, noise = torch.randn(4, 3, 64, 64), torch.randn(4, 1, 64, 64)
    for name, first in (("resnet18", "conv1"), ("tf_efficientnet_lite0", "conv_stem")):
        net = timm().create_model(name).eval()

        def theirs(twin: nn.Module, first: str = first) -> None:
            """Change the first convolution as timm does when weights are loaded with in_chans=4."""
            conv: Any = twin.get_submodule(first)
            conv.weight = nn.Parameter(adapt(4, conv.weight.detach()))
            conv.in_channels = 4

        yield _row(
            name, "3 -> 4 channels", net, lambda twin: ng.transfer.inputs(twin, x, "x", channels=4), theirs,
            lambda twin, after: twin(torch.cat([x, noise], 1) if after else x),
        )  # fmt: skip
        yield _row(
            name, "1,000 -> 4 classes, of which 3 are old", net,
            lambda twin: ng.transfer.head(
                twin, x, "fc" if hasattr(twin, "fc") else "classifier", classes=[7, 3, 500, "new"]
            ),
            lambda twin: twin.reset_classifier(4),  # type: ignore[operator]
            lambda twin, after: twin(x)[:, :3] if after else twin(x)[:, [7, 3, 500]],
        )  # fmt: skip


def _texts(seed: int) -> Iterator[Row]:
    library = transformers()
    sizes: dict[str, Any] = {"vocab_size": 100, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}
    narrow = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    found = {
        "GPT-2 (tied)": (
            "GPT2LMHeadModel", "GPT2Config", {"n_positions": 32, "n_embd": 32, "n_layer": 2, "n_head": 4},
        ),
        "BERT (tied, bias)": ("BertForMaskedLM", "BertConfig", {**narrow, "max_position_embeddings": 32}),
        "Llama (untied)": ("LlamaForCausalLM", "LlamaConfig", {**narrow, "num_key_value_heads": 2}),
        "T5 (encoder and decoder)": (
            "T5ForConditionalGeneration", "T5Config",
            {"d_model": 32, "d_ff": 64, "num_layers": 2, "num_heads": 4, "d_kv": 8,
             "decoder_start_token_id": 0},
        ),
    }  # fmt: skip
    ids = torch.randint(2, 80, (2, 12), generator=torch.Generator().manual_seed(seed))
    for name, (kind, config, more) in found.items():
        net = getattr(library, kind)(getattr(library, config)(**sizes, **more)).eval()
        example = {"input_ids": ids, **({"decoder_input_ids": ids} if name.startswith("T5") else {})}
        for size in (110, 80):
            kept = min(size, 100)

            def logits(twin: nn.Module, after: bool, example: Any = example, kept: int = kept) -> Tensor:
                """Return the logits of tokens that stay."""
                out: Tensor = twin(**example).logits[..., :kept]
                return out

            table = None if not name.startswith("T5") else "shared.weight"
            yield _row(
                name, f"100 -> {size} tokens", net,
                lambda twin, example=example, size=size, table=table: ng.transfer.vocabulary(  # type: ignore[misc]
                    twin, (), size, kwargs=example, table=table
                ),
                lambda twin, size=size: twin.resize_token_embeddings(size) and None,  # type: ignore[misc]
                logits,
            )  # fmt: skip


def main() -> None:
    """Run all changes and write their table."""
    given = parser(__doc__, "python -m benchmarks.transfer_kept --out FOLDER", threads=1).parse_args()
    torch.manual_seed(given.seed)
    torch.set_num_threads(given.threads)
    rows = [*_images(), *_texts(given.seed)]
    write(given.out, "transfer_kept", [("What stays as it was", rows)])


if __name__ == "__main__":
    main()
