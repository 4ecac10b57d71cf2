"""The records of operators, by ATen operator packet (all overloads of one name)."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch.torch_version import TorchVersion

from naivegraph.errors import NaivegraphError, nearest
from naivegraph.operators.operator_record import Operator
from naivegraph.operators.shapes import ShapeRule

__all__ = ["FOUND", "RECORDS", "SHAPES", "register", "register_operator"]

RECORDS: dict[torch._ops.OpOverloadPacket, Operator] = {}
# By overload, as they are looked up for every operator of every run.
SHAPES: dict[torch._ops.OpOverload, ShapeRule] = {}
FOUND: dict[torch._ops.OpOverload, Operator] = {}


def register(names: str, record: Operator, *, since: str | None = None) -> None:
    """Register the record of ATen operators of these names, and of their variants in place.

    Args:
        names: The names, separated by spaces.
        record: The record of all of them.
        since: The first version of torch that has them; with an older one they are left out.

    Raises:
        NaivegraphError: torch has no operator of such a name, or one has a record already.
    """
    for name in names.split():
        packet = getattr(torch.ops.aten, name, None)
        if packet is None and since is not None and TorchVersion(torch.__version__) < since:
            continue
        if packet is None:
            raise NaivegraphError(_missing(name, since))
        _enter(packet, record)
        in_place = getattr(torch.ops.aten, f"{name}_", None)
        if in_place is not None:  # its result is the tensor it takes, whatever the shape
            _enter(in_place, dataclasses.replace(record, shapes={}))


def register_operator(operator: Any, record: Operator, *, replace: bool = False) -> None:
    """Register the record of an operator of one's own or of another library.

    Without one, all axes that the operator touches are fixed.

    Args:
        operator: The operator with all its overloads, such as `torch.ops.mylib.twice`.
        record: Its record.
        replace: Whether it takes the place of another record that the operator has.

    Raises:
        NaivegraphError: It is no operator, or has another record already.

    Example:
        >>> import torch
        >>> from naivegraph.operators.pointwise import pointwise
        >>> from naivegraph.operators.zeros import KEPT
        >>> with torch.library._scoped_library("mylib", "DEF") as library:
        ...     _ = library.define("twice(Tensor x) -> Tensor")
        ...     register_operator(torch.ops.mylib.twice, Operator(pointwise, zeros=KEPT))
    """
    packet = operator.overloadpacket if isinstance(operator, torch._ops.OpOverload) else operator
    if not isinstance(packet, torch._ops.OpOverloadPacket):
        raise NaivegraphError(
            f"{operator!r} is no operator: give it as torch.ops.<namespace>.<name>, which torch.library "
            "defines (what is not made of operators gets a rule by ng.call)"
        )
    if not isinstance(record, Operator):
        raise NaivegraphError(f"the record of {packet} is an Operator(axes=...), not {record!r}")
    if RECORDS.get(packet) is not record:
        _enter(packet, record, replace)
        FOUND.clear()


def _enter(packet: torch._ops.OpOverloadPacket, record: Operator, replace: bool = False) -> None:
    if packet in RECORDS and not replace:
        raise NaivegraphError(
            f"{packet} has a record already: state all that is known of it in one; replace=True takes this "
            "one instead"
        )
    overloads: list[str] = packet.overloads()  # type: ignore[no-untyped-call]
    for name in record.shapes:
        if name not in overloads:
            raise NaivegraphError(f"{packet} has no overload {name!r}" + nearest(name, overloads))
    for name in RECORDS[packet].shapes if packet in RECORDS else ():
        SHAPES.pop(getattr(packet, name), None)
    RECORDS[packet] = record
    SHAPES.update({getattr(packet, name): rule for name, rule in record.shapes.items()})


def _missing(name: str, since: str | None) -> str:
    known = [full.removeprefix("aten::").split(".")[0] for full in torch._C._dispatch_get_all_op_names()]
    version = f"torch {torch.__version__}"
    if since is not None:
        return f"{version} has no operator aten::{name}, said to be there since torch {since}"
    return f"{version} has no operator aten::{name}" + nearest(
        name, known, otherwise="give since= if a later version has it"
    )
