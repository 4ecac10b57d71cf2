"""Edits carried out once more on a fresh copy."""

from __future__ import annotations

import copy
import json
from collections import OrderedDict
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.graph.export.history import history_of
from naivegraph.network import Graph
from tests.edits.structure.test_structure import EDITS
from tests.machine.structures import attention, batch, chain, everything, residual

Build = Callable[[], Graph]


def alike(one: Graph, two: Graph) -> None:
    """Two graphs compute the same, with the same numbers."""
    assert [v.name for v in one] == [v.name for v in two]
    assert one.sizes == two.sizes
    mine, other = one.module.state_dict(), two.module.state_dict()
    assert list(mine) == list(other)
    for name, value in mine.items():
        assert value.dtype == other[name].dtype
        assert torch.equal(value, other[name]), name
    assert torch.equal(one(batch(one)), two(batch(one)))


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_replayed_on_a_fresh_copy_gives_the_same_network(name: str) -> None:
    build, change = EDITS[name]
    graph, fresh = build(), build()
    before = everything(fresh)
    torch.manual_seed(7)
    edit = change(graph)
    if name == "insert identity":
        assert edit.change.structure["steps"][0]["layer"]["start"]  # weights of an identity need no seed
    torch.manual_seed(8)
    state = torch.get_rng_state()
    again = ng.replay(fresh, edit.to_json())
    assert torch.equal(torch.get_rng_state(), state)
    alike(graph, fresh)
    assert again.to_json() == edit.to_json()
    assert again.after == edit.after
    again.undo()
    assert everything(fresh) == before


def mixed(graph: Graph) -> list[ng.Edit]:
    """Edits of all kinds, with an undone one among them."""
    edits = [
        ng.resize(graph, {"one": +3}, initialise="duplicate", seed=3),
        ng.insert(
            graph, lambda n: nn.Conv2d(n, n, 3, padding=1, bias=False), after="stem", name="deep.extra"
        ),
        ng.resize(graph, {"stem": -1, "deep.extra": +2}, seed=4),
        ng.insert(graph, lambda n: nn.GroupNorm(1, n, eps=0.25), before="two"),
    ]
    ng.remove(graph, "norm").undo()
    edits += [
        ng.disconnect(
            graph, "stem" if "stem" in {v.name for v in graph.inputs_of("add")} else "deep.extra", "add"
        ),
        ng.remove(graph, "act"),
        ng.insert(graph, graph["groupnorm"].target, after="one", name="again"),  # type: ignore[arg-type]
    ]
    return edits


def test_many_edits_of_all_kinds_as_one() -> None:
    graph, fresh = residual(), residual()
    before = everything(fresh)
    edits = mixed(graph)
    again = ng.replay(fresh, [edits[0], *(edit.to_json() for edit in edits[1:])])
    alike(graph, fresh)
    assert again.before == edits[0].before
    assert again.after == edits[-1].after
    assert [json.loads(edit.to_json()) for edit in edits] == json.loads(again.to_json())
    third = residual()
    ng.replay(third, again.to_json())
    alike(graph, third)
    again.undo()
    assert everything(fresh) == before
    with pytest.raises(ng.EditError, match="undone already"):
        again.undo()


def test_edits_of_sizes_are_replayed_on_a_module_without_a_graph() -> None:
    graph, fresh = residual(), residual()
    one = ng.resize(graph, {"one": +3})
    two = ng.resize(graph, {"stem": -1})
    optimizer = torch.optim.SGD(fresh.module.parameters(), 0.1, momentum=0.9)
    edit = ng.replay(fresh.module, [one, two], optimizer=optimizer)
    assert "parameters" in str(edit)
    assert "MACs" not in str(edit)
    for name, value in graph.module.state_dict().items():
        assert torch.equal(value, fresh.module.state_dict()[name])
    edit.undo()
    assert fresh.tensor("stem.weight").shape[0] == 4
    with pytest.raises(ng.EditError, match=r"changes the structure \(remove\), .* replay it on ng.capture"):
        ng.replay(fresh.module, ng.remove(graph, "norm"))


def test_the_outcome_is_replayed_whatever_the_weights_are() -> None:
    graph, fresh = residual(), residual()
    with torch.no_grad():
        for parameter in fresh.module.parameters():
            parameter.copy_(parameter.flip(0))
    edit = ng.remove(graph, "two", strategy=ng.strategy.MostNew(0, ng.strategy.Solve()))
    again = ng.replay(fresh, edit.to_json())
    kept = {w.name: w.kept.tolist() for w in edit.change.widths.values()}
    assert kept
    assert {w.name: w.kept.tolist() for w in again.change.widths.values()} == kept
    assert fresh.sizes == graph.sizes


