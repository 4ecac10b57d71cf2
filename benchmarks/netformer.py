"""An autoencoder of networks: orders of neurons and losses, the one model for all, other kinds, samples."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.common import Row, parser, say, write
from naivegraph.tokens.canonical import canonical
from naivegraph.tokens.conditioning import conditioning
from naivegraph.tokens.drawn_networks import sample
from naivegraph.tokens.frame import Frame, Kind
from naivegraph.tokens.generate import generate
from naivegraph.tokens.meta_features import meta_features
from naivegraph.tokens.metrics import scores
from naivegraph.tokens.network_losses import LossWeights
from naivegraph.tokens.network_set import NetworkSet
from naivegraph.tokens.neuron_sensitivity import sensitivity
from naivegraph.tokens.random_structure import random_structure
from naivegraph.tokens.token_numbers import number_mask
from naivegraph.tokens.train import Trained, TrainSettings, train
from naivegraph.tokens.vae import VAESize

PARTS = {
    "orders": "Orders of neurons and losses, equal steps, networks held out",
    "target": "One model on one set of weights, networks held out",
    "kinds": "Other kinds of networks, held out",
    "samples": "Networks drawn: valid before and after repair, and what meta-features change",
}
LOSSES: Mapping[str, tuple[str, LossWeights]] = {
    "raw, numbers": ("raw", LossWeights(outputs=0.0)),
    "canonical, numbers": ("canonical", LossWeights(outputs=0.0)),
    "canonical, numbers by sensitivity": ("canonical", LossWeights(outputs=0.0, by_sensitivity=True)),
    "raw, numbers and outputs": ("raw", LossWeights()),
    "canonical, numbers and outputs": ("canonical", LossWeights()),
    "canonical, outputs through soft structure": ("canonical", LossWeights(soft=True, ramp=0.0)),
}


class Data:
    """Networks of a kind, in their own order and in canonical order, and what training takes beside them."""

    def __init__(self, kind: Kind, count: int, seed: int, tasks: int = 50) -> None:
        start = time.process_time()
        self.made: NetworkSet = generate(count, kind, seed, tasks=tasks)
        self.seconds = time.process_time() - start
        self.frame: Frame = self.made.networks.frame
        fresh = random_structure(self.frame, 4000, seed + 1)
        self.networks = {"raw": self.made.networks, "canonical": canonical(self.made.networks)}
        self.untrained = {"raw": fresh, "canonical": canonical(fresh)}
        pool = torch.cat([task.inputs for task in self.made.tasks])
        self.inputs = pool[torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed))]

    def weights(self) -> float:
        """The mean number of weights and biases of a network."""
        mask = number_mask(self.frame, self.made.networks.tokens())
        return float(mask.sum() / len(mask))

    def trained(
        self,
        size: VAESize,
        settings: TrainSettings,
        order: str = "canonical",
        meta: Tensor | None = None,
    ) -> tuple[Trained, Row, float]:
        """A model, its scores on all networks held out, and the seconds of processor time that it took."""
        networks = self.networks[order]
        weights = _by_token(sensitivity(networks, self.inputs[:64]), self.frame)
        start = time.process_time()
        done = train(
            networks,
            meta,
            inputs=self.inputs,
            untrained=self.untrained[order] if settings.chimeras else None,
            sensitivity=weights if settings.loss.by_sensitivity else None,
            size=size,
            settings=settings,
        )
        seconds = time.process_time() - start
        held = done.held_out
        found = scores(done.model, networks[held], self.inputs[:256], None if meta is None else meta[held])
        return done, found.row(), seconds


def _by_token(values: Tensor, frame: Frame) -> Tensor:
    """The sensitivity of each token's neuron, `[n, tokens]`, at least a hundredth of the mean."""
    layers, neurons = frame.places.T
    found = values[:, layers, neurons]
    return found.clamp_min(0.01 * float(found.mean()))


def orders(seeds: int, steps: int, count: int) -> list[Row]:
    """Orders of neurons and losses, at equal steps."""
    rows: list[Row] = []
    found: dict[str, list[Row]] = {name: [] for name in LOSSES}
    for seed in range(seeds):
        data = Data("dense", count, seed)
        for name, (order, loss) in LOSSES.items():
            settings = TrainSettings(steps=steps, every=steps, seed=seed, loss=loss)
            _, row, seconds = data.trained(VAESize(), settings, order)
            found[name].append({**row, "CPU s": seconds})
            say(f"seed {seed}, {name}: {row}")
    for name, each in found.items():
        rows.append({"order, loss": name, "steps": steps, "seeds": seeds, **_means(each)})
    return rows


