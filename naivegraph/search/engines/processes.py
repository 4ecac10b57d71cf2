"""Processes of this machine, replaced when they die."""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from naivegraph.search.engines.worker import ONE_THREAD, WorkerLostError, call, prepare_worker

__all__ = ["ProcessesEngine"]

TRIES = 4
"""Workers that may die of one job before it is taken to be the reason."""


_HEAVY = ("torch", "naivegraph.network", "naivegraph.edits")


class ProcessesEngine(Executor):
    """A number of processes, each a pool of its own: when one dies, only the job in it is sent again.

    Functions and arguments go through cloudpickle, so that those of notebooks and scripts can be sent. A
    process is started anew, and not forked.

    Args:
        workers: Processes, at most; each starts with the first job that finds no idle one.

    Example:
        >>> with ProcessesEngine(1) as engine:
        ...     engine.submit(max, 1, 2).result()
        2
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._jobs: queue.SimpleQueue[tuple[Future[Any], tuple[Any, ...]] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._pools: dict[int, Any] = {}
        self._unfinished = 0
        self._lock = threading.Lock()
        self._stopped = False

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Send a call to a process.

        Raises:
            RuntimeError: The engine was shut down.
        """
        if kwargs:
            raise TypeError("arguments are given by position")
        with self._lock:
            if self._stopped:
                raise RuntimeError("this engine was shut down")
            self._unfinished += 1
            if self._unfinished > len(self._threads) < self.workers:
                thread = threading.Thread(target=self._serve, args=(len(self._threads),), daemon=True)
                self._threads.append(thread)
                thread.start()
        future: Future[Any] = Future()
        self._jobs.put((future, (call, function, *args)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes: after the jobs that were sent, or at once if futures are to be cancelled."""
        with self._lock:
            self._stopped = True
            if cancel_futures:
                self._empty()
                for pool in list(self._pools.values()):
                    pool.shutdown(wait=False, kill_workers=True)
        for _ in self._threads:
            self._jobs.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def _empty(self) -> None:
        """Cancel jobs that wait."""
        try:
            while True:
                item = self._jobs.get_nowait()
                if item is not None:
                    item[0].cancel()
        except queue.Empty:
            pass

    def _serve(self, number: int) -> None:
        """Run jobs, one after the other, in a pool of one process."""
        while (item := self._jobs.get()) is not None:
            future, words = item
            if future.set_running_or_notify_cancel():
                try:
                    answer = self._run(number, words)
                except BaseException as error:  # the caller of `result` gets it
                    future.set_exception(error)
                else:
                    future.set_result(answer)
            with self._lock:
                self._unfinished -= 1
        pool = self._pools.pop(number, None)
        if pool is not None:
            pool.shutdown(wait=True, kill_workers=True)

    def _run(self, number: int, words: tuple[Any, ...]) -> Any:
        """Run a job; where its process dies, in another."""
        from loky.process_executor import ShutdownExecutorError

        for _ in range(TRIES):
            if self._stopped and number not in self._pools:
                raise CancelledError
            try:
                return self._pool(number).submit(*words).result()
            except ShutdownExecutorError:
                raise CancelledError from None
            except BrokenProcessPool as error:
                reason = str(error).strip().splitlines()[0]
                self._discard(number)
        raise WorkerLostError(f"{TRIES} workers died of this job, the last one so: {reason}")

    def _pool(self, number: int) -> Any:
        """The pool of a thread; made if there is none."""
        from loky import ProcessPoolExecutor

        with self._lock:
            if number not in self._pools:
                self._pools[number] = ProcessPoolExecutor(
                    max_workers=1,
                    timeout=None,
                    initializer=prepare_worker,
                    initargs=(os.getpid(), [name for name in _HEAVY if name in sys.modules]),
                    env=ONE_THREAD,
                )
            return self._pools[number]

    def _discard(self, number: int) -> None:
        """Let go of a pool whose process has died.

        Raises:
            CancelledError: It has not died, but was shut down.
        """
        with self._lock:
            pool = self._pools.pop(number, None)
            stopped = self._stopped
        if pool is not None:
            pool.shutdown(wait=False, kill_workers=True)
        if stopped:
            raise CancelledError