class Scale(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((size,), 2.0))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


def hooked(size: int) -> nn.Module:
    layer = nn.Linear(size, size)
    layer.register_forward_hook(lambda module, args, out: out * 2)
    return layer


class Sub(nn.Linear):
    """Named as no layer of torch."""


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Scale, r"'new' \(Scale\) is none of torch.nn"),
        (lambda n: Sub(n, n), r"'new' \(Sub\) is none of torch.nn"),
        (hooked, r"'new' \(Linear\) is none of torch.nn which its attributes make again"),
        (lambda n: nn.Sequential(Sub(n, n), nn.ReLU()), r"'new' \(Sequential\) is none of"),
        (nn.Sequential(nn.Linear(6, 6), nn.ReLU()), r"'new' \(Sequential\) started with numbers of its own"),
        (nn.Linear(6, 6), r"'new' \(Linear\) started with numbers of its own"),
        (lambda n: nn.Linear(n, n).requires_grad_(False), r"'new' \(Linear\) is none of torch.nn"),
    ],
)
def test_a_layer_that_cannot_be_made_again_is_asked_for(make: Any, message: str, tmp_path: Path) -> None:
    graph, fresh = chain(), chain()
    edit = ng.insert(graph, make, after="second", name="new")
    first = ng.resize(chain(), {"first": -1})
    before = everything(fresh)
    with pytest.raises(ng.EditError, match=message + r".*give layers=\{'new': the layer, or a function of"):
        ng.replay(fresh, [first, edit])
    assert everything(fresh) == before
    with pytest.raises(ng.EditError, match="layers= names 'old'; the layers inserted are: 'new'"):
        ng.replay(fresh, edit, layers={"old": make})
    given = copy.deepcopy(graph.module.get_submodule("new"))
    ng.replay(fresh, edit, layers={"new": lambda n: given if n == 6 else nn.Identity()})
    alike(graph, fresh)

    told = "none of" in message  # what torch makes needs nothing, whatever numbers it started with
    with pytest.warns(UserWarning, match="ng.load will need layers={'new'") if told else nullcontext():
        ng.save(graph, tmp_path / "net")
    loaded = ng.load(
        chain(), tmp_path / "net", layers={"new": make if callable(make) else copy.deepcopy(given)}
    )
    assert torch.equal(loaded(batch(graph)), graph(batch(graph)))


def nested(size: int) -> nn.Module:
    first = nn.Linear(size, size)
    inner = OrderedDict(norm=nn.LayerNorm(size), act=nn.ReLU(), last=nn.Linear(size, size, bias=False))
    return nn.Sequential(first, nn.Sequential(inner))


SEVERAL: list[Any] = [nested, [lambda n: nn.Linear(n, n), nn.ReLU(), lambda n: nn.Linear(n, n)]]


@pytest.mark.parametrize("layers", SEVERAL)
@pytest.mark.parametrize("identity", [False, True])
def test_several_layers_of_torch_are_made_again(layers: Any, identity: bool, tmp_path: Path) -> None:
    graph, fresh = chain(), chain()
    ng.insert(graph, layers, after="second", identity=identity, name="new")
    ng.replay(fresh, history_of(graph.module))
    alike(graph, fresh)
    ng.save(graph, tmp_path / "net")
    assert torch.equal(ng.load(chain(), tmp_path / "net")(batch(graph)), graph(batch(graph)))


LAYERS: list[tuple[Build, Callable[[int], nn.Module]]] = [
    (residual, lambda n: nn.Conv2d(n, n, (3, 1), padding="same", groups=2, padding_mode="reflect")),
    (residual, lambda n: nn.ConvTranspose2d(n, n, 3, padding=1, dilation=1, bias=False)),
    (residual, lambda n: nn.BatchNorm2d(n, momentum=None, affine=False)),
    (residual, lambda n: nn.InstanceNorm2d(n, track_running_stats=True)),
    (chain, lambda n: nn.LayerNorm((n,), elementwise_affine=True, bias=False)),
    (residual, lambda n: nn.PReLU(n, 0.1)),
    (residual, lambda n: nn.MaxPool2d(3, 1, 1)),
    (residual, lambda n: nn.Dropout2d(0.5)),
    (chain, lambda n: nn.Linear(n, n, bias=False).double().float()),
    (chain, lambda n: nn.RMSNorm(n, eps=1e-3)),
    (chain, lambda n: nn.GELU("tanh")),
    (chain, lambda n: nn.Hardtanh(-2.0, float("inf"))),
    (chain, lambda n: nn.Softmax(dim=-1)),
    (attention, lambda n: nn.LayerNorm(n)),
]


