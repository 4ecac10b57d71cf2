"""One evaluation, in a worker: idempotent, so that it can be sent again whenever its fate is not known."""

from __future__ import annotations

import socket
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from naivegraph.errors import StudyError
from naivegraph.own_randomness import own_randomness
from naivegraph.search.study.manifest import read_manifest
from naivegraph.search.study.protocols import Evaluate, Rung
from naivegraph.search.study.result import Result, checked_values
from naivegraph.search.study.store import Store
from naivegraph.search.study.weight_files import pack, read_weights, unpack

__all__ = ["Delivery", "Job", "JobContext", "contexts", "run_job"]


@dataclass(frozen=True)
class JobContext:
    """All that jobs of a study have in common; goes to each worker once."""

    evaluate: Evaluate
    build: Callable[[dict[str, Any]], Any] | None
    objectives: tuple[str, ...]
    limits: Mapping[str, float]
    measures: Mapping[str, Callable[[Any], float]]
    keep_weights: bool
    uses_torch: bool


@dataclass(frozen=True)
class Job:
    """One evaluation."""

    context: str
    folder: str
    study: str
    host: str
    digest: str
    name: str
    rung: Rung
    seed: int
    structure: Mapping[str, Any] = field(repr=False)
    starts: bool = False  # weights to start from were proposed


@dataclass(frozen=True)
class Delivery:
    """The answer of a worker.

    Attributes:
        state: `written`: the result is in the folder. `busy`: another process is at this architecture.
            `wanted`: the worker lacks the context or the weights. `returned`: the worker does not see the
            folder, so the result comes with this.
        apart: The worker does not see the folder.
    """

    state: Literal["written", "busy", "wanted", "returned"]
    result: Result | None = None
    weights: bytes | None = field(default=None, repr=False)
    apart: bool = False


contexts: dict[str, JobContext] = {}
"""Contexts that this process knows."""


def run_job(job: Job, packed: bytes | None = None, weights: bytes | None = None) -> Delivery:
    """Evaluate a network unless that has been done; write the result, or return it to write.

    Args:
        job: The evaluation.
        packed: Its context, pickled; None if this process is thought to know it.
        weights: Weights to start from, where this process may not see the folder.

    Raises:
        StudyError: The result cannot be written.
    """
    if job.context not in contexts:
        if packed is None:
            return Delivery("wanted", apart=_store_here(job) is None)
        import cloudpickle

        contexts[job.context] = cloudpickle.loads(packed)
    context = contexts[job.context]
    store = _store_here(job)
    if store is None:
        if weights is None and packed is None and (job.starts or job.rung.index):
            return Delivery("wanted", apart=True)
        if weights is None:
            job = replace(job, rung=replace(job.rung, start=0, inherited=0))
        result, trained = _evaluate(context, job, None if weights is None else unpack(weights))
        return Delivery("returned", result, trained, apart=True)
    lock = store.lock(job.name)
    if not lock.claim():
        return Delivery("busy")
    try:
        # Another process may have held the lock a moment ago.
        if store.result(job.name, job.rung.index) is None:
            job, state = _weights_here(store, job)
            store.write_result(*_evaluate(context, job, state))
    finally:
        lock.release()
    return Delivery("written")


def _store_here(job: Job) -> Store | None:
    """The store, if this process sees the folder, and on the machine of the driver: locks end there."""
    if socket.gethostname() != job.host:
        return None
    try:
        manifest = read_manifest(Path(job.folder))
    except StudyError:
        return None
    if manifest is None or manifest["id"] != job.study:
        return None
    return Store(job.folder, job.digest)


def _weights_here(store: Store, job: Job) -> tuple[Job, Any]:
    """Read the weights that a job goes on from; where they are lost, it trains all epochs."""
    rung = job.rung
    if rung.start:
        path = store.weights_path(job.name, rung.index - 1)
        try:
            state = read_weights(path)
        except ValueError as error:
            store.set_aside(path, str(error))
            state = None
        if state is not None:
            return job, state
        job = replace(job, rung=replace(rung, start=0))
    if not job.starts:
        return job, None
    path = store.weights_path(job.name, None)
    try:
        state = read_weights(path)
    except ValueError as error:
        store.set_aside(path, str(error))
        state = None
    return (job, state) if state is not None else (replace(job, rung=replace(job.rung, inherited=0)), None)


def _evaluate(context: JobContext, job: Job, state: Any) -> tuple[Result, bytes | None]:
    """Build, measure, train: what happened, and the weights afterwards."""
    began = time.perf_counter()
    values: dict[str, float] = {}
    result = Result(job.name, job.rung.index, "done")
    trained: bytes | None = None
    try:
        if context.uses_torch:
            import torch  # noqa: F401
        with own_randomness(job.seed):
            network: Any = dict(job.structure)
            if context.build is not None:
                network = context.build(network)
            if state is not None:
                network.load_state_dict(state)
            values.update(_measure(context, network))
            if any(values[name] > limit for name, limit in context.limits.items() if name in values):
                result = replace(result, status="over")
            else:
                wanted = dict.fromkeys((*context.objectives, *context.limits))
                needed = tuple(name for name in wanted if name not in values)
                values.update(checked_values(context.evaluate(network, job.rung, job.seed), needed))
                if context.keep_weights and hasattr(network, "state_dict"):
                    trained = pack(network.state_dict())
    except KeyboardInterrupt:
        raise
    except BaseException:  # SystemExit, too: one network's trouble is not that of the study
        result = replace(result, status="failed", error=traceback.format_exc())
        trained = None
    if job.rung.index and job.rung.start == 0:
        result = replace(result, notes="weights of the rung before were lost; all epochs were trained anew")
    seconds = time.perf_counter() - began
    return replace(
        result, values=values, seconds=seconds, finished=time.time(), weights=trained is not None
    ), trained


def _measure(context: JobContext, network: Any) -> dict[str, float]:
    """Measure what needs no training."""
    values = {}
    if callable(getattr(network, "parameters", None)):
        values["params"] = float(sum(parameter.numel() for parameter in network.parameters()))
    for name, measure in context.measures.items():
        needed = (name,) if name in context.objectives else ()
        values.update(checked_values({name: measure(network)}, needed))
    return values
