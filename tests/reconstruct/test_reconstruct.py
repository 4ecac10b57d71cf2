"""The refit of an edited network: what it restores, undo, what it leaves alone, what it refuses."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

import naivegraph as ng


def state(net: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def distance(net: nn.Module, teacher: nn.Module, x: torch.Tensor) -> float:
    """The squared difference of outputs, as a share of the teacher's variance."""
    with torch.no_grad():
        got, wanted = net.eval()(x), teacher.eval()(x)
    return float((got - wanted).square().sum() / (wanted - wanted.mean(0)).square().sum())


def dense() -> Any:
    """A network whose hidden neurons 6 and 7 are multiples of 0 and 1, as ReLU keeps positive factors."""
    net: Any = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    with torch.no_grad():
        for one, other, factor in ((6, 0, 2.0), (7, 1, 0.5)):
            net[0].weight[one] = factor * net[0].weight[other]
            net[0].bias[one] = factor * net[0].bias[other]
    return net


def without(net: nn.Module, x: torch.Tensor, vertex: str, neurons: list[int], size: int) -> ng.Edit:
    """Remove these neurons of a vertex."""
    worth = [0.0 if i in neurons else 1.0 for i in range(size)]
    return ng.resize(ng.capture(net, x[:2]), {vertex: -len(neurons)}, utility={vertex: worth})


# -- exact --


def test_multiples_of_kept_neurons_are_restored_exactly() -> None:
    net, x = dense(), torch.randn(300, 6)
    teacher = copy.deepcopy(net)
    without(net, x, "0", [6, 7], 8)
    before = distance(net, teacher, x)
    edit = ng.reconstruct(net, teacher, x)
    assert before > 1e-4
    assert distance(net, teacher, x) < 1e-6 * before
    assert edit
    assert edit.refit is not None
    (layer,) = [each for each in edit.refit.layers if each.ridge is not None]
    assert (layer.name, layer.outputs, layer.unknowns, layer.rows) == ("2", 3, 6, 300)
    assert layer.after < 1e-6 < layer.before
    assert (edit.refit.samples, edit.refit.held_out) == (300, 37)


def test_combinations_of_channels_before_a_batch_norm_are_restored_exactly() -> None:
    net: Any = nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 5, 3, bias=False), nn.BatchNorm2d(5),
        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3),
    ).double().eval()  # fmt: skip
    with torch.no_grad():
        net[0].weight[5], net[0].bias[5] = 3 * net[0].weight[2], 3 * net[0].bias[2]
        net[0].weight[4], net[0].bias[4] = 0, 0.7  # a constant: into the mean of the batch norm
        net[3].running_mean.normal_()
        net[3].running_var.uniform_(0.5, 2)
    x, teacher = torch.randn(64, 2, 8, 8).double(), copy.deepcopy(net)
    without(net, x, "0", [4, 5], 6)
    before = distance(net, teacher, x)
    ng.reconstruct(net, teacher, x)
    assert distance(net, teacher, x) < 1e-8 * before
    assert torch.equal(net[3].running_var, teacher[3].running_var)


def test_constant_neurons_go_into_the_bias() -> None:
    net: Any = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)).double()
    x = torch.randn(100, 4).double()
    with torch.no_grad():
        net[0].weight[3], net[0].bias[3] = 0, 2.0
    teacher = copy.deepcopy(net)
    without(net, x, "0", [3], 6)
    ng.reconstruct(net, teacher, x)
    assert distance(net, teacher, x) < 1e-10


@pytest.mark.parametrize(
    "layer",
    [nn.Conv2d(8, 6, 3, groups=2), nn.Conv2d(8, 8, 3, groups=8), nn.ConvTranspose2d(8, 4, 3, 2)],
    ids=["grouped", "depthwise", "transposed"],
)
def test_weights_that_were_changed_are_found_again(layer: nn.Module) -> None:
    net, x = nn.Sequential(copy.deepcopy(layer), nn.ReLU(), nn.Flatten()).double(), torch.randn(40, 8, 5, 5)
    teacher, x = copy.deepcopy(net), x.double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    assert distance(net, teacher, x) > 1e-3
    ng.reconstruct(net, teacher, x)
    assert distance(net, teacher, x) < 1e-9


