"""Dask: jobs as its tasks, on this machine or on a cluster."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from naivegraph.optional_package import optional_package
from naivegraph.search.engines.worker import ONE_THREAD, WorkerLostError

__all__ = ["DaskEngine"]


class DaskEngine(Executor):
    """Runs jobs as tasks of Dask, which sends those of a worker that died again.

    Args:
        workers: Processes to start on this machine, one thread each.
        address: Of a scheduler that runs already; that of `DASK_SCHEDULER_ADDRESS` if None.

    Raises:
        MissingPackageError: Dask is not installed.
    """

    def __init__(self, workers: int, address: str | None = None) -> None:
        self._distributed = optional_package("distributed", "dask", "engine 'dask'")
        address = address or os.environ.get("DASK_SCHEDULER_ADDRESS")
        self._cluster: Any = None
        if address is None:
            self._cluster = self._distributed.LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                dashboard_address=None,
                env=ONE_THREAD,
            )
        self._client = self._distributed.Client(address or self._cluster, set_as_default=False)
        self._executor = self._client.get_executor(pure=False)

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Send a call to a worker."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()

        def finish(inner: Future[Any]) -> None:
            """Hand the answer on."""
            error = inner.exception()
            if isinstance(error, self._distributed.KilledWorker):
                future.set_exception(WorkerLostError(f"workers of Dask died of this job: {error}"))
            elif error is not None:
                future.set_exception(error)
            else:
                future.set_result(inner.result())

        self._executor.submit(function, *args, **kwargs).add_done_callback(finish)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Stop what was started here."""
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()
