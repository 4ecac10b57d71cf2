"""Captured networks as tokens and back, at the same and at other widths."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import naivegraph as ng
from naivegraph.errors import EditError
from naivegraph.tokens import of_graph, write
from tests.tokens.random_networks import FRAMES, inputs_of, random_networks


class Block(nn.Module):
    """A residual block with norms, heads and a free parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 12)
        self.place = nn.Parameter(torch.randn(5, 12))
        self.q, self.k, self.v = (nn.Linear(12, 12) for _ in range(3))
        self.norm, self.last = nn.LayerNorm(12), nn.LayerNorm(12)
        self.up, self.down = nn.Linear(12, 20), nn.Linear(20, 12)
        self.out = nn.Linear(12, 11, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.embed(x) + self.place
        q, k, v = (each(h).unflatten(-1, (3, -1)).transpose(1, 2) for each in (self.q, self.k, self.v))
        a = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        h = self.norm(h + a)
        h = self.last(h + self.down(torch.nn.functional.gelu(self.up(h))))
        found: torch.Tensor = self.out(h)
        return found


def _images() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=8),
        nn.ConvTranspose2d(8, 6, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 4),
    )


def _cases() -> list[tuple[nn.Module, torch.Tensor]]:
    made = [(random_networks(frame, 1, seed=4), frame) for frame in FRAMES]
    plain: list[tuple[nn.Module, torch.Tensor]] = [
        (networks.module(0), inputs_of(frame, 2, seed=0)) for networks, frame in made
    ]
    return [*plain, (Block(), torch.randint(11, (2, 5))), (_images(), torch.randn(2, 3, 6, 6))]


@pytest.mark.parametrize("case", range(8))
def test_weights_are_the_same_again(case: int) -> None:
    module, x = _cases()[case]
    tokens = of_graph(ng.capture(module.eval(), x))
    other = copy.deepcopy(module)
    with torch.no_grad():
        for each in [*other.parameters(), *other.buffers()]:
            each.zero_()
    write(tokens, ng.capture(other, x))
    for (name, mine), theirs in zip(other.named_parameters(), module.parameters(), strict=True):
        assert torch.equal(mine, theirs), name
    assert torch.equal(other(x), module(x))


def test_an_encoder_of_the_size_of_minilm_is_the_same_again() -> None:
    library = pytest.importorskip("transformers")
    config = library.BertConfig(
        hidden_size=384, num_hidden_layers=2, num_attention_heads=12, intermediate_size=1536, vocab_size=3000
    )
    one, two = (library.BertModel(config).eval() for _ in range(2))
    x = torch.randint(3000, (1, 6))
    tokens = of_graph(ng.capture(one, x))
    assert len(tokens) > 10_000
    write(tokens, ng.capture(two, x))
    for (name, mine), theirs in zip(two.state_dict().items(), one.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs), name


def test_tokens_tell_widths_and_neurons() -> None:
    module, x = _images().eval(), torch.randn(2, 3, 6, 6)
    graph = ng.capture(module, x)
    tokens = of_graph(graph)
    assert [(each.vertex, each.operator, len(each)) for each in tokens.vertices] == [
        ("0", "Conv2d", 8), ("1", "BatchNorm2d", 8), ("3", "Conv2d", 8), ("4", "ConvTranspose2d", 6),
        ("7", "Linear", 4),
    ]  # fmt: skip
    assert len(tokens) == 34
    first, norm, depthwise, transposed, head = tokens.vertices
    assert first.width.tolist() == norm.width.tolist() == depthwise.width.tolist()
    assert {tokens.widths[number] for number in first.width.tolist()} == {"0"}
    assert {tokens.widths[number] for number in transposed.width.tolist()} == {"4"}
    assert first.neuron.tolist() == list(range(8))
    assert head.width.tolist() == [-1] * 4
    assert set(norm.parts) == {"1.weight", "1.bias", "1.running_mean", "1.running_var"}
    assert transposed.parts["4.weight"].dim == 1
    assert torch.equal(transposed.parts["4.weight"].numbers[2], module.get_parameter("4.weight")[:, 2])


