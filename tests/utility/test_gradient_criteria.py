"""Taylor and Fisher values, against derivatives taken sample by sample by plain torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.utils.checkpoint
from torch import Tensor, nn
from torch.nn import functional as F

import naivegraph as ng
from naivegraph.extend.example_networks import Attention
from naivegraph.utility import Fisher, Taylor, utilities
from naivegraph.utility.collect import Floats
from naivegraph.widths import Widths, relate
from tests.oracle import snapshot, unchanged
from tests.utility.data_networks import residual, squares

IMAGES = torch.randn(5, 3, 6, 6, generator=torch.Generator().manual_seed(1))
LABELS = torch.tensor([0, 1, 2, 1, 0])


def loss(network: Any, batch: Any) -> Tensor:
    """The mean cross-entropy of a batch of images and labels."""
    out: Tensor = F.cross_entropy(network(batch[0]), batch[1])
    return out


def widths_of(net: nn.Module, example: Tensor) -> Widths:
    return relate(ng.capture(net, example, verify="recorded", fake=True))


def valued(net: nn.Module, utility: Any, *, batches: Any = None, **options: Any) -> dict[str, Floats]:
    batches = [(IMAGES[:2], LABELS[:2]), (IMAGES[2:], LABELS[2:])] if batches is None else batches
    widths = widths_of(net, IMAGES[:2])
    return {w.name: v for w, v in utilities(widths, utility, calibration=batches, **options).items()}


def in_gates(net: Any, x: Tensor, gates: dict[str, Tensor]) -> Tensor:
    """The forward of `Residual` with a factor for each channel that each layer reads."""
    x = net.norm(net.stem(x)).relu()
    x = x + net.back(net.one(x * gates["one"]).relu() * gates["back"])
    x = x + net.again(net.two(x * gates["two"]).tanh() * gates["again"])
    out: Tensor = net.head(x.mean((2, 3)) * gates["head"][0, :, 0, 0])
    return out


def gate_changes(net: Any, sample: int) -> dict[str, Tensor]:
    """What the loss of a sample changes by, to first order, without each channel that each layer reads."""
    sizes = {"one": 6, "back": 4, "two": 6, "again": 5, "head": 6}
    gates = {name: torch.ones(1, size, 1, 1, requires_grad=True) for name, size in sizes.items()}
    value = F.cross_entropy(in_gates(net, IMAGES[[sample]], gates), LABELS[[sample]])
    grads = torch.autograd.grad(value, list(gates.values()))
    return {name: grad.flatten() for name, grad in zip(sizes, grads, strict=True)}


@pytest.mark.parametrize("seed", range(3))
def test_fisher_is_half_the_square_of_what_all_readers_change_together(seed: int) -> None:
    net = residual(seed)
    changes = [gate_changes(net, sample) for sample in range(5)]
    expected = {
        "stem": squares(5, lambda s: changes[s]["one"] + changes[s]["two"] + changes[s]["head"]) / 2,
        "one": squares(5, lambda s: changes[s]["back"]) / 2,
        "two": squares(5, lambda s: changes[s]["again"]) / 2,
    }
    found = valued(net, "fisher", loss=loss)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-3, atol=1e-9, err_msg=name)


def test_batches_of_the_size_of_the_example_are_told_apart_by_sample_too() -> None:
    net = residual()
    together = valued(net, "fisher", loss=loss, batches=[(IMAGES, LABELS)])
    for parts in ([2, 2, 1], [1] * 5):
        split = list(zip(torch.split(IMAGES, parts), torch.split(LABELS, parts), strict=True))
        for name, values in valued(net, "fisher", loss=loss, batches=split).items():
            np.testing.assert_allclose(values, together[name], rtol=1e-3, atol=1e-9)


def test_without_a_loss_fisher_is_the_curvature_of_the_outputs() -> None:
    """Of one output there is nothing random: the square of its derivative."""
    torch.manual_seed(0)
    net: Any = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1))
    x = torch.randn(7, 4)
    widths = widths_of(net, x[:1])
    hidden = torch.tanh(net[0](x)).detach() * net[2].weight.detach()
    (found,) = utilities(widths, "fisher", calibration=x).values()
    np.testing.assert_allclose(found, hidden.double().square().mean(0) / 2, rtol=1e-4)


def test_random_signs_give_the_squares_of_all_outputs_on_average() -> None:
    torch.manual_seed(0)
    net: Any = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5))
    x = torch.randn(2000, 4)
    parts = torch.tanh(net[0](x)).detach()[:, None] * net[2].weight.detach()  # [samples, outputs, neurons]
    expected = parts.double().square().sum(1).mean(0) / 2
    (found,) = utilities(widths_of(net, x[:1]), "fisher", calibration=x).values()
    np.testing.assert_allclose(found, expected, rtol=0.2)


def taylor_by_hand(net: nn.Module, widths: Widths, sample: int) -> dict[str, Tensor]:
    parameters = dict(net.named_parameters())
    value = F.cross_entropy(net(IMAGES[[sample]]), LABELS[[sample]])
    grads = dict(zip(parameters, torch.autograd.grad(value, list(parameters.values())), strict=True))
    out = {}
    for width in widths:
        sums = torch.zeros(width.size)
        for name, dim in width.lives:
            if name in parameters:
                scores = parameters[name].detach() * grads[name]
                sums = sums + scores.movedim(dim, 0).reshape(width.size, -1).sum(1)
        out[width.name] = sums
    return out


@pytest.mark.parametrize("seed", range(3))
def test_taylor_is_the_square_of_the_sum_over_a_neurons_weights_by_sample(seed: int) -> None:
    net = residual(seed)
    widths = widths_of(net, IMAGES[:2])
    changes = [taylor_by_hand(net, widths, sample) for sample in range(5)]
    found = valued(net, "taylor", loss=loss)
    for width in widths:
        name = width.name
        expected = squares(5, lambda s, name=name: changes[s][name])  # type: ignore[misc]
        np.testing.assert_allclose(found[name], expected, rtol=1e-3, atol=1e-9, err_msg=name)


def test_taylor_of_the_first_samples_alone() -> None:
    net = residual()
    some = valued(net, Taylor(samples=3), loss=loss)
    for name, values in valued(net, "taylor", loss=loss, batches=[(IMAGES[:3], LABELS[:3])]).items():
        np.testing.assert_allclose(some[name], values, rtol=1e-5)
    few = valued(net, Fisher(samples=3), loss=loss)
    for name, values in valued(net, "fisher", loss=loss, batches=[(IMAGES[:3], LABELS[:3])]).items():
        np.testing.assert_allclose(few[name], values, rtol=1e-3, atol=1e-9)


def test_what_nothing_reads_is_valued_by_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two criteria are one there, but for the half."""
    net, widths = residual(), widths_of(residual(), IMAGES[:2])
    monkeypatch.setattr("naivegraph.utility.gradient_criteria.readers", lambda widths: [])
    fisher, taylor = (valued(net, name, loss=loss) for name in ("fisher", "taylor"))
    assert fisher.keys() == {width.name for width in widths}
    for name, values in taylor.items():
        np.testing.assert_allclose(fisher[name], values / 2, rtol=1e-5)


