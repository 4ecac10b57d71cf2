"""Records of ATen operators: axes, zeros, movement, linear sources, shapes; one file per family."""

from naivegraph.operators.lookup import movement_of, record_of, relate_operation
from naivegraph.operators.operator_record import Operator
from naivegraph.operators.registry import register_operator

__all__ = ["Operator", "movement_of", "record_of", "register_operator", "relate_operation"]
