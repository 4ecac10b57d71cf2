"""The trained networks of the accuracy benchmark, each with data to calibrate and to test with."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cifar_resnet import images
from benchmarks.common import cifar_resnet, data_file, resnet56

Data = tuple[torch.Tensor, torch.Tensor]


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained network.

    Attributes:
        name: As shown in tables.
        build: Makes it, in eval mode.
        calibration: Inputs that it is never tested on, in a random order.
        test: Inputs and labels.
        anchors: Networks that others pruned and trained again, by a title.
    """

    name: str
    build: Callable[[], nn.Module]
    calibration: torch.Tensor
    test: Data
    anchors: tuple[tuple[str, Callable[[], nn.Module]], ...] = ()


class ResNet8(nn.Module):
    """The ResNet-8 of MLPerf Tiny."""

    def __init__(self) -> None:
        super().__init__()
        self.c = nn.ModuleList()
        for inputs, outputs, kernel, stride in (
            (3, 16, 3, 1), (16, 16, 3, 1), (16, 16, 3, 1), (16, 32, 3, 2), (32, 32, 3, 1), (16, 32, 1, 2),
            (32, 64, 3, 2), (64, 64, 3, 1), (32, 64, 1, 2),
        ):  # fmt: skip
            first = 1 if stride == 1 else 0  # as Keras pads
            pad = nn.ZeroPad2d((first, 1, first, 1) if kernel == 3 else 0)
            layer = nn.Sequential()
            layer.add_module("pad", pad)
            layer.add_module("conv", nn.Conv2d(inputs, outputs, kernel, stride))
            self.c.append(layer)
        self.b = nn.ModuleList([nn.BatchNorm2d(size, eps=1e-3) for size in (16, 16, 16, 32, 32, 64, 64)])
        self.fc = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Classify images of pixels from 0 to 255."""
        c, b, r = self.c, self.b, F.relu
        x = r(b[0](c[0](x)))
        x = r(x + b[2](c[2](r(b[1](c[1](x))))))
        x = r(c[5](x) + b[4](c[4](r(b[3](c[3](x))))))
        x = r(c[8](x) + b[6](c[7](r(b[5](c[6](x))))))
        return self.fc(F.avg_pool2d(x, 8).flatten(1))  # type: ignore[no-any-return]


class Res8(nn.Module):
    """The speech network res8 of Tang and Lin, "Deep residual learning for small-footprint keyword spotting".

    https://arxiv.org/abs/1710.10361
    """

    def __init__(self, inner: Sequence[int] = (45, 45, 45)) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(1, 45, 3, padding=1, bias=False)
        for number in range(1, 7):
            width = inner[(number - 1) // 2]
            inputs, outputs = (45, width) if number % 2 else (width, 45)
            self.add_module(f"conv{number}", nn.Conv2d(inputs, outputs, 3, padding=1, bias=False))
            self.add_module(f"bn{number}", nn.BatchNorm2d(outputs, affine=False))
            if number % 2:
                self.register_parameter(f"scale{number}", nn.Parameter(torch.ones(outputs)))
        self.output = nn.Linear(45, 12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Name the word of cepstra `[batch, 101, 40]`."""
        old = x = F.avg_pool2d(F.relu(self.conv0(x[:, None])), (4, 3))
        for number in range(1, 7):
            x = F.relu(getattr(self, f"conv{number}")(x))
            if number % 2 == 0:
                x = x + old
                old = x
            x = getattr(self, f"bn{number}")(x)
            if number % 2:
                x = x * getattr(self, f"scale{number}")[:, None, None]
        return self.output(x.mean((2, 3)))  # type: ignore[no-any-return]


def _resnet8(data: Path) -> nn.Module:
    net = ResNet8()
    path = data_file(data, "cifar10/resnet8_mlperftiny.pt")
    net.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
    return net.eval()


def _vgg(data: Path) -> nn.Module:
    layers: list[nn.Module] = []
    inputs = 3
    for number, outputs in enumerate((64, 64, 128, 128, 64, 64), 1):
        layers += [nn.Conv2d(inputs, outputs, 3), nn.ReLU(), nn.BatchNorm2d(outputs, eps=1e-3)]
        layers += [nn.MaxPool2d(2)] if number in (2, 4) else []
        inputs = outputs
    layers += [nn.Flatten(), nn.Linear(64, 1024), nn.ReLU(), nn.Linear(1024, 512), nn.ReLU()]
    net = nn.Sequential(*layers, nn.Linear(512, 10), nn.ReLU())
    path = data_file(data, "cifar10/vgglike_cifar_10_model.pt")
    net.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
    return net.eval()


def _res8(data: Path, file: str = "res8.pt") -> nn.Module:
    path = data_file(data, f"speech_commands/{file}")
    state = torch.load(path, weights_only=True, map_location="cpu")
    net = Res8([len(state[f"conv{number}.weight"]) for number in (1, 3, 5)])
    named = {name.removesuffix(".scale"): value for name, value in state.items()}
    net.load_state_dict({name: value for name, value in named.items() if not name.endswith("_indices")})
    return net.eval()


def _speech(data: Path) -> tuple[torch.Tensor, Data]:
    """Words to calibrate with (a quarter of the published test set) and the others to test with."""
    archive = np.load(data_file(data, "speech_commands/speech_commands_v2_test_mfcc.npz"))
    x, y = torch.from_numpy(archive["x"]).float(), torch.from_numpy(archive["y"]).long()
    chosen = torch.arange(len(y)) % 4 == 0
    return x[chosen], (x[~chosen], y[~chosen])


def trained(data: Path, seed: int) -> dict[str, Trained]:
    """The networks by name."""
    random = torch.Generator().manual_seed(seed)
    train, test = images(data)
    chosen = train[0][torch.randperm(len(train[0]), generator=random)]
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    scale = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    pixels, raw = (chosen * scale + mean) * 255, ((test[0] * scale + mean) * 255, test[1])
    words, spoken = _speech(data)
    words = words[torch.randperm(len(words), generator=random)]
    slimmed = tuple(
        (f"published, {share} % slimmed, trained", functools.partial(_res8, data, f"res8_{share}.pt"))
        for share in (40, 80)
    )
    return {
        "ResNet-56": Trained("ResNet-56", lambda: resnet56(data), chosen, test),
        "ResNet-20": Trained(
            "ResNet-20", lambda: cifar_resnet(data, "resnet20-12fca82f.th", 3), chosen, test
        ),
        "ResNet-8": Trained("ResNet-8", lambda: _resnet8(data), pixels, raw),
        "VGG": Trained("VGG", lambda: _vgg(data), pixels, raw),
        "res8": Trained("res8", lambda: _res8(data), words, spoken, slimmed),
    }
