from __future__ import annotations

import builtins
import copy
import types
from collections.abc import Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import naivegraph as ng
from naivegraph.errors import CaptureError, NaivegraphError
from naivegraph.graph import Attribute, Compound, ConstantTensor, DimSize, State, Stub, Training
from naivegraph.graph.record.symbolic_int import SymbolicInt
from naivegraph.ir.pytree import leaves
from naivegraph.network import capture
from tests.networks import capture as networks
from tests.networks.capture import NETWORKS


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("name", NETWORKS)
def test_graph_repeats_the_network(name: str) -> None:
    build, shape = NETWORKS[name]
    module = build()
    graph = capture(module, torch.randn(shape))
    graph.lint()
    assert graph.checks == {"recorded batch": "equal", "another batch": "equal", "train mode": "equal"}
    x = torch.randn(shape[0] + 3, *shape[1:])
    for training in (False, True):
        module.train(training)
        torch.manual_seed(1)
        expected = copy.deepcopy(module)(x.clone())
        torch.manual_seed(1)
        found = graph(x.clone())
        for one, two in zip(leaves(expected), leaves(found), strict=True):
            torch.testing.assert_close(two, one)


def test_dropout_layer_and_function_draw_in_train_mode() -> None:
    graph = capture(networks.Residual(), torch.randn(8, 6))
    x = torch.randn(8, 6)
    graph.module.train()
    assert not torch.equal(graph(x), graph(x))
    graph.module.eval()
    assert torch.equal(graph(x), graph(x))


def test_gradients_are_the_modules() -> None:
    module = networks.Attention(networks.Config(8, 2)).eval()
    x = torch.randn(2, 5, 8)
    graph = capture(module, x)
    expected = torch.autograd.grad(module(x).square().sum(), list(module.parameters()))
    found = torch.autograd.grad(graph(x).square().sum(), list(module.parameters()))
    for one, two in zip(expected, found, strict=True):
        torch.testing.assert_close(two, one)


def test_names_of_reused_layers_and_functions() -> None:
    graph = capture(networks.Residual(), torch.randn(8, 6))
    names = [vertex.name for vertex in graph]
    assert names == [
        "x",
        "linear",
        "norm",
        "relu",
        "drop",
        "add",
        "dropout",
        "add_1",
        "path",
        "add_2",
        "relu_1",
    ]
    assert graph["relu_1"].target is graph["relu"].target
    assert graph["path"].kind == "layer"
    assert graph["add"].where is not None
    assert graph["add"].where[0].endswith("networks/capture.py")


def test_arguments_are_kept() -> None:
    graph = capture(networks.Attention(networks.Config(8, 2)), torch.randn(2, 5, 8))
    reshape = graph["reshape"].args
    x = graph["x"].output.id
    heads = Attribute("", "heads")
    head = Compound("//", Attribute("", "config", ("size",)), heads)
    assert reshape[1:] == (DimSize(x, 0), DimSize(x, 1), 3, heads, head)
    assert graph["dropout"].kwargs["training"] == Training("")
    assert [(expression, how) for expression, _, how in graph.escapes] == [(head, "float")]


def test_sizes_of_state_and_list_attributes() -> None:
    graph = capture(networks.Numbers(), torch.randn(2, 5, 8))
    assert graph["chunk"].args[1] == Attribute("", "parts")
    sizes = Compound(
        "*",
        Attribute("", "window", (0,)),
        Compound("//", DimSize("weight", 0), Attribute("", "window", (1,))),
    )
    assert graph["reshape"].args[1:] == (-1, sizes)
    assert graph["t"].args == (State("weight"),)
    assert graph["arange"].args == (DimSize(graph["x"].output.id, 1),)


def test_attributes_are_read_live() -> None:
    class Narrow(nn.Module):
        width = 0

        def __init__(self) -> None:
            super().__init__()
            self.width = 2

        def forward(self, x: Tensor) -> Tensor:
            return x[:, : self.width]

    graph = capture(Narrow(), torch.randn(2, 5))
    vars(graph.module)["width"] = 4
    assert graph(torch.randn(2, 5)).shape == (2, 4)


