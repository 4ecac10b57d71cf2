"""Questions about edits: whether they can be made, without making them."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

from naivegraph.edits.apply.edit import Edit
from naivegraph.edits.branch import branch
from naivegraph.edits.connect import connect
from naivegraph.edits.duplicate import duplicate
from naivegraph.edits.insert import insert
from naivegraph.edits.remove import disconnect, remove
from naivegraph.edits.request.target import graph_verb
from naivegraph.edits.resize import resize
from naivegraph.edits.resize_kernel import resize_kernel
from naivegraph.edits.resize_program.strategy import Solve
from naivegraph.errors import EditError, NaivegraphError, nearest
from naivegraph.network import Graph

__all__ = ["Feasibility", "can"]

_VERBS: dict[str, Callable[..., Edit]] = {
    "branch": branch,
    "connect": connect,
    "disconnect": disconnect,
    "duplicate": duplicate,
    "insert": insert,
    "remove": remove,
    "resize": resize,
    "resize_kernel": resize_kernel,
}


@dataclasses.dataclass(frozen=True)
class Feasibility:
    """The answer to whether an edit can be made; truthy if it can.

    Attributes:
        possible: Whether it can.
        reason: Why it cannot, in the words of the error that it would raise; "" if it can.
    """

    possible: bool
    reason: str = ""

    def __bool__(self) -> bool:
        return self.possible

    def __str__(self) -> str:
        return "yes" if self.possible else f"no: {self.reason}"


@graph_verb
def can(model: Graph, verb: str, *args: Any, **options: Any) -> Feasibility:
    """Tell whether an edit can be made, without an exception; the network stays as it is.

    The edit is tried out and taken back, so that the answer holds for the sizes that have to follow, too.

    Args:
        model: A graph, or a network and then its example: a tensor or a tuple of positional inputs, and
            `kwargs={...}` for keyword inputs.
        verb: "branch", "connect", "disconnect", "duplicate", "insert", "remove", "resize" or "resize_kernel".
        args: The arguments of the verb after its first.
        options: Its other arguments.

    Returns:
        The answer, with the reason if it is no.

    Raises:
        EditError: There is no such verb, or it takes other arguments.

    Example:
        >>> import torch
        >>> from naivegraph.network import capture
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> graph = capture(net, torch.ones(1, 4))
        >>> bool(can(graph, "remove", "1"))
        True
        >>> print(can(graph, "connect", "0", "2"))  # doctest: +ELLIPSIS
        no: '2' is neither a sum nor a concatenation (torch.cat), so it cannot take another input: ...
    """
    if verb not in _VERBS:
        hint = nearest(str(verb), list(_VERBS), otherwise=f"there are {', '.join(_VERBS)}")
        raise EditError(f"there is no edit {verb!r}{hint}")
    try:
        inspect.signature(_VERBS[verb]).bind(model, *args, **options)
    except TypeError as error:
        raise EditError(f"{verb} cannot be called so, ng.can(graph, {verb!r}, ...): {error}") from error
    if verb == "resize":  # which does what is nearest otherwise, with a warning
        options.setdefault("strategy", Solve())
    try:
        edit = _VERBS[verb](model, *args, **options)
    except NaivegraphError as error:
        return Feasibility(False, str(error))
    edit.undo()
    return Feasibility(True)
