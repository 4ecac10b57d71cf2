"""A budget of latency: sizes are chosen by the profile, a copy of them is timed, and the profile corrected.

What is corrected is the constant of the profile, by the mean of what all copies so far took beyond what was
predicted: a correction by the ratio of the two oscillates.
"""

from __future__ import annotations

import dataclasses
import os
import statistics
from collections.abc import Callable
from typing import Any, Protocol

from naivegraph.costs import Cost
from naivegraph.edits.apply.latency_report import LatencyReport, Unrounded
from naivegraph.edits.request import validate
from naivegraph.errors import EditError, InfeasibleError
from naivegraph.latency.latency_cost import Latency, check_latency
from naivegraph.latency.machine import machine_of
from naivegraph.latency.profile import Profile
from naivegraph.latency.runtimes import AnyRuntime, Runtime, runtime_of
from naivegraph.latency.seconds import Seconds
from naivegraph.latency.stopwatch import Ratio, compare
from naivegraph.prune.choose_sizes import Chosen
from naivegraph.prune.take_profile import take_profile
from naivegraph.prune.trial import Trials

__all__ = ["AskedLatency", "LatencyBudget", "step_of"]

_ROUNDS = 3  # networks that are made and timed
_MOST = 6  # of these, where the first are all too slow, or far too quick
_ABOVE, _BELOW, _FAR = 0.005, 0.015, 0.03  # shares of what is asked by which a measured time is near enough
_MOVED = 0.1  # share by which a saved profile's time may differ from the present one
_MICRO = 1e6


@dataclasses.dataclass(frozen=True)
class AskedLatency:
    """A budget of latency as it was asked for.

    Attributes:
        budget: A share of the present latency, or `Seconds`.
        runtime: What runs the network.
        profile: A profile that was saved; None to take one.
    """

    budget: float
    runtime: Runtime
    profile: Profile | None

    @classmethod
    def of(cls, latency: Any, runtime: AnyRuntime, profile: Any) -> AskedLatency | None:
        """The budget that these arguments of `prune` ask for; None without a latency.

        Raises:
            EditError: One of them makes no sense.
            LoadError: The file is no profile.
        """
        chosen = runtime_of(runtime)
        if latency is None:
            if profile is not None:
                raise EditError("profile= is for a budget of latency: give latency=0.6, too")
            return None
        if not isinstance(profile, (Profile, str, os.PathLike, type(None))):
            raise EditError(
                f"profile= takes a profile of ng.profile, or the file it was saved to, not {profile!r}"
            )
        taken = Profile.load(profile) if isinstance(profile, (str, os.PathLike)) else profile
        check_latency(latency)
        return cls(latency, chosen, taken)


class Choose(Protocol):
    """The search for sizes with one more budget."""

    def __call__(self, cost: Cost, budget: float, step: int = ...) -> Chosen:
        """Choose sizes, which are multiples of `step`.

        Raises:
            InfeasibleError: There are none.
        """


@dataclasses.dataclass(frozen=True)
class TimedChoice:
    """A network that was made and timed.

    Attributes:
        chosen: Its sizes.
        predicted: The microseconds that the profile alone predicts.
        cost: The cost by which it was chosen.
        ratio: Its measured time, relative to that of the network as it was.
    """

    chosen: Chosen
    predicted: float
    cost: Latency
    ratio: Ratio