def test_range_and_true_division_are_held() -> None:
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.heads = 3

        def forward(self, x: Tensor) -> Tensor:
            for index in range(self.heads):
                assert isinstance(range(2), range)
                x = x + index
            return x[:, : int(x.shape[1] / 2)]

    graph = capture(Counts(), torch.randn(2, 6))
    assert [how for _, _, how in graph.escapes] == ["range", "true division"]
    assert graph.escapes[0][0] == Attribute("", "heads")
    assert graph.escapes[0][1] is not None


def test_operations_chain_by_stubs() -> None:
    graph = capture(nn.Sequential(nn.Linear(4, 8), nn.ReLU()), torch.randn(2, 4))
    linear = graph["0"].operations
    assert [str(operation.func) for operation in linear] == ["aten.t.default", "aten.addmm.default"]
    assert linear[0].args == (graph.state["0.weight"],)
    bias, x, transposed = linear[1].args
    assert bias == graph.state["0.bias"]
    assert x == graph["input"].output
    assert transposed == linear[0].outputs[0]
    assert linear[1].outputs == (graph["0"].output,)
    assert graph["0"].output.shape == (2, 8)


def test_tied_parameters_share_a_stub() -> None:
    graph = capture(networks.Tied(), torch.tensor([[1, 2], [3, 4]]))
    assert graph.state["embed.weight"] is graph.state["decode.weight"]
    assert list(graph.state) == ["embed.weight", "decode.weight"]
    other = networks.Tied()
    other.decode.weight = nn.Parameter(other.embed.weight.data)  # another object, the same memory
    graph = capture(other, torch.tensor([[1, 2]]))
    assert graph.state["embed.weight"] == graph.state["decode.weight"]


@pytest.mark.parametrize("kind", ["tuple", "dict", "named", "dataclass", "output", "cache"])
def test_outputs_of_any_shape(kind: str) -> None:
    module = networks.Structured()
    x, more = torch.randn(2, 3), torch.randn(2, 3)
    graph = capture(module, x, {"kind": kind, "more": more})
    assert [vertex.name for vertex in graph.inputs] == ["x", "more"]
    other = torch.randn(4, 3)
    expected, found = module(other, kind=kind, more=other), graph(other, kind=kind, more=other)
    assert type(found) is type(expected)
    both = list(zip(leaves(expected), leaves(found), strict=True))
    assert sum(isinstance(one, Tensor) for one, _ in both) >= 1
    for one, two in both:
        assert type(two) is type(one)
        assert torch.equal(two, one) if isinstance(one, Tensor) else two == one
    if kind == "output":
        assert found.y is found["y"]


def test_hooks_run_and_are_recorded() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.ReLU()))
    module[0].register_forward_hook(lambda _module, _args, output: output * 2)
    module[1].register_forward_hook(lambda _module, _args, output: output + 1)
    graph = capture(module, torch.randn(2, 4))
    x = torch.randn(3, 4)
    assert torch.equal(graph(x), module.eval()(x))
    assert [vertex.name for vertex in graph] == ["input", "0", "1.0", "1.add"]


def test_own_autograd_function_keeps_its_backward() -> None:
    graph = capture(networks.UsesDouble(), torch.randn(2, 4))
    x = torch.randn(2, 4, requires_grad=True)
    graph(x).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.full((2, 4), 7.0))


