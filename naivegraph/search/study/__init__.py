"""Studies: a folder that is the truth, an order that speed does not change, jobs that can be sent again."""

from naivegraph.search.study.callbacks import Callback
from naivegraph.search.study.candidate import Candidate, Lineage
from naivegraph.search.study.protocols import Engine, Evaluate, Proposal, Rung, name_of
from naivegraph.search.study.result import Result
from naivegraph.search.study.result_order import Ranking
from naivegraph.search.study.study import Study
from naivegraph.search.study.study_history import History
from naivegraph.search.study.study_space import Space
from naivegraph.search.study.study_view import StudyView
from naivegraph.search.study.trackers import MLflowCallback, TensorBoardCallback

__all__ = [
    "Callback",
    "Candidate",
    "Engine",
    "Evaluate",
    "History",
    "Lineage",
    "MLflowCallback",
    "Proposal",
    "Ranking",
    "Result",
    "Rung",
    "Space",
    "Study",
    "StudyView",
    "TensorBoardCallback",
    "name_of",
]
