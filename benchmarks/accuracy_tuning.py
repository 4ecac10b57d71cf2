"""ResNet-56 at half of its MACs, fine-tuned: refitted first by naivegraph, and pruned by Torch-Pruning.

Both get the same recipe (`benchmarks/cifar_resnet.py`), images and seeds. naivegraph chooses by "fisher" and
refits with 1,024 of the images that fine-tuning sees anyway; Torch-Pruning's variant is the one that is best
in `benchmarks/results/cifar_resnet.md`: global, group l2 magnitude, layers tied by shortcuts left alone.
"""

from __future__ import annotations

import statistics
from typing import Any

import torch
from torch import nn

import naivegraph as ng
from benchmarks.cifar_resnet import Data, correct, finetune, images, peer_pruned, search
from benchmarks.common import Row, macs, parser, resnet56, say, write

_SAMPLES = 1024


def ours(given: Any, train: Data, example: torch.Tensor, seed: int) -> nn.Module:
    """Pruned by "fisher" and refitted to images drawn with the seed."""
    model = resnet56(given.data)
    chosen = torch.randperm(len(train[0]), generator=torch.Generator().manual_seed(seed))[:_SAMPLES]
    ng.prune(model, example, macs=given.macs, calibration=train[0][chosen])
    return model


def theirs(given: Any, train: Data, example: torch.Tensor, seed: int) -> nn.Module:
    """Pruned by Torch-Pruning."""
    plain = resnet56(given.data)
    blocks: list[Any] = [block for stage in (plain.layer1, plain.layer2, plain.layer3) for block in stage]
    tied: list[nn.Module] = [plain.linear, plain.conv1, *[block.conv2 for block in blocks]]
    budget = macs(plain, (example,)) * given.macs
    return search(lambda ratio: peer_pruned(plain, tied, example, ratio), example, budget)[1]


_WAYS = {"naivegraph, fisher, refitted": ours, "Torch-Pruning, l2, tied layers left alone": theirs}


def main() -> int:
    """Run the benchmark."""
    arguments = parser(__doc__, "python -m benchmarks.accuracy_tuning --data ../shared/data")
    arguments.add_argument("--macs", type=float, default=0.5, help="budget, as a fraction")
    arguments.add_argument("--epochs", type=int, default=3, help="epochs of fine-tuning")
    arguments.add_argument("--seeds", type=int, default=3, help="number of seeds")
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    train, test = images(given.data)
    rows: list[Row] = []
    found: dict[str, list[float]] = {name: [] for name in _WAYS}
    for seed in range(given.seed, given.seed + given.seeds):
        for name, make in _WAYS.items():
            model = make(given, train, test[0][:1], seed)
            once = correct(model, test) / len(test[1])
            used = macs(model, (test[0][:1],))
            seconds = finetune(model, train, given.epochs, seed, f"{name}, seed {seed}")
            tuned = correct(model, test)
            found[name].append(tuned / len(test[1]))
            rows.append(
                {
                    "network": name, "seed": seed, "MACs": f"{used:,}", "before fine-tuning": f"{once:.2%}",
                    "fine-tuned": f"{tuned / len(test[1]):.2%} ({tuned})", "fine-tuning s": f"{seconds:.0f}",
                }
            )  # fmt: skip
            say(str(rows[-1]))
            _write(given, rows, found, len(test[1]))
    return 0


def _write(given: Any, rows: list[Row], found: dict[str, list[float]], count: int) -> None:
    """Write what there is so far."""
    means: list[Row] = [
        {
            "network": name, "seeds": len(values), "mean": f"{statistics.mean(values):.2%}",
            "least": f"{min(values):.2%}", "most": f"{max(values):.2%}",
        }
        for name, values in found.items() if values
    ]  # fmt: skip
    notes = (
        f"{given.epochs} epochs on 8,068 images, tested on {count:,} (one standard deviation is about 0.8 "
        "points; the test images are the same for all). A seed decides the order and the augmentation of the "
        "images, and which 1,024 are refitted to."
    )
    title = f"ResNet-56, macs={given.macs}"
    write(given.out, "accuracy_tuning", [(title, rows), ("Over the seeds", means)], notes)


if __name__ == "__main__":
    raise SystemExit(main())