def test_constants_of_the_code_are_held() -> None:
    offset = torch.arange(4.0)

    class Adds(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + offset

    graph = capture(Adds(), torch.randn(2, 4))
    held = graph["add"].args[1]
    assert isinstance(held, ConstantTensor)
    assert held.tensor is offset
    assert isinstance(graph["add"].operations[0].args[1], Stub)


def test_run_gives_named_values() -> None:
    linear = nn.Linear(4, 8)
    graph = capture(nn.Sequential(linear, nn.ReLU()), torch.randn(2, 4))
    x = torch.randn(3, 4)
    values = graph.run(x, ["0", "1"])
    torch.testing.assert_close(values["0"], F.linear(x, linear.weight, linear.bias))
    assert torch.equal(values["1"], values["0"].relu())
    with pytest.raises(NaivegraphError, match="no vertex 'linaer'"):
        graph.run(x, ["linaer"])


def test_lookup_suggests_names() -> None:
    graph = capture(networks.Residual(), torch.randn(8, 6))
    assert len(graph) == 11
    with pytest.raises(NaivegraphError, match="did you mean 'linear'"):
        graph["lineer"]
    assert "linear" in graph
    assert "another batch: equal" in graph.summary()
    assert "BatchNorm1d" in graph.summary()


def test_deepcopy_shares_nothing() -> None:
    graph = capture(networks.Residual(), torch.randn(8, 6))
    graph.module.eval()
    other = copy.deepcopy(graph)
    other.lint()
    x = torch.randn(8, 6)
    assert torch.equal(other(x), graph(x))
    with torch.no_grad():
        for parameter in other.module.parameters():
            parameter.zero_()
    assert not torch.equal(other(x), graph(x))
    assert other["linear"].target is other.module.get_submodule("linear")
    assert not {id(v) for v in graph} & {id(v) for v in other}


def test_lint_names_the_vertex() -> None:
    graph = capture(networks.Residual(), torch.randn(8, 6))
    graph["add"].args = (Stub(10_000, (1,), torch.float32),)
    with pytest.raises(NaivegraphError, match="'add' uses the tensor 10000 before"):
        graph.lint()
    graph = capture(networks.Residual(), torch.randn(8, 6))
    graph.module.linear = nn.Linear(6, 6)
    with pytest.raises(NaivegraphError, match="'linear' is not the module at 'linear'"):
        graph.lint()


def test_other_constants_are_refused() -> None:
    graph = capture(networks.Structured(), torch.randn(2, 3), {"kind": "dict"})
    with pytest.raises(NaivegraphError, match="captured with 'dict' for the argument 'kind', not 'named'"):
        graph(torch.randn(2, 3), kind="named")
    with pytest.raises(NaivegraphError, match="missing a required argument: 'x'"):
        graph(kind="dict")


def test_what_cannot_run_is_told() -> None:
    module = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
    with pytest.raises(CaptureError, match=r"does not run on the example input.*float32\[2, 5\]") as caught:
        capture(module, torch.randn(2, 5))
    assert isinstance(caught.value.__cause__, RuntimeError)
    with pytest.raises(CaptureError, match="give an example"):
        capture(module)
    with pytest.raises(CaptureError, match="call the module once"):
        capture(nn.Sequential(nn.LazyLinear(3)), torch.randn(2, 4))
    with pytest.raises(CaptureError, match=r"must be a torch\.nn\.Module, not function"):
        capture(lambda x: x, torch.randn(2))  # type: ignore[arg-type]


def test_a_graph_that_does_not_repeat_is_refused() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)
            self.calls = [0]

        def forward(self, x: Tensor) -> Tensor:
            self.calls[0] += 1
            result: Tensor = self.linear(x)
            return result * float(self.calls[0])

    with pytest.raises(CaptureError, match=r"does not repeat.*first vertex that differs is 'mul' at"):
        capture(Counting(), torch.randn(2, 4))


