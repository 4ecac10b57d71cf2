"""Weights for the command line: files of safetensors and torch.save, and what they hold beside weights."""

import os
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

import naivegraph as ng
from naivegraph import demo
from naivegraph.cli.load_network import load_weights
from naivegraph.cli.usage_errors import UsageError


@pytest.fixture(autouse=True)
def in_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test in an empty current folder."""
    monkeypatch.chdir(tmp_path)


class TestWeights:
    @pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt"])
    def test_are_loaded(self, name: str) -> None:
        source, target = nn.Linear(3, 2), nn.Linear(3, 2)
        if name.endswith(".pt"):
            torch.save(source.state_dict(), name)
        else:
            safetensors.torch.save_file(source.state_dict(), name)
        load_weights(target, Path(name))
        assert torch.equal(source.weight, target.weight)

    def test_with_two_names_may_be_there_once(self) -> None:
        first, second = nn.Linear(3, 3), nn.Linear(3, 3)
        second.weight = first.weight
        net = nn.Sequential(first, second)
        once = {key: value for key, value in net.state_dict().items() if key != "1.weight"}
        safetensors.torch.save_file(
            {key: torch.ones_like(value) for key, value in once.items()}, "tied.safetensors"
        )
        load_weights(net, Path("tied.safetensors"))
        assert torch.equal(second.weight, torch.ones(3, 3))

    def test_of_a_pruned_network_bring_its_sizes_along(self) -> None:
        net = demo.DigitsNet(width=8).eval()
        image = torch.randn(1, 1, 8, 8)
        ng.prune(net, image, macs=0.5)
        ng.save(net, "half.safetensors")
        loaded = load_weights(demo.DigitsNet(width=8).eval(), Path("half.safetensors"))
        assert torch.equal(loaded(image), net(image))

    @pytest.mark.parametrize("key", ["state_dict", "model", "net"])
    @pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
    def test_in_a_checkpoint_of_a_wrapped_network(self, key: str, prefix: str) -> None:
        net = nn.Linear(3, 2)
        state = {f"{prefix}{name}": value for name, value in net.state_dict().items()}
        torch.save({key: state, "epoch": 3, "optimizer": {"state": {}, "param_groups": []}}, "checkpoint.pt")
        target = load_weights(nn.Linear(3, 2), Path("checkpoint.pt"))
        assert torch.equal(target.get_parameter("weight"), net.weight)

    def test_of_a_network_whose_only_part_is_called_module(self) -> None:
        class Outer(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.module = nn.Linear(3, 2)

        saved, loaded = Outer(), Outer()
        torch.save(saved.state_dict(), "outer.pt")
        load_weights(loaded, Path("outer.pt"))
        assert torch.equal(loaded.module.weight, saved.module.weight)

    def test_of_a_checkpoint_with_two_state_dicts_none_is_guessed(self) -> None:
        state = nn.Linear(3, 2).state_dict()
        torch.save({"model": state, "ema": state}, "two.pt")
        with pytest.raises(UsageError, match=r"several state dicts .*, 'model', 'ema'; save"):
            load_weights(nn.Linear(3, 2), Path("two.pt"))

    @pytest.mark.parametrize("prefix", ["model.", "module.net.", "model._orig_mod.", "_fsdp_wrapped_module."])
    def test_under_a_prefix_of_any_wrapper(self, prefix: str) -> None:
        net = nn.Linear(3, 2)
        state = {f"{prefix}{name}": value for name, value in net.state_dict().items()}
        torch.save({"checkpoint": {"state_dict": state}}, "wrapped.pt")
        target = load_weights(nn.Linear(3, 2), Path("wrapped.pt"))
        assert torch.equal(target.get_parameter("weight"), net.weight)

    def test_of_an_average_leave_its_counter(self, capsys: pytest.CaptureFixture[str]) -> None:
        net = nn.Linear(3, 2)
        torch.save(AveragedModel(net).state_dict(), "average.pt")
        target = load_weights(nn.Linear(3, 2), Path("average.pt"))
        assert torch.equal(target.get_parameter("weight"), net.weight)
        assert "the weights under 'module.' are taken, and 'n_averaged' left" in capsys.readouterr().err

    def test_under_two_prefixes_are_not_guessed(self) -> None:
        net = nn.Linear(3, 2)
        twice = {
            f"{p}.{name}": value for p in ("student", "teacher") for name, value in net.state_dict().items()
        }
        torch.save(twice, "twice.pt")
        with pytest.raises(UsageError, match=r"in several places, under 'student.', 'teacher.'; save"):
            load_weights(nn.Linear(3, 2), Path("twice.pt"))

    def test_beside_arguments_and_numbers_of_numpy(self) -> None:
        net = nn.Linear(3, 2)
        kept = {
            "model": net.state_dict(),
            "args": Namespace(lr=0.1),
            "best": np.float64(0.5),
            "at": np.arange(3),
        }
        torch.save({**kept, "optimizer": torch.optim.Adam(net.parameters()).state_dict()}, "kept.pt")
        target = load_weights(nn.Linear(3, 2), Path("kept.pt"))
        assert torch.equal(target.get_parameter("weight"), net.weight)

    @pytest.mark.parametrize(
        "content", [b"", b"hello", b"\x80\x02}q\x00.", b"PK\x03\x04", b"\x08" + b"\0" * 7 + b"{}      "]
    )
    def test_in_a_file_of_something_else(self, content: bytes) -> None:
        Path("other.pt").write_bytes(content)
        with pytest.raises(UsageError, match=r"other.pt (cannot be read as weights|holds no state dict)"):
            load_weights(nn.Linear(3, 2), Path("other.pt"))

    def test_no_code_is_run(self) -> None:
        torch.save({"weight": Trap()}, "trap.pt")
        with pytest.raises(UsageError, match=r"trap.pt cannot be read as weights"):
            load_weights(nn.Linear(3, 2), Path("trap.pt"))
        assert not Path("sprung").exists()

    def test_of_another_network_are_refused(self) -> None:
        torch.save(nn.Linear(4, 2).state_dict(), "wide.pt")
        with pytest.raises(UsageError, match=r"another shape: size mismatch for weight"):
            load_weights(nn.Linear(3, 2), Path("wide.pt"))
        torch.save({"weight": torch.zeros(2, 3), "scale": torch.zeros(1)}, "other.pt")
        with pytest.raises(
            UsageError, match=r"another network: 'bias' missing, 'scale' unknown to the network"
        ):
            load_weights(nn.Linear(3, 2), Path("other.pt"))
        torch.save({"state_dict": {}, "epoch": 3}, "nested.pt")
        with pytest.raises(UsageError, match=r"nested.pt holds no state dict, a dict of tensors"):
            load_weights(nn.Linear(3, 2), Path("nested.pt"))
        Path("cut.safetensors").write_bytes(b"\x10\x00\x00\x00")
        with pytest.raises(UsageError, match=r"cut.safetensors cannot be read as weights"):
            load_weights(nn.Linear(3, 2), Path("cut.safetensors"))


class Trap:
    """An object whose unpickling leaves a trace."""

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return os.mkdir, ("sprung",)