class LatencyBudget:
    """A budget of latency for one network.

    Args:
        asked: What was asked for.
        trials: The makers and timers of copies.
        step: The number whose multiples the sizes are.
        say: Called with a sentence before each step that may take long.

    Raises:
        EditError: The profile is of another machine or state of it, or the network does not run.
    """

    def __init__(self, asked: AskedLatency, trials: Trials, step: int, say: Callable[[str], None]) -> None:
        self._trials, self._step, self._say = trials, step, say
        self._profile = take_profile(trials, say) if asked.profile is None else asked.profile
        sizes = tuple(width.size for width in trials.program.free)
        self._reference = trials.run(trials.sized(trials.change(sizes), sizes))
        self._start = trials.clock.median_seconds(self._reference)
        if asked.profile is not None:
            _check_state(asked.profile, trials, self._start)
        budget = asked.budget
        self.share = float(budget) / self._start if isinstance(budget, Seconds) else float(budget)

    def meet(self, choose: Choose) -> tuple[Chosen, LatencyReport]:
        """The sizes whose measured latency comes nearest to what was asked from below, and the report.

        Raises:
            InfeasibleError: No sizes meet it.
        """
        answers: list[TimedChoice] = []
        goal = self.share * self._profile.seconds
        while len(answers) < _MOST:
            if len(answers) >= _ROUNDS and any(-_FAR <= self._over(each) <= _ABOVE for each in answers):
                break
            self._say(f"choosing neurons for the latency (round {len(answers) + 1})")
            cost = Latency(self._profile, self._offset(answers))
            try:
                choice = choose(cost, Seconds(goal))
            except InfeasibleError:
                if not answers:
                    raise
                break
            answers.append(self._timed(choice, cost))
            if -_BELOW <= self._over(answers[-1]) <= _ABOVE:
                break
        best = self._best(answers)
        return best.chosen, self._report(best, len(answers), self._unrounded(best, choose, goal))

    def _over(self, answer: TimedChoice) -> float:
        """The share of what is asked by which a network is slower."""
        return answer.ratio.value / self.share - 1

    def _offset(self, answers: list[TimedChoice]) -> float:
        """The microseconds by which the profile is wrong, as far as is known."""
        if not answers:
            return 0.0
        wrong = [each.ratio.value * self._profile.seconds * _MICRO - each.predicted for each in answers]
        return statistics.fmean(wrong) if len(answers) < _ROUNDS else max(wrong)

    def _timed(self, choice: Chosen, cost: Latency) -> TimedChoice:
        self._say("timing the network that was chosen")
        run = self._trials.run(self._trials.sized(choice.change(), branches=choice.dropped))
        ratio = compare(run, self._reference, self._trials.clock)
        widths = self._trials.program.widths
        predicted = Latency(self._profile).value(widths, choice.count, choice.gone)
        return TimedChoice(choice, float(predicted), cost, ratio)

    def _best(self, answers: list[TimedChoice]) -> TimedChoice:
        """The network of the most utility that is quick enough."""
        quick = [each for each in answers if self._over(each) <= _ABOVE]
        if not quick:
            least = min(each.ratio.value for each in answers)
            raise InfeasibleError(
                f"the latency asked for is {self.share:.1%} of the present one; the quickest of "
                f"{len(answers)} networks that were made and timed takes {least:.1%} of it: ask for more, "
                "keep less, or let other sizes be chosen (round_to=)"
            )
        return max(quick, key=lambda each: each.chosen.utility)

    def _unrounded(self, best: TimedChoice, choose: Choose, goal: float) -> Unrounded | None:
        """The answer of the same search without the step, and its time."""
        if self._step == 1:
            return None
        try:
            choice = choose(best.cost, Seconds(goal), 1)
            if choice.utility <= best.chosen.utility * (1 + 1e-9):
                return None
            answer = self._timed(choice, best.cost)
        except EditError:
            return None
        return Unrounded(choice.utility, answer.ratio.value * self._start)

    def _report(self, best: TimedChoice, rounds: int, unrounded: Unrounded | None) -> LatencyReport:
        now = best.ratio.reference
        chosen = best.chosen
        predicted = best.cost.value(self._trials.program.widths, chosen.count, chosen.gone)
        return LatencyReport(
            before=self._start,
            asked=self.share * self._start,
            predicted=predicted / _MICRO / self._profile.seconds * self._start,
            measured=best.ratio.value * self._start,
            low=best.ratio.low * self._start,
            high=best.ratio.high * self._start,
            rounds=rounds,
            step=self._step,
            utility=best.chosen.utility,
            runtime=self._trials.runtime.name,
            clock=self._trials.clock.name,
            machine=machine_of(self._trials.device),
            moved=now / self._start - 1,
            unrounded=unrounded,
        )


def step_of(round_to: Any, runtime: AnyRuntime, has_latency: bool) -> int:
    """The number whose multiples sizes shall be.

    Raises:
        EditError: `round_to` is neither a whole number from 1 up nor "auto".
    """
    if round_to == "auto" or (round_to is None and has_latency):
        return runtime_of(runtime).step
    if round_to is None:
        return 1
    if isinstance(round_to, str):
        raise EditError(f'round_to takes a whole number or "auto", not {round_to!r}')
    validate.whole(round_to, "round_to", 1)
    return int(round_to)


def _check_state(profile: Profile, trials: Trials, seconds: float) -> None:
    """Refuse a profile of another machine, or of this one in another state."""
    if profile.runtime != trials.runtime.name:
        raise EditError(
            f"the profile is of {profile.runtime!r}, and runtime={trials.runtime.name!r} was asked for"
        )
    now = machine_of(trials.device)
    others = {key: value for key, value in now.items() if profile.machine.get(key) != value}
    if others:
        told = ", ".join(
            f"{key} {profile.machine.get(key)!r}, now {value!r}" for key, value in others.items()
        )
        raise EditError(f"the profile is of another machine ({told}): take one on this machine (ng.profile)")
    moved = seconds / profile.seconds - 1
    if abs(moved) > _MOVED:
        raise EditError(
            f"the network takes {seconds * 1e6:,.0f} us now and took {profile.seconds * 1e6:,.0f} us when "
            f"the profile was taken ({moved:+.0%}): the machine is in another state; take a new profile "
            "(ng.profile), or leave profile= out"
        )