def test_batch_baked_in_is_reported() -> None:
    class Baked(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.reshape(int(str(x.shape[0])), -1)[:2] + 1

    assert "differs" in capture(Baked(), torch.randn(2, 4)).checks["another batch"]
    checks = capture(Baked(), torch.randn(2, 4), verify="recorded").checks
    assert checks == {"recorded batch": "equal"}
    assert capture(Baked(), torch.randn(2, 4), verify=False).checks == {}


def test_vmap_is_recorded_from_below() -> None:
    class Mapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = torch.vmap(lambda row: self.linear(row).relu() * 2)(x)
            return result + 1

    graph = capture(Mapped(), torch.randn(2, 3, 4))
    graph.lint()
    assert graph.checks["recorded batch"] == "equal"
    assert any(State("linear.weight") in vertex.args for vertex in graph)
    x = torch.randn(2, 3, 4)
    torch.testing.assert_close(graph(x), graph.module(x))


def test_a_layer_whose_inner_tensors_leak_is_looked_into() -> None:
    kept: list[Tensor] = []

    class Leaky(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.linear(x)
            return result + kept[0]

    module = Leaky()

    def hook(_module: nn.Module, _args: Any, output: Tensor) -> Tensor:
        kept[:] = [output * 2]
        return output

    module.linear.register_forward_hook(hook)
    graph = capture(module, torch.randn(2, 4))
    assert "linear" not in graph
    x = torch.randn(3, 4)
    torch.testing.assert_close(graph(x), module(x))
    torch.testing.assert_close(
        graph(x), 3 * nn.functional.linear(x, module.linear.weight, module.linear.bias)
    )


class _Leaky(torch.autograd.Function):
    kept: list[Tensor] = []  # noqa: RUF012

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        _Leaky.kept[:] = [x * 2]
        return x + 1


def test_inner_tensors_that_leak_from_a_function_are_refused() -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return _Leaky.apply(x) + _Leaky.kept[0]  # type: ignore[no-untyped-call]

    with pytest.raises(CaptureError, match=r"test_capture\.py:\d+ was computed inside '_Leaky'"):
        capture(Net(), torch.randn(2, 4))


def _snapshot(module: nn.Module) -> list[dict[str, Any]]:
    return [dict(vars(each)) for each in module.modules()]


def _same(one: list[dict[str, Any]], two: list[dict[str, Any]]) -> bool:
    return all(
        list(a) == list(b) and all(a[key] is b[key] for key in a) for a, b in zip(one, two, strict=True)
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_module_is_as_before(name: str) -> None:
    build, shape = NETWORKS[name]
    module = build().train()
    before, state = _snapshot(module), copy.deepcopy(module.state_dict())
    call = nn.Module._call_impl
    x = torch.randn(shape)
    seed = torch.get_rng_state()
    kept = x.clone()
    capture(module, x)
    assert _same(before, _snapshot(module))
    assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), seed)
    assert torch.equal(x, kept)
    assert nn.Module._call_impl is call
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_module_is_as_before_after_a_failure(error: type[BaseException]) -> None:
    module = nn.Sequential(networks.Attention(networks.Config(8, 2)), networks.Caching())
    module[1].eval()

    def fail(*_: Any) -> None:
        raise error("on purpose")

    module[1].register_forward_hook(fail)
    before = _snapshot(module)
    range_, len_, apply = builtins.range, builtins.len, torch.autograd.Function.__dict__["apply"]
    x = torch.randn(2, 4, 8)
    seed = torch.get_rng_state()
    with pytest.raises(CaptureError if error is ValueError else error, match="on purpose"):
        capture(module, x)
    assert _same(before, _snapshot(module))
    assert torch.equal(torch.get_rng_state(), seed)
    assert float(module[1].get_buffer("calls")) == 0
    assert (module.training, module[1].training) == (True, False)
    assert (builtins.range, builtins.len) == (range_, len_)
    assert torch.autograd.Function.__dict__["apply"] is apply


def _find_numbers(value: Any, depth: int = 6) -> bool:
    if isinstance(value, SymbolicInt):
        return True
    if depth == 0 or isinstance(value, (Tensor, str)):
        return False
    if isinstance(value, dict):
        return any(_find_numbers(item, depth - 1) for pair in value.items() for item in pair)
    if isinstance(value, (tuple, list)):
        return any(_find_numbers(item, depth - 1) for item in value)
    return _find_numbers(vars(value), depth - 1) if hasattr(value, "__dict__") else False


def test_what_the_forward_stores_stays_as_plain_numbers() -> None:
    module = networks.Caching()
    config = module.config
    capture(module, torch.randn(2, 8), verify=False)
    assert module.last == 8
    assert module.seen == {(2, 4): (8, [4])}
    assert module.sizes == [1, 2, 4]
    assert module.config is config
    assert config.heads == 2
    assert not _find_numbers(module)
    assert float(module.get_buffer("calls")) == 0


class _Once(torch.autograd.Function):
    """Works with an object that it changes, so that it cannot be called again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, seen: list[int]) -> Tensor:
        if seen:
            raise AssertionError("only once")
        seen.append(1)
        return x * 2


class Stateful(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return _Once.apply(torch.relu(x), [])  # type: ignore[no-any-return, no-untyped-call]


def test_a_function_that_cannot_be_called_again_is_a_capture_error() -> None:
    with pytest.raises(CaptureError, match=r"does not repeat .* raises AssertionError: only once"):
        capture(Stateful(), torch.ones(2, 3))


def test_arguments_that_cannot_be_compared_are_other_ones() -> None:
    class Proxied(nn.Module):
        def forward(self, x: Tensor, entries: Mapping[str, Tensor]) -> Tensor:
            return x * entries["scale"]

    x, entries = torch.ones(2, 3), types.MappingProxyType({"scale": torch.arange(3.0)})
    graph = capture(Proxied(), (x, entries))
    assert torch.equal(graph(x, entries), Proxied()(x, entries))
    with pytest.raises(NaivegraphError, match=r"captured with .* for the argument 'entries'"):
        graph(x, types.MappingProxyType({"scale": torch.ones(3)}))


class Rescaled(nn.Module):
    """A table whose rows the forward makes shorter in place."""

    def __init__(self, bags: bool) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(6, 12), nn.Linear(12, 4)
        self.table = nn.EmbeddingBag(5, 12, max_norm=1.0) if bags else nn.Embedding(5, 12, max_norm=1.0)

    def forward(self, x: Tensor) -> Tensor:
        at = (
            torch.tensor([[0, 1], [1, 2], [2, 3]])
            if isinstance(self.table, nn.EmbeddingBag)
            else torch.arange(3)
        )
        return self.head(self.first(x) + self.table(at))  # type: ignore[no-any-return]


@pytest.mark.parametrize("bags", [False, True])
def test_rows_that_a_forward_rescales_are_as_they_were(bags: bool) -> None:
    net, x = Rescaled(bags).eval(), torch.randn(3, 6)
    before = net.table.weight.detach().clone()
    capture(net, x)
    assert torch.equal(net.table.weight, before)
    edit = ng.prune(net, x, ratio=0.5)
    with torch.no_grad():
        net(x)
    edit.undo()
    assert torch.equal(net.table.weight, before)
    with torch.no_grad():
        net(x)
    assert not torch.equal(net.table.weight, before)


class Normalised(nn.Module):
    """A layer that writes into its weight: in train mode, in any mode, or past autograd."""

    def __init__(self, how: str, taken: int, given: int) -> None:
        super().__init__()
        self.how, self.weight = how, nn.Parameter(torch.randn(given, taken))

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "data":
            self.weight.data.clamp_(-0.5, 0.5)
        elif self.how == "always" or self.training:
            with torch.no_grad():
                self.weight.copy_(nn.functional.normalize(self.weight, dim=1))
        return x @ nn.functional.normalize(self.weight, dim=1).T


@pytest.mark.parametrize("how", ["training", "always", "data"])
def test_weights_that_a_forward_writes_into_are_as_they_were(how: str) -> None:
    class Once(Normalised):
        """A class that no network of another test has."""

    net, x = nn.Sequential(Once(how, 4, 8), nn.ReLU(), Once(how, 8, 3)), torch.randn(2, 4)
    before = copy.deepcopy(net.state_dict())
    graph = capture(net, x)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    edit = ng.prune(graph, ratio=0.5)
    assert net[0].weight.shape == (4, 4)
    net.train()(x)
    edit.undo()
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
