"""The loop of a study: asks the schedule, sends jobs to an engine, takes in results."""

from __future__ import annotations

import contextlib
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from dataclasses import dataclass, field

from naivegraph.errors import StudyError
from naivegraph.kernel_lock import KernelLock
from naivegraph.search.engines import WorkerLostError
from naivegraph.search.study.candidate import Lineage
from naivegraph.search.study.job import Delivery, Job, JobContext, contexts, run_job
from naivegraph.search.study.protocols import Engine, Rung
from naivegraph.search.study.result import Result
from naivegraph.search.study.schedule import Schedule, Slot
from naivegraph.search.study.store import Store

__all__ = ["Driver"]

_POLL = 0.05  # seconds until an architecture that another process has is looked at again
_HOPELESS = 20  # so many networks that fail, with none that does not, are no accident


@dataclass
class Driver:
    """The loop of a study.

    Attributes:
        schedule: The order of evaluations.
        store: The folder.
        study: The id of the study.
        seed: Seed of all evaluations.
        context: What evaluations have in common.
        results: All results so far; the schedule sees them, too.
        engine: What runs the jobs.
        workers: Jobs to run at once.
        until: The moment (`time.monotonic`) from which on no more are sent.
        told: Is called with each new result.
    """

    schedule: Schedule
    store: Store
    study: str
    seed: int
    context: JobContext
    results: dict[tuple[str, int], Result]
    engine: Engine
    workers: int
    until: float
    told: Callable[[Lineage, Result], None]
    _flying: dict[Future[Delivery], tuple[Slot, KernelLock]] = field(default_factory=dict)
    _waiting: dict[tuple[str, int], Slot] = field(default_factory=dict)
    _claimed: dict[tuple[str, int], KernelLock] = field(default_factory=dict)
    _token: str = field(default_factory=lambda: uuid.uuid4().hex)
    _packed: bytes | None = None
    _apart: bool = False  # workers do not see the folder

    def run(self) -> None:
        """Run until the schedule has no more, or the time is over and what runs has ended.

        Raises:
            StudyError: A result cannot be written, the evaluation cannot be sent, or every network fails.
        """
        contexts[self._token] = self.context
        try:
            while self._fill() or self._flying or self._waiting:
                self._wait()
        finally:
            del contexts[self._token]
            # An interrupt can come at any point, and a notebook lives on: no lock may be forgotten.
            for lock in self._claimed.values():
                lock.release()

    @property
    def _sent(self) -> set[tuple[str, int]]:
        return {slot.key for slot, _ in self._flying.values()}

    @property
    def _over(self) -> bool:
        return time.monotonic() >= self.until

    def _fill(self) -> bool:
        """Send what can be sent; tell whether there is more to come."""
        for slot in list(self._waiting.values()):
            if len(self._flying) >= self.workers:
                return True
            if self._over:
                self._waiting.clear()
                break
            self._send(slot)
        while len(self._flying) < self.workers and not self._over:
            new = self.schedule.next()
            if new is None:
                return False
            # An architecture that was proposed twice is evaluated once.
            if new.key in self.results or new.key in self._waiting or new.key in self._sent:
                continue
            self._waiting[new.key] = new
            self._send(new)
        return bool(self._flying or self._waiting)

    def _send(self, slot: Slot) -> None:
        """Send a job, unless its result is there or another process has the architecture."""
        if self._look(slot):
            return
        lock = self.store.claim(slot.lineage.name)
        if lock is None:
            return
        self._claimed[slot.key] = lock
        # The other process may have let go a moment ago.
        if self._look(slot):
            lock.release()
            return
        del self._waiting[slot.key]
        self._submit(slot, lock, bare=not self._apart)

    def _look(self, slot: Slot) -> bool:
        """Look for a result in the folder, and take it in."""
        result = self.store.result(*slot.key)
        if result is None:
            return False
        self._take_in(slot, result)
        return True

    def _submit(self, slot: Slot, lock: KernelLock, bare: bool) -> None:
        """Hand a job to the engine; with all that it can need unless it goes bare."""
        with self._errors(lock):
            job = self._job(slot)
            words = (job,) if bare else (job, self._pack(), self._weights(slot))
            self._flying[self.engine.submit(run_job, *words)] = (slot, lock)

    def _job(self, slot: Slot) -> Job:
        rungs = self.schedule.plan.rungs
        start = rungs[slot.rung - 1] if slot.rung else 0
        rung = Rung(slot.rung, start, rungs[slot.rung], slot.lineage.inherited)
        return Job(
            context=self._token,
            folder=str(self.store.folder.resolve()),
            study=self.study,
            host=socket.gethostname(),
            digest=self.store.digest,
            name=slot.lineage.name,
            rung=rung,
            seed=self.seed,
            structure=self.store.structure(slot.lineage.name),
            starts=slot.lineage.starts,
        )

    def _pack(self) -> bytes:
        """Pickle the context, once.

        Raises:
            StudyError: It cannot be pickled.
        """
        if self._packed is None:
            import cloudpickle

            try:
                self._packed = cloudpickle.dumps(self.context)
            except Exception as error:  # whatever the user's objects raise
                raise StudyError(
                    f"the evaluation cannot be sent to workers: {type(error).__name__}: {error}. Open files, "
                    "locks and the like within it: make them inside of it, or take engine='serial'"
                ) from error
        return self._packed

    def _weights(self, slot: Slot) -> bytes | None:
        """Weights to send along to where the folder is not seen."""
        if not self._apart:
            return None
        path = self.store.weights_path(slot.lineage.name, slot.rung - 1 if slot.rung else None)
        return path.read_bytes() if path.exists() else None

    def _wait(self) -> None:
        """Wait until something has happened, and take it in."""
        if not self._flying:
            time.sleep(_POLL)
            return
        # Without a limit, Ctrl-C would wait for the next result where the system does not interrupt locks.
        patience = _POLL if self._waiting else 1.0
        for future in wait(self._flying, patience, FIRST_COMPLETED).done:
            slot, lock = self._flying.pop(future)
            try:
                delivery = self._delivered(future, slot, lock)
            except BaseException:
                lock.release()
                raise
            if delivery is not None:
                self._deliver(delivery, slot, lock)

    def _delivered(self, future: Future[Delivery], slot: Slot, lock: KernelLock) -> Delivery | None:
        """The answer of a worker; if no worker survives the job, a failure in its place."""
        try:
            with self._errors(None):
                return future.result()
        except WorkerLostError as error:
            failure = Result(slot.lineage.name, slot.rung, "failed", error=f"WorkerLostError: {error}")
            return Delivery("returned", failure)

    def _deliver(self, delivery: Delivery, slot: Slot, lock: KernelLock) -> None:
        """Take in an answer."""
        if delivery.state == "wanted":
            self._apart = self._apart or delivery.apart
            self._submit(slot, lock, bare=False)
            return
        try:
            if delivery.state == "returned" and delivery.result is not None:
                self.store.write_result(delivery.result, delivery.weights)
            if delivery.state == "busy" or not self._look(slot):
                self._waiting[slot.key] = slot
        finally:
            lock.release()

    def _take_in(self, slot: Slot, result: Result) -> None:
        """Take in a result."""
        self._waiting.pop(slot.key, None)
        if slot.key not in self.results:
            self.results[slot.key] = result
            self.told(slot.lineage, result)
            self._check_hope(result)

    def _check_hope(self, result: Result) -> None:
        """Stop where nothing ever succeeds."""
        if result.status != "failed" or len(self.results) < _HOPELESS:
            return
        if all(other.status == "failed" for other in self.results.values()):
            raise StudyError(
                f"all of the first {len(self.results)} evaluations failed, the last one with "
                f"{result.reason!r}; their tracebacks are in the results. Once this is cured, "
                "run(retry_failed=True) goes on"
            )

    @contextlib.contextmanager
    def _errors(self, lock: KernelLock | None) -> Iterator[None]:
        """Tell errors of an engine in the words of a study."""
        try:
            yield
        except (StudyError, WorkerLostError, KeyboardInterrupt):
            if lock is not None:
                lock.release()
            raise
        except BaseException as error:
            if lock is not None:
                lock.release()
            name = f"{type(error).__module__}.{type(error).__name__}"
            if isinstance(error, BrokenExecutor):
                raise StudyError(
                    f"the engine is broken ({name}: {error}). What was found is kept: the same call goes on, "
                    "and engine='processes' replaces workers that die"
                ) from error
            raise StudyError(
                f"the engine could not run a job ({name}: {error}); what was found is kept"
            ) from error