def test_a_sum_without_weights_reads_too() -> None:
    torch.manual_seed(0)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.into = nn.Linear(4, 8)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.into(x).tanh().sum(-1, keepdim=True)
            return out

    net, x = Net(), torch.randn(6, 4)
    expected = net.into(x).tanh().detach().double().square().mean(0) / 2
    for name in ("fisher", "reconstruction"):
        (found,) = utilities(widths_of(net, x[:2]), name, calibration=x).values()
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_samples_need_not_come_first() -> None:
    """Attention of torch has the length of sequences first, and both in one dimension at its end."""
    torch.manual_seed(0)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.into, self.mix = nn.Linear(4, 8), nn.MultiheadAttention(8, 2, batch_first=True)
            self.out = nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            h = self.into(x)
            out: Tensor = self.out(h + self.mix(h, h, h, need_weights=False)[0])
            return out

    net, x = Net().eval(), torch.randn(6, 3, 4)
    widths = widths_of(net, x[:2])
    found = {w.name: v for w, v in utilities(widths, "fisher", calibration=x, loss=mean).items()}
    changes = []
    for sample in x:
        gates = torch.ones(8, requires_grad=True)
        h = net.into(sample[None])
        value = net.out((h + net.mix(h * gates, h * gates, h * gates)[0]) * gates).square().mean()
        changes.append(torch.autograd.grad(value, gates)[0])
    np.testing.assert_allclose(found["into"], squares(6, lambda s: changes[s]) / 2, rtol=1e-3)


