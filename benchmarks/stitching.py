"""ResNet-20 stitched into ResNet-32 and ResNet-56 at four cuts, in every way, on real CIFAR-10 images.

`fits`: layers are fitted to 500 training images and tested on the first 512 test images; nothing is trained.
Beside reduced-rank regression stands what its name is often used for: the nearest matrix of that rank to the
fitted one (SVD of W). CKA is unbiased, in batches of 64, on the test images.

`cka`: the largest difference of CKA in batches from CKA of all images at once.

`stages`: the stitch alone, then the stitch with what follows, each trained for as many epochs as take about
two minutes of CPU time, one at least, by Adam on mirrored training images towards what the second one says.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

import naivegraph as ng
from benchmarks.cifar_resnet import Data, correct, images
from benchmarks.common import Row, cifar_resnet, parser, say, write

FITTED, TESTED, RANK, COMPARED, BUDGET = 500, 512, 8, 2048, 120.0
CUTS = {"stem": "relu", **{f"stage {n}": f"layer{n}.{{}}.relu_1" for n in (1, 2, 3)}}
FITS: dict[str, Any] = {
    "ridge": "ridge",
    "least squares": "least_squares",
    "Procrustes": "procrustes",
    "permutation": "permutation",
}
FRONT = ("ResNet-20", "resnet20-12fca82f.th", 3)
BACKS = [("ResNet-32", "resnet32-d509ac18.th", 5), ("ResNet-56", "resnet56-4bfd9763.th", 9)]


def _accuracy(module: nn.Module, test: Data) -> float:
    return 100 * correct(module, test) / len(test[1])


def _names(blocks: tuple[int, int]) -> dict[str, tuple[str, str]]:
    """The vertices of both networks at each cut."""
    return {cut: (name.format(blocks[0] - 1), name.format(blocks[1] - 1)) for cut, name in CUTS.items()}


# -- nothing trained --


def _fits(a: ng.Graph, b: ng.Graph, names: tuple[str, str], fitted: torch.Tensor, test: Data) -> Row:
    """The accuracy of every fit at one cut, and CKA."""
    row: dict[str, object] = {}
    stitched = ng.surgery.stitch(a, names[0], b, names[1], data=fitted, copy=True)
    for name, fit in FITS.items():
        try:
            stitched.fit(fitted, fit)
            row[name] = f"{_accuracy(stitched.module, test):.1f}"
        except ng.EditError as error:
            say(f"{name}: {error}")
            row[name] = "singular"
    low = ng.surgery.stitch(a, names[0], b, names[1], data=fitted, fit=ng.surgery.rank(RANK), copy=True)
    row[f"rank {RANK}, reduced-rank"] = f"{_accuracy(low.module, test):.1f}"
    stitched.fit(fitted, "ridge")
    with torch.no_grad():
        _lower_rank(stitched, a.run(fitted, [names[0]])[names[0]].mean((0, 2, 3)))
    row[f"rank {RANK}, SVD of W"] = f"{_accuracy(stitched.module, test):.1f}"
    found = ng.surgery.similarity(a, b, test[0].split(64), first=names[0], second=names[1])  # type: ignore[no-untyped-call]
    return {**row, "CKA": f"{found[names]:.3f}"}


def _lower_rank(stitched: ng.surgery.Stitch, means: torch.Tensor) -> None:
    """Replace the weight of a stitch by the nearest one of the rank; what it gives keeps its mean."""
    weight, bias = (stitched.module.get_parameter(f"stitch.{name}") for name in ("weight", "bias"))
    matrix = weight[:, :, 0, 0].clone()
    left, values, right = torch.linalg.svd(matrix)
    near = (left[:, :RANK] * values[:RANK]) @ right[:RANK]
    bias.add_((matrix - near) @ means)
    weight.copy_(near[:, :, None, None])


# -- CKA --


def _cka_rows(a: ng.Graph, b: ng.Graph, x: torch.Tensor, names: Sequence[tuple[str, str]]) -> Iterator[Row]:
    """The largest difference, over the cuts and over all pairs of them, by the size of a batch."""
    first, second = zip(*names, strict=True)

    def matrix(size: int) -> torch.Tensor:
        """Return CKA of all pairs, in batches of a size."""
        batches = x.split(size)  # type: ignore[no-untyped-call]
        return ng.surgery.similarity(a, b, batches, first=first, second=second).values

    whole = matrix(len(x))
    for size in (32, 64, 128, 256):
        apart = (matrix(size) - whole).abs()
        row = {"batch": size, "same cuts": f"{apart.diagonal().max():.4f}", "all pairs": f"{apart.max():.4f}"}
        say(str(row))
        yield row


# -- trained --


class _Loader:
    """Batches of training images in a new order each time, half of them mirrored, and a teacher's outputs."""

    def __init__(self, train: Data, teacher: nn.Module, seed: int) -> None:
        self._x, self._seed = train[0], seed
        with torch.no_grad():
            parts: Any = self._x.split(256)  # type: ignore[no-untyped-call]
            self._said = [torch.cat([teacher(p.flip(3) if m else p) for p in parts]) for m in (False, True)]

    def __len__(self) -> int:
        return len(self._x) // 128

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        generator = torch.Generator().manual_seed(self._seed)
        self._seed += 1
        order = torch.randperm(len(self._x), generator=generator)
        for places in order[: len(self) * 128].view(-1, 128):
            flip = (torch.rand(128, generator=generator) < 0.5)[:, None]
            x = self._x[places]
            x = torch.where(flip[..., None, None], x.flip(3), x)
            yield x, torch.where(flip, self._said[1][places], self._said[0][places])