class Looked(nn.Module):
    """A table looked up, which no refit changes, and a branch beside it that can make up for it."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 6)
        self.one, self.two, self.norm = nn.Linear(6, 32), nn.Linear(32, 6), nn.BatchNorm1d(6)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Add the branch to what was looked up."""
        x = self.table(ids)
        return x + self.norm(self.two(self.one(x).relu()))  # type: ignore[no-any-return]


def test_the_last_layer_of_a_branch_makes_up_for_its_shortcut() -> None:
    net: Any = Looked().double().eval()
    with torch.no_grad():
        net.norm.weight.uniform_(0.5, 2)
        net.norm.running_var.uniform_(0.5, 2)
    teacher, ids = copy.deepcopy(net), torch.arange(5).repeat(20)[torch.randperm(100)]
    with torch.no_grad():
        net.table.weight.add_(0.2 * torch.randn(5, 6))
    before = distance(net, teacher, ids)
    ng.reconstruct(net, teacher, ids)
    assert distance(net, teacher, ids) < 1e-6 * before


class Sentences(nn.Module):
    """Tokens through two layers, and the mean over those that a mask keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.first, self.last = nn.Embedding(9, 6), nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Map ids and mask [batch, length] to [batch, 3]."""
        x = self.last(self.first(self.table(ids)).relu())
        return (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)  # type: ignore[no-any-return]


def test_sentences_of_several_lengths_with_masks_are_refitted_to() -> None:
    net: Any = Sentences().double().eval()
    with torch.no_grad():
        net.first.bias[0] = net.first.bias[0].abs() + 3  # seen by all tokens, so that it is missed
        net.first.weight[7], net.first.bias[7] = 2 * net.first.weight[0], 2 * net.first.bias[0]
    batches = []
    for length in (3, 5, 8):
        mask = torch.ones(20, length, dtype=torch.long)
        mask[::2, 2:] = 0
        batches.append({"ids": torch.randint(9, (20, length)), "mask": mask, "labels": torch.ones(20)})
    teacher = copy.deepcopy(net)
    worth = [1.0] * 7 + [0.0]
    graph = ng.capture(net, (batches[0]["ids"], batches[0]["mask"]))
    ng.resize(graph, {"first": -1}, utility={"first": worth})
    with torch.no_grad():
        wanted = [teacher(batch["ids"], batch["mask"]) for batch in batches]
        before = [net(batch["ids"], batch["mask"]) for batch in batches]
        assert all((a - b).abs().max() > 1e-3 for a, b in zip(wanted, before, strict=True))
        ng.reconstruct(graph, teacher, batches)
        for batch, output in zip(batches, wanted, strict=True):
            torch.testing.assert_close(net(batch["ids"], batch["mask"]), output, rtol=1e-4, atol=1e-4)


# -- attention --


class Attention(nn.Module):
    """Attention whose projections are one layer, and a feed-forward part by products."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)
        self.norm, self.up = nn.LayerNorm(16), nn.Parameter(0.3 * torch.randn(16, 48))
        self.down = nn.Linear(48, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Attend and feed forward."""
        q, k, v = self.qkv(x).unflatten(2, (3, 4, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        heads = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.out(heads)
        y = self.down((self.norm(x) @ self.up).relu())
        return x + y  # type: ignore[no-any-return]


def test_attention_with_projections_in_one_is_refitted() -> None:
    torch.manual_seed(0)
    net = Attention().eval()
    x, held = torch.randn(256, 6, 16), torch.randn(64, 6, 16)
    teacher = copy.deepcopy(net)
    ng.prune(net, x[:2], ratio=0.5)
    before = distance(net, teacher, held)
    edit = ng.reconstruct(net, teacher, x)
    assert edit.refit is not None
    assert not edit.refit.left
    assert [layer.name for layer in edit.refit.layers] == ["qkv", "out", "matmul", "down"]
    assert net.qkv.out_features < 48
    assert distance(net, teacher, held) < 0.8 * before


# -- the way back --


def test_undo_restores_bit_for_bit_and_the_optimizer() -> None:
    net, x = dense(), torch.randn(200, 6)
    optimizer = torch.optim.Adam(net.parameters())
    net(x).square().sum().backward()
    optimizer.step()
    first, moment = state(net), optimizer.state[net[2].weight]["exp_avg"].clone()
    teacher = copy.deepcopy(net)
    pruned = ng.resize(ng.capture(net, x[:2]), {"0": -3}, optimizer=optimizer)
    second = state(net)
    edit = ng.reconstruct(net, teacher, x, optimizer=optimizer)
    assert not same(state(net), second)
    with pytest.raises(ng.EditError, match="edited again since"):
        pruned.undo()
    edit.undo()
    assert same(state(net), second)
    pruned.undo()
    assert same(state(net), first)
    assert torch.equal(optimizer.state[net[2].weight]["exp_avg"], moment)


def test_flags_and_random_numbers_are_as_before_and_it_comes_out_alike() -> None:
    x, nets = torch.randn(100, 6), []
    net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))
    teacher = copy.deepcopy(net)
    without(net, x, "0", [1, 2], 8)
    for _ in range(2):
        nets.append(copy.deepcopy(net).train())
        before, numbers = state(teacher), torch.get_rng_state()
        ng.reconstruct(nets[-1], teacher, x)
        assert torch.equal(torch.get_rng_state(), numbers)
        assert same(state(teacher), before)
        assert nets[-1][3].training
    assert same(state(nets[0]), state(nets[1]))


