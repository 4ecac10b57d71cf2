"""One history of a network, its parts, and whatever it is a part of: order of undo, and what a file holds."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim
from torch.optim.swa_utils import AveragedModel

import naivegraph as ng
from naivegraph.graph.export.history import history_of


def trunk(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 8)).eval()


class Whole(nn.Module):
    """A trunk under a head of two layers."""

    def __init__(self, part: nn.Module | None = None, classes: int = 4) -> None:
        super().__init__()
        self.trunk = trunk() if part is None else part
        self.head = nn.Sequential(nn.Linear(8, 10), nn.ReLU(), nn.Linear(10, classes))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.trunk(x))
        return out


X = torch.randn(3, 6, generator=torch.Generator().manual_seed(1))


def head_input(whole: Any) -> Tensor:
    return torch.randn(3, whole.head[0].in_features)


def state(*modules: nn.Module) -> list[dict[str, Tensor]]:
    return [copy.deepcopy(dict(m.state_dict())) for m in modules]


def equal(one: list[dict[str, Tensor]], two: list[dict[str, Tensor]]) -> bool:
    return all(
        a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
        for a, b in zip(one, two, strict=True)
    )


def test_the_edit_of_a_part_waits_for_that_of_the_whole() -> None:
    part = trunk()
    states = [state(part)]
    first = ng.prune(part, X, ratio=0.75)
    whole = Whole(part).eval()
    states.append(state(whole))
    second = ng.prune(whole, X, ratio=0.5)
    now = state(whole)
    with pytest.raises(ng.EditError, match=r"undo the later edits first, the last one first: Whole: .* -> "):
        first.undo()
    assert equal(state(whole), now)
    second.undo()
    assert equal(state(whole), states[1])
    first.undo()
    assert equal(state(part), states[0])


def test_the_edit_of_the_whole_waits_for_that_of_a_part_of_a_part() -> None:
    whole = Whole().eval()
    before = state(whole)
    first = ng.prune(whole, X, ratio=0.75)
    second = ng.prune(whole.head, head_input(whole), ratio=0.5)
    third = ng.prune(whole.trunk, X, ratio=0.5)
    with pytest.raises(ng.EditError, match=r"last one first: Sequential: .*; then Sequential: "):
        first.undo()
    second.undo()
    with pytest.raises(ng.EditError, match=r"last one first: Sequential: [^;]*$"):
        first.undo()
    third.undo()
    first.undo()
    assert equal(state(whole), before)


def test_one_part_inside_two_wholes() -> None:
    part = trunk()
    before = state(part)
    first = ng.prune(part, X, ratio=0.9)
    one, two = Whole(part).eval(), Whole(part).eval()
    second = ng.prune(one, X, ratio=0.8, keep="trunk.4")
    third = ng.prune(two, X, ratio=0.7, keep="trunk.4")
    for edit, count in ((first, 2), (second, 1)):
        with pytest.raises(ng.EditError, match="the last one first: Whole") as told:
            edit.undo()
        assert str(told.value).count("Whole: ") == count
    del two
    for edit in (third, second, first):
        edit.undo()
    assert equal(state(part), before)


def test_parts_that_share_nothing_are_undone_in_any_order() -> None:
    whole = Whole().eval()
    before = state(whole)
    first, second = ng.prune(whole.trunk, X, ratio=0.5), ng.prune(whole.head, head_input(whole), ratio=0.5)
    first.undo()
    second.undo()
    assert equal(state(whole), before)


def test_a_tied_weight_makes_two_networks_wait_for_each_other() -> None:
    one: Any = trunk()
    two: Any = trunk()
    two[0].weight = one[0].weight
    two[0].bias = one[0].bias
    first = ng.prune(one, X, ratio=0.5, keep=["0"])
    ng.prune(two, X, ratio=0.5, keep=["0"])
    with pytest.raises(ng.EditError, match="has a part in common with"):
        first.undo()


def test_the_edit_of_an_average_alone_comes_before_undo_of_the_network() -> None:
    model = trunk()
    average: Any = AveragedModel(model)
    first = ng.prune(average.module, X, ratio=0.8)
    ng.prune(model, X, ratio=0.8).undo()
    first.undo()
    edit = ng.prune(model, X, ratio=0.5, optimizer=average)
    alone = ng.prune(average.module, X, ratio=0.5)
    with pytest.raises(ng.EditError, match="last one first: Sequential: "):
        edit.undo()
    alone.undo()
    edit.undo()
    assert average.module[0].out_features == model[0].out_features == 16


@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
def test_copies_go_their_own_way(how: str) -> None:
    whole = Whole(trunk()).eval()
    edit = ng.prune(whole.trunk, X, ratio=0.5)
    twin = copied(whole, how)
    smaller = state(twin)
    other = ng.prune(twin, X, ratio=0.5)
    edit.undo()
    assert not equal(state(twin), smaller)
    other.undo()
    assert equal(state(twin), smaller)


def copied(module: Any, how: str) -> Any:
    if how == "deepcopy":
        return copy.deepcopy(module)
    stored = io.BytesIO()
    torch.save(module, stored)
    stored.seek(0)
    return torch.load(stored, weights_only=False)


def part_then_whole(whole: Whole) -> None:
    ng.prune(whole.trunk, X, ratio=0.75)
    ng.prune(whole, X, ratio=0.7)


def whole_then_part(whole: Whole) -> None:
    ng.prune(whole, X, ratio=0.75)
    ng.resize(ng.capture(whole.head, head_input(whole)), {"0": +2})


def by_turns(whole: Any) -> None:
    ng.prune(whole.trunk, X, ratio=0.9)
    ng.prune(whole.trunk, X, ratio=0.9)
    ng.prune(whole, X, ratio=0.9)
    ng.prune(whole.head, head_input(whole), ratio=0.8)
    ng.prune(whole.trunk, X, ratio=0.8)
    ng.prune(nn.Sequential(whole.trunk[0], whole.trunk[1], whole.trunk[2]), X, ratio=0.8)


def part_alone(whole: Whole) -> None:
    ng.prune(whole.trunk, X, ratio=0.5)


EDITS = [part_then_whole, whole_then_part, part_alone, by_turns]


@pytest.mark.parametrize("edits", EDITS[:3])
@pytest.mark.parametrize("how", ["itself", "deepcopy", "pickle"])
def test_a_file_of_the_whole_holds_the_edits_of_its_parts(
    edits: Callable[[Whole], None], how: str, tmp_path: Path
) -> None:
    whole: Any = Whole().eval()
    edits(whole)
    if how != "itself":
        whole = copied(whole, how)
    ng.save(whole, tmp_path / "whole")
    loaded = ng.load(Whole().eval(), tmp_path / "whole")
    assert torch.equal(loaded(X), whole(X))
    ng.save(loaded, tmp_path / "again")
    assert torch.equal(ng.load(Whole().eval(), tmp_path / "again")(X), whole(X))
    graph = ng.capture(whole, X)
    ng.save(graph.to_module(), tmp_path / "module")
    assert torch.equal(ng.load(Whole().eval(), tmp_path / "module")(X), whole(X))


def test_a_file_of_a_whole_loads_where_its_part_was_loaded_before(tmp_path: Path) -> None:
    part = trunk()
    ng.prune(part, X, ratio=0.5)
    ng.save(part, tmp_path / "part")
    whole = Whole(part).eval()
    ng.prune(whole, X, ratio=0.5)
    ng.save(whole, tmp_path / "whole")
    fresh = Whole(ng.load(trunk(7), tmp_path / "part")).eval()
    assert torch.equal(ng.load(fresh, tmp_path / "whole")(X), whole(X))
    other = trunk()
    ng.prune(other, X, ratio=0.25)
    with pytest.raises(ng.LoadError, match="edited already, not as in"):
        ng.load(Whole(other), tmp_path / "whole")


@pytest.mark.parametrize("edits", EDITS)
def test_a_file_of_a_part_holds_the_edits_of_the_whole(
    edits: Callable[[Whole], None], tmp_path: Path
) -> None:
    whole = Whole().eval()
    edits(whole)
    ng.save(whole.trunk, tmp_path / "trunk")
    assert torch.equal(ng.load(trunk(7), tmp_path / "trunk")(X), whole.trunk(X))


def test_a_file_of_one_whole_holds_what_another_did_to_their_part(tmp_path: Path) -> None:
    part = trunk()
    one, two = Whole(part).eval(), nn.Sequential(nn.Identity(), part, nn.Linear(8, 5)).eval()
    ng.prune(two, X, ratio=0.8, keep="1.4")
    ng.prune(one, X, ratio=0.7, keep="trunk.4")
    ng.prune(two, X, ratio=0.8, keep="1.4")
    ng.save(one, tmp_path / "one")
    ng.save(two, tmp_path / "two")
    assert torch.equal(ng.load(Whole().eval(), tmp_path / "one")(X), one(X))
    fresh = nn.Sequential(nn.Identity(), trunk(7), nn.Linear(8, 5)).eval()
    assert torch.equal(ng.load(fresh, tmp_path / "two")(X), two(X))


def test_edits_that_were_undone_are_in_no_file(tmp_path: Path) -> None:
    whole = Whole().eval()
    ng.prune(whole.trunk, X, ratio=0.5).undo()
    ng.prune(whole, X, ratio=0.5).undo()
    ng.save(whole.trunk, tmp_path / "trunk")
    ng.save(whole, tmp_path / "whole")
    assert torch.equal(ng.load(trunk(7), tmp_path / "trunk")(X), whole.trunk(X))
    assert torch.equal(ng.load(Whole(), tmp_path / "whole")(X), whole(X))


# Changed by hand after an edit


def test_a_head_with_more_classes_loads_into_a_network_built_so(tmp_path: Path) -> None:
    whole: Any = Whole().eval()
    ng.prune(whole, X, ratio=0.5)
    ng.prune(whole.head, head_input(whole), ratio=0.6)
    whole.head[2] = nn.Linear(whole.head[2].in_features, 9)
    with pytest.warns(UserWarning, match=r"must have head\.2\.weight of shape \(9, 10\)$"):
        ng.save(whole, tmp_path / "whole")
    assert torch.equal(ng.load(Whole(classes=9).eval(), tmp_path / "whole")(X), whole(X))
    with pytest.raises(ng.LoadError, match=r"head\.2\.weight has shape \(4, 10\)"):
        ng.load(Whole(classes=4), tmp_path / "whole")


class Adapted(nn.Module):
    """A linear layer with an adapter beside it, as those for fine-tuning are."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base, self.down = base, nn.Linear(base.in_features, 2, bias=False)
        self.up = nn.Linear(2, base.out_features, bias=False)

    @property
    def weight(self) -> Tensor:
        return self.base.weight

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.base(x) + self.up(self.down(x))
        return out


