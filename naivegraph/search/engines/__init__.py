"""Engines, which run the jobs of a study: this process, others, Ray, Dask, or any `Executor`."""

from naivegraph.optional_package import MissingPackageError, optional_package
from naivegraph.search.engines.dask_client import DaskEngine
from naivegraph.search.engines.engine_names import ENGINES, engine_named, worker_count
from naivegraph.search.engines.processes import ProcessesEngine
from naivegraph.search.engines.ray_tasks import RayEngine
from naivegraph.search.engines.serial import SerialEngine
from naivegraph.search.engines.worker import WorkerLostError

__all__ = [
    "ENGINES",
    "DaskEngine",
    "MissingPackageError",
    "ProcessesEngine",
    "RayEngine",
    "SerialEngine",
    "WorkerLostError",
    "engine_named",
    "optional_package",
    "worker_count",
]
