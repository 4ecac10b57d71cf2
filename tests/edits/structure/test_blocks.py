"""Blocks: listed, taken out whole, with what nothing needs any more; compared with networks made by hand."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng
from tests.edits.structure.residual_networks import Gain, encoder, resnet, silenced
from tests.machine.structures import check, everything

IMAGE = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))
TEXT = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(1))


def by_identity(*paths: str) -> Callable[[nn.Module], None]:
    def change(net: nn.Module) -> None:
        for path in paths:
            parent, _, name = path.rpartition(".")
            net.get_submodule(parent)._modules[name] = nn.Identity()

    return change


def without_layer2(net: nn.Module) -> None:
    silenced(net.get_submodule("layer2.0"))
    by_identity("layer2.1")(net)


# What is taken out, and what is done by hand to the network instead.
TAKEN: dict[str, tuple[Any, Callable[[nn.Module], None]]] = {
    "a block": ("layer1.1", by_identity("layer1.1")),
    "the first block": ("layer1.0", by_identity("layer1.0")),
    "a block with a convolution around it": ("layer2.0", lambda n: silenced(n.get_submodule("layer2.0"))),
    "a stage": ("layer1", by_identity("layer1")),
    "a stage which changes the size": ("layer2", without_layer2),
    "neighbours by a pattern": ("layer1.*", by_identity("layer1")),
    "blocks apart by a pattern": ("layer[12].1", by_identity("layer1.1", "layer2.1")),
    "a pair of vertices": (("layer1.1.conv1", "layer1.1.relu_1"), by_identity("layer1.1")),
    "the last block": ("layer2.1", by_identity("layer2.1")),
    "the head": ("fc", by_identity("fc")),
}


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("name", TAKEN)
def test_what_is_taken_out_is_as_if_done_by_hand_and_comes_back(name: str, inplace: bool) -> None:
    what, by_hand = TAKEN[name]
    net, reference = resnet(inplace=inplace), resnet(inplace=inplace)
    by_hand(reference)
    graph = ng.capture(net, IMAGE[:2])
    before, old = everything(graph), graph(IMAGE)
    edit = ng.remove(graph, what)
    torch.testing.assert_close(check(graph), reference(IMAGE))
    used = {id(v.target) for v in graph if isinstance(v.target, nn.Module)}
    for module in net.modules():
        assert id(module) in used or not list(module.parameters(recurse=False))
    again = ng.replay(ng.capture(resnet(inplace=inplace), IMAGE[:2]), edit.to_json())
    assert again.graph is not None
    assert torch.equal(again.graph(IMAGE), graph(IMAGE))
    edit.undo()
    assert everything(graph) == before
    assert torch.equal(graph(IMAGE), old)


@pytest.mark.parametrize("norm_first", [False, True])
def test_a_transformers_layer_is_taken_out_whole(norm_first: bool) -> None:
    net = encoder(norm_first=norm_first)
    graph = ng.capture(copy.deepcopy(net), TEXT[:2])
    ng.remove(graph, "1.layers.1")
    by_identity("1.layers.1")(net)
    layers: Any = net[1]
    hidden = layers.layers[2](layers.layers[0](net[0](TEXT)))
    torch.testing.assert_close(check(graph), net[2](hidden))


def test_a_taken_out_block_is_saved_without_its_weights(tmp_path: Any) -> None:
    graph = ng.capture(resnet(), IMAGE[:2])
    full = graph.params
    edit = ng.remove(graph, "layer1.1")
    gone = sum(p.numel() for p in resnet().layer1[1].parameters())
    assert edit.after.params == full - gone
    ng.save(graph, tmp_path / "net.safetensors")
    copied = ng.load(resnet(), tmp_path / "net.safetensors")
    assert torch.equal(copied(IMAGE), graph(IMAGE))


def test_raw_weights_and_buffers_of_a_block_leave_with_it() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), Gain(6), Gain(6), nn.Linear(6, 2)).eval()
    graph = ng.capture(copy.deepcopy(net), TEXT[0])
    before = everything(graph)
    edit = ng.remove(graph, "1")
    assert not [name for name in graph.module.state_dict() if name.startswith("1.")]
    torch.testing.assert_close(graph(TEXT[1]), net[3](net[2](net[0](TEXT[1]))))
    edit.undo()
    assert everything(graph) == before


def test_the_last_layer_of_a_branch_takes_the_branch_with_it() -> None:
    """No sum of a tensor with itself is left."""
    net = resnet()
    graph = ng.capture(net, IMAGE[:2])
    for name in ("relu", "norm1", "conv1", "norm2", "conv2"):
        ng.remove(graph, f"layer1.1.{name}")
    reference = resnet()
    by_identity("layer1.1")(reference)
    torch.testing.assert_close(check(graph), reference(IMAGE))


def test_a_branch_is_left_out_of_its_sum() -> None:
    graph, reference = ng.capture(resnet(), IMAGE[:2]), resnet()
    ng.remove(graph, ("layer2.0.conv1", "layer2.0.norm2"))
    silenced(reference.layer2[0])
    torch.testing.assert_close(check(graph), reference(IMAGE))


def test_disconnecting_takes_what_nothing_needs_any_more_and_undo_brings_it_back() -> None:
    net = resnet()
    graph, reference = ng.capture(net, IMAGE[:2]), resnet()
    before, macs = everything(graph), graph.macs
    edit = ng.disconnect(graph, "layer1.1.norm2", "layer1.1.add")
    by_identity("layer1.1")(reference)
    torch.testing.assert_close(check(graph), reference(IMAGE))
    assert graph.macs < macs
    assert not [name for name in net.state_dict() if name.startswith("layer1.1.")]
    edit.undo()
    assert everything(graph) == before


def test_what_was_unused_before_an_edit_stays() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.aside = (nn.Linear(4, 4) for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            self.kept = self.aside(x)
            out: Tensor = x + self.two(self.one(x))
            return out

    graph = ng.capture(Net(), torch.ones(1, 4))
    ng.remove(graph, "two", reconnect=False)
    assert [vertex.name for vertex in graph if vertex.kind == "layer"] == ["aside"]


def test_blocks_are_found_whatever_modules_are_called() -> None:
    graph = ng.capture(resnet(), IMAGE[:2])
    found = {block.name: block for block in graph.blocks()}
    assert list(found) == ["layer1.0", "layer1.1", "layer2.0", "layer2.1"]
    assert found["layer1.1"].shortcut == ()
    assert found["layer1.1"].source == "layer1.0.relu_1"
    assert found["layer2.0"].shortcut == ("layer2.0.down.0", "layer2.0.down.1")
    for block in found.values():
        edit = ng.remove(graph, block)
        check(graph)
        edit.undo()

    x = ng.input_node("x", 4)
    wide = ng.layer(nn.Linear(4, 6), x, name="a")
    total = wide + ng.layer(nn.Linear(6, 6), wide, name="b").then(nn.ReLU(), name="c")
    hand = ng.Graph([x], [ng.layer(nn.Linear(6, 2), total, name="d")])
    (block,) = hand.blocks()
    assert (block.vertices, block.shortcut, block.source) == (("b", "c", "add"), (), "a")
    ng.remove(hand, block)
    assert [vertex.name for vertex in hand] == ["x", "a", "d"]


REFUSED: list[tuple[Any, str]] = [
    ("layer3", "the graph has no vertex 'layer3'; did you mean 'layer"),
    (("fc", "stem"), "no way leads from 'fc' to 'stem'"),
    (("fc",), "give the first and the last vertex of a block"),
    ("lay?r3.*", "the graph has no vertex 'lay.r3"),
    (("stem", "layer1.0.conv1"), r"gives 2 tensors to others: those of 'relu', 'layer1.0.conv1'"),
]


@pytest.mark.parametrize(("what", "message"), REFUSED)
def test_what_is_no_block_is_told_and_all_is_as_it_was(what: Any, message: str) -> None:
    graph = ng.capture(resnet(), IMAGE[:2])
    before = everything(graph)
    with pytest.raises(ng.EditError, match=message):
        ng.remove(graph, what)
    assert everything(graph) == before


def test_a_removed_head_leaves_its_features_whatever_follows_it() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(4, 7), nn.Linear(7, 3)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(self.body(x).relu()).softmax(-1)
            return out

    net = Net()
    graph = ng.capture(copy.deepcopy(net), torch.ones(2, 4))
    edit = ng.remove(graph, "head")
    x = torch.randn(3, 4)
    assert check(graph).shape == (3, 7)
    torch.testing.assert_close(graph(x), net.body(x).relu().softmax(-1))
    assert not edit.change.widths


class Joined(nn.Module):
    """Two layers behind a trunk, concatenated; a third one is added to the trunk itself."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.beside, self.head = nn.Linear(4, 5), nn.Linear(5, 5), nn.Linear(5, 2)
        self.left, self.right, self.out = nn.Linear(5, 3), nn.Linear(5, 8), nn.Linear(11, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.trunk(x)
        both = torch.cat([self.left(x), self.right(x)], 1)
        out: Tensor = self.out(both) + self.head(x + self.beside(x))
        return out


def test_before_a_concatenation_a_removed_layer_leaves_its_neighbours_as_they_are() -> None:
    torch.manual_seed(0)
    graph = ng.capture(Joined(), torch.ones(2, 4))
    sizes = graph.sizes
    ng.remove(graph, "right")
    assert graph.sizes == {name: size for name, size in sizes.items() if name != "right"} | {"cat": 8}
    check(graph)


@pytest.mark.parametrize("told", [{"right": [8, 1, 7, 2, 6, 3, 5, 4]}, "magnitude"], ids=["values", "name"])
def test_the_utility_is_asked_about_the_vertex_that_is_removed(told: Any) -> None:
    torch.manual_seed(0)
    net = Joined()
    with torch.no_grad():  # the columns behind it are all alike, so that its own weights decide
        net.right.weight.copy_(torch.tensor([8.0, 1, 7, 2, 6, 3, 5, 4])[:, None].expand(8, 5))
        net.out.weight[:, 3:] = torch.tensor([-1.0, 1]).repeat(4) * 0.1
    before = net.out.weight.clone()
    ng.remove(ng.capture(net, torch.ones(2, 4)), "right", utility=told)
    assert torch.equal(net.out.weight, before[:, [0, 1, 2, 3, 5, 7, 9, 10]])


def test_sizes_change_after_an_attention_of_torch_was_taken_out_of_its_list() -> None:
    class Attending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)
            self.m = nn.ModuleList([nn.MultiheadAttention(8, 2, batch_first=True)])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.a(x)
            out: torch.Tensor = self.b(self.m[0](x, x, x, need_weights=False)[0])
            return out

    graph = ng.capture(Attending().eval(), torch.randn(2, 5, 6))
    ng.remove(graph, "m.0*")
    ng.resize(graph, {"a": +1})
    ng.remove(graph, "a")
    assert graph.sizes == {"x": 6, "b": 3}


