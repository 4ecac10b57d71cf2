"""Networks that change their own parameters: against steps by hand, and what they can do by changes alone."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import naivegraph as ng
from naivegraph.weights import FastWeights, Introspective


def _net(inputs: int = 2, outputs: int = 1, address: int = 4, modify: bool = True) -> Introspective:
    torch.manual_seed(0)
    layers = nn.Linear(inputs + 2, 10), nn.Tanh(), nn.Linear(10, outputs + 2 * address + 1)
    return Introspective(nn.Sequential(*layers), address, modify=modify)


def _by_hand(net: Introspective, x: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
    """The outputs for one sequence, with a network whose parameters are changed one by one."""
    body, n, value, found = copy.deepcopy(net.body), net.address, 0.0, []
    with torch.no_grad():
        for now, evaluation in zip(x, told, strict=True):
            out = body(torch.cat([now, torch.tensor([value, float(evaluation)])])[None])[0]
            y, read, change, amount = out[: -2 * n - 1], out[-2 * n - 1 : -n - 1], out[-n - 1 : -1], out[-1]
            found.append(y)
            flat = torch.cat([each.reshape(-1) for each in body.parameters()])
            met = []
            for address in (read, change):
                cosines = torch.stack([F.cosine_similarity(address, code, dim=0) for code in net.codes])
                powers = torch.exp(net.sharpness * cosines)
                met.append(powers / powers.sum())
            value, start = float(met[0] @ flat), 0
            for each in body.parameters():
                each.add_(amount * met[1][start : start + each.numel()].reshape(each.shape))
                start += each.numel()
    return torch.stack(found)


def test_it_does_what_steps_by_hand_do() -> None:
    net = _net()
    x, told = torch.randn(3, 5, 2), torch.randn(3, 5)
    y = net(x, told).detach()
    for i in range(3):
        torch.testing.assert_close(y[i], _by_hand(net, x[i], told[i]), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(y, net(x))


def test_changes_stay_within_the_sequence_unless_asked() -> None:
    net, x = _net(), torch.randn(2, 5, 2)
    before, first = copy.deepcopy(net.state_dict()), net(x)
    torch.testing.assert_close(net(x), first)
    assert all(torch.equal(before[name], each) for name, each in net.state_dict().items())
    state = net.start(2)
    for now in x.unbind(1):
        _, state = net.step(now, state)
    net.store(state, 1)
    flat = torch.cat([each.detach().reshape(-1) for each in net.body.parameters()])
    assert torch.equal(flat, state.weights[1])
    assert any(not torch.equal(before[name], each) for name, each in net.state_dict().items())


def _last_output(net: Introspective, x: torch.Tensor, reads: bool) -> torch.Tensor:
    """The output of the last step; without `reads` the value read is never told."""
    state = net.start(len(x))
    for now in x.unbind(1):
        y, state = net.step(now, state if reads else FastWeights(state.weights, 0 * state.value))
    return y[:, 0]


@pytest.mark.parametrize(
    ("modify", "reads", "learns"), [(True, False, True), (False, True, True), (False, False, False)]
)
def test_it_remembers_by_what_it_changes_or_reads(modify: bool, reads: bool, learns: bool) -> None:
    """The sign seen at first is asked for two steps later, and the body has no other memory."""
    net = _net(1, modify=modify)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    made = torch.Generator().manual_seed(0)
    for _ in range(200):
        sign = torch.randint(2, (32,), generator=made).float() * 2 - 1
        x = torch.stack([sign, torch.zeros(32), torch.zeros(32)], 1)[..., None]
        loss = F.mse_loss(_last_output(net, x, reads), sign)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
    assert loss.item() < 0.1 if learns else loss.item() > 0.8


def test_gradients_go_through_the_changes() -> None:
    net = _net().double()
    names, values = zip(*net.named_parameters(), strict=True)
    x = torch.randn(1, 3, 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda *given: torch.func.functional_call(net, dict(zip(names, given, strict=True)), x), values
    )


def test_codes_follow_edits_and_copies() -> None:
    net = _net()
    x, before = torch.randn(2, 4, 2), net.codes
    other = pickle.loads(pickle.dumps(net))
    torch.testing.assert_close(other(x), net(x))
    edit = ng.resize(net.body, torch.zeros(1, 4), {"0": -3})
    assert net(x).shape == (2, 4, 1)
    kept = edit.sizes["0"].kept[0]
    assert torch.equal(net.codes[:4], before[4 * kept[0] : 4 * kept[0] + 4])
    assert copy.deepcopy(net)(x).shape == (2, 4, 1)


def test_what_is_refused() -> None:
    with pytest.raises(ng.EditError, match=r"the body does not take 5 numbers \(inputs, value read, eval"):
        _net()(torch.zeros(2, 4, 3))
    with pytest.raises(ng.EditError, match=r"the body gives \(8,\) for each input, and is to give 18"):
        Introspective(nn.Linear(4, 8))(torch.zeros(2, 4, 2))
    with pytest.raises(ng.EditError, match="the body has no parameters"):
        Introspective(nn.Tanh())
    with pytest.raises(ValueError, match=r"sequences are \[batch, time, inputs\], and these are \[2, 2\]"):
        _net()(torch.zeros(2, 2))
    with pytest.raises(ng.EditError, match="address must be a whole number from 1 up, not 0"):
        Introspective(nn.Linear(4, 8), 0)
    with pytest.raises(
        ValueError, match=r"evaluations are \[batch, time\], \[2, 4\] here, and these are \[2, 3\]"
    ):
        _net()(torch.zeros(2, 4, 2), torch.zeros(2, 3))
    with pytest.raises(ng.EditError, match="there is no sequence 5 among 2"):
        _net().store(_net().start(2), 5)
    with pytest.raises(
        ng.EditError, match=r"the body does not take .*Expected more than 1 value per channel"
    ):
        Introspective(nn.Sequential(nn.Linear(4, 19), nn.BatchNorm1d(19)))(torch.zeros(2, 4, 2))


def test_a_recurrent_body_has_weights_of_its_own_for_each_sequence() -> None:
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.GRUCell(4, 19)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.cell(x)
            return out

    torch.manual_seed(0)
    net, x = Introspective(Reader()), torch.randn(2, 4, 2)
    together = net(x)
    for number in range(2):
        torch.testing.assert_close(net(x[number : number + 1])[0], together[number])