def _distil(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Kullback-Leibler divergence at temperature 4 (Hinton, Vinyals and Dean 2015)."""
    heat = 4.0
    logs, wanted = (output / heat).log_softmax(1), (target / heat).log_softmax(1)
    return heat**2 * F.kl_div(logs, wanted, log_target=True, reduction="batchmean")


def _stages(
    a: ng.Graph, b: ng.Graph, names: tuple[str, str], fitted: torch.Tensor, test: Data, loader: _Loader
) -> Row:
    """The stages at one cut, one after the other."""
    stitched = ng.surgery.stitch(a, names[0], b, names[1], data=fitted, copy=True)
    row: dict[str, object] = {stitched.stage: f"{_accuracy(stitched.module, test):.1f}"}
    for downstream, rate in ((False, 3e-3), (True, 1e-3)):
        trial = ng.surgery.stitch(a, names[0], b, names[1], fit="random", copy=True)
        few, started = [*itertools.islice(loader, 2)], time.process_time()
        trial.train(few, downstream=downstream, loss=_distil)
        epochs = max(int(BUDGET / (len(loader) / 2 * (time.process_time() - started))), 1)
        started = time.process_time()
        losses = stitched.train(loader, downstream=downstream, epochs=epochs, lr=rate, loss=_distil)
        spent, share = time.process_time() - started, _accuracy(stitched.module, test)
        row[stitched.stage] = f"{share:.1f}"
        row["epochs, CPU s" if not downstream else "its epochs, CPU s"] = f"{epochs}, {spent:.0f}"
        say(f"{names}, {stitched.stage}: {share:.1f}, {epochs} epochs, {spent:.0f} CPU s, losses {losses}")
    return row


# -- all of it --


def main() -> None:
    """Stitch at every cut, and write the tables."""
    arguments = parser(__doc__, "python -m benchmarks.stitching --data FOLDER --out FOLDER", threads=1)
    arguments.formatter_class = argparse.RawDescriptionHelpFormatter
    what, cuts = ["fits", "cka", "stages"], [*CUTS]
    arguments.add_argument("--tables", nargs="+", choices=what, default=what, help="what to work out")
    arguments.add_argument("--cuts", nargs="+", choices=cuts, default=cuts, help="where to train stages")
    given = arguments.parse_args()
    torch.manual_seed(given.seed)
    torch.set_num_threads(given.threads)
    train, (x, y) = images(given.data)
    fitted, test = train[0][:FITTED], (x[:TESTED], y[:TESTED])
    (_, a, taken), *backs = [
        (name, ng.capture(cifar_resnet(given.data, file, blocks).eval(), x[:2]), blocks)
        for name, file, blocks in (FRONT, *BACKS)
    ]
    alone = [(FRONT[0], a), *((name, b) for name, b, _ in backs)]
    shares = ", ".join(f"{name} {_accuracy(graph.module, test):.1f}" for name, graph in alone)
    notes = f"Alone: {shares} % of the same {TESTED} images. Seed {given.seed}."
    rows: list[Row]
    if "fits" in given.tables:
        sections = []
        for name, b, blocks in backs:
            rows = []
            for cut, names in _names((taken, blocks)).items():
                rows.append({"cut": cut, **_fits(a, b, names, fitted, test)})
                say(f"{name}: {rows[-1]}")
            sections.append((f"{FRONT[0]} into {name}, nothing trained, top-1 in %", rows))
        write(given.out, "stitching", sections, notes)
    _, b, blocks = backs[0]
    names_at = _names((taken, blocks))
    if "cka" in given.tables:
        rows = [*_cka_rows(a, b, train[0][:COMPARED], [*names_at.values()])]
        title = f"Unbiased CKA in batches against all {COMPARED:,} images at once, largest difference"
        write(given.out, "stitching_cka", [(title, rows)])
    if "stages" in given.tables:
        loader = _Loader(train, b.module, given.seed)
        rows = [{"cut": cut, **_stages(a, b, names_at[cut], fitted, test, loader)} for cut in given.cuts]
        title = f"{FRONT[0]} into {BACKS[0][0]}, stages of training, top-1 in %"
        write(given.out, "stitching_stages", [(title, rows)], notes)


if __name__ == "__main__":
    main()