def test_a_block_that_is_no_modules_goes_by_the_name_it_is_listed_with() -> None:
    net, x = encoder(norm_first=True), torch.randn(2, 3, 4)
    graph = ng.capture(net, x)
    names = [block.name for block in graph.blocks()]
    (listed, *_) = [name for name in names if ".." in name]
    by_block = ng.capture(copy.deepcopy(net), x)
    ng.remove(by_block, by_block.blocks()[names.index(listed)])
    edit = ng.remove(graph, listed)
    assert torch.equal(graph(x), by_block(x))
    edit.undo()
    with pytest.raises(ng.EditError, match=r"no vertex 'lost\.\.too'"):
        ng.remove(graph, "lost..too")


class LayerScale(nn.Module):
    """A branch with a scale that is a raw parameter in another shape, as in ConvNeXt."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.scale = nn.Conv2d(3, 3, 3, padding=1), nn.Parameter(torch.rand(3) + 0.5)
        self.shortcut = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        branch: Tensor = self.convolution(x).relu() * self.scale.reshape(1, -1, 1, 1)
        return branch + self.shortcut(x)  # type: ignore[no-any-return]


def test_scales_made_of_parameters_alone_belong_to_the_block() -> None:
    torch.manual_seed(0)
    net, x = nn.Sequential(LayerScale(), LayerScale(), nn.Identity(), nn.ReLU()), torch.randn(2, 3, 4, 4)
    graph = ng.capture(net, x)
    first, second = graph.blocks()
    assert (first.name, first.shortcut) == ("0", ())
    assert (second.name, second.shortcut) == ("1", ())
    before = graph(x)
    for block in (first, second):
        edit = ng.remove(graph, block)
        assert torch.equal(graph(x), net[1 - int(block.name)](x).relu())
        assert not [vertex for vertex in graph if vertex.path.startswith(block.name)]
        edit.undo()
        edit = ng.duplicate(graph, block)
        edit.undo()
    assert torch.equal(graph(x), before)
