"""Experiments that are kept: trained once, found again, taken up after a kill; as `ng.track`.

Lightning trains, MLflow keeps, jsonargparse reads configs. They are imported when they are needed.
"""

import importlib
from typing import TYPE_CHECKING

# The module of each public name, below this package.
_HOMES = {
    "ClassificationTask": "lightning_tasks",
    "DistillationTask": "lightning_tasks",
    "EditsInCheckpoint": "edits_in_checkpoint",
    "EditsInTrainer": "transformers_pruning",
    "Lease": "lease",
    "LightningPruning": "lightning_pruning",
    "NetworkTask": "lightning_tasks",
    "RegressionTask": "lightning_tasks",
    "TrackedRun": "tracked_run",
    "TrackingStore": "tracking_store",
    "TransformersPruning": "transformers_pruning",
    "comparison_table": "compare_runs",
    "find": "find_runs",
    "identity_of": "run_identity",
    "load_from_checkpoint": "edits_in_checkpoint",
    "log_edit": "lightning_logger",
    "once": "train_once",
    "open_run": "find_runs",
    "page_of": "run_page",
    "runs": "find_runs",
    "runs_table": "compare_runs",
    "trained": "train_once",
}

if TYPE_CHECKING:
    from naivegraph.track.compare_runs import comparison_table as comparison_table
    from naivegraph.track.compare_runs import runs_table as runs_table
    from naivegraph.track.edits_in_checkpoint import EditsInCheckpoint as EditsInCheckpoint
    from naivegraph.track.edits_in_checkpoint import load_from_checkpoint as load_from_checkpoint
    from naivegraph.track.find_runs import find as find
    from naivegraph.track.find_runs import open_run as open_run
    from naivegraph.track.find_runs import runs as runs
    from naivegraph.track.lease import Lease as Lease
    from naivegraph.track.lightning_logger import log_edit as log_edit
    from naivegraph.track.lightning_pruning import LightningPruning as LightningPruning
    from naivegraph.track.lightning_tasks import ClassificationTask as ClassificationTask
    from naivegraph.track.lightning_tasks import DistillationTask as DistillationTask
    from naivegraph.track.lightning_tasks import NetworkTask as NetworkTask
    from naivegraph.track.lightning_tasks import RegressionTask as RegressionTask
    from naivegraph.track.run_identity import identity_of as identity_of
    from naivegraph.track.run_page import page_of as page_of
    from naivegraph.track.tracked_run import TrackedRun as TrackedRun
    from naivegraph.track.tracking_store import TrackingStore as TrackingStore
    from naivegraph.track.train_once import once as once
    from naivegraph.track.train_once import trained as trained
    from naivegraph.track.transformers_pruning import EditsInTrainer as EditsInTrainer
    from naivegraph.track.transformers_pruning import TransformersPruning as TransformersPruning

__all__ = [
    "ClassificationTask",
    "DistillationTask",
    "EditsInCheckpoint",
    "EditsInTrainer",
    "Lease",
    "LightningPruning",
    "NetworkTask",
    "RegressionTask",
    "TrackedRun",
    "TrackingStore",
    "TransformersPruning",
    "comparison_table",
    "find",
    "identity_of",
    "load_from_checkpoint",
    "log_edit",
    "once",
    "open_run",
    "page_of",
    "runs",
    "runs_table",
    "trained",
]


def __getattr__(name: str) -> object:
    """Load the home of a name."""
    if name not in _HOMES:
        raise AttributeError(f"module 'naivegraph.track' has no attribute {name!r}")
    return getattr(importlib.import_module(f"naivegraph.track.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """List the public names, beside what is loaded."""
    return sorted({*globals(), *_HOMES})
