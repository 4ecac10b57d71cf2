"""Evolution on small images at equal CPU time: weights inherited, from scratch, at random, and no search.

Under a cap on parameters, each way has the same CPU seconds in one thread, from the same first network. What
it gives is chosen by validation accuracy, of equals the smaller; its test accuracy is looked at once.
"""

from __future__ import annotations

import copy
import dataclasses
import random
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import naivegraph as ng
from benchmarks.common import Row, data_file, parser, say, write
from naivegraph import search
from naivegraph.search.evolution.genome import Genome, start_anew
from naivegraph.search.evolution.mutation import tried

RUNGS = (2, 6, 18)


@dataclasses.dataclass(frozen=True)
class Images:
    """Images in three parts, with their classes, and the cap on parameters."""

    name: str
    train: tuple[Tensor, Tensor]
    valid: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    params: int

    def training(self) -> search.Classification:
        """Training on the first part, measured on the second."""
        return search.Classification(*self.train, *self.valid, batch_size=64, learning_rate=0.003)

    def tested(self, module: nn.Module) -> float:
        """The accuracy on the third part in percent."""
        module.eval()
        with torch.no_grad():
            found = torch.cat([module(part).argmax(1) for part in torch.split(self.test[0], 256)])
        return 100 * float((found == self.test[1]).double().mean())


def digits(data: Path, seed: int) -> Images:
    """The digits of scikit-learn, 8 by 8 pixels, in another split for each seed."""
    from sklearn.datasets import load_digits

    found = load_digits()
    x = torch.from_numpy(found.images).float()[:, None] / 8 - 1
    return split("digits", x, torch.from_numpy(found.target).long(), seed, (1000, 350), 4000)


