"""Another vocabulary, against the logits of old tokens and rows worked out by hand."""

from __future__ import annotations

import copy
import random
import types
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng
from tests.oracle import snapshot, unchanged


class Language(nn.Module):
    """A language model whose head has the table's weights, or its own, and a bias."""

    def __init__(self, tied: bool) -> None:
        super().__init__()
        self.tokens = nn.Embedding(12, 6, padding_idx=0)
        self.places = nn.Embedding(8, 6)
        self.body = nn.Linear(6, 6)
        self.head = nn.Linear(6, 12)
        if tied:
            self.head.weight = self.tokens.weight

    def forward(self, ids: Tensor) -> Tensor:
        """Map (batch, length) to (batch, length, 12)."""
        ids = ids.view(-1, ids.shape[-1])
        places = torch.arange(ids.shape[1])
        out: Tensor = self.head(torch.tanh(self.body(self.tokens(ids) + self.places(places))))
        return out


IDS = torch.tensor([[3, 0, 5], [11, 2, 3]])


def network(tied: bool, seed: int = 0) -> Language:
    torch.manual_seed(seed)
    return Language(tied).double().eval()


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("seed", range(6))
def test_kept_tokens_have_the_logits_they_had(tied: bool, seed: int, tmp_path: Any) -> None:
    rng = random.Random(seed)
    net = network(tied, seed)
    twin, fresh, old = copy.deepcopy(net), copy.deepcopy(net), snapshot(net)
    kept = [0, *rng.sample(range(1, 12), rng.randint(3, 11))]
    tokens: list[Any] = [*kept, *["new"] * rng.randint(0, 4), *[[1, 2]] * rng.randint(0, 2)]
    rng.shuffle(tokens)
    places = torch.tensor([place for place, each in enumerate(tokens) if isinstance(each, int)])
    stays = torch.tensor([tokens[int(place)] for place in places])
    ids = torch.randint(len(stays), (2, 5))
    before = net(stays[ids])
    edit = ng.transfer.vocabulary(net, IDS, tokens)
    close(net(places[ids])[..., places], before[..., stays])
    assert net.tokens.num_embeddings == net.head.out_features == len(tokens)
    assert net.tokens.padding_idx == tokens.index(0)
    assert (net.head.weight is net.tokens.weight) == tied
    ng.replay(twin, [edit.to_json()])
    assert torch.equal(twin(places[ids]), net(places[ids]))
    ng.save(net, tmp_path / "net.safetensors")
    assert torch.equal(ng.load(fresh, tmp_path / "net.safetensors")(places[ids]), net(places[ids]))
    edit.undo()
    unchanged(net, old)


def test_new_tokens_are_the_mean_of_what_spells_them_or_of_all() -> None:
    net = network(tied=True)
    table, bias = net.tokens.weight.detach().clone(), net.head.bias.detach().clone()
    edit = ng.transfer.vocabulary(net, IDS, [*range(12), [1, 2, 2], "new"])
    close(net.tokens.weight[12], table[1] / 3 + table[2] * 2 / 3)
    close(net.tokens.weight[13], table.mean(0))
    close(net.head.bias[12], bias[1] / 3 + bias[2] * 2 / 3)
    assert "12 of 12 tokens were kept and 2 are new" in " ".join(edit.notes)
    assert "of the probability on the example" in " ".join(edit.notes)


def test_a_number_of_tokens_keeps_the_first_and_the_example_follows() -> None:
    net = network(tied=False)
    edit = ng.transfer.vocabulary(net, IDS, 5)
    assert edit.graph is not None
    assert edit.graph.example["ids"].tolist() == [[3, 0, 0], [0, 2, 3]]
    assert net(torch.tensor([[4, 1]])).shape == (1, 2, 5)
    ng.resize(edit.graph, {"body": ng.relaxed(+2)})  # the graph goes on with the new example
    edit = ng.transfer.vocabulary(edit.graph, 9, new="zero")
    assert not net.tokens.weight[5:].any()
    assert net(torch.tensor([[8, 1]])).shape == (1, 2, 9)


class Tokenizer:
    """A tokenizer of letters, and of the words it knows."""

    def __init__(self, *tokens: str) -> None:
        self.vocab = {token: number for number, token in enumerate(tokens)}

    def get_vocab(self) -> dict[str, int]:
        """The number of each token."""
        return self.vocab

    def encode(self, text: str) -> list[int]:
        """The numbers of a text, letter by letter unless it is a token."""
        return [self.vocab[text]] if text in self.vocab else [self.vocab[c] for c in text if c in self.vocab]


def test_tokenizers_tell_which_tokens_stay_and_what_spells_the_others() -> None:
    net = network(tied=True)
    table = net.tokens.weight.detach().clone()
    old = Tokenizer("_", *"abcdefghijk")
    ng.transfer.vocabulary(net, IDS, old, Tokenizer("_", "b", "cab", "a", "z"))
    close(net.tokens.weight[:2], table[[0, 2]])
    close(net.tokens.weight[2], (table[3] + table[1] + table[2]) / 3)
    close(net.tokens.weight[3], table[1])
    close(net.tokens.weight[4], table.mean(0))