def test_a_replay_leaves_the_values_and_a_file_has_them(tmp_path: object) -> None:
    net, x = dense(), torch.randn(100, 6)
    teacher, fresh = copy.deepcopy(net), copy.deepcopy(net)
    pruned = without(net, x, "0", [0, 1], 8)
    edit = ng.reconstruct(net, teacher, x)
    assert edit.change.refitted == ("2.weight", "2.bias")
    assert ng.Change.from_json(edit.to_json()) == edit.change
    ng.replay(fresh, [pruned.to_json(), edit.to_json()])
    assert torch.equal(fresh[2].bias, teacher[2].bias)
    ng.save(net, f"{tmp_path}/net.safetensors")
    loaded = ng.load(copy.deepcopy(teacher), f"{tmp_path}/net.safetensors")
    torch.testing.assert_close(loaded(x), net(x))


class Clamped(nn.Linear):
    """A layer that writes into its weight."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Clamp and apply."""
        with torch.no_grad():
            self.weight.clamp_(-0.01, 0.01)
        return super().forward(input)


def test_weights_stay_as_refitted_where_other_networks_of_the_class_write_into_theirs() -> None:
    ng.capture(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), Clamped(8, 3)), torch.randn(2, 6))
    net, x = dense(), torch.randn(300, 6)
    teacher = copy.deepcopy(net)
    without(net, x, "0", [6, 7], 8)
    before = distance(net, teacher, x)
    ng.reconstruct(net, teacher, x)
    assert distance(net, teacher, x) < 1e-6 * before


# -- what is left alone --


class Tied(nn.Module):
    """A table that also scores."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.hidden = nn.Embedding(9, 12), nn.Linear(12, 12)
        self.score = nn.Linear(12, 9, bias=False)
        self.score.weight = self.table.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Look up, change, score."""
        return self.score(self.hidden(self.table(ids)).relu())  # type: ignore[no-any-return]


def test_tied_weights_stay_with_a_note() -> None:
    net, ids = Tied().eval(), torch.randint(9, (64, 5))
    teacher = copy.deepcopy(net)
    ng.prune(net, ids[:2], params=0.7)
    kept = net.table.weight.clone()
    edit = ng.reconstruct(net, teacher, ids)
    assert edit.refit is not None
    assert edit.refit.left == (("score", "its weight is used in several places"),)
    assert [layer.name for layer in edit.refit.layers] == ["hidden"]
    assert torch.equal(net.table.weight, kept)
    assert "Not refitted: score, as its weight is used in several places." in str(edit)


def test_nothing_is_done_where_nothing_differs() -> None:
    net, x = dense(), torch.randn(50, 6)
    edit = ng.reconstruct(net, copy.deepcopy(net), x)
    assert not edit
    assert edit.refit is not None
    assert not edit.refit.layers


