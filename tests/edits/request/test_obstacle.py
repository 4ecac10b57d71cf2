"""Networks that cannot be edited as they are: refused with the way out, and left as they were."""

from __future__ import annotations

import copy
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, distribute_tensor
from torch.nn.parallel import DistributedDataParallel
from torch.testing._internal.two_tensor import TwoTensor

import naivegraph as ng


def build() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3)).eval()


@pytest.fixture
def group() -> Iterator[None]:
    """A process group of one process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    before = {name: os.environ.get(name) for name in address}
    os.environ.update(address)
    dist.init_process_group("gloo", rank=0, world_size=1)
    yield
    dist.destroy_process_group()
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})


VERBS: dict[str, Callable[[Any, Tensor], Any]] = {
    "prune": lambda net, x: ng.prune(net, x, ratio=0.5),
    "resize": lambda net, x: ng.resize(net, x, {"0": -4}),
    "insert": lambda net, x: ng.insert(net, x, nn.ReLU(), after="0"),
    "replay": lambda net, x: ng.replay(net, [ng.prune(build(), x, ratio=0.5).to_json()]),
}


@pytest.mark.parametrize("verb", VERBS)
def test_data_parallel_on_many_machines_is_unwrapped_first(group: None, verb: str) -> None:
    net, x = build(), torch.randn(4, 6)
    wrapped = DistributedDataParallel(net)
    wrapped(x).square().mean().backward()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(ng.EditError, match=r"DistributedDataParallel.*edit the network inside, its \.module"):
        VERBS[verb](wrapped, x)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    wrapped(x).square().mean().backward()


def test_one_part_of_a_network_may_be_wrapped(group: None) -> None:
    net = nn.Sequential(DistributedDataParallel(build()), nn.Linear(3, 2))
    with pytest.raises(ng.EditError, match=r"the part at '0' is a DistributedDataParallel"):
        ng.prune(net, torch.randn(4, 6), ratio=0.5)


def test_the_network_inside_is_edited_and_told_to_be_wrapped_again(group: None) -> None:
    net, x = build(), torch.randn(4, 6)
    wrapped = DistributedDataParallel(net)
    edit = ng.prune(wrapped.module, x, ratio=0.5)
    assert any("wrap the network again" in note for note in edit.notes)
    reduced = []

    def hook(state: Any, bucket: Any) -> torch.futures.Future[Tensor]:
        reduced.append(bucket.buffer().numel())
        done: torch.futures.Future[Tensor] = torch.futures.Future()
        done.set_result(bucket.buffer())
        return done

    hook.__annotations__.clear()  # torch wants classes there
    again = DistributedDataParallel(net)
    again.register_comm_hook(None, hook)
    again(x).square().mean().backward()
    assert sum(reduced) == sum(p.numel() for p in net.parameters())


def test_nothing_is_said_of_other_networks(group: None) -> None:
    x = torch.randn(4, 6)
    wrapped = DistributedDataParallel(build())
    assert not ng.prune(build(), x, ratio=0.5).notes
    del wrapped


def test_sharded_networks_are_edited_before(group: None) -> None:
    net = build()
    fully_shard(net, mesh=init_device_mesh("cpu", (1,)))
    with pytest.raises(ng.EditError, match=r"is sharded .*edit the network before it is sharded"):
        ng.prune(net, torch.randn(4, 6), ratio=0.5)


@pytest.mark.filterwarnings("ignore:DTensor random operators")  # of torch 2.6
def test_distributed_tensors_are_edited_before(group: None) -> None:
    net, mesh = build(), init_device_mesh("cpu", (1,))
    first = net.get_submodule("0")
    first.weight = nn.Parameter(
        distribute_tensor(net.get_parameter("0.weight").detach(), mesh, [Replicate()])
    )
    assert isinstance(first.weight, DTensor)
    with pytest.raises(ng.EditError, match=r"0\.weight is a DTensor.*distribute what results"):
        ng.prune(net, torch.randn(4, 6), ratio=0.5)


def test_tensors_that_stand_for_others_are_edited_before() -> None:
    """As torchao's quantised weights are."""
    net = build()
    net[0].weight = nn.Parameter(TwoTensor(torch.randn(16, 6), torch.randn(16, 6)))  # type: ignore[no-untyped-call]
    for verb in ("prune", "resize"):
        with pytest.raises(
            ng.EditError, match=r"0\.weight is a TwoTensor.*quantise the network that results"
        ):
            VERBS[verb](net, torch.randn(4, 6))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_packed_weights_are_edited_before() -> None:
    net = torch.ao.quantization.quantize_dynamic(build(), {nn.Linear})  # type: ignore[no-untyped-call]
    with pytest.raises(ng.EditError, match=r"packed.*prune and resize first, and quantise"):
        ng.prune(net, torch.randn(4, 6), macs=0.5)


def test_parameters_made_in_inference_mode_are_copied_first() -> None:
    with torch.inference_mode():
        net, x = build(), torch.randn(4, 6)
    with pytest.raises(ng.EditError, match=r"0\.weight was made in torch\.inference_mode.*copy\.deepcopy"):
        ng.resize(net, x.clone(), {"0": +3})
    copied = copy.deepcopy(net)
    ng.resize(copied, x.clone(), {"0": +3})
    with torch.inference_mode():
        torch.testing.assert_close(copied(x), net(x))


def test_lazy_parameters_need_a_run_first() -> None:
    net, x = nn.Sequential(nn.LazyLinear(6), nn.ReLU(), nn.Linear(6, 2)), torch.randn(2, 4)
    with pytest.raises(
        ng.EditError, match=r"0\.weight has no shape yet: call the network once on an example"
    ):
        ng.prune(net, (x,), macs=0.5)
    with pytest.raises(ng.EditError, match=r"0\.weight has no shape yet"):
        ng.resize(net, x, {"0": -2})
    net(x)
    assert ng.resize(net, x, {"0": -2})