def cifar10(data: Path, seed: int) -> Images:
    """Some of the CIFAR-10 images in the data folder, at half their size."""
    with np.load(data_file(data, "cifar10/cifar10_original_subset.npz")) as kept:
        x, y = torch.from_numpy(kept["train_x"]).float(), torch.from_numpy(kept["train_y"]).long()
    x = nn.functional.avg_pool2d(x.permute(0, 3, 1, 2) / 128 - 1, 2)
    return split("CIFAR-10, 16 by 16", x, y, seed, (len(x) // 2, len(x) // 4), 20_000)


def split(name: str, x: Tensor, y: Tensor, seed: int, counts: tuple[int, int], params: int) -> Images:
    """Split images into three parts."""
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    parts = torch.split(order, [*counts, len(x) - sum(counts)])
    train, valid, test = ((x[part], y[part]) for part in parts)
    return Images(name, train, valid, test, params)


def first_network(images: Images, seed: int) -> ng.Graph:
    """The network that all ways start from."""
    torch.manual_seed(seed)
    channels = images.train[0].shape[1]
    net = nn.Sequential(
        nn.Conv2d(channels, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10),
    )  # fmt: skip
    return ng.capture(net, images.train[0][:2])


def mutations() -> list[search.Mutation]:
    """The mutations of every search."""
    return [
        search.wider(),
        search.wider(1.0, 3),
        search.narrower(),
        search.deeper(),
        search.skip(),
        search.shallower(),
        search.kernel((1, 3, 5)),
    ]


# -- the ways: each gives the test accuracy of what it chose, and how many networks it trained --

Answer = tuple[float, float, int]


def trained_longer(images: Images, seed: int, seconds: float) -> Answer:
    """The first network, trained until the time is over; the epoch of the best validation accuracy counts."""
    until = time.process_time() + seconds
    module, train = first_network(images, seed).module, images.training()
    # One optimizer for the whole of it: as many epochs as there is time for, in growing pieces.
    best, epochs, state = -1.0, 0, copy.deepcopy(module.state_dict())
    optimizer = torch.optim.AdamW(module.parameters(), lr=train.learning_rate)
    generator = torch.Generator().manual_seed(seed)
    while time.process_time() < until:
        module.train()
        for x, y in train._batches(train.batch_size, generator):
            optimizer.zero_grad()
            torch.autograd.backward(train.loss(module(x), y))
            optimizer.step()
        epochs += 1
        module.eval()
        with torch.no_grad():
            reached = train.value(module(images.valid[0]), images.valid[1])
        if reached > best:
            best, state = reached, copy.deepcopy(module.state_dict())
    module.load_state_dict(state)
    return images.tested(module), float(sum(p.numel() for p in module.parameters())), epochs


def searched(make: Callable[[Images, int], search.Space]) -> Callable[[Images, int, float], Answer]:
    """A study of a space, one network after the other until the time is over."""

    def run(images: Images, seed: int, seconds: float) -> Answer:
        until = time.process_time() + seconds
        with tempfile.TemporaryDirectory() as folder:
            study = search.Study(
                folder,
                space=make(images, seed),
                evaluate=images.training(),
                objectives={"accuracy": "max", "params": "min"},
                limits={"params": images.params},
                rungs=RUNGS,
                seed=seed,
                ahead=1,
            )
            count = 0
            while time.process_time() < until:
                count += 1
                study.run(networks=count, engine="serial")
            best = study.best
            if best is None:
                raise SystemExit("no network keeps the cap on parameters")
            return images.tested(best.module()), best.values["params"], len(study.candidates)

    return run


def evolution(inherit: bool) -> Callable[[Images, int], search.Space]:
    """Evolution whose children inherit weights, or start anew."""

    def make(images: Images, seed: int) -> search.Space:
        return search.Evolution(
            first_network(images, seed),
            mutations(),
            select=search.tournament(5),
            population=4,
            limits={"params": images.params},
            inherit=inherit,
        )

    return make


def at_random(images: Images, seed: int) -> search.Space:
    """Networks some random mutations away from the first one, from scratch."""

    def draw(number: int) -> ng.Graph:
        rng = random.Random(f"{seed}/{number}")
        genome = Genome(first_network(images, seed))
        for _ in range(rng.randrange(8) if number else 0):
            child = tried(rng.choice(mutations()), genome, rng)
            if child is not None and child[0].graph.costs("params")["params"] <= images.params:
                genome = child[0]
        start_anew(genome.graph)
        return genome.graph

    return search.Evolution(draw, mutations(), population=1_000_000)


WAYS: dict[str, Callable[[Images, int, float], Answer]] = {
    "the first network, trained longer": trained_longer,
    "random search": searched(at_random),
    "evolution from scratch": searched(evolution(False)),
    "evolution, weights inherited": searched(evolution(True)),
}


def interval(values: list[float]) -> str:
    """The mean with its interval of 95 percent by Student's distribution."""
    from scipy.stats import t

    count = len(values)
    if count < 2:
        return f"{values[0]:.2f}"
    half = float(t.ppf(0.975, count - 1)) * float(np.std(values, ddof=1)) / count**0.5
    return f"{np.mean(values):.2f} ± {half:.2f}"


def main() -> None:
    """Run."""
    options = parser(__doc__, "python -m benchmarks.evolution --seconds 5 --seeds 2", threads=1)
    options.add_argument("--seconds", type=float, default=20, help="CPU seconds of each way and seed")
    options.add_argument("--seeds", type=int, default=5, help="splits, each with another first network")
    sets: dict[str, Callable[[Path, int], Images]] = {"digits": digits, "cifar10": cifar10}
    options.add_argument("--sets", nargs="+", choices=list(sets), default=["digits"], help="images")
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    warnings.simplefilter("ignore")
    rows: list[Row] = []
    notes = (
        f"{args.seconds:g} CPU seconds for each way and seed, mutations and the study's files counted; mean "
        "and interval of 95 % over splits. The cap is on parameters. What is given was chosen by validation "
        f"accuracy, of equals the smaller. Rungs of the searches end at {', '.join(map(str, RUNGS))} epochs; "
        "networks: how many were trained on at least the first, for the first row epochs."
    )
    for name in args.sets:
        found: dict[str, list[Answer]] = {}
        for seed in range(args.seed, args.seed + args.seeds):
            images = sets[name](args.data, seed)
            if not found:  # what the first run loads is not counted
                for run in WAYS.values():
                    run(images, seed, 0.1)
            for way, run in WAYS.items():
                found.setdefault(way, []).append(run(images, seed, args.seconds))
                say(f"{name}, seed {seed}, {way}: {found[way][-1]}")
        for way, answers in found.items():
            accuracies, sizes, counts = (list(map(float, each)) for each in zip(*answers, strict=True))
            row: dict[str, Any] = {"images": images.name, "cap": images.params, "way": way}
            row |= {"test accuracy in %": interval(accuracies), "parameters": round(float(np.mean(sizes)))}
            rows.append({**row, "networks": round(float(np.mean(counts)))})
        write(args.out, "evolution", [("Test accuracy at equal CPU time", rows)], notes)


if __name__ == "__main__":
    main()