@pytest.mark.parametrize("name", ["fisher", "taylor", "reconstruction", "activation"])
def test_the_network_is_left_alone(name: str) -> None:
    net = residual()
    net.train()
    net(IMAGES).sum().backward()
    widths = widths_of(net, IMAGES[:2])
    before, numbers = snapshot(net), torch.get_rng_state()
    with torch.no_grad():
        utilities(widths, name, calibration=IMAGES)
    assert unchanged(net, before)
    assert torch.equal(torch.get_rng_state(), numbers)
    assert net.training


def test_attention_is_valued_head_by_head() -> None:
    """Each row of a product has its own neurons: what `out` reads, by sample, summed over positions."""
    torch.manual_seed(0)
    net, x = Attention(), torch.randn(4, 3, 4)
    widths = widths_of(net, x[:2])
    found = {w.name: v for w, v in utilities(widths, "fisher", calibration=x, loss=mean).items()}
    assert [v.shape for v in found.values()] == [(6,), (2,), (2, 4)]
    changes = []
    for sample in x:
        read: list[Tensor] = []
        hook = net.out.register_forward_pre_hook(lambda layer, args, read=read: read.append(args[0]))
        (grad,) = torch.autograd.grad(net(sample[None]).square().mean(), read)
        hook.remove()
        changes.append((read[0].detach() * grad).sum((0, 1)).reshape(2, 4))
    by_head = squares(4, lambda s: changes[s].sum(1)) / 2
    np.testing.assert_allclose(found["qkv"], by_head, rtol=1e-3)


def test_a_network_in_which_nothing_may_change_is_left_as_it_is() -> None:
    net, x = nn.LSTM(4, 8, batch_first=True).eval(), torch.randn(5, 3, 4)
    assert not ng.prune(net, x[:2], ratio=0.5, calibration=x, refit=False)


def test_frozen_networks_are_valued_by_fisher_and_told_by_taylor() -> None:
    net = residual()
    expected = valued(net, "fisher", loss=loss)
    net.requires_grad_(False)
    for name, values in valued(net, "fisher", loss=loss).items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-5)
    with pytest.raises(ng.EditError, match="needs parameters with requires_grad"):
        valued(net, "taylor", loss=loss)


def mean(network: Any, batch: Any) -> Tensor:
    out: Tensor = network(batch).square().mean()
    return out


