"""Ray: jobs as its tasks, on this machine or on a cluster."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from naivegraph.errors import StudyError
from naivegraph.optional_package import optional_package
from naivegraph.search.engines.worker import WorkerLostError

__all__ = ["RayEngine"]

TRIES = 4


class RayEngine(Executor):
    """Runs jobs as tasks of Ray, which sends those of a worker that died again.

    Ray that runs already, in this process or where `RAY_ADDRESS` says, is used as it is; else it is started
    on this machine, and stopped at the end.

    Args:
        workers: Processors to start it with, one per job.
        address: Of a cluster, as `ray.init` takes it.

    Raises:
        MissingPackageError: Ray is not installed.
        StudyError: Ray does not start.
    """

    def __init__(self, workers: int, address: str | None = None) -> None:
        # On a busy machine the 30 s that Ray waits for its own processes are too few.
        os.environ.setdefault("RAY_raylet_start_wait_time_s", "150")
        # Else GPUs are hidden from tasks that ask for none, with a warning that this will change.
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        self._ray = optional_package("ray", "ray", "engine 'ray'")
        self._owned = not self._ray.is_initialized()
        if self._owned:
            cluster = address or os.environ.get("RAY_ADDRESS")
            more = {} if cluster else {"num_cpus": workers, "include_dashboard": False}
            try:
                self._ray.init(address=cluster or "local", log_to_driver=False, logging_level="ERROR", **more)
            except Exception as error:  # of many classes
                raise StudyError(f"Ray did not start: {type(error).__name__}: {error}") from error
        self._task = self._ray.remote(num_cpus=1, max_retries=TRIES - 1)(_call)

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Send a call to a worker."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        reference = self._task.remote(function, args, kwargs)
        threading.Thread(target=self._collect, args=(reference, future), daemon=True).start()
        return future

    def _collect(self, reference: Any, future: Future[Any]) -> None:
        """Wait for an answer."""
        try:
            answer = self._ray.get(reference)
        except self._ray.exceptions.WorkerCrashedError as error:
            future.set_exception(WorkerLostError(f"{TRIES} workers of Ray died of this job: {error}"))
        except self._ray.exceptions.RayTaskError as error:
            future.set_exception(error.as_instanceof_cause())
        except BaseException as error:  # the caller of `result` gets it
            future.set_exception(error)
        else:
            future.set_result(answer)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Stop Ray, if it was started here."""
        if self._owned:
            self._ray.shutdown()


def _call(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return function(*args, **kwargs)
