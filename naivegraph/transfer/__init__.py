"""Pretrained networks for another task or another size, as `ng.transfer`."""

from naivegraph.transfer.head import head
from naivegraph.transfer.inputs import inputs
from naivegraph.transfer.positions import positions
from naivegraph.transfer.student import student
from naivegraph.transfer.student_report import StudentReport
from naivegraph.transfer.vocabulary import vocabulary

__all__ = ["StudentReport", "head", "inputs", "positions", "student", "vocabulary"]