def wrapped(whole: Any) -> None:
    whole.trunk[2] = Adapted(whole.trunk[2])


def removed(whole: Any) -> None:
    whole.trunk = nn.Sequential(*list(whole.trunk)[:2], nn.Linear(whole.trunk[0].out_features, 8))


def narrower(whole: Any) -> None:
    whole.trunk[0] = nn.Linear(6, whole.trunk[0].out_features - 1)


def other_kind(whole: Any) -> None:
    whole.trunk[0] = nn.Sequential(nn.Linear(6, 3), nn.Linear(3, whole.trunk[0].out_features))


@pytest.mark.parametrize(
    ("change", "how"),
    [(change, how) for change in (wrapped, narrower, other_kind) for how in ("part", "whole")]
    + [(removed, "whole")],
)
def test_what_no_fresh_network_would_become_is_told_when_saving(
    change: Callable[[Any], None], how: str, tmp_path: Path
) -> None:
    whole = Whole().eval()
    ng.prune(whole.trunk if how == "part" else whole, X, ratio=0.5)
    change(whole)
    with pytest.raises(ng.EditError, match=r"trunk\.\d\.\w+, which an edit resized, (is gone|has shape)"):
        ng.save(whole, tmp_path / "whole")
    assert not (tmp_path / "whole").exists()


