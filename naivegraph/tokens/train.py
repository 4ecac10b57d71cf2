"""Training an autoencoder of networks, which goes on after a stop as if there had been none."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from naivegraph.own_randomness import own_randomness
from naivegraph.progress import working
from naivegraph.tokens.chimeras import Chimeras
from naivegraph.tokens.metrics import scores
from naivegraph.tokens.network_losses import Losses, LossWeights
from naivegraph.tokens.networks import Networks
from naivegraph.tokens.training_files import TrainingFolder, fingerprint
from naivegraph.tokens.vae import NetworkVAE, VAESize

__all__ = ["TrainSettings", "Trained", "split", "train"]

_WARM = 100  # steps over which the rate grows
_NORM = 1.0  # the most that the gradient may be long
_INPUTS = 32  # that outputs are compared on in a step
_SCORED = 256  # held-out networks that are scored on the way


@dataclasses.dataclass(frozen=True)
class TrainSettings:
    """Settings of the training of an autoencoder.

    Attributes:
        steps: The number of steps.
        batch: Networks of a step.
        rate: The greatest learning rate of AdamW; it grows at first, then falls along a cosine.
        decay: The weight decay.
        held_out: The share of networks that it is scored on and not trained on.
        chimeras: The share of chimeras in a batch; see `Chimeras`.
        crossed: The probability that a network gets neurons of another.
        noise: The most noise on weights, in standard deviations.
        every: Steps after which it is scored, and saved where there is a folder.
        seed: The seed of everything random.
        loss: What the parts of the loss count.
    """

    steps: int = 3000
    batch: int = 64
    rate: float = 2e-3
    decay: float = 1e-2
    held_out: float = 0.2
    chimeras: float = 0.5
    crossed: float = 0.5
    noise: float = 0.3
    every: int = 500
    seed: int = 0
    loss: LossWeights = dataclasses.field(default_factory=LossWeights)

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "every"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)!r} is to be a whole number of at least 1")
        for name in ("held_out", "chimeras", "crossed"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)!r} is to be from 0 to 1")
        for name in ("rate", "decay", "noise"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name}={getattr(self, name)!r} is to be a number of at least 0")

    def to_json(self) -> dict[str, Any]:
        """The settings as JSON can hold them."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained autoencoder.

    Attributes:
        model: The autoencoder, in eval mode.
        history: The step, the losses, and the scores on held-out networks, each time it was scored.
        held_out: The numbers of the networks that it was not trained on.
    """

    model: NetworkVAE
    history: list[Mapping[str, float]]
    held_out: Tensor


def split(count: int, settings: TrainSettings) -> tuple[Tensor, Tensor]:
    """The numbers of the networks to train on, and of those held out."""
    order = torch.randperm(count, generator=_generator(settings.seed, "split"))
    held = round(count * settings.held_out)
    return order[held:].sort().values, order[:held].sort().values


def train(
    networks: Networks,
    meta: Tensor | None = None,
    *,
    inputs: Tensor,
    untrained: Networks | None = None,
    sensitivity: Tensor | None = None,
    size: VAESize | None = None,
    settings: TrainSettings | None = None,
    folder: str | os.PathLike[str] | None = None,
    until: int | None = None,
) -> Trained:
    """Train an autoencoder on networks.

    With a folder it is saved now and then; the same call goes on with what is there, and comes to the same
    numbers, bit by bit, as without a stop.

    Args:
        networks: The networks, in canonical order: neurons in an order of chance cannot be learned.
        meta: The meta-features of their data, `[n, features]`, NaN where there is none.
        inputs: What networks are run on, `[b, inputs, ...]`: a pool that inputs are drawn of.
        untrained: Networks of the same frame, and order, that need no training; their structures are those of
            chimeras. Without them it is not sure to know structures that it has not seen.
        sensitivity: The sensitivity of outputs to the neurons, `[n, tokens]`, for `by_sensitivity`; it is
            that of the networks as they were trained.
        size: The sizes of the model.
        settings: How it is trained.
        folder: Where to save it: `model.json` and `checkpoint.json`, the tensors they name, and
            `training.log`.
        until: A step to stop after, before the last.

    Returns:
        The model, its history, and which networks were held out.

    Raises:
        EditError: There are too few networks, or the folder holds another training.
        LoadError: The folder's checkpoint is damaged.
        ValueError: Shapes do not fit.
    """
    settings = settings or TrainSettings()
    run = _Training(networks, meta, inputs, untrained, sensitivity, size or VAESize(), settings, folder)
    with own_randomness(settings.seed, threads=None), working("training on networks") as say:
        history = run.to(settings.steps if until is None else min(until, settings.steps), say)
    return Trained(run.model.eval(), history, run.held_out)


class _Training:
    """A training and its state."""

    def __init__(
        self,
        networks: Networks,
        meta: Tensor | None,
        inputs: Tensor,
        untrained: Networks | None,
        sensitivity: Tensor | None,
        size: VAESize,
        settings: TrainSettings,
        folder: str | os.PathLike[str] | None,
    ) -> None:
        self._settings, self._inputs, self._meta = settings, inputs, meta
        self._rows, self.held_out = split(len(networks), settings)
        _check(networks, len(self._rows), inputs, sensitivity, settings)
        self._networks, self._sensitivity = networks, sensitivity
        known = networks[self._rows]
        if networks.frame.images:
            size = dataclasses.replace(size, side=inputs.shape[-1])
        with own_randomness(settings.seed, threads=None):
            self.model = NetworkVAE(networks.frame, size, 0 if meta is None else meta.shape[1])
            self.model.fitted(
                known,
                None if meta is None else meta[self._rows],
                inputs=inputs,
                generator=_generator(settings.seed, "fit"),
            )
        self._chimeras = Chimeras(
            known,
            untrained,
            self.model.scale,
            share=settings.chimeras,
            crossed=settings.crossed,
            noise=settings.noise,
        )
        self._optimizer = torch.optim.AdamW(
            self.model.parameters(), settings.rate, weight_decay=settings.decay
        )
        self._step, self._history = 0, list[Mapping[str, float]]()
        self._folder: TrainingFolder | None = None
        if folder is not None:
            data = fingerprint(networks, meta, inputs, untrained, sensitivity)
            self._folder = TrainingFolder(
                Path(folder), settings.to_json(), data, len(networks), self.held_out
            )
            found = self._folder.restore(self.model, self._optimizer)
            if found is not None:
                self._step, self._history = found

    def to(self, end: int, say: Any) -> list[Mapping[str, float]]:
        """Go on to a step; return the history."""
        settings = self._settings
        self.model.train()
        while self._step < end:
            losses = self._advance()
            if self._step % settings.every == 0 or self._step == settings.steps:
                self._record(losses)
            if self._step % 10 == 0:
                last = self._history[-1] if self._history else {}
                error = f", output error {last['output_error']:.2f}" if "output_error" in last else ""
                say(f"training on networks: step {self._step:,} of {settings.steps:,}{error}")
        self._save()
        return self._history

    def _advance(self) -> Losses:
        """One step."""
        settings, done = self._settings, self._step / self._settings.steps
        draws = _generator(settings.seed, self._step)
        which = torch.randint(len(self._rows), (settings.batch,), generator=draws)
        networks = self._chimeras.batch(which, draws)
        meta = self._meta_of(which)
        points = self._inputs[torch.randint(len(self._inputs), (_INPUTS,), generator=draws)]
        posterior = self.model.encode(networks, meta)
        z = posterior.drawn(torch.randn(posterior.mean.shape, generator=draws))
        losses = Losses.of(
            networks,
            self.model.decode(z, meta),
            posterior,
            points,
            soft=settings.loss.soft,
            sensitivity=self._sensitivity[self._rows][which] if self._sensitivity is not None else None,
        )
        for group in self._optimizer.param_groups:
            group["lr"] = settings.rate * _rate(self._step, settings.steps)
        self._optimizer.zero_grad()
        losses.total(settings.loss, done).backward()  # type: ignore[no-untyped-call]
        length = nn.utils.clip_grad_norm_(self.model.parameters(), _NORM)
        if length.isfinite():  # else a network drawn by chance has outputs beyond all numbers: no step
            self._optimizer.step()
        self._step += 1
        return losses

    def _meta_of(self, which: Tensor) -> Tensor | None:
        """The meta-features of the networks of a batch; chimeras were trained on no data, and have none."""
        if self._meta is None:
            return None
        found = self._meta[self._rows][which].clone()
        found[len(which) - self._chimeras.count(len(which)) :] = torch.nan
        return found

    def _record(self, losses: Losses) -> None:
        """Score the model on held-out networks, and save it."""
        row: dict[str, float] = {"step": self._step}
        row |= {f"loss_{name}": float(value.detach()) for name, value in vars(losses).items()}
        rows = self.held_out[:_SCORED]
        if len(rows):
            meta = None if self._meta is None else self._meta[rows]
            row |= scores(self.model, self._networks[rows], self._inputs[:_SCORED], meta).row()
        self._history.append(row)
        if self._folder is not None:
            self._save()

    def _save(self) -> None:
        """Fit what latent vectors are drawn of, and write it all, if there is a folder."""
        self.model.fit_prior(
            self._networks[self._rows], None if self._meta is None else self._meta[self._rows]
        )
        if self._folder is not None:
            self._folder.save(self.model, self._optimizer, self._step, self._history)


def _check(
    networks: Networks, known: int, inputs: Tensor, sensitivity: Tensor | None, settings: TrainSettings
) -> None:
    """There is what training needs."""
    frame = networks.frame
    if known < 2:
        raise ValueError(
            f"{known} networks are left to train on of {len(networks)}: give more, or hold out less"
        )
    if inputs.dim() != (4 if frame.images else 2) or inputs.shape[1] != frame.inputs or not len(inputs):
        raise ValueError(f"inputs are {tuple(inputs.shape)}, and networks take {frame.inputs} each")
    if settings.loss.by_sensitivity and sensitivity is None:
        raise ValueError("by_sensitivity needs sensitivity=: ng.tokens.sensitivity(networks, inputs)")
    expected = (len(networks), len(frame.places))
    if sensitivity is not None and tuple(sensitivity.shape) != expected:
        raise ValueError(f"sensitivity is {tuple(sensitivity.shape)}, and is to be {expected}")
    valid = networks.valid()
    if not valid.all():
        number = int((~valid).nonzero()[0, 0])
        raise ValueError(f"network {number} is none: {'; '.join(networks.faults(number))}")


def _rate(step: int, steps: int) -> float:
    """The learning rate of a step, as a share of the greatest."""
    return min(1.0, (step + 1) / _WARM) * (0.01 + 0.99 * (1 + math.cos(math.pi * step / steps)) / 2)


def _generator(seed: int, purpose: str | int) -> torch.Generator:
    """Random numbers of one step or purpose, which are the same wherever a training went on."""
    number = purpose + 2 if isinstance(purpose, int) else ("split", "fit").index(purpose)
    return torch.Generator().manual_seed((seed * 1_000_003 + number) % 2**63)
