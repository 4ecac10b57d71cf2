"""EfficientNet-Lite0 pruned without training: how often it answers as it did before, on real images.

No ImageNet is at hand, so the images are those of CIFAR-10, enlarged to 224 pixels (bilinear), and what
counts is agreement: the share of test images with the same first answer of 1,000 as the network before. That
the network itself is right is seen by its answers: "plausible" is the share of the images for which the first
answer is of a kind that fits CIFAR's label (a dog for a dog; ImageNet has no deer, so antelopes count).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.accuracy_measures import Subject, measured, rows
from benchmarks.common import Row, data_file, efficientnet_lite0, parser, say, write

# ImageNet's classes for each of CIFAR-10's, as ranges.
_FITTING: tuple[tuple[range, ...], ...] = (
    (range(404, 405), range(895, 896), range(405, 406), range(908, 909), range(812, 813)),
    (
        range(407, 408), range(436, 437), range(468, 469), range(479, 480), range(511, 512), range(581, 582),
        range(609, 610), range(627, 628), range(656, 657), range(661, 662), range(705, 706), range(717, 718),
        range(751, 752), range(817, 818),
    ),
    (range(7, 25), range(80, 101), range(127, 147)),
    (range(281, 294),),
    (range(345, 346), range(348, 356)),
    (range(151, 276),),
    (range(30, 33),),
    (range(339, 341), range(603, 604)),
    (
        range(403, 404), range(449, 450), range(472, 473), range(484, 485), range(510, 511), range(536, 537),
        range(554, 555), range(576, 577), range(625, 626), range(628, 629), range(724, 725), range(780, 781),
        range(814, 815), range(833, 834), range(871, 872), range(913, 915),
    ),
    (
        range(407, 408), range(555, 556), range(569, 570), range(656, 657), range(675, 676), range(717, 718),
        range(734, 735), range(757, 758), range(779, 780), range(864, 865), range(866, 868), range(874, 875),
    ),
)  # fmt: skip


def enlarged(data: Path, part: str, count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Some images of a part ("train" or "test"), 224 pixels a side, as the network wants them, and labels."""
    archive = np.load(data_file(data, "cifar10/cifar10_original_subset.npz"))
    pixels, labels = archive[f"{part}_x"], archive[f"{part}_y"]
    chosen = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))[:count].numpy()
    x = torch.from_numpy(pixels[chosen]).permute(0, 3, 1, 2).float()
    x = F.interpolate(x, size=224, mode="bilinear", align_corners=False)
    return (x - 127) / 128, torch.from_numpy(labels[chosen]).long()


@torch.no_grad()
def answers(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The first answer for each image."""
    model.eval()
    return torch.cat([model(batch).argmax(1) for batch in torch.split(x, 32)])


def plausible(found: torch.Tensor, labels: torch.Tensor) -> float:
    """The share of answers that fit the labels."""
    fits = [
        any(answer in kind for kind in _FITTING[label])
        for answer, label in zip(found.tolist(), labels.tolist(), strict=True)
    ]
    return sum(fits) / len(fits)


def subject(data: Path, samples: int, tested: int, seed: int) -> tuple[Subject, Row]:
    """The network with its data, and a row on how it answers before."""
    x, labels = enlarged(data, "test", tested, seed)
    before = answers(efficientnet_lite0(), x)
    row: Row = {
        "network": "EfficientNet-Lite0", "plausible": f"{plausible(before, labels):.1%}", "tested on": tested,
        "measured": measured(),
    }  # fmt: skip

    def agreement(model: nn.Module) -> float:
        return float((answers(model, x) == before).float().mean())

    calibration = enlarged(data, "train", samples, seed)[0]
    shown = "{:.1%}".format
    return Subject(
        "EfficientNet-Lite0", efficientnet_lite0, ((x[:1],), {}), calibration, agreement, shown
    ), row


def main() -> int:
    """Run the benchmark."""
    arguments = parser(__doc__, "python -m benchmarks.accuracy_imagenet --data ../shared/data")
    arguments.add_argument(
        "--budgets", nargs="*", type=float, default=[0.9, 0.75], help="fractions of the MACs"
    )
    arguments.add_argument("--criteria", nargs="*", default=["l2", "fisher"], help="criteria")
    arguments.add_argument("--samples", type=int, default=256, help="calibration images")
    arguments.add_argument("--tested", type=int, default=300, help="test images")
    given: Any = arguments.parse_args()
    torch.set_num_threads(given.threads)
    net, base = subject(given.data, given.samples, given.tested, given.seed)
    say(f"before: {base}")
    found: list[Row] = []
    for budget in given.budgets:
        for criterion in given.criteria:
            found += rows(net, budget, criterion)
            _write(given, base, found)
    return 0


def _write(given: Any, base: Row, found: list[Row]) -> None:
    """Write what there is so far."""
    notes = (
        f"CIFAR-10 images enlarged to 224 pixels (bilinear): {given.samples} without labels from the "
        f"training part to choose and refit with, {given.tested} of the test part for agreement (one "
        "standard deviation is about 2.3 points at 80 %)."
    )
    write(given.out, "accuracy_imagenet", [("Before", [base]), ("Agreement without training", found)], notes)


if __name__ == "__main__":
    raise SystemExit(main())