@pytest.mark.parametrize(("build", "make"), LAYERS)
def test_layers_of_torch_are_made_again(build: Build, make: Callable[[int], nn.Module]) -> None:
    graph, fresh = build(), build()
    where = "one" if build is residual else "norm" if build is attention else "first"
    graph.module.train()
    fresh.module.train()
    edit = ng.insert(graph, make, after=where, name="new", seed=5)
    ng.replay(fresh, edit.to_json())
    mine, other = graph["new"].target, fresh["new"].target
    assert isinstance(mine, nn.Module)
    assert isinstance(other, nn.Module)
    assert repr(mine) == repr(other)
    assert mine.training
    assert other.training
    for name, value in mine.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])
    fresh.module.eval()
    graph.module.eval()
    assert torch.equal(graph(batch(graph)), fresh(batch(graph)))


def test_the_seed_of_an_insertion() -> None:
    def weight(seed: int, state: int, twice: bool = False) -> Tensor:
        graph = chain()
        torch.manual_seed(state)
        for _ in range(1 + twice):
            ng.insert(graph, lambda n: nn.Linear(n, n), after="second", seed=seed)
        return graph.tensor("linear_2.weight" if twice else "linear.weight").detach()

    assert torch.equal(weight(0, 1), weight(0, 2))
    assert not torch.equal(weight(0, 1), weight(1, 1))
    assert not torch.equal(weight(0, 1), weight(0, 1, twice=True))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "this cannot be replayed: Expecting property name"),
        ("3", "cannot be replayed: not an edit"),
        (3, "replay takes edits or their JSON, not int"),
        ('{"widths":{},"tensors":{},"attributes":[],"structure":{"verb":"x"}}', "not an edit of this format"),
        (
            '{"widths":{},"tensors":{},"attributes":[],"structure":{"verb":"x","steps":[{"do":"import"}]}}',
            "no step of an edit is called 'import'",
        ),
        (
            '{"widths":{},"tensors":{},"attributes":[],"structure":{"verb":"x","steps":[{"do":"remove"}]}}',
            r"the step 'remove' of the edit does not fit this network \(KeyError: 'vertex'\)",
        ),
    ],
)
def test_what_is_no_edit(text: Any, message: str) -> None:
    graph = chain()
    before = everything(graph)
    with pytest.raises(ng.EditError, match=message):
        ng.replay(graph, text)
    assert everything(graph) == before


def test_only_layers_of_torch_are_ever_made() -> None:
    graph = chain()
    text = ng.insert(chain(), nn.ReLU(), after="first", name="new").to_json()
    before = everything(graph)
    for name in ("modules", "Module.__init__", "functional", "Parameter", "os.system"):
        with pytest.raises(ng.EditError, match=f"torch.nn has no layer '{name}'"):
            ng.replay(graph, text.replace('"ReLU"', f'"{name}"'))
    assert everything(graph) == before


def test_an_edit_of_another_network() -> None:
    edit = ng.remove(residual(), "norm")
    graph = chain()
    before = everything(graph)
    with pytest.raises(ng.NaivegraphError, match="the graph has no vertex 'norm'"):
        ng.replay(graph, edit)
    assert everything(graph) == before
    assert not ng.replay(graph, [])


@pytest.mark.parametrize("initialise", ["layer", "duplicate"])
@pytest.mark.parametrize("through", ["part", "another whole"])
def test_neurons_grown_through_a_part_or_another_whole_start_alike_in_a_replay(
    initialise: str, through: str
) -> None:
    part = nn.Sequential(nn.Linear(4, 5), nn.PReLU(5), nn.Linear(5, 4))
    net = nn.Sequential(nn.Linear(3, 4), part, nn.Linear(4, 2))
    fresh = copy.deepcopy(net)
    edited = part if through == "part" else nn.Sequential(part, nn.Linear(4, 3))
    name = "0" if through == "part" else "0.0"
    assert ng.resize(edited, torch.ones(2, 4), {name: +3}, initialise=initialise, seed=5)
    (text,) = history_of(net)
    ng.replay(fresh, [text])
    for key, value in fresh.state_dict().items():
        assert torch.equal(value, net.state_dict()[key]), key