def test_the_way_out_works_with_an_adapter(tmp_path: Path) -> None:
    whole = Whole().eval()
    ng.prune(whole, X, ratio=0.5)
    ng.save(whole, tmp_path / "before")
    wrapped(whole)
    torch.save(whole.state_dict(), tmp_path / "state")
    fresh = ng.load(Whole().eval(), tmp_path / "before")
    wrapped(fresh)
    fresh.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    assert torch.equal(fresh(X), whole(X))


def test_a_part_made_of_a_graph_is_told_of_when_saving(tmp_path: Path) -> None:
    graph = ng.capture(trunk(), X)
    ng.remove(graph, "1")
    whole = Whole(graph.to_module()).eval()
    with pytest.warns(UserWarning, match="'trunk' of the network is the to_module"):
        ng.save(whole, tmp_path / "whole")
    again = ng.capture(trunk(), X)
    ng.remove(again, "1")
    assert torch.equal(ng.load(Whole(again.to_module()).eval(), tmp_path / "whole")(X), whole(X))


def test_optimizer_of_the_whole_follows_the_undo_of_a_part() -> None:
    whole: Any = Whole().eval()
    optimizer = optim.Adam(whole.parameters(), 0.1)
    whole(X).square().mean().backward()
    optimizer.step()
    before = copy.deepcopy(optimizer.state_dict()["state"][0])
    edit = ng.prune(whole.trunk, X, ratio=0.5, optimizer=optimizer)
    optimizer.zero_grad()
    whole(X).square().mean().backward()
    optimizer.step()
    head = copy.deepcopy(optimizer.state[whole.head[0].weight]["exp_avg"])
    edit.undo()
    after = optimizer.state_dict()["state"][0]
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert torch.equal(optimizer.state[whole.head[0].weight]["exp_avg"], head)


