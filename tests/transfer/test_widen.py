"""Pretrained networks get more neurons and compute the same; by entries of their config, and by vertices."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.errors import EditError
from tests.machine.state import poisoned_memory
from tests.networks.plain import randomised
from tests.networks.streams import STREAMS
from tests.oracle import snapshot, unchanged

tf = pytest.importorskip("transformers")


def llama() -> Any:
    sizes = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 6}
    return tf.LlamaForCausalLM(
        tf.LlamaConfig(vocab_size=50, **sizes, **heads, eos_token_id=1, bos_token_id=1)
    )


def t5() -> Any:
    return tf.T5EncoderModel(
        tf.T5Config(vocab_size=50, d_model=24, d_kv=6, d_ff=32, num_layers=2, num_heads=4)
    )


def gpt2() -> Any:
    sizes = {"vocab_size": 50, "n_positions": 16, "n_embd": 24, "n_layer": 2, "n_head": 3}
    return tf.GPT2LMHeadModel(tf.GPT2Config(**sizes, eos_token_id=1, bos_token_id=1))


def bert() -> Any:
    sizes = {"vocab_size": 50, "hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 3}
    return tf.BertModel(tf.BertConfig(**sizes, intermediate_size=32))


def vit() -> Any:
    sizes = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 3, "intermediate_size": 32}
    return tf.ViTModel(tf.ViTConfig(**sizes, image_size=16, patch_size=8))


def made(build: Any, seed: int = 0) -> tuple[Any, dict[str, Tensor]]:
    torch.manual_seed(seed)
    model = randomised(build())
    if build is vit:
        return model, {"pixel_values": torch.randn(2, 3, 16, 16)}
    return model, {"input_ids": torch.randint(2, 50, (2, 7))}


def output(model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(**inputs)[0]
        return found


@pytest.mark.parametrize(
    ("build", "sizes"),
    [
        (llama, {"hidden_size": 36, "num_attention_heads": 6}),
        (llama, {"num_attention_heads": 8, "num_key_value_heads": 4, "intermediate_size": 41}),
        (t5, {"d_model": 31, "d_ff": 40}),
        (gpt2, {"n_embd": 36}),
        (vit, {"hidden_size": 40, "num_attention_heads": 5}),
    ],
)
def test_by_entries_of_a_config(build: Any, sizes: dict[str, int]) -> None:
    model, inputs = made(build)
    before, state, config = output(model, inputs), snapshot(model), copy.deepcopy(model.config)
    with poisoned_memory():
        edit = ng.transfer.widen(model, (), sizes, kwargs=inputs)
    after = output(model, inputs)[..., : before.shape[-1]]  # encoders return their stream
    apart = float((after - before).abs().max() / before.abs().max())
    assert apart <= 1e-6
    assert edit.function_kept
    assert edit.difference is not None
    assert edit.difference <= 1e-6
    # The config builds a network of the very sizes, or a note says why it cannot.
    wanted = copy.deepcopy(config)
    for name, value in sizes.items():
        setattr(wanted, name, value)
    with torch.device("meta"):
        built = type(model)(wanted)
    assert [p.shape for p in built.parameters()] == [p.shape for p in model.parameters()]
    assert bool(edit.notes) == (build is gpt2)  # its scale is worked out from the size of a head
    if not edit.notes:
        assert {name: getattr(model.config, name) for name in sizes} == sizes
    edit.undo()
    unchanged(model, state)
    assert model.config.to_dict() == config.to_dict()


def test_a_widened_network_is_reloaded_by_its_own_library(tmp_path: Any) -> None:
    model, inputs = made(llama)
    before = output(model, inputs)
    ng.transfer.widen(model, (), {"hidden_size": 40, "intermediate_size": 50}, kwargs=inputs)
    model.save_pretrained(tmp_path)
    again = tf.LlamaForCausalLM.from_pretrained(tmp_path).eval()
    assert again.config.hidden_size == 40
    assert float((output(again, inputs) - before).abs().max() / before.abs().max()) <= 1e-6


def test_by_vertices_of_any_network() -> None:
    stream = STREAMS[0]
    torch.manual_seed(0)
    model = randomised(stream.build(6)).double()
    (x,) = stream.inputs()
    before = model(x).detach()
    edit = ng.transfer.widen(model, x, {stream.vertex: +5, "blocks.0.qkv": ng.heads(3)})
    assert float((model(x).detach() - before).abs().max() / before.abs().max()) <= 1e-12
    assert edit.difference is not None
    assert edit.difference <= 1e-12
    assert model.get_submodule("blocks.0.qkv").out_features == 36


@pytest.mark.parametrize(
    ("build", "sizes", "says"),
    [
        (bert, {"hidden_size": 48}, "cannot be kept: The new neurons of .* a layer norm at encoder.layer.0"),
        (llama, {"hidden_size": 20}, "cannot be kept: neurons would go"),
        (
            llama,
            {"hidden": 30},
            "'hidden' is no vertex, nor a whole number of .*config; did you mean 'hidden_size'",
        ),
        (llama, {"hidden_size": 0}, "hidden_size must be a whole number from 1"),
        (llama, {"num_key_value_heads": 3}, "builds no network with|do not fit|no size of|cannot be done"),
    ],
)
def test_nothing_changes_where_it_cannot_be(build: Any, sizes: dict[str, int], says: str) -> None:
    model, inputs = made(build)
    state, config = snapshot(model), model.config.to_dict()
    with pytest.raises(EditError, match=says):
        ng.transfer.widen(model, (), sizes, kwargs=inputs)
    unchanged(model, state)
    assert model.config.to_dict() == config


def test_another_function_has_to_be_allowed() -> None:
    model, inputs = made(bert)
    before = output(model, inputs)
    edit = ng.transfer.widen(model, (), {"hidden_size": 48}, kwargs=inputs, allow=True)
    assert edit.function_kept is False
    assert edit.difference is not None
    assert edit.difference > 1e-3
    assert float((output(model, inputs)[..., :24] - before).abs().max()) > 1e-3
