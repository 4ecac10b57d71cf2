"""The way of a quine: loss and kind after each step, and what was done to it, with a picture."""

from __future__ import annotations

import dataclasses
import math

from torch import Tensor

from naivegraph.svg import BLUE, GREY, RED, Axis2D, Drawing
from naivegraph.weights.fixed_point import kind_of

__all__ = ["Moment", "QuineHistory"]

_COLOURS = {"true": BLUE, "constant": RED, "zero": "#7a1fa2", "none": GREY}
_LOWEST = 1e-30  # a relative loss of nothing has no logarithm


@dataclasses.dataclass(frozen=True)
class Moment:
    """A quine at one time.

    Attributes:
        event: The thing that was done to it: "step" of the solver, "regenerated" or "edited".
        kind: The kind of fixed point, as `FixedPoint` has it.
        relative: The loss as a share of the sum of squares of the weights.
        mean_share: The mean of the weights, without sign, as a share of their root mean square.
        norm_kept: The norm of the weights as a share of that at the start.
        weights: The number of weights.
    """

    event: str
    kind: str
    relative: float
    mean_share: float
    norm_kept: float
    weights: int


class QuineHistory:
    """All moments of a quine, in order.

    Example:
        >>> import torch
        >>> history = QuineHistory()
        >>> history.add("step", torch.tensor([1.0, -1.0]), loss=2e-8, start=2.0)
        >>> history.moments[0].kind, round(history.moments[0].relative, 12)
        ('true', 1e-08)
    """

    def __init__(self) -> None:
        self.moments: list[Moment] = []

    def add(self, event: str, weights: Tensor, *, loss: float, start: float) -> None:
        """Add a moment.

        Args:
            event: The thing that was done.
            weights: The weights, `[n]`.
            loss: The sum of squares of what weights and predictions differ by.
            start: The norm of the weights at the start.
        """
        norm = float(weights.norm())
        rms = norm / max(len(weights), 1) ** 0.5
        mean_share = abs(float(weights.mean())) / rms if rms else 0.0
        relative, kept = (loss / norm**2 if norm else 0.0), (norm / start if start else 1.0)
        kind = kind_of(relative, mean_share, kept)
        self.moments.append(Moment(event, kind, relative, mean_share, kept, len(weights)))

    def picture(self) -> Drawing:
        """Draw the relative loss over all moments, coloured by kind, and where it was edited."""
        drawing = Drawing(760, 400)
        logs = [math.log10(max(each.relative, _LOWEST)) for each in self.moments] or [0.0]
        frame = Axis2D(80, 50, 620, 340, range(max(len(logs), 2)), [*logs, 0.0])
        frame.draw(drawing, "Replication", "moments", "log10 of the relative loss")
        before = ""
        for number, (moment, height) in enumerate(zip(self.moments, logs, strict=False)):
            x, y = frame.place(number, height)
            if moment.event != "step":
                drawing.line([(x, frame.top), (x, frame.bottom)], GREY, 0.8)
            if moment.event not in ("step", before):
                drawing.text(x - 3, frame.top + 12, moment.event, "end", size=10, colour=GREY)
            before = moment.event
            drawing.dot(x, y, _COLOURS[moment.kind], tip=_words(moment))
        for place, (kind, colour) in enumerate(_COLOURS.items()):
            drawing.dot(645, 66 + 22 * place, colour)
            drawing.text(655, 70 + 22 * place, "no fixed point" if kind == "none" else kind)
        return drawing


def _words(moment: Moment) -> str:
    return (
        f"{moment.event}: {moment.kind}, relative loss {moment.relative:.2g}, mean / rms "
        f"{moment.mean_share:.2f}, norm kept {moment.norm_kept:.2f}, {moment.weights:,} weights"
    )