@pytest.mark.parametrize(
    ("utility", "options", "message"),
    [
        ("fisher", {}, 'utility="fisher" needs calibration='),
        ("activation", {}, 'utility="activation" needs calibration='),
        ("reconstruction", {}, 'utility="reconstruction" needs calibration='),
        ("taylor", {}, 'utility="taylor" needs loss=, which takes the network and returns its loss, or cal'),
        ("fisher", {"calibration": IMAGES, "loss": lambda net: 0}, "takes the network and a batch of calibr"),
        ("fisher", {"calibration": IMAGES, "loss": lambda net, batch: 0}, "must return one number as a tens"),
        ("fisher", {"calibration": IMAGES, "loss": lambda n, b: n(b).sum() / 0}, "batch 1 .* is not finite"),
        ("taylor", {"calibration": IMAGES, "loss": lambda n, b: n(b).sum() / 0}, "are not finite"),
        ("fisher", {"calibration": IMAGES, "loss": lambda n, b: torch.ones(())}, "does not depend on"),
        ("variance", {"calibration": IMAGES[:1]}, "calibration= has one sample alone"),
        ("l2", {"calibration": [IMAGES[0]]}, "batch 1 of calibration=: the input .x. has shape"),
        ("activation", {"calibration": "images"}, "calibration= cannot be a str"),
    ],
)
def test_what_cannot_be_valued_is_told(utility: str, options: dict[str, Any], message: str) -> None:
    net = residual()
    before = snapshot(net)
    with pytest.raises(ng.EditError, match=message):
        ng.prune(net, IMAGES[:2], macs=0.6, utility=utility, **options)
    assert unchanged(net, before)


class Coupled(torch.autograd.Function):
    """`x + f(x)` with a backward pass that runs `f` once more, as reversible networks have."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, f: nn.Module) -> Tensor:
        ctx.f = f
        ctx.save_for_backward(x)
        with torch.no_grad():
            out: Tensor = x + f(x)
            return out

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        x = ctx.saved_tensors[0].detach().requires_grad_()
        with torch.enable_grad():
            ctx.f(x).backward(grads[0])
        return grads[0] + x.grad, None


class Reversible(nn.Module):
    """A network with a branch in an autograd function, or beside a sum."""

    def __init__(self, coupled: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.head = nn.Linear(4, 6), nn.Linear(6, 3)
        self.branch = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 6))
        self.coupled = coupled

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        run: Any = Coupled.apply
        x = run(x, self.branch) if self.coupled else x + self.branch(x)
        out: Tensor = self.head(x)
        return out


@pytest.mark.parametrize("utility", ["taylor", "fisher"])
def test_derivatives_that_arrive_in_grad_count_and_stay_no_longer(utility: str) -> None:
    x, labels = torch.randn(5, 4, generator=torch.Generator().manual_seed(1)), LABELS
    found = {}
    for coupled in (True, False):
        net = Reversible(coupled)
        net.stem.weight.grad = torch.ones(6, 4)
        before = snapshot(net)
        widths = widths_of(net, x[:2])
        values = utilities(widths, utility, calibration=[(x, labels)], loss=loss)
        found[coupled] = {w.name: v for w, v in values.items()}
        assert unchanged(net, before)
    # A sum inside of the function cannot be watched, so "fisher" has other values for it there.
    for name in ("stem", "branch.0") if utility == "taylor" else ():
        np.testing.assert_allclose(found[True][name], found[False][name], rtol=1e-4, err_msg=name)
    assert all(values.min() > 0 for values in found[True].values())


class Checkpointed(Reversible):
    """A network with a branch that torch derives by `backward()` alone."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        out: Tensor = self.head(x + torch.utils.checkpoint.checkpoint(self.branch, x, use_reentrant=True))
        return out


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")  # torch's own, as it is recorded
@pytest.mark.parametrize(
    ("of", "told"),
    [
        (lambda net, x: net(x).sum(), "the loss cannot be derived: When use_reentrant=True"),
        (lambda net, x: x.requires_grad_().sum() + net(x).detach().sum(), "does not depend on the network's"),
    ],
)
def test_what_cannot_be_derived_is_told(of: Any, told: str) -> None:
    net, x = Checkpointed(coupled=False), torch.randn(3, 4)
    before = snapshot(net)
    with pytest.raises(ng.EditError, match=told):
        ng.prune(net, x, params=0.5, utility="taylor", loss=lambda network: of(network, x.clone()))
    assert unchanged(net, before)
