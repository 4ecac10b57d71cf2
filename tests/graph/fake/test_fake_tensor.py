"""Recording and comparing on fake tensors: the same as on real ones, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.graph import Vertex
from naivegraph.graph.fake.fake_tensor import FakeMode
from naivegraph.graph.fake.shape_inference import _in_place, _in_place_by_schema
from naivegraph.graph.verify.same_operators import same_operators
from naivegraph.graph.verify.verify import record_fake
from naivegraph.network import Graph, capture
from naivegraph.operators.relation import tensors_in
from tests.networks.plain import ALL, TRAPS, Network


class Calls(nn.Module):
    """A layer, then a function."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 3)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.function(self.first(x)))  # type: ignore[no-any-return]


def vertices(graph: Graph) -> list[Any]:
    return [(v.name, v.kind, made(v.output), operators(v)) for v in graph.vertices]


def made(value: Any) -> list[Any]:
    return [(stub.dtype, stub.shape) for stub in tensors_in(value)]


def operators(vertex: Vertex) -> list[Any]:
    if vertex.target is nn.functional.one_hot:
        return []  # torch makes it of other operators where it cannot look at the numbers
    return [(op.func, made(op.outputs)) for op in vertex.operations]


@pytest.mark.parametrize("network", [*ALL, *TRAPS], ids=str)
def test_a_run_on_fake_tensors_records_what_a_real_run_does(network: Network) -> None:
    model, inputs = network.make()
    recorded = record_fake(model, inputs, {})
    if recorded is None:
        pytest.skip("this network has to be run")
    assert vertices(Graph.of(recorded)) == vertices(capture(model, inputs, verify=False))


def test_most_networks_can_be_recorded_on_fake_tensors() -> None:
    recorded = [record_fake(*network.make(), {}) for network in ALL]
    assert sum(graph is not None for graph in recorded) > 0.8 * len(ALL)


def branches(x: Tensor) -> Tensor:
    return x.relu() if bool(x.sum() > -1e9) else x.sigmoid()


def swallows(x: Tensor) -> Tensor:
    try:
        return x.relu() if x.max().item() > -1e9 else x.sigmoid()
    except RuntimeError:
        return x.tanh()


def through_numpy(x: Tensor) -> Tensor:
    return x * float(x.numpy().shape[0])


def into_a_constant(x: Tensor) -> Tensor:
    places = torch.zeros(1, 6)
    places[:, :2] = x[:1, :2]
    return x.relu() if bool((places != 0).any()) else x.sigmoid()


def as_numbers(x: Tensor) -> Tensor:
    return x.relu() if x.flatten().tolist()[0] > -1e9 else x.sigmoid()


def some_rows(x: Tensor) -> Tensor:
    return x[x.sum(1) > -1e9].relu()