@pytest.mark.parametrize(
    ("tokens", "more", "message"),
    [
        ([0, 1, 1], {}, "the old token 1 is named more than once"),
        ([1, 2], {}, "token 0 is the padding of tokens.weight: keep it"),
        ([0, 12], {}, "an old token must be a whole number from 0 up to 11"),
        (0, {}, "the number of tokens must be a whole number from 1"),
        (5, {"table": "places"}, "'places' is no table"),
        (5, {"new": "noise"}, "new='noise'"),
        (Tokenizer("x"), {"tokenizer": Tokenizer("y")}, "no token in common"),
        (
            Tokenizer(*map(str, range(20))),
            {"tokenizer": Tokenizer("1")},
            "is not the tokenizer of this network",
        ),
        (Tokenizer("x"), {"tokenizer": 3}, "tokenizer= is int, which is no tokenizer"),
    ],
)
def test_what_is_no_vocabulary_is_refused(tokens: Any, more: Any, message: str) -> None:
    net = network(tied=True)
    old = snapshot(net)
    with pytest.raises(ng.EditError, match=message):
        ng.transfer.vocabulary(net, IDS, tokens, **more)
    unchanged(net, old)


def test_a_network_without_tokens_is_told_so() -> None:
    net = nn.Sequential(nn.Linear(3, 4))
    with pytest.raises(ng.EditError, match="0 tables are looked up by an input"):
        ng.transfer.vocabulary(net, torch.randn(1, 3), 4)


class Settings:
    """The numbers of a network, and of the tokens with a meaning."""

    def __init__(self, pad: int = 0) -> None:
        self.vocab_size, self.hidden, self.pad_token_id = 12, 6, pad
        self.bos_token_id, self.eos_token_id, self.sep_token_id = 3, [5, 2], None
        self.other = types.SimpleNamespace(vocab_size=7, pad_token_id=3)


class Configured(Language):
    """A language model that keeps the config it is built from."""

    def __init__(self, config: Settings) -> None:
        super().__init__(tied=False)
        self.config = config
        self.tokens = nn.Embedding(config.vocab_size, 6, padding_idx=config.pad_token_id)
        self.head = nn.Linear(6, config.vocab_size)
        self.generation_config = types.SimpleNamespace(eos_token_id=11, pad_token_id=config.pad_token_id)


def test_special_tokens_of_configs_follow_or_are_noted() -> None:
    net: Any = Configured(Settings()).eval()
    config, generation, fresh = net.config, net.generation_config, copy.deepcopy(net)
    edit = ng.transfer.vocabulary(net, IDS, ["new", 5, 0, 3, 4, 7])
    assert (net.config.pad_token_id, net.config.bos_token_id, net.config.eos_token_id) == (2, 3, [1, 2])
    assert (net.config.vocab_size, net.config.sep_token_id) == (6, None)
    assert net.config.other.pad_token_id == 3  # of another vocabulary
    assert net.tokens.padding_idx == net.generation_config.pad_token_id == 2
    assert net.generation_config.eos_token_id == 11
    gone = [note for note in edit.notes if "went" in note]
    assert gone == [
        "config.eos_token_id has token 2, which went: set it from the new tokenizer.",
        "generation_config.eos_token_id has token 11, which went: set it from the new tokenizer.",
    ]
    assert not any("cannot describe" in note for note in edit.notes)
    built: Any = Configured(net.config)
    assert built.tokens.padding_idx == 2
    built.load_state_dict(net.state_dict())
    ng.replay(fresh, [edit.to_json()])
    assert vars(fresh.config)["eos_token_id"] == [1, 2]
    edit.undo()
    assert (net.config, net.generation_config) == (config, generation)
    assert vars(config)["eos_token_id"] == [5, 2]  # others may share it


def test_special_tokens_of_transformers_follow(tmp_path: Any) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=20, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    net = transformers.LlamaForCausalLM(config).eval()
    kept = [7, 2, 0, 1, 9]
    with torch.no_grad():
        before = net(torch.tensor([[1, 7, 9]])).logits[..., kept]
        ng.transfer.vocabulary(
            net, (), kept, kwargs={"input_ids": torch.tensor([[1, 7, 9]]), "use_cache": False}
        )
        net.save_pretrained(tmp_path)
        loaded = transformers.LlamaForCausalLM.from_pretrained(tmp_path).eval()
        torch.testing.assert_close(loaded(torch.tensor([[3, 0, 4]])).logits, before, rtol=1e-5, atol=1e-6)
    for found in (loaded.config, loaded.generation_config):
        assert (found.bos_token_id, found.eos_token_id, found.pad_token_id) == (3, 1, 2)
    assert loaded.model.embed_tokens.padding_idx == 2
