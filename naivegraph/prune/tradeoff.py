"""The tradeoff between what a network keeps and what it costs: the best sizes at several budgets."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn

from naivegraph.calibration import Calibration
from naivegraph.costs import Cost, cost_named
from naivegraph.edits import Edit
from naivegraph.edits.request import validate
from naivegraph.edits.request.size_choice import SizeChoice
from naivegraph.errors import EditError
from naivegraph.graph.torch_utils.preserve_state import same_seed
from naivegraph.latency.latency_cost import Latency
from naivegraph.latency.profile import Profile
from naivegraph.latency.runtimes import AnyRuntime
from naivegraph.network import Graph
from naivegraph.prune.captured import captured
from naivegraph.prune.choose_sizes import SolveOptions, choose_sizes, smallest_cost
from naivegraph.prune.depth_argument import check_depth, let_go
from naivegraph.prune.floors import check_at_least, floors
from naivegraph.prune.keep import Keep
from naivegraph.prune.latency_budget import AskedLatency, step_of
from naivegraph.prune.posed_program import posed_program
from naivegraph.prune.prune import prune
from naivegraph.prune.take_profile import take_profile
from naivegraph.prune.trial import Trials
from naivegraph.solvers.budget import Certificate
from naivegraph.svg import BLUE, GREY, Axis2D, Drawing
from naivegraph.tables import Block, Column, TextTable, as_html, as_text
from naivegraph.utility import Utility, utilities
from naivegraph.utility.scores import Loss
from naivegraph.widths import relate

__all__ = ["Tradeoff", "TradeoffPoint", "tradeoff"]

Progress = Callable[[str], None]

_LATER = frozenset({"backend", "optimizer", "refit"})


@dataclasses.dataclass(frozen=True)
class TradeoffPoint:
    """The best sizes for one budget.

    Attributes:
        share: The budget, as a share of the present cost.
        cost: The cost of the sizes; of latency as the profile predicts it, in microseconds.
        certificate: The utility kept, and the most that any sizes could keep.
        sizes: The sizes that are not as before, by the names of widths.
        dropped: The names of the branches that are left out.
    """

    share: float
    cost: int | float
    certificate: Certificate
    sizes: Mapping[str, int]
    _apply: Callable[[float], Edit] = dataclasses.field(repr=False, compare=False)
    dropped: tuple[str, ...] = ()

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_apply": _of_a_copy}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)

    def prune(self) -> Edit:
        """Prune the network to this budget, as `ng.prune` does; a latency is measured and corrected then.

        Raises:
            EditError: As for `ng.prune`, and of a copy, which comes without the network.
        """
        return self._apply(self.share)


def _of_a_copy(share: float) -> Edit:
    """Refuse to prune by a copy of a tradeoff."""
    raise EditError(
        "this is a copy of a tradeoff, which comes without the network: ng.prune(model, x, budgets={...: "
        f"{share}}}) prunes to this budget"
    )


@dataclasses.dataclass(frozen=True, repr=False)
class Tradeoff(Sequence[TradeoffPoint]):
    """The points of a tradeoff, that of the least cost first; print it, or look at `plot()`.

    Attributes:
        cost: The cost.
        before: The present cost.
        utility: The utility of all neurons.
        points: The points.
    """

    cost: Cost
    before: int | float
    utility: float
    points: tuple[TradeoffPoint, ...]

    def __getitem__(self, index: Any) -> Any:
        """One point, or several."""
        return self.points[index]

    def __len__(self) -> int:
        return len(self.points)

    def __repr__(self) -> str:
        return f"Tradeoff({self.cost.name}, {len(self.points)} points)"

    def __str__(self) -> str:
        return as_text(self._blocks())

    def _repr_html_(self) -> str:
        return as_html(self._blocks())

    def _blocks(self) -> Iterator[Block]:
        columns = [
            Column("", right=True),
            *(Column(name, right=True) for name in ("budget", self.cost.title, "utility", "at most", "gap")),
        ]
        rows = [
            (
                str(number),
                f"{point.share:.1%}",
                self.cost.format(point.cost),
                f"{point.certificate.value / self.utility:.2%}" if self.utility else "-",
                f"{point.certificate.bound / self.utility:.2%}" if self.utility else "-",
                f"{point.certificate.gap:.3%}",
            )
            for number, point in enumerate(self.points)
        ]
        before = f"before: {self.cost.format(self.before)}; tradeoff[3].prune() prunes to the budget of row 3"
        yield TextTable(columns, rows, f"Utility against {self.cost.title}", before)

    def plot(self) -> Drawing:
        """A picture of the utility kept against the cost; notebooks show it, `save` writes it as SVG."""
        drawing = Drawing(560, 400)
        shares = [point.cost / self.before if self.before else 0.0 for point in self.points]
        kept = [point.certificate.value / (self.utility or 1.0) for point in self.points]
        axis = Axis2D(75, 45, 540, 340, [*shares, 1.0], [*kept, 1.0])
        axis.draw(
            drawing, f"Utility against {self.cost.title}", f"share of {self.cost.title}", "utility kept"
        )
        drawing.line([axis.place(x, y) for x, y in zip(shares, kept, strict=True)], BLUE, 1.5)
        for x, y, point in zip(shares, kept, self.points, strict=True):
            tip = f"{self.cost.format(point.cost)}, utility {y:.2%}, gap {point.certificate.gap:.3%}"
            drawing.dot(*axis.place(x, y), BLUE, 4, tip)
        drawing.dot(*axis.place(1.0, 1.0), GREY, 4, "the network as it is")
        return drawing


def tradeoff(
    model: nn.Module | Graph,
    args: Any = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    cost: str | Cost = "macs",
    points: int = 10,
    lowest: float | None = None,
    runtime: AnyRuntime = "eager",
    profile: Profile | str | None = None,
    at_least: float | Mapping[Any, float] | None = None,
    round_to: Any = None,
    uniform: bool = False,
    keep: Sequence[Keep] | Keep = (),
    depth: bool | Sequence[Keep] | Keep = False,
    utility: Utility = None,
    loss: Loss | None = None,
    calibration: Any = None,
    gap: float = 1e-3,
    time_limit: float = 20.0,
    progress: Progress | None = None,
    **options: Any,
) -> Tradeoff:
    """Work out the most utility that a network can keep at several budgets of one cost.

    The network is left as it is.

    Args:
        model: A graph, or a network and then its example, as for `ng.prune`.
        args: The example's positional inputs.
        kwargs: Its keyword inputs.
        cost: The name of a cost, or a cost. "latency" is predicted by a profile, which is taken first.
        points: The number of budgets, equally far from each other.
        lowest: The lowest, as a share of the present cost; by default the least that can be reached, or a
            tenth.
        runtime: For cost="latency": what runs the network.
        profile: For cost="latency": a profile of `ng.profile` or its file, instead of one that is taken now.
        at_least: As for `ng.prune`.
        round_to: As for `ng.prune`.
        uniform: As for `ng.prune`.
        keep: As for `ng.prune`.
        depth: As for `ng.prune`.
        utility: As for `ng.prune`.
        loss: As for `ng.prune`.
        calibration: As for `ng.prune`.
        gap: As for `ng.prune`.
        time_limit: Seconds for each point.
        progress: Called with a sentence before each step that may take long.
        options: Other options of `ng.prune`, for `point.prune()`: refit, optimizer, backend.

    Raises:
        CaptureError: The model could not be captured.
        EditError: An argument makes no sense, or is none that goes with a tradeoff.
        InfeasibleError: No sizes meet the lowest budget.

    Example:
        >>> import torch, naivegraph as ng
        >>> net = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 4))
        >>> found = ng.tradeoff(net, torch.ones(1, 8), cost="params", points=4)
        >>> [point.cost for point in found], net[0].out_features
        ([56, 173, 290, 420], 32)
        >>> found[1].prune().after.params
        173
    """
    by_latency = cost == "latency"
    asked = AskedLatency.of(1.0 if by_latency else None, runtime, profile)
    step = step_of(round_to, runtime, by_latency)
    validate.whole(points, "points", 2)
    check_at_least(at_least)
    check_depth(depth, None)
    for name in options.keys() - _LATER:
        raise EditError(
            f"{name}= does not go with a tradeoff, which is of one cost at several budgets: of other options "
            f"of ng.prune it takes {', '.join(sorted(_LATER))}"
        )
    choice = SizeChoice(utility, loss, calibration=calibration)
    say = progress or (lambda sentence: None)
    found = captured(model, args, kwargs, say)
    data = None if calibration is None else Calibration(found.graph, calibration)
    widths = relate(found.graph)
    least = floors(widths, at_least)
    program, branches = posed_program(
        found, widths, least, keep=keep, depth=depth, uniform=uniform, step=step
    )
    chosen = "fisher" if utility is None and data is not None else utility
    values = utilities(widths, chosen, loss=choice.loss, calibration=data)
    if depth is not False:
        say("measuring what branches are worth")
        let_go(program, branches, values, chosen, data, choice.loss)
    if asked is None:
        priced, taken = cost_named(cost), None
    else:
        with same_seed():
            taken = asked.profile or take_profile(Trials(found, program, asked.runtime), say)
        priced = Latency(taken)
    solve = SolveOptions(None, step, gap, time_limit, choice.backend, say, at_least is None)
    before = priced.value(widths)
    settings = {
        "at_least": at_least, "round_to": round_to, "uniform": uniform, "keep": keep, "depth": depth,
        "utility": utility, "loss": loss,
        "calibration": calibration, "gap": gap, "time_limit": time_limit, **options,
    }  # fmt: skip

    def apply(share: float) -> Edit:
        """Prune to a share."""
        if by_latency:
            return prune(
                model, args, kwargs, latency=min(share, 1.0), runtime=runtime, profile=taken, **settings
            )
        return prune(model, args, kwargs, budgets={priced: min(share, 1.0)}, **settings)

    out = []
    for share in _shares(program, priced, step, before, points, lowest):
        say(f"choosing neurons for {share:.0%} of the {priced.title}")
        best = choose_sizes(program, values, {priced: share}, solve)
        sizes = {w.name: best.count(w.atom) for w in widths if best.count(w.atom) != w.size}
        spent = priced.value(widths, best.count, best.gone)
        dropped = tuple(branch.name for branch in best.dropped)
        out.append(TradeoffPoint(share, spent, best.solution.certificate, sizes, apply, dropped))
    whole = float(sum(np.maximum(values[width], 0.0).sum() for width in program.free))
    return Tradeoff(priced, before, whole + sum(program.choices.values), tuple(out))


def _shares(
    program: Any, cost: Cost, step: int, before: float, points: int, lowest: float | None
) -> list[float]:
    """Shares of the present cost at equal distances, the last of them 1."""
    if lowest is not None:
        if not 0 < lowest < 1:
            raise EditError(f"lowest={lowest!r}: give a share of the present cost, between 0 and 1")
        least = lowest
    else:
        least = max(smallest_cost(program, cost, step) / before if before else 1.0, 0.1)
    return [min(float(share), 1.0) for share in np.linspace(min(least * (1 + 1e-9), 1.0), 1.0, points)]
