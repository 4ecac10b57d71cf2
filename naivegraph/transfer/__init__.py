"""Pretrained networks for another task or another size, as `ng.transfer`.

| to have | say |
|---|---|
| other classes | `ng.transfer.head(model, x, "fc", classes=[7, "new", 3])` |
| other input channels | `ng.transfer.inputs(model, x, "x", channels=4)` |
| another vocabulary | `ng.transfer.vocabulary(model, ids, old_tokenizer, new_tokenizer)` |
| another rank of two layers in a row | `ng.transfer.rank(model, x, {"lora_A": 4})` |
| more neurons, and the same function | `ng.transfer.widen(model, ids, {"hidden_size": 1024})` |
| longer texts, other images | `ng.transfer.positions(model, x, image=(96, 128))` |
| a smaller network | `ng.transfer.student(small, big, x, calibration=batches)` |
| small layers to train | `ng.transfer.adapters(graph, "blocks.*.fc2", kind="lora")` |
| rates for what is new | `ng.transfer.parameter_groups(model, edit)`, `ng.transfer.Unfreezing(graph)` |
"""

from naivegraph.transfer.adapters import adapters
from naivegraph.transfer.fine_tune import Unfreezing, parameter_groups
from naivegraph.transfer.from_teacher.student import student
from naivegraph.transfer.from_teacher.student_report import StudentReport
from naivegraph.transfer.head import head
from naivegraph.transfer.inputs import inputs
from naivegraph.transfer.positions import positions
from naivegraph.transfer.rank import rank
from naivegraph.transfer.vocabulary import vocabulary
from naivegraph.transfer.widen import widen

__all__ = [
    "StudentReport",
    "Unfreezing",
    "adapters",
    "head",
    "inputs",
    "parameter_groups",
    "positions",
    "rank",
    "student",
    "vocabulary",
    "widen",
]
