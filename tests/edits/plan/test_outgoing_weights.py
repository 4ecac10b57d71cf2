"""Growing keeps the function, new neurons learn from the first step on, all is undone and replayed."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.costs import Costs
from naivegraph.edits.apply.apply import apply
from naivegraph.edits.apply.origins import Axes, Places, templates
from naivegraph.edits.plan.change import Change
from naivegraph.edits.plan.index_formula import along
from naivegraph.edits.plan.outgoing_weights import unkept
from naivegraph.edits.plan.plan import plan
from naivegraph.edits.plan.width_change import WidthChange
from naivegraph.errors import EditError
from naivegraph.network import capture
from naivegraph.widths import SizeConstraints, Width, Widths, constraints_of, relate
from tests.networks.plain import ALL, Network, by_name, image
from tests.oracle import counted_macs, counted_params, snapshot, unchanged


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.LSTM | nn.GRU | nn.RNN], **options: Any) -> None:
        super().__init__()
        self.first, self.layer = nn.Linear(3, 5), kind(5, 6, **options)
        size = options.get("proj_size", 6) * (2 if options.get("bidirectional") else 1)
        self.head = nn.Linear(size, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(torch.tanh(self.first(x)))[0])  # type: ignore[no-any-return]


class Cell(nn.Module):
    def __init__(self, kind: type[nn.RNNCellBase]) -> None:
        super().__init__()
        self.cell, self.head = kind(3, 6), nn.Linear(6, 4)  # type: ignore[call-arg]

    def forward(self, x: Tensor) -> Tensor:
        state = None
        for step in x:
            state = self.cell(step, state)
        return self.head(state[0] if isinstance(state, tuple) else state)  # type: ignore[no-any-return]


class FreeAttention(nn.Module):
    """Attention by hand whose heads, and their sizes, are free; query and key share one projection."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = 3
        self.qk, self.v, self.out = nn.Linear(6, 24), nn.Linear(6, 12), nn.Linear(12, 6)
        self.temperature = nn.Parameter(torch.ones(3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        q, k = self.qk(x).view(batch, length, 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        v = self.v(x).view(batch, length, self.heads, -1).transpose(1, 2)
        weights = (q @ k.transpose(-2, -1) * self.temperature * 0.5).softmax(-1)
        return x + self.out((weights @ v).transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class LowRank(nn.Module):
    """A product of two weights, and a bare parameter as weight."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(3, 6)), nn.Parameter(torch.randn(8, 3))
        self.weight, self.out = nn.Parameter(torch.randn(8, 6)), nn.Parameter(torch.randn(8, 4))

    def forward(self, x: Tensor) -> Tensor:
        hidden = (x @ (self.weight + self.b @ self.a).t()).relu()
        return (hidden[..., None] * self.out).sum(-2)


class LinearAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(5, 8, bias=False) for _ in range(3))
        self.out = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.q(x) @ (self.k(x).sigmoid().transpose(1, 2) @ self.v(x)))  # type: ignore[no-any-return]


def sequence() -> tuple[Tensor, ...]:
    return (torch.randn(4, 2, 3),)


def tokens(size: int) -> Any:
    return lambda: (torch.randn(2, 5, size),)


MORE = [
    *[
        Network(
            f"{kind.__name__} {options}",
            functools.partial(Recurrent, kind, **options),
            sequence,
        )
        for kind in (nn.LSTM, nn.GRU, nn.RNN)
        for options in ({}, {"num_layers": 2, "bidirectional": True}, {"batch_first": True, "bias": False})
    ],
    Network("LSTM projected", lambda: Recurrent(nn.LSTM, proj_size=4), sequence),
    *[
        Network(kind.__name__, functools.partial(Cell, kind), sequence)
        for kind in (nn.LSTMCell, nn.GRUCell, nn.RNNCell)
    ],
    Network(
        "InstanceNorm",
        lambda: nn.Sequential(
            nn.Conv2d(3, 6, 3),
            nn.InstanceNorm2d(6, affine=True, track_running_stats=True),
            nn.Conv2d(6, 4, 3),
        ),
        image,
    ),
    Network("FreeAttention", FreeAttention, tokens(6)),
    Network("LowRank", LowRank, tokens(6)),
    Network("LinearAttention", LinearAttention, tokens(5)),
]
NETWORKS = [*ALL, *MORE]
# Their weights are used as a table and as a last layer, so copies of neurons cannot share an effect.
NO_COPIES = {"TiedEmbeddings"}


def growth(widths: Widths, constraints: SizeConstraints, number: int = 3) -> dict[Width, int]:
    """New neurons for every width whose size is free and whose growth is known to keep the function."""
    changing = unkept(widths, {width.atom for width in widths})
    tied = {atom for row in constraints.width_constraints for atom in row.polynomial.atoms()}
    held = {*constraints.fixed, *changing, *tied}
    return {width: number for width in widths if width.atom not in held}


def grown(
    network: Network, **options: Any
) -> tuple[nn.Module, nn.Module, Change, dict[Width, int], tuple[Tensor, ...]]:
    """The original, a copy that has grown, and how."""
    original, inputs = network.make(torch.float64)
    model = copy.deepcopy(original)
    widths = relate(capture(model, inputs))
    constraints = constraints_of(widths)
    new = growth(widths, constraints)
    change = plan(widths, constraints, {}, new, **options)
    apply(change, model)
    return original, model, change, new, inputs


@pytest.mark.parametrize("initialise", ["layer", "duplicate"])
@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_function_is_kept(network: Network, initialise: str) -> None:
    if initialise == "duplicate" and network.name in NO_COPIES:
        with pytest.raises(EditError, match="new neurons cannot be copies"):
            grown(network, initialise=initialise)
        return
    original, model, change, new, inputs = grown(network, initialise=initialise)
    with torch.no_grad():
        torch.testing.assert_close(model(*inputs), original(*inputs), rtol=1e-9, atol=1e-9)
    if new:
        assert counted_params(model) > counted_params(original)
        assert change.outgoing
    for _, parameter in model.named_parameters():
        assert parameter.dtype == torch.float64
        assert parameter.requires_grad


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_new_neurons_get_a_gradient_at_the_first_backward(network: Network) -> None:
    original, model, change, new, inputs = grown(network)
    model(*inputs).sin().sum().backward()
    places = {name: Places(Axes(change), axes) for name, axes in change.tensors.items()}
    parameters = dict(model.named_parameters())
    checked = set()
    for out in change.outgoing:
        parameter = parameters[out.tensor]
        assert parameter.grad is not None
        for key in out.widths:
            factors = places[out.tensor].factors(out.dims, [key], None).expand(parameter.shape)
            mask = (factors == 0) & places[out.tensor].within(out.rows)
            assert bool((parameter[mask] == 0).all())
            if bool((parameter.grad[mask] != 0).any()):
                checked.add(key)
    assert checked == {key for key, width in change.widths.items() if width.new}
    assert len(new) == len(change.widths)
    del original


@pytest.mark.parametrize("name", ["Residual", "Grouped", "LSTM {}", "FreeAttention", "Autoencoder"])
def test_shrinking_and_growing_at_once_replays_and_is_undone(name: str, tmp_path: Path) -> None:
    network = next(n for n in NETWORKS if n.name == name)
    model, inputs = network.make()
    fresh, other = copy.deepcopy(model), copy.deepcopy(model)
    model(*inputs).sum().backward()
    before = snapshot(model)
    widths = relate(capture(model, inputs))
    constraints = constraints_of(widths)
    new = growth(widths, constraints, 2)
    kept = {width: np.arange(width.size)[1:] for width in new if width.size > 1}
    change = plan(widths, constraints, kept, new, seed=5)
    edit = apply(change, model)
    for width in change.widths.values():
        assert width.after == width.before + 2 - (width.before > 1)
    apply(Change.from_json(change.to_json()), fresh)
    for (key, one), two in zip(model.state_dict().items(), fresh.state_dict().values(), strict=True):
        assert torch.equal(one, two), key
    assert all(p.grad is not None and p.grad.shape == p.shape for p in model.parameters())
    ng.save(model, tmp_path / "grown.safetensors")
    loaded = ng.load(other, tmp_path / "grown.safetensors")
    assert torch.equal(loaded(*inputs), model(*inputs))
    edit.undo()
    assert unchanged(model, before)


@pytest.mark.parametrize("network", [by_name("Residual"), by_name("Grouped"), *MORE[:1]], ids=str)
def test_costs_of_the_grown_network_are_counted(network: Network) -> None:
    model, inputs = network.make()
    widths = relate(capture(model, inputs))
    constraints = constraints_of(widths)
    new = growth(widths, constraints)
    sizes = {width.atom: width.size + number for width, number in new.items()}
    apply(plan(widths, constraints, {}, new), model)
    assert Costs.of(widths, lambda atom: sizes.get(atom, atom.length)).params == counted_params(model)
    # In double precision, for torch's counter does not look into the operators of oneDNN.
    expected = counted_macs(model.double(), tuple(x.double() for x in inputs))
    assert Costs.of(widths, lambda atom: sizes.get(atom, atom.length)).macs == expected


def hidden(model: nn.Module) -> tuple[Widths, SizeConstraints, Width]:
    widths = relate(capture(model, torch.randn(2, 6)))
    return widths, constraints_of(widths), widths.widths[0]


def mlp() -> Any:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 400), nn.BatchNorm1d(400), nn.ReLU(), nn.Linear(400, 3)).eval()


def test_new_weights_are_those_of_a_fresh_layer() -> None:
    model = mlp()
    with torch.no_grad():
        model[0].weight.mul_(50)  # so that the present values say nothing of how the layer initialises itself
        model[1].running_var.fill_(7)
    widths, constraints, width = hidden(model)
    state = torch.random.get_rng_state()
    apply(plan(widths, constraints, {}, {width: 400}, seed=3), model)
    assert torch.equal(torch.random.get_rng_state(), state)
    rows = model[0].weight[400:].detach()
    assert 0.8 * 6**-0.5 < float(rows.abs().max()) <= 6**-0.5  # uniform, bounded by 1 / sqrt(inputs)
    assert bool((model[1].weight[400:] == 1).all())
    assert bool((model[1].running_var[400:] == 1).all())
    assert bool((model[1].running_var[:400] == 7).all())
    assert bool((model[3].weight[:, 400:] == 0).all())
    assert (model[0].out_features, model[1].num_features, model[3].in_features) == (800, 800, 800)
    again, another = mlp(), mlp()
    for network, seed in ((again, 3), (another, 4)):
        w, d, one = hidden(network)
        apply(plan(w, d, {}, {one: 400}, seed=seed), network)
    assert torch.equal(again[0].weight[400:], rows)
    assert not torch.equal(another[0].weight[400:], rows)


def test_bare_parameters_start_as_their_present_values_are_spread() -> None:
    model = LowRank()
    with torch.no_grad():
        model.weight.mul_(0.1).add_(5)
    x = torch.randn(2, 5, 6)
    widths = relate(capture(model, x))
    width = next(w for w in widths if w.size == 8)
    apply(plan(widths, constraints_of(widths), {}, {width: 2000}), model)
    deviation, mean = torch.std_mean(model.weight[8:].detach())
    assert abs(float(mean) - 5) < 0.1
    assert 0.05 < float(deviation) < 0.2


def test_a_function_of_the_users_initialises() -> None:
    model = mlp()
    seen: list[str] = []

    def sevens(tensor: Tensor, name: str) -> None:
        seen.append(name)
        tensor.fill_(7)

    widths, constraints, width = hidden(model)
    old = model[0].weight.detach().clone()
    change = plan(widths, constraints, {}, {width: 2}, initialise=sevens)
    apply(change, model)
    assert bool((model[0].weight[400:] == 7).all())
    assert torch.equal(model[0].weight[:400], old)
    assert bool((model[3].weight[:, 400:] == 0).all())
    assert json.loads(change.to_json())["initialise"] == "sevens"
    assert set(seen) == {"0.weight", "0.bias", "1.weight", "1.bias", "3.weight"}
    apply(Change.from_json(change.to_json()), mlp())


def test_copies_differ_once_they_are_trained() -> None:
    model = mlp().double()
    x = torch.randn(8, 6).double()
    widths, constraints, width = hidden(model.float())
    model.double()
    apply(plan(widths, constraints, {width: np.arange(5)}, {width: 5}, initialise="duplicate"), model)
    assert torch.equal(model[0].weight[5:], model[0].weight[:5])
    model(x).square().sum().backward()
    grad = model[0].weight.grad
    live = grad[:5].abs().sum(1) > 0
    assert bool(live.any())
    assert not bool(torch.isclose(grad[5:][live], grad[:5][live], rtol=1e-3).all(1).any())


def test_kept_in_order_new_at_the_end_of_each_run() -> None:
    change = Change(
        {"a": WidthChange("a", 3, np.array([0, 2]), 1), "b": WidthChange("b", 2, np.array([0, 1]), 2)}, {}, []
    )
    places = Places(Axes(change), [[["a"], ["b"]], [["a", 2]]])
    data = torch.arange(5 * 6).reshape(5, 6)
    out = places.resized(data, -1)
    rows, columns = [0, 2, None, 3, 4, None, None], [0, 1, 4, 5, None, None]
    expected = [[-1 if r is None or c is None else int(data[r, c]) for c in columns] for r in rows]
    assert out.tolist() == expected
    assert templates(np.array([1, 4]), 3).tolist() == [1, 4, 1, 4, 1]
    assert along([["a", [["b"], [1]]]], {"a": 1, "b": 2}, {"b": np.array([2.0, 3.0])}).tolist() == [2, 3, 1]


def test_memory_format_and_frozen_parameters_stay() -> None:
    model: Any = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 3)).half()
    model.to(memory_format=torch.channels_last)
    model[0].weight.requires_grad_(False)
    parameters = list(model.parameters())
    widths = relate(capture(copy.deepcopy(model).float(), torch.randn(1, 3, 8, 8)))
    (width,) = widths.widths
    apply(plan(widths, constraints_of(widths), {width: np.array([1, 2])}, {width: 3}), model)
    assert all(one is two for one, two in zip(model.parameters(), parameters, strict=True))
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert model[0].weight.dtype == torch.float16
    assert not model[0].weight.requires_grad
    assert bool((model[0].weight[2:] != 0).any())
    assert model[1].weight.grad is None


def test_arguments_that_make_no_sense_are_refused() -> None:
    widths, constraints, width = hidden(mlp())
    with pytest.raises(EditError, match="-2 new neurons"):
        plan(widths, constraints, {}, {width: -2})
    with pytest.raises(EditError, match="give 'layer' or 'duplicate' or a function"):
        plan(widths, constraints, {}, {width: 2}, initialise="orthogonal")


def test_growth_that_changes_the_function_is_known() -> None:
    model, inputs = by_name("Block").make(torch.float64)
    widths = relate(capture(model, inputs))
    reasons = unkept(widths, {width.atom for width in widths})
    (reason,) = reasons.values()
    assert reason == "it enters a layer norm at norm1"
    model, inputs = Network("curved", CurvedKernel, tokens(5)).make(torch.float64)
    widths = relate(capture(model, inputs))
    named = {widths.by_atom[atom].name: why for atom, why in unkept(widths, {w.atom for w in widths}).items()}
    assert named.keys() == {"q"}
    assert "is not linear" in named["q"]


@pytest.mark.parametrize(
    ("norm", "says"),
    [
        (
            lambda: nn.Sequential(nn.ReLU(), nn.LayerNorm(6)),
            ["The new neurons of 0 change what", "it enters a layer norm at 1.1"],
        ),
        (lambda: nn.Sequential(nn.ReLU(), nn.GroupNorm(2, 6)), ["The new neurons of 0", "norm at 1.1"]),
        (lambda: nn.LayerNorm(6), []),
        (lambda: nn.BatchNorm1d(6), []),
    ],
)
def test_an_edit_notes_growth_that_changes_the_function(
    norm: Callable[[], nn.Module], says: list[str]
) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 6), norm(), nn.Linear(6, 2)).double().eval()
    x = torch.randn(5, 3).double()
    graph, before = capture(model, x), model(x)
    edit = ng.resize(graph, {"0": +2})
    assert model[0].out_features == 8
    assert torch.allclose(model(x), before) == (not says)
    assert len(edit.notes) == bool(says)
    told = " ".join(str(edit).split())
    assert [part for part in says if part not in told] == []
    edit.undo()
    assert ng.resize(graph, {"0": -2}).notes == ()


class CurvedKernel(LinearAttention):
    """Neither factor of the sum over its kernel's features is linear in weights."""

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.q(x).sigmoid() @ (self.k(x).sigmoid().transpose(1, 2) @ self.v(x)))  # type: ignore[no-any-return]


class OuterProduct(nn.Module):
    """A matrix whose rows are the pairs of rows of two others, only one of which has a new row's neurons."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(5, 12), nn.Linear(9, 4)
        self.w, self.v = nn.Parameter(torch.randn(3, 3)), nn.Parameter(torch.randn(4, 3))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down(self.up(x) @ torch.kron(self.w, self.v))
        return out


@pytest.mark.parametrize("more", [3, 4, 8])
@pytest.mark.parametrize("initialise", ["layer", "duplicate"])
def test_growth_of_one_factor_of_a_product_of_weights_keeps_the_function(initialise: str, more: int) -> None:
    torch.manual_seed(0)
    model, x = OuterProduct().double(), torch.randn(3, 5).double()
    graph, before = capture(model, x), model(x)
    ng.resize(graph, {"up": more}, initialise=initialise)
    assert model.w.shape[0] * model.v.shape[0] == 12 + more
    torch.testing.assert_close(model(x), before)


class Symmetric(nn.Module):
    """The upper triangle of a matrix on both sides of the diagonal."""

    def forward(self, w: Tensor) -> Tensor:
        return w.triu() + w.triu(1).transpose(-1, -2)


class Doubled(nn.Module):
    """A matrix plus itself the other way round."""

    def forward(self, w: Tensor) -> Tensor:
        return w + w.transpose(-1, -2)


@pytest.mark.parametrize(
    ("kind", "why"),
    [(Symmetric, "their order matters to triu at 1"), (Doubled, "has them along several dimensions")],
)
def test_what_is_more_than_a_row_of_a_weight_is_not_copied(kind: type[nn.Module], why: str) -> None:
    model: nn.Module = nn.Sequential(nn.Linear(3, 6), nn.Linear(6, 6), nn.Linear(6, 2)).double()
    nn.utils.parametrize.register_parametrization(model.get_submodule("1"), "weight", kind())
    x = torch.randn(4, 3).double()
    graph, before = capture(model, x), model(x)
    with pytest.raises(EditError, match=f"new neurons cannot be copies: .*{why}"):
        ng.resize(graph, {"0": +1}, initialise="duplicate")
    ng.resize(graph, {"0": +1})
    torch.testing.assert_close(model(x), before)


class OfWeights(nn.Module):
    """Layers that compute with functions of their weights."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.one, self.two, self.three = nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.one, self.two, self.three):
            x = nn.functional.linear(torch.relu(x), self.function(layer.weight), layer.bias)
        return x


# Each keeps zeros, and leaves the other weights as they are.
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "clamped": lambda w: w.clamp(-0.2, 0.2),
    "cubes": lambda w: w.pow(3),
    "quantised": lambda w: w + ((w * 8).round() / 8 - w).detach(),
    "thresholded": lambda w: torch.where(w.abs() > 0.1, w, torch.zeros_like(w)),
    "shrunk": lambda w: nn.functional.softshrink(w, 0.05),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_growth_keeps_the_function_where_weights_are_functions_with_zero_at_zero(name: str) -> None:
    torch.manual_seed(0)
    net, x = OfWeights(FUNCTIONS[name]), torch.randn(3, 4)
    before, graph = net(x), ng.capture(net, x)
    names = [vertex.name for vertex in graph if vertex.name.startswith("linear")]
    edit = ng.resize(graph, dict.fromkeys(names[:2], +2))
    assert edit.function_kept
    torch.testing.assert_close(net(x), before)
    assert bool((net.one.weight[6:] != 0).all())
    with pytest.raises(ng.EditError, match="cannot be copies"):
        ng.resize(graph, {names[0]: +1}, initialise="duplicate")


@pytest.mark.parametrize("function", [torch.sigmoid, torch.cos, lambda w: w.clamp(0.1, 0.5)])
def test_growth_behind_other_functions_of_weights_is_told(function: Callable[[Tensor], Tensor]) -> None:
    net, x = OfWeights(function), torch.randn(3, 4)
    edit = ng.resize(ng.capture(net, x), {"linear": +2})
    assert not edit.function_kept
    assert "is not linear" in edit.notes[0]


def _normed(layer: nn.Module, *, old: bool) -> nn.Module:
    if old:
        return nn.utils.weight_norm(layer)
    made: nn.Module = nn.utils.parametrizations.weight_norm(layer)
    return made


@pytest.mark.filterwarnings("ignore:.*weight_norm")
@pytest.mark.parametrize("old", [False, True])
def test_growth_before_a_weight_norm_keeps_the_function(old: bool) -> None:
    """New columns of zeros leave the norms of the rows as they are; copies that share an effect do not."""
    torch.manual_seed(0)
    layers = [nn.Conv1d(3, 6, 3, padding=1), nn.Conv1d(6, 5, 3, padding=1), nn.Conv1d(5, 2, 1)]
    first, second, third = [_normed(layer, old=old) for layer in layers]
    net, x = nn.Sequential(first, nn.ReLU(), second, nn.Tanh(), third), torch.randn(2, 3, 7)
    before, graph = net(x), ng.capture(net, x)
    edit = ng.resize(graph, {"1": +2, "3": +3})
    assert edit.function_kept
    torch.testing.assert_close(net(x), before)
    net(x).square().sum().backward()
    columns = "2.weight_v" if old else "2.parametrizations.weight.original1"
    grown = net.get_parameter(columns)
    assert grown.grad is not None
    assert bool((grown.grad[:, 6:] != 0).any())
    edit.undo()
    if old:
        assert not ng.resize(graph, {"1": +2}, initialise="duplicate").function_kept


def test_growth_inside_the_norm_of_a_weight_is_told() -> None:
    normed = nn.utils.parametrizations.weight_norm(nn.Linear(6, 5), dim=1)
    net, x = nn.Sequential(nn.Linear(4, 6), normed, nn.Linear(5, 2)), torch.randn(2, 4)
    graph = ng.capture(net, x)
    edit = ng.resize(graph, {graph.inputs_of("2")[0].name: +1})
    assert not edit.function_kept
    assert "it enters the norm of a weight" in edit.notes[0]
