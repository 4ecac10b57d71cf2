"""A study: networks are proposed, evaluated, compared, and written into a folder from which it can go on."""

from __future__ import annotations

import json
import os
import random
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from naivegraph.errors import StudyError
from naivegraph.own_randomness import own_randomness
from naivegraph.progress import working
from naivegraph.search.engines import engine_named, worker_count
from naivegraph.search.study.callbacks import Callback, call_all
from naivegraph.search.study.candidate import Lineage
from naivegraph.search.study.driver import Driver
from naivegraph.search.study.job import JobContext
from naivegraph.search.study.manifest import open_folder
from naivegraph.search.study.progress_words import ProgressWords
from naivegraph.search.study.protocols import Evaluate, Proposal
from naivegraph.search.study.result import Result
from naivegraph.search.study.result_order import Ranking
from naivegraph.search.study.schedule import Plan, Schedule
from naivegraph.search.study.study_files import remove_leftovers
from naivegraph.search.study.study_history import History
from naivegraph.search.study.study_space import Space
from naivegraph.search.study.study_view import StudyView
from naivegraph.search.study.weight_files import pack

__all__ = ["Study"]


class Study(StudyView):
    """A search among the networks of a space, kept in a folder.

    The folder is the truth. A run that was killed, at whatever moment, goes on with the same call; no
    architecture is trained twice on a rung, also where several processes run one study. The same seed gives
    the same study, whatever the engine and the number of workers (`docs/study.md` says how).

    Args:
        folder: The folder; it is made if there is none.
        space: What proposes networks, see `Space`.
        evaluate: `train(module, rung, seed) -> dict`: trains a network in place for `rung.epochs` and
            measures it. It gets the structure in place of the network if the space has no `build`.
        objectives: `"max"` or `"min"` by name, of what `evaluate` returns or `measures` give; the first
            decides what `best` is.
        limits: The greatest value by name. `params`, and what `measures` give, is looked at before training,
            and a network beyond it is not trained.
        measures: Functions of a network by name, for what needs no training.
        rungs: Epochs, or what else `evaluate` counts, at the end of each rung. The best third of a rung goes
            on to the next, from the weights that it has.
        seed: Of proposals and evaluations.
        ahead: Evaluation `i` is chosen by the results of the first `i - ahead + 1`: more cannot run at once.
        reduction: One of so many networks goes on to the next rung.
        data: A name, or other data for JSON, for what is trained on; another one gives another study.
        recipe: The same for how it is trained.
        callbacks: Told of what happens, see `Callback`.
        keep_weights: Store weights after each rung; without them a higher rung trains anew.

    Raises:
        StudyError: The folder holds something else, another study or a damaged one, or an argument makes no
            sense.

    Example:
        >>> import tempfile
        >>> class Powers:
        ...     def propose(self, history, rng):
        ...         return Proposal({"width": 2 ** rng.randrange(10)})
        >>> def train(structure, rung, seed):
        ...     return {"loss": abs(structure["width"] - 40)}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     study = Study(folder, space=Powers(), evaluate=train, objectives={"loss": "min"})
        ...     study.run(networks=8, engine="serial")
        ...     study.best.structure
        {'width': 32}
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        space: Space,
        evaluate: Evaluate,
        objectives: Mapping[str, str],
        limits: Mapping[str, float] | None = None,
        measures: Mapping[str, Callable[[Any], float]] | None = None,
        rungs: Sequence[int] = (1,),
        seed: int = 0,
        ahead: int = 16,
        reduction: int = 3,
        data: Any = "",
        recipe: Any = "",
        callbacks: Sequence[Callback] = (),
        keep_weights: bool = True,
    ) -> None:
        if not callable(getattr(space, "propose", None)):
            raise StudyError(f"a space has propose(history, rng); {type(space).__name__} has not")
        if not isinstance(folder, (str, os.PathLike)):
            raise StudyError(f"folder={folder!r} is no path of a folder")
        if not callable(evaluate):
            raise StudyError(f"evaluate is a function (module, rung, seed) -> dict, not {evaluate!r}")
        self.plan = Plan(rungs, ahead, reduction)
        self.evaluate = evaluate
        self.measures = dict(measures or {})
        self.callbacks = tuple(callbacks)
        self.keep_weights = keep_weights
        self.exhausted = ""
        Ranking(objectives, limits)  # so that what is wrong with them is told before a folder is made
        settings = {
            "space": _fingerprint(space),
            "objectives": [list(item) for item in objectives.items()],  # the first of them counts most
            "limits": dict(limits or {}),
            "rungs": list(self.plan.rungs),
            "ahead": ahead,
            "reduction": reduction,
            "seed": seed,
            "data": data,
            "recipe": recipe,
        }
        try:
            settings = json.loads(json.dumps(settings))
        except (TypeError, ValueError) as error:
            raise StudyError(f"data= and recipe= are texts, or other data for JSON: {error}") from error
        self._open(Path(folder), open_folder(Path(folder), settings), space)
        for part in self.folder.iterdir():
            if part.is_dir():
                remove_leftovers(part)

    def run(
        self,
        *,
        networks: int | None = None,
        seconds: float | None = None,
        engine: str | Executor = "processes",
        workers: int | None = None,
        retry_failed: bool = False,
    ) -> None:
        """Go on until there are enough networks, or the time is over.

        Args:
            networks: The number of different networks that the study shall have in all, older ones counted.
            seconds: The time after which no more are started; those that run are waited for.
            engine: `serial`, `processes`, `ray`, `dask`, or any `concurrent.futures.Executor`.
            workers: Evaluations at once; as many as there are processors if None. More than `ahead` have
                nothing to do.
            retry_failed: Set failures aside, so that these networks are evaluated again.

        Raises:
            StudyError: There is no such engine or it does not start, a result cannot be written, the
                evaluation cannot be sent to workers, or every one of the first networks fails. The study is
                kept.
            MissingPackageError: The engine needs a package that is not installed.
            KeyboardInterrupt: It was stopped; the same call goes on.
        """
        if networks is None and seconds is None:
            raise StudyError("say when to stop: run(networks=500) or run(seconds=600)")
        if networks is not None and (type(networks) is not int or networks < 1):
            raise StudyError(f"networks={networks!r}: give a whole number from 1 up")
        if seconds is not None and (not isinstance(seconds, (int, float)) or not seconds >= 0):
            raise StudyError(f"seconds={seconds!r}: give a number from 0 up")
        if not isinstance(engine, str) and not callable(getattr(engine, "submit", None)):
            raise StudyError(f"engine={engine!r} is no name of one, and no concurrent.futures.Executor")
        began = time.monotonic()
        until = began + seconds if seconds is not None else float("inf")
        count = worker_count(engine, workers)
        if count > self.plan.ahead:
            warnings.warn(
                f"of {count} workers only {self.plan.ahead} have something to do at a time: a study chooses "
                f"ahead={self.plan.ahead} evaluations ahead; begin it with more",
                stacklevel=2,
            )
        self.refresh()
        if retry_failed:
            self._forget_failures()
        runner = engine_named(engine, count) if isinstance(engine, str) else engine
        callbacks = list(self.callbacks)
        call_all(callbacks, "on_start", self)
        at_once = True
        try:
            with working("searching") as say:
                words = ProgressWords(self, networks, until, say)
                driver = self._driver(networks, runner, count, until, callbacks, words)
                driver.run()
            self.exhausted = driver.schedule.exhausted
            at_once = False
        finally:
            if isinstance(engine, str):
                runner.shutdown(wait=True, cancel_futures=at_once)
            self.refresh()  # a run that ends early has not seen all that workers wrote
            call_all(callbacks, "on_end", self)

    def _driver(
        self,
        networks: int | None,
        engine: Executor,
        workers: int,
        until: float,
        callbacks: list[Callback],
        words: ProgressWords,
    ) -> Driver:
        """Put the loop together."""

        def told(lineage: Lineage, result: Result) -> None:
            """Tell of a new result."""
            words.update()
            call_all(callbacks, "on_result", self, self._candidate(lineage, result))

        schedule = Schedule(
            plan=self.plan,
            networks=sys.maxsize if networks is None else networks,
            history=History(self.ranking),
            propose=self._propose,
            results=self._results,
            make=self._candidate,
        )
        context = JobContext(
            evaluate=self.evaluate,
            build=getattr(self.space, "build", None),
            objectives=tuple(self.ranking.objectives),
            limits=self.ranking.limits,
            measures=self.measures,
            keep_weights=self.keep_weights,
            uses_torch=hasattr(self.space, "build") or "torch" in sys.modules,
        )
        return Driver(
            schedule=schedule,
            store=self.store,
            study=self.id,
            seed=self.settings["seed"],
            context=context,
            results=self._results,
            engine=engine,
            workers=workers,
            until=until,
            told=told,
        )

    def _propose(self, number: int, history: History) -> Lineage | None:
        """Give a proposal: the one that was written, or else a new one, which is written first."""
        if number not in self._lineages:
            data = self.store.proposal(number)
            if data is None:
                data = self._ask_space(number, history)
            if data is None:
                return None
            self._lineages[number] = Lineage.from_json(data)
        return self._lineages[number]

    def _ask_space(self, number: int, history: History) -> dict[str, Any] | None:
        """Have the space propose a network, and write it down."""
        rng = random.Random(f"{self.settings['seed']}/{number}")
        with own_randomness(rng.getrandbits(32)):
            proposal = self.space.propose(history, rng)
        if proposal is None:
            return None
        if not isinstance(proposal, Proposal):
            raise StudyError(f"{type(self.space).__name__}.propose is to return a Proposal, not {proposal!r}")
        lineage = Lineage(
            number=number,
            name=proposal.name,
            parents=tuple(proposal.parents),
            mutation=proposal.mutation,
            inherited=proposal.inherited,
            keeps_function=proposal.keeps_function,
            starts=proposal.weights is not None,
        )
        weights = None if proposal.weights is None else pack(proposal.weights)
        return self.store.write_proposal(number, lineage.to_json(), proposal.structure, weights)

    def _forget_failures(self) -> None:
        """Set failures aside."""
        for key, result in list(self._results.items()):
            if result.status == "failed":
                self.store.move_aside(self.store.result_path(*key))
                del self._results[key]


def _fingerprint(space: Space) -> str:
    """A text that tells a space from others."""
    given = getattr(space, "fingerprint", None)
    if given is None:
        return f"{type(space).__module__}.{type(space).__qualname__}"
    return str(given() if callable(given) else given)