def target(seeds: int, steps: int, count: int) -> list[Row]:
    """Latent vectors of several sizes, and what the parts of the method do."""
    rows: list[Row] = []
    for seed in range(seeds):
        data = Data("dense", count, seed)
        for name, size, chimeras in (
            ("128 latent", VAESize(), 0.5),
            ("128 latent, no chimeras", VAESize(), 0.0),
            ("128 latent, no linear way", VAESize(linear=0), 0.5),
            ("64 latent", VAESize(latent=64, linear=48), 0.5),
            ("32 latent", VAESize(latent=32, linear=20), 0.5),
        ):
            if seed and name != "128 latent":
                continue
            settings = TrainSettings(steps=steps, every=steps, seed=seed, chimeras=chimeras)
            _, row, seconds = data.trained(size, settings)
            rows.append(
                {"model": name, "seed": seed, "numbers": round(data.weights()), **row, **_cpu(seconds)}
            )
            say(f"target: {rows[-1]}")
    return rows


def kinds(seeds: int, steps: int, count: int) -> list[Row]:
    """Convolutional and residual networks."""
    rows: list[Row] = []
    for kind in ("convolutional", "residual"):
        for seed in range(seeds):
            data = Data(kind, count, seed)
            settings = TrainSettings(steps=steps, every=steps, seed=seed)
            _, row, seconds = data.trained(VAESize(), settings)
            shown = {"kind": kind, "seed": seed, "numbers": round(data.weights())}
            rows.append({**shown, "made in CPU s": round(data.seconds), **row, **_cpu(seconds)})
            say(f"kinds: {rows[-1]}")
    return rows


def samples(seeds: int, steps: int, count: int) -> list[Row]:
    """Networks drawn, and conditioning."""
    rows: list[Row] = []
    for seed in range(seeds):
        data = Data("dense", count, seed, tasks=200)
        by_task = torch.stack([meta_features(task.inputs, task.targets) for task in data.made.tasks])
        meta = by_task[data.made.task]
        settings = TrainSettings(steps=steps, every=steps, seed=seed)
        done, row, _ = data.trained(VAESize(), settings, meta=meta)
        drawn = sample(done.model, 200, seed=seed)
        held = done.held_out
        told = conditioning(done.model, data.networks["canonical"][held], meta[held], data.inputs[:256]).row()
        shown = {"seed": seed, "meta-features": meta.shape[1], "drawn": 200}
        rows.append(
            {
                **shown,
                "valid before": round(float(drawn.valid_before.float().mean()), 3),
                "valid after": float(drawn.networks.valid().float().mean()),
                "structure": row["structure"],
                **told,
            }
        )
        say(f"samples, seed {seed}: {rows[-1]}")
    return rows


def _cpu(seconds: float) -> Row:
    return {"CPU s": round(seconds)}


def _means(rows: Sequence[Row]) -> Row:
    """The mean of each figure, and the deviation where there are several."""
    found: dict[str, object] = {}
    for name in rows[0]:
        values = [float(str(row[name])) for row in rows]
        found[name] = f"{statistics.mean(values):.3f}" if name != "CPU s" else round(statistics.mean(values))
        if len(values) > 1 and name == "output_error":
            found[name] = f"{statistics.mean(values):.3f} +- {statistics.stdev(values):.3f}"
    return found


def earlier(folder: Path) -> dict[str, list[Row]]:
    """The tables of an earlier run, for parts that are not run now."""
    path = folder / "netformer.json"
    return dict(json.loads(path.read_text())["tables"]) if path.exists() else {}


def main() -> None:
    """Run."""
    options = parser(__doc__, "python -m benchmarks.netformer --parts orders target --seeds 3", threads=1)
    options.add_argument("--parts", nargs="+", choices=[*PARTS], default=[*PARTS], help="what to run")
    options.add_argument("--seeds", type=int, default=3, help="repetitions")
    options.add_argument("--networks", type=int, default=2000, help="networks of a data set")
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    runs = {
        "orders": lambda: orders(args.seeds, 400, args.networks),
        "target": lambda: target(args.seeds, 2000, args.networks),
        "kinds": lambda: kinds(args.seeds, 1200, args.networks),
        "samples": lambda: samples(args.seeds, 1000, args.networks),
    }
    tables = earlier(args.out)
    for part in args.parts:
        tables[PARTS[part]] = runs[part]()
        write(
            args.out,
            "netformer",
            [(title, tables[title]) for title in PARTS.values() if title in tables],
            "output_error: squared error of the outputs of decoded networks over the outputs' variance, mean "
            "over networks held out; 1 is a constant. structure: the share of networks whose operators, "
            "neurons and edges are all right. numbers: weights and biases of a network, on average; weights: "
            "their R^2, standardised. Chimeras: structures drawn anew with the weights of trained networks.",
        )


if __name__ == "__main__":
    main()