def test_layers_that_leave_the_network_keep_their_place_in_edits_made_through_another_one() -> None:
    torch.manual_seed(0)
    part = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6))
    net, other = nn.Sequential(part, nn.Linear(6, 2)), nn.Sequential(nn.Linear(3, 4), part)
    x = torch.randn(2, 4)
    fresh = copy.deepcopy(net)
    ng.resize(other, torch.randn(2, 3), {"1.0": -1})
    graph = ng.capture(net, x)
    ng.remove(graph, "0.2")  # which the edit of the other network changed, too
    again = ng.capture(fresh, x)
    ng.replay(again, history_of(net))
    assert again.sizes == graph.sizes
    torch.testing.assert_close(again(x), graph(x), rtol=0, atol=0)


class Sized(nn.Module):
    """A module without tensors, whose attribute says a size."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = 4

    def forward(self, x: Tensor) -> Tensor:
        return x.view(len(x), self.heads, -1).flatten(1)


@pytest.mark.parametrize("common", [nn.ReLU(), nn.Sequential(nn.GELU(), nn.Dropout(0.1))], ids=["one", "two"])
def test_an_activation_in_common_ties_no_edits(common: nn.Module) -> None:
    one, two = (nn.Sequential(nn.Linear(4, 6), common, nn.Linear(6, 2)).eval() for _ in range(2))
    before = copy.deepcopy(one.state_dict())
    first = ng.prune(one, X[:, :4], ratio=0.5)
    second = ng.prune(two, X[:, :4], ratio=0.5)
    first.undo()
    assert all(torch.equal(value, before[name]) for name, value in one.state_dict().items())
    second.undo()


def test_what_an_edit_changed_in_common_ties_it() -> None:
    common, x = Sized(), X[:, :4]

    def network() -> nn.Sequential:
        """Return a network with the part in common."""
        return nn.Sequential(nn.Linear(4, 8), common, nn.Linear(8, 6), nn.Linear(6, 2)).eval()

    one, two = network(), network()
    first = ng.resize(one, x, {"2": -1})
    second = ng.resize(two, x, {"0": ng.size(6)})
    assert common.heads == 3
    with pytest.raises(ng.EditError, match="edited again since"):
        first.undo()
    second.undo()
    first.undo()
    assert common.heads == 4
