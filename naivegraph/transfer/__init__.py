"""Pretrained networks for another task or another size, as `ng.transfer`."""

from naivegraph.transfer.head import head
from naivegraph.transfer.inputs import inputs

__all__ = ["head", "inputs"]