def test_a_network_of_other_widths_is_resized() -> None:
    for module, x, vertex, change in [
        (Block().eval(), torch.randint(11, (2, 5)), "up", -7),
        (_images().eval(), torch.randn(2, 3, 6, 6), "4", +3),
        (_images().eval(), torch.randn(2, 3, 6, 6), "0", -2),
    ]:
        graph = ng.capture(module, x)
        tokens = of_graph(graph)
        expected = module(x)
        other = copy.deepcopy(module)
        changed = ng.capture(other, x)
        assert ng.resize(changed, {vertex: change})
        write(tokens, changed)
        torch.testing.assert_close(other(x), expected)
        assert changed.sizes[vertex] == graph.sizes[vertex]


def test_neurons_that_are_not_there_are_left_out() -> None:
    module, x = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 2)), torch.randn(4, 3)
    with torch.no_grad():
        module.get_parameter("2.weight")[:, [1, 4]] = 0
    graph = ng.capture(module, x)
    tokens, expected = of_graph(graph), module(x)
    tokens.presence[0][[1, 4]] = False
    write(tokens, graph)
    assert graph.sizes["0"] == 4
    torch.testing.assert_close(module(x), expected)
    tokens.presence[0][:] = False
    with pytest.raises(EditError, match="leave no neuron of '0'"):
        write(tokens, graph)


@pytest.mark.parametrize("gone", [[0], [1, 2], [0, 1, 2]])
def test_heads_that_are_not_there_are_left_out(gone: list[int]) -> None:
    """Of four heads of three, what six neurons are is told by widths alone: two heads, not four of fewer."""

    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.heads = 4
            self.q, self.k, self.v, self.out = (nn.Linear(12, 12) for _ in range(4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            q, k, v = (
                each(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for each in (self.q, self.k, self.v)
            )
            a = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
            found: torch.Tensor = x + self.out(a)
            return found

    torch.manual_seed(0)
    module, other, x = Heads().eval(), Heads().eval(), torch.randn(2, 5, 12)
    graph = ng.capture(module, x)
    tokens = of_graph(graph)
    heads = next(number for number, there in enumerate(tokens.presence) if len(there) == 4)
    tokens.presence[heads][gone] = False
    write(tokens, ng.capture(other, x))
    with torch.no_grad():
        for head in gone:
            module.out.weight[:, 3 * head : 3 * head + 3] = 0
        torch.testing.assert_close(other(x), module(x))
    assert other.heads == 4 - len(gone)


def test_heads_that_code_holds_on_to_are_told() -> None:
    module, x = nn.MultiheadAttention(8, 2, batch_first=True).eval(), torch.randn(2, 5, 8)

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = module

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.layer(x, x, x, need_weights=False)[0]
            return found

    graph = ng.capture(Attention(), x)
    tokens, before = of_graph(graph), module.in_proj_weight.detach().clone()
    heads = next(number for number, there in enumerate(tokens.presence) if len(there) == 2)
    tokens.presence[heads][0] = False
    with pytest.raises(EditError, match="exactly 1 wide"):
        write(tokens, graph)
    assert torch.equal(module.in_proj_weight, before)


def test_tokens_that_are_no_numbers_are_refused() -> None:
    graph = ng.capture(nn.Sequential(nn.Linear(3, 2)), torch.ones(1, 3))
    tokens = of_graph(graph)
    tokens.vertices[0].parts["0.weight"].numbers[0, 0] = torch.nan
    with pytest.raises(EditError, match=r"the tokens of '0\.weight' hold values that are no numbers"):
        write(tokens, graph)


def test_what_cannot_be_said_is_named() -> None:
    class Tempered(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.heat = nn.Linear(3, 2), nn.Parameter(torch.ones(()))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.layer(x) * self.heat
            return found

    with pytest.raises(EditError, match=r"cannot say 'heat' of mul 'mul': it is a single number"):
        of_graph(ng.capture(Tempered(), torch.ones(1, 3)))
    one = ng.capture(nn.Sequential(nn.Linear(3, 2)), torch.ones(1, 3))
    two = ng.capture(nn.Sequential(nn.Linear(3, 2, bias=False)), torch.ones(1, 3))
    three = ng.capture(nn.Sequential(nn.Linear(4, 2)), torch.ones(1, 4))
    with pytest.raises(EditError, match=r"the network has no '0\.bias'"):
        write(of_graph(one), two)
    with pytest.raises(EditError, match=r"the tokens have no '0\.bias'"):
        write(of_graph(two), one)
    with pytest.raises(EditError, match=r"axes of '0\.weight' are of other widths"):
        write(of_graph(one), three)