def test_fewer_rows_than_unknowns_make_nothing_worse() -> None:
    torch.manual_seed(1)
    net, x = nn.Sequential(nn.Linear(40, 200), nn.ReLU(), nn.Linear(200, 10)), torch.randn(1000, 40)
    teacher = copy.deepcopy(net)
    ng.prune(net, x[:2], macs=0.6)
    before = distance(net, teacher, x)
    edit = ng.reconstruct(net, teacher, x[:32])
    assert distance(net, teacher, x) < 1.05 * before
    assert "Fewer rows than unknowns at 2: more samples would bring more." in str(edit)


# -- batches --


def test_labels_come_along_and_samples_are_counted() -> None:
    net, x = dense(), torch.randn(120, 6)
    teacher = copy.deepcopy(net)
    without(net, x, "0", [6, 7], 8)
    data = torch.utils.data.TensorDataset(x, torch.zeros(120, dtype=torch.long))
    edit = ng.reconstruct(net, teacher, torch.utils.data.DataLoader(data, 16), samples=100)
    assert edit.refit is not None
    assert edit.refit.samples == 100
    assert any("first 100 samples" in note for note in edit.notes)
    assert distance(net, teacher, x) < 1e-6


def ends_early(x: torch.Tensor) -> Iterator[torch.Tensor]:
    yield x[:20]
    raise OSError("the disk is gone")


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "gave no batches"),
        (torch.ones(0, 6), "gave no batches"),
        (torch.ones(20, 5), "has shape"),
        (torch.full((20, 6), torch.nan), "NaN"),
        ([torch.ones(4, 6), "labels"], "batch 2 .* is a str"),
        (None, "holds no data"),
    ],
)
def test_batches_that_do_not_fit_change_nothing(batches: object, message: str) -> None:
    net, x = dense(), torch.randn(20, 6)
    teacher = copy.deepcopy(net)
    without(net, x, "0", [0], 8)
    before = state(net)
    with pytest.raises(ng.EditError, match=message):
        ng.reconstruct(net, teacher, batches, example=x[:2])
    assert same(state(net), before)


def test_an_error_of_the_data_comes_through_and_nothing_is_half_done() -> None:
    net, x = dense(), torch.randn(20, 6)
    teacher = copy.deepcopy(net)
    without(net, x, "0", [0], 8)
    before = state(net)
    with pytest.raises(OSError, match="the disk is gone"):
        ng.reconstruct(net, teacher, ends_early(x))
    assert same(state(net), before)


class Fails(nn.Module):
    """Layers after which only batches of 64 and 2 samples go on."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Look up by the number of samples."""
        x = self.two(self.one(x).relu())
        return self.three(x + torch.arange(64.0)[x.argmax(1) * 0 + (x.shape[0] - 1)][:, None])  # type: ignore[no-any-return]


def test_a_batch_on_which_it_does_not_run_changes_nothing() -> None:
    net, x = Fails(), torch.randn(200, 6)
    teacher = copy.deepcopy(net)
    without(net, x, "one", [0], 8)
    before = state(net)
    with pytest.raises(ng.EditError, match="does not run on batch 2 of calibration="):
        ng.reconstruct(net, teacher, [x[:64], x[:70]], example=x[:2])
    assert same(state(net), before)


# -- teachers --


def test_a_teacher_from_between_two_edits_will_do() -> None:
    net, x = dense(), torch.randn(200, 6)
    first = copy.deepcopy(net)
    without(net, x, "0", [2], 8)
    between = copy.deepcopy(net)
    without(net, x, "0", [5, 6], 7)  # the multiples, one place further down
    for teacher in (first, between):
        again = copy.deepcopy(net)
        before = distance(again, teacher, x)
        ng.reconstruct(again, teacher, x)
        assert distance(again, teacher, x) < before


def test_a_stranger_is_no_teacher() -> None:
    net, x = dense(), torch.randn(50, 6)
    smaller = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    with pytest.raises(ng.EditError, match=r"cannot be known which neurons .* 0.weight has another shape"):
        ng.reconstruct(smaller, net, x)
    without(net, x, "0", [2], 8)
    with pytest.raises(ng.EditError, match="shares parameters with the model"):
        ng.reconstruct(net, net, x)
    with pytest.raises(ng.EditError, match="reconstruct takes a graph"):
        ng.reconstruct(net, 3, x)  # type: ignore[arg-type]
