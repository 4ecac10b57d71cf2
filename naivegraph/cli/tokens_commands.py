"""The command `naivegraph tokens`: networks as data, from making them to drawing new ones."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from naivegraph.cli.usage_errors import UsageError
from naivegraph.progress import working
from naivegraph.tables import Column, TextTable, as_text
from naivegraph.tokens.canonical import canonical
from naivegraph.tokens.conditioning import conditioning
from naivegraph.tokens.drawn_networks import sample
from naivegraph.tokens.generate import generate
from naivegraph.tokens.meta_features import meta_feature_names, meta_features
from naivegraph.tokens.metrics import refitted_error, scores
from naivegraph.tokens.network_set import NetworkSet
from naivegraph.tokens.networks import Networks
from naivegraph.tokens.random_structure import random_structure
from naivegraph.tokens.repair import repair
from naivegraph.tokens.token_pictures import draw_latent_space, draw_networks
from naivegraph.tokens.train import TrainSettings, train
from naivegraph.tokens.training_files import held_out_of, load_model, save_networks
from naivegraph.tokens.vae import NetworkVAE, VAESize

__all__ = ["tokens"]

_UNTRAINED = 4000
_INPUTS = 256  # that networks are compared on
_REFITTED = 100  # networks whose heads are refitted


def tokens(kind: str, **options: Any) -> None:
    """Carry out a step, and report it.

    Args:
        kind: `generate`, `train`, `evaluate`, `sample` or `demo`.
        options: Those of the step.

    Raises:
        NaivegraphError: It failed; the message says why.
    """
    table: dict[str, Callable[..., None]] = {
        "generate": _generate,
        "train": _train,
        "evaluate": _evaluate,
        "sample": _sample,
        "demo": _demo,
    }
    _check_counts(options)
    try:
        table[kind](**options)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _demo(
    frame: str,
    networks: int,
    tasks: int,
    learn: int,
    seed: int,
    steps: int,
    latent: int,
    no_meta: bool,
    svg: str | None,
    output: str | None,
) -> None:
    """All steps, one after the other."""
    folder = Path(_needed("output", output, "runs/networks"))
    data, model = str(folder / "data"), str(folder / "model")
    _generate(frame, networks, tasks, learn, seed, data)
    _train(data, model, steps, latent, no_meta, seed)
    _evaluate(model, data, svg)
    _sample(model, 8, None, seed, 1.0, str(folder / "drawn"))


def _generate(frame: str, networks: int, tasks: int, learn: int, seed: int, output: str | None) -> None:
    """Make networks."""
    folder = _output(output, "runs/data")
    made: NetworkSet = generate(networks, frame, seed, tasks=tasks, steps=learn)  # type: ignore[arg-type]
    made.save(folder)
    _say(
        f"Made {len(made):,} networks that learned {len(made.tasks)} tasks; median loss over variance "
        f"{float(made.loss.median()):.3f}. Saved in {folder}."
    )


def _train(data: str | None, output: str | None, steps: int, latent: int, no_meta: bool, seed: int) -> None:
    """Train an autoencoder."""
    folder = _output(output, "runs/model")
    made = NetworkSet.load(_needed("data", data, "runs/data"))
    networks = canonical(made.networks)
    meta = None if no_meta else _meta(made)
    untrained = canonical(random_structure(networks.frame, _UNTRAINED, seed + 1))
    settings = TrainSettings(steps=steps, every=max(1, steps // 5), seed=seed)
    size = VAESize(latent=latent, linear=3 * latent // 4)
    done = train(
        networks,
        meta,
        inputs=_pool(made),
        untrained=untrained,
        size=size,
        settings=settings,
        folder=folder,
    )
    names = ["step", "loss_structure", "loss_numbers", "structure", "output_error"]
    rows = [[f"{row[name]:.4g}" for name in names] for row in done.history if "structure" in row]
    heads = [Column(name.replace("_", " "), right=True) for name in names]
    _say(TextTable(heads, rows, title="scores on networks held out"))
    _say(f"Saved in {folder}; the same command goes on after a stop.")


def _evaluate(model: str | None, data: str | None, svg: str | None) -> None:
    """Score an autoencoder."""
    folder = _needed("model", model, "runs/model")
    reader = load_model(folder)
    made = NetworkSet.load(_needed("data", data, "runs/data"))
    held_out = held_out_of(folder, len(made))
    networks, inputs = canonical(made.networks[held_out]), _pool(made)[:_INPUTS]
    meta = _meta(made)[held_out] if reader.condition else None
    with working("scoring"):
        found = scores(reader, networks, inputs, meta)
    _say(_table("networks held out", found.row()))
    with working("repairing and refitting"):
        error = refitted_error(
            reader, networks[:_REFITTED], inputs, None if meta is None else meta[:_REFITTED]
        )
    _say(
        f"Output error of {len(networks[:_REFITTED])} of them, repaired and with refitted heads: {error:.3g}."
    )
    if meta is not None:
        told = conditioning(reader, networks, meta, inputs)
        _say(_table("with the meta-features of their data, and with those of other data", told.row()))
        _say("Meta-features matter." if told.matters else "Meta-features make no difference.")
    if svg is not None:
        _draw(reader, networks, meta, Path(svg))


def _sample(
    model: str | None, count: int, like: str | None, seed: int, temperature: float, output: str | None
) -> None:
    """Draw networks."""
    folder = _output(output, "runs/drawn")
    reader = load_model(_needed("model", model, "runs/model"))
    data = None if like is None else _arrays(like)
    with working("drawing networks"):
        drawn = sample(reader, count, like=data, seed=seed, temperature=temperature)
    networks = drawn.networks
    _say(
        f"Drew {count} networks: {int(drawn.valid_before.sum())} were valid, {int(networks.valid().sum())} "
        "are after repair."
    )
    rows = [[str(number), ", ".join(_layers(networks[number]))] for number in range(min(count, 10))]
    _say(TextTable([Column("network"), Column("neurons and activation of each layer")], rows))
    save_networks(networks, folder)
    _say(f"Saved in {folder}; naivegraph.tokens.training_files.load_networks({folder!r}) reads them.")


def _needed(name: str, value: str | None, example: str) -> str:
    """An option that cannot be left out."""
    if not value:
        raise UsageError(f"say --{name}, such as --{name} {example}")
    return value


def _output(value: str | None, example: str) -> str:
    """A folder to write into, which is made before anything is worked out for it.

    Raises:
        OSError: It cannot be made.
    """
    folder = _needed("output", value, example)
    Path(folder).mkdir(parents=True, exist_ok=True)
    return folder


def _check_counts(options: Mapping[str, Any]) -> None:
    """The numbers of things are what they can be, told by the names of options."""
    for name, least in (
        ("networks", 1),
        ("tasks", 1),
        ("learn", 0),
        ("steps", 1),
        ("latent", 1),
        ("count", 1),
    ):
        if name in options and options[name] < least:
            raise UsageError(f"--{name} is to be {least} or more, not {options[name]}")


def _meta(made: NetworkSet) -> Tensor:
    """The meta-features of each network's task, `[n, features]`."""
    with working("measuring meta-features of the tasks"):
        return torch.stack([meta_features(task.inputs, task.targets) for task in made.tasks])[made.task]


