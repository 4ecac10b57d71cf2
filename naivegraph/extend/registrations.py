"""Registering for a while, as tests do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from naivegraph.costs.by_name import COSTS
from naivegraph.ir.custom_rule import NAMED_RULES
from naivegraph.operators.registry import FOUND, RECORDS, SHAPES
from naivegraph.solvers.backend.interface import BACKENDS
from naivegraph.utility.criteria import CRITERIA

__all__ = ["temporary_registrations"]

_TABLES: tuple[dict[Any, Any], ...] = (BACKENDS, COSTS, CRITERIA, FOUND, NAMED_RULES, RECORDS, SHAPES)


@contextlib.contextmanager
def temporary_registrations() -> Iterator[None]:
    """Forget at the end whatever is registered in between: rules, criteria, costs, operators, backends.

    Example:
        >>> from naivegraph.extend import OfWidths, register_criterion
        >>> with temporary_registrations():
        ...     register_criterion("alike", OfWidths(lambda widths: dict.fromkeys(widths, 1.0)))
        >>> "alike" in CRITERIA
        False
    """
    before = [dict(table) for table in _TABLES]
    try:
        yield
    finally:
        for table, held in zip(_TABLES, before, strict=True):
            table.clear()
            table.update(held)