@pytest.mark.parametrize(
    "function", [branches, swallows, through_numpy, into_a_constant, as_numbers, some_rows]
)
def test_what_needs_numbers_is_run_for_real(function: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    model, x = Calls(function).eval(), torch.randn(2, 4)
    model.requires_grad_(False)
    expected = model(x)
    assert record_fake(model, (x,), {}) is None
    assert same_operators(capture(model, x), (x,), {}) is None
    assert torch.equal(model(x), expected)
    assert ng.prune(model, x, ratio=0.5) or function in (through_numpy, some_rows)
    assert model(x).shape == expected.shape


def test_hooks_see_real_tensors_alone() -> None:
    seen: list[Any] = []
    model, x = Calls(torch.relu).eval(), torch.randn(2, 4)
    model.first.register_forward_hook(lambda module, args, output: seen.append(type(output)))
    ng.prune(model, x, ratio=0.5)
    assert set(seen) == {Tensor}


def test_one_changed_argument_is_another_network() -> None:
    model, x = Calls(lambda y: nn.functional.leaky_relu(y, 0.1)).eval(), torch.randn(2, 4)
    graph = capture(model, x)
    assert same_operators(graph, (x,), {}).shape == (2, 3)
    vertex = graph["leaky_relu"]
    vertex.args = (*vertex.args[:1], 0.2)
    assert same_operators(graph, (x,), {}) is None


def test_constants_written_in_the_code_are_compared_by_value() -> None:
    model, x = Calls(lambda y: y * torch.tensor([0.5])).eval(), torch.randn(2, 4)
    graph = capture(model, x)
    assert same_operators(graph, (x,), {}) is not None
    model.function = lambda y: y * torch.tensor([0.25])
    assert same_operators(graph, (x,), {}) is None


def test_another_weight_is_another_network() -> None:
    model, x = Calls(torch.relu).eval(), torch.randn(2, 4)
    graph = capture(model, x)
    before = model.last
    model.last = nn.Linear(6, 3)  # the graph still calls the old one
    assert same_operators(graph, (x,), {}) is None
    model.last = before
    assert same_operators(graph, (x,), {}) is not None


def test_operators_on_two_devices_are_refused() -> None:
    fake = FakeMode(nn.Identity())
    one, other = fake.of(torch.ones(2)), fake._make((2,), (1,), torch.float32, torch.device("cuda"))
    with pytest.raises(RuntimeError, match="takes tensors on"):
        one + other
    assert fake.failed


@pytest.mark.parametrize("shape", [(3, 4), (3, 1, 4, 4)], ids=str)
def test_quick_shapes_are_those_of_real_results(shape: tuple[int, ...]) -> None:
    x, fake = torch.randn(shape), FakeMode(nn.Identity())
    empty = fake.of(x)
    functions: list[Callable[[Tensor], Tensor]] = [
        lambda y: torch.cat([y, y], 1),
        lambda y: torch.cat([y.transpose(0, 1), y.transpose(0, 1)], -1),
        lambda y: torch.cat([y, y.double()], 0),
        lambda y: nn.functional.batch_norm(y, torch.zeros(y.shape[1]), torch.ones(y.shape[1])),
        lambda y: nn.functional.batch_norm(y, torch.zeros(y.shape[1]), torch.ones(y.shape[1]), training=True),
        lambda y: torch.native_batch_norm(y, None, None, None, None, True, 0.1, 1e-5)[1],
        lambda y: torch.native_batch_norm(y.half(), None, None, None, None, True, 0.1, 1e-5)[0],
        lambda y: nn.functional.hardtanh_(y.clone()),
        nn.functional.hardsigmoid,
        lambda y: y + y[..., :1] * torch.arange(y.shape[-1]),
        lambda y: y * torch.tensor(2.0, dtype=torch.float64) > 1,
        lambda y: (y > 0) + torch.ones((), dtype=torch.int64),
        lambda y: y.half() + y.transpose(-1, -2).transpose(-1, -2),
        lambda y: y[..., :1] + y.transpose(0, 1)[:1],
        lambda y: y.to(torch.complex64).abs(),
        lambda y: y.clone().add_(y[:1]),
        lambda y: nn.functional.gelu(y.transpose(-1, -2)),
        lambda y: torch.where(y > 0, y, 0.0),
        lambda y: y.int() / 2,
        lambda y: nn.functional.layer_norm(y, y.shape[1:]),
        lambda y: nn.functional.layer_norm(y, y.shape[-1:], torch.ones(y.shape[-1]), None),
        lambda y: nn.functional.layer_norm(y.bfloat16(), y.shape[-1:]),
        lambda y: torch.native_layer_norm(y, y.shape[1:], None, None, 1e-5)[1],
        lambda y: torch.addmm(torch.ones(5), y.reshape(-1, 4), torch.ones(4, 5), alpha=2),
        lambda y: torch.addmm(torch.ones(1), y.reshape(-1, 4), torch.ones(5, 4).t()),
        lambda y: y.mean(-1),
        lambda y: y.mean((0, -1), keepdim=True),
        lambda y: y.transpose(0, 1).mean((0,)),
        lambda y: y.double().mean(1, dtype=torch.float32),
        lambda y: y.view(-1, 2),
        lambda y: y.view(2, -1, 1),
        lambda y: y.transpose(0, 1).view(y.shape[1], -1) if y.dim() > 2 else y,
        lambda y: y.transpose(0, -1),
        lambda y: y.permute([*range(1, y.dim()), 0]),
        lambda y: y.transpose(-1, -2).permute([*range(1, y.dim()), 0]).transpose(1, 0),
        lambda y: nn.functional.embedding((y > 0).long(), torch.ones(5, 6)),
        lambda y: nn.functional.embedding((y > 0).long(), torch.ones(6, 5).t()),
        lambda y: y.mean() + y[:0].mean(0),
    ]
    for function in functions:
        real, told = function(x), function(empty)
        assert (told.shape, told.dtype, told.device) == (real.shape, real.dtype, real.device)
        assert told.stride() == real.stride()
    with pytest.raises(RuntimeError):
        torch.cat([empty, empty[..., :2]], 0)
    wrong: list[Callable[[Tensor], Tensor]] = [
        lambda y: y.view(7, -1),
        lambda y: y.view(-1, -1),
        lambda y: y.permute([0] * y.dim()),
        lambda y: y.transpose(0, 4),
        lambda y: y.mean(4),
        lambda y: y.mean((0, 0)),
    ]
    for function in wrong:
        with pytest.raises((RuntimeError, IndexError)):
            function(empty)


@pytest.mark.parametrize(
    ("size", "weight", "options"),
    [
        ((2, 4, 9), (6, 4, 3), {"stride": 2, "padding": 1}),
        ((2, 4, 9, 7), (6, 4, 3, 2), {"stride": (2, 1), "dilation": (1, 3)}),
        ((2, 4, 9, 7), (6, 4, 1, 1), {}),
        ((2, 4, 1, 1), (6, 4, 1, 1), {"bias": torch.ones(6)}),
        ((2, 1, 5, 5), (6, 1, 3, 3), {"padding": "same"}),
        ((2, 4, 5, 5), (8, 1, 3, 3), {"groups": 4}),
        ((4, 5, 5), (8, 4, 3, 3), {}),
        ((2, 4, 5, 6, 7), (8, 2, 3, 2, 1), {"groups": 2, "padding": (1, 0, 2)}),
    ],
    ids=str,
)
def test_sizes_of_convolutions_are_those_of_real_ones(
    size: tuple[int, ...], weight: tuple[int, ...], options: dict[str, Any]
) -> None:
    x, kernel = torch.randn(size), torch.randn(weight)
    call = getattr(nn.functional, f"conv{len(weight) - 2}d")
    real, told = call(x, kernel, **options), call(FakeMode(nn.Identity()).of(x), kernel, **options)
    assert (told.shape, told.stride()) == (real.shape, real.stride())


def test_convolutions_that_do_not_fit_are_refused() -> None:
    empty = FakeMode(nn.Identity()).of(torch.ones(2, 4, 2, 2))
    with pytest.raises(RuntimeError):
        nn.functional.conv2d(empty, torch.ones(6, 3, 1, 1))
    with pytest.raises(RuntimeError):
        nn.functional.conv2d(empty, torch.ones(6, 4, 3, 3))


def test_operators_in_place_are_those_that_torch_marks() -> None:
    """The schema tells where torch has no tag; where it has one, the two agree."""
    aten = torch.ops.aten
    assert _in_place_by_schema(aten.add_.Tensor)
    assert _in_place_by_schema(aten.relu_.default)
    assert not _in_place_by_schema(aten.add.Tensor)
    assert not _in_place_by_schema(aten.add.out)
    assert not _in_place_by_schema(aten._foreach_add_.Scalar)
    tag, differ = getattr(torch.Tag, "inplace", None), set()
    for name in torch._C._dispatch_get_all_op_names() if tag is not None else ():
        packet, _, overload = name.removeprefix("aten::").partition(".")
        operator = getattr(getattr(aten, packet, None), overload or "default", None)
        # Those on lists of tensors are tagged, too, but return nothing.
        if name.startswith("aten::") and operator is not None and operator._schema.returns:
            assert _in_place(operator) == (tag in operator.tags)
            if _in_place_by_schema(operator) != _in_place(operator):
                differ.add(packet)
    assert differ <= {"shallow_copy_data_"}  # new in 2.14, and not tagged