def _pool(made: NetworkSet) -> Tensor:
    """The inputs of all tasks, in an order of chance."""
    pool = torch.cat([task.inputs for task in made.tasks])
    return pool[torch.randperm(len(pool), generator=torch.Generator().manual_seed(0))]


def _arrays(path: str) -> tuple[Tensor, Tensor]:
    """The inputs and targets of a file."""
    try:
        with np.load(path) as file:
            return torch.from_numpy(file["inputs"]).float(), torch.from_numpy(file["targets"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path} is to be an .npz file with arrays inputs and targets, as np.savez writes it: {error}"
        ) from error


def _table(title: str, row: Mapping[str, float]) -> TextTable:
    heads = [Column(name.replace("_", " "), right=True) for name in row]
    return TextTable(heads, [[f"{value:.4g}" for value in row.values()]], title=title)


def _layers(one: Networks) -> list[str]:
    """The neurons and activation of each layer of a network."""
    sizes = one.presence[0].sum(1).tolist()
    names = [one.frame.operators[number] for number in one.operator[0].tolist()]
    return [
        f"{int(size)} {name}"
        for size, name in zip(sizes, names, strict=True)
        if name != one.frame.operators[0]
    ]


def _draw(model: NetworkVAE, networks: Networks, meta: Tensor | None, folder: Path) -> None:
    """Draw a network and what was decoded of it, and the latent space."""
    folder.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        latent = model.encode(networks, meta).mean
        first = None if meta is None else meta[:1]
        decoded = repair(model.frame, model.decode(latent[:1], first).tokens())
    draw_networks([networks[0], decoded], ["original", "decoded"]).save(folder / "network.svg")
    neurons = networks.presence[:, :-1].sum((1, 2)).float()
    draw_latent_space(latent, neurons, "hidden neurons").save(folder / "latent_space.svg")
    _say(f"Drew {folder / 'network.svg'} and {folder / 'latent_space.svg'}.")
    if meta is not None:
        spread = meta.nan_to_num(0.0).std(0) / meta.nan_to_num(0.0).abs().mean(0).clamp_min(1e-9)
        column = int(spread.argmax())
        name = meta_feature_names()[column]
        draw_latent_space(latent, meta[:, column], name).save(folder / "latent_space_by_data.svg")
        _say(f"Drew {folder / 'latent_space_by_data.svg'}, by {name}.")


def _say(block: str | TextTable) -> None:
    """Write to standard output."""
    sys.stdout.write(as_text([block]) + "\n")
