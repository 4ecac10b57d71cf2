"""Networks inside torch's wrappers, and what is given where a network or a graph is needed."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim
from torch.optim.swa_utils import AveragedModel

import naivegraph as ng


class Net(nn.Module):
    """A body and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU())
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, 6) to (batch, 2)."""
        out: Tensor = self.head(self.body(x))
        return out


def build() -> Net:
    """The same network each time, in eval mode."""
    torch.manual_seed(3)
    return Net().eval()


def data() -> Tensor:
    """A batch."""
    return torch.randn(4, 6, generator=torch.Generator().manual_seed(1))


def compiled(net: nn.Module) -> Any:
    """As torch.compile wraps it."""
    return torch.compile(net, backend="eager")


wrapped = pytest.mark.parametrize("wrap", [nn.DataParallel, compiled], ids=["parallel", "compiled"])


@wrapped
def test_a_wrapped_network_is_pruned_as_it_would_be_alone(wrap: Callable[[nn.Module], nn.Module]) -> None:
    alone, inside = build(), build()
    first = inside.body[0]
    assert isinstance(first, nn.Linear)
    outside = wrap(inside)
    assert outside(data()).shape == (4, 2)  # Compiled for the sizes before.
    ng.prune(alone, data(), macs=0.5, keep=["body.2"])
    edit = ng.prune(outside, data(), macs=0.5, keep=["body.2"])
    assert first.out_features < 16
    torch.testing.assert_close(outside(data()), alone(data()))
    edit.undo()
    torch.testing.assert_close(outside(data()), build()(data()))


@wrapped
def test_what_was_wrapped_is_saved_and_loaded_without_and_back(
    wrap: Callable[[nn.Module], nn.Module], tmp_path: Path
) -> None:
    outside = wrap(build())
    edit = ng.prune(outside, data(), params=0.5)
    ng.save(outside, tmp_path / "half")
    fresh, again, copy = build(), wrap(build()), wrap(build())
    ng.load(fresh, tmp_path / "half")
    ng.load(again, tmp_path / "half")
    ng.replay(copy, edit)
    for other in (fresh, again, copy):
        assert torch.equal(other(data()), outside(data()))


def test_the_average_of_a_wrapped_network_follows() -> None:
    outside = nn.DataParallel(build())
    average = AveragedModel(outside)
    ng.prune(outside, data(), macs=0.5, optimizer=average)
    average.update_parameters(outside)
    torch.testing.assert_close(average(data()), outside(data()))


def test_an_optimizer_of_layers_that_do_not_change_is_left_alone() -> None:
    net = build()
    head = optim.SGD(net.head.parameters(), lr=0.1, momentum=0.9)
    net(data()).sum().backward()
    head.step()
    momentum = head.state[net.head.weight]["momentum_buffer"].clone()
    assert ng.prune(net, data(), macs=0.8, keep=["body.2"], optimizer=head)
    assert torch.equal(head.state[net.head.weight]["momentum_buffer"], momentum)


def test_an_optimizer_of_another_network_is_refused() -> None:
    net = build()
    other = optim.SGD(build().parameters(), lr=0.1)
    with pytest.raises(ng.EditError, match="none of the network's parameters: was it made for another copy"):
        ng.prune(net, data(), macs=0.5, optimizer=other)
    assert net.body[0].out_features == 16


def test_a_copy_is_told_how_it_can_follow() -> None:
    with pytest.raises(ng.EditError, match=r"not Net; a copy .* ng.replay\(copy, edit.to_json\(\)\)"):
        ng.prune(build(), data(), macs=0.5, optimizer=build())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Net, r"Net is a class; make a network of it first: Net\(\.\.\.\)"),
        (lambda: ng.capture(build(), data()), r"has its example already: .* ng.prune\(graph, \.\.\.\)"),
        (
            lambda: nn.Sequential(nn.Linear(6, 6), torch.jit.script(nn.ReLU())),
            "the code of 1, a part of this network, was compiled by torch.jit",
        ),
        (lambda: torch.jit.script(nn.Linear(6, 2)), "compiled by torch.jit.* the module that it was made"),
        (
            lambda: torch.jit.trace(build(), data()),  # type: ignore[no-untyped-call]
            "compiled by torch.jit.* the module that it was made",
        ),
    ],
)
def test_what_is_no_network_is_told_apart(make: Callable[[], Any], message: str) -> None:
    with pytest.raises((ng.CaptureError, ng.EditError), match=message):
        ng.prune(make(), data(), macs=0.5)


def test_a_dictionary_in_the_place_of_keyword_inputs() -> None:
    with pytest.raises(ng.CaptureError, match=r"It got dict; give .* kwargs=\{...\} for keyword inputs"):
        ng.prune(build(), {"x": data()}, macs=0.5)
    assert ng.prune(build(), kwargs={"x": data()}, macs=0.5)


def test_a_large_budget_may_be_written_with_an_exponent() -> None:
    net = build()
    assert ng.prune(net, data(), params=2e2).after.params <= 200 < 6 * 17 + 16 * 8 + 8 + 18


def test_what_cannot_be_met_names_the_code_that_holds_sizes() -> None:
    class Fixed(Net):
        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(self.body(x).view(-1, 8))
            return out

    with pytest.raises(ng.InfeasibleError, match=r"What cannot change.*written as 8 at view.*or flatten"):
        ng.prune(Fixed(), data(), params=0.05)


def test_a_warning_is_of_the_line_that_asked() -> None:
    graph = ng.capture(build(), data())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ng.resize(graph, {"body.0": -100})
    assert [warning.filename for warning in caught] == [__file__]


def test_an_edit_of_the_structure_says_what_was_done() -> None:
    graph = ng.capture(build(), data())
    assert "inserted body.layernorm after body.1" in str(ng.insert(graph, nn.LayerNorm, after="body.1"))
    assert "removed body.layernorm" in str(ng.remove(graph, "body.layernorm"))


def test_a_parameter_of_a_module_that_is_no_layer_has_its_own_name() -> None:
    class Raw(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up = nn.Parameter(torch.randn(8, 20))
            self.down = nn.Parameter(torch.randn(20, 8))

        def forward(self, x: Tensor) -> Tensor:
            return x + torch.relu(x @ self.up) @ self.down

    net = nn.Sequential(nn.Linear(4, 8), Raw(), nn.Linear(8, 2))
    assert [(w.name, w.size) for w in ng.inspect(net, torch.ones(2, 4)).free] == [("0", 8), ("1.down", 20)]
