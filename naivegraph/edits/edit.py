"""An applied change of a network: what was asked, what changed, how good it is, and the way back."""

from __future__ import annotations

import dataclasses
import io
import weakref
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table
from torch import nn

from naivegraph.edits.change import Change, apply, history_of
from naivegraph.errors import EditError
from naivegraph.solvers.budget import Certificate

__all__ = ["Costs", "Edit"]

_SHOWN = 12


@dataclasses.dataclass(frozen=True)
class Costs:
    """What a network costs.

    Attributes:
        macs: Multiply-accumulates of one run on the example input.
        params: Number of parameters, tied ones counted once.
    """

    macs: int
    params: int


class Edit:
    """One applied change of a network; truthy if anything changed.

    Attributes:
        asked: What was asked, as given.
        change: What changed, as plain data.
        certificate: `value` (the utility kept), `bound` (the most that any answer can keep) and `gap`.
        before: Costs before the edit.
        after: Costs after it.
        notes: Sentences on what could not change and why.
    """

    def __init__(
        self,
        module: nn.Module,
        change: Change,
        *,
        asked: dict[str, Any],
        certificate: Certificate,
        before: Costs,
        after: Costs,
        notes: tuple[str, ...] = (),
    ) -> None:
        """Apply `change` to `module`; all of it or nothing.

        Raises:
            EditError: The change does not fit the module.
        """
        self.asked = asked
        self.change = change
        self.certificate = certificate
        self.before = before
        self.after = after
        self.notes = notes
        self._module = weakref.ref(module)
        self._text = change.to_json()
        self._undo: Callable[[], None] | None = apply(change, module) if change.widths else None

    def __bool__(self) -> bool:
        return bool(self.change.widths)

    def undo(self) -> None:
        """Put the network back as it was before this edit, bit for bit; gradients too.

        Weights trained since the edit are gone then. Later edits must be undone first.

        Raises:
            EditError: The edit was undone already, or a later one has not been.
        """
        module = self._module()
        if not self:
            return
        if self._undo is None or module is None:
            raise EditError("this edit was undone already" if self._undo is None else "the network is gone")
        history = history_of(module)
        if not history or history[-1] != self._text:
            raise EditError(
                "the network was edited again since: undo the later edits first, the last one first"
            )
        self._undo()
        self._undo = None

    def to_json(self) -> str:
        """The change as JSON: which neurons of which width stay, and where they live."""
        return self._text

    def __str__(self) -> str:
        stream = io.StringIO()
        console = Console(file=stream, width=100, force_terminal=False)
        console.print(self._cost_table())
        if self:
            console.print(self._width_table())
        for note in self.notes:
            console.print(note, highlight=False)
        return stream.getvalue().rstrip()

    __repr__ = __str__

    def _cost_table(self) -> Table:
        table = Table(title="Nothing changed" if not self else None)
        for heading in ("", "before", "after", "left"):
            table.add_column(heading, justify="left" if not heading else "right")
        for name, old, new in (
            ("MACs", self.before.macs, self.after.macs),
            ("parameters", self.before.params, self.after.params),
        ):
            table.add_row(name, f"{old:,}", f"{new:,}", f"{new / old:.1%}" if old else "-")
        value, bound = self.certificate.value, self.certificate.bound
        table.caption = (
            f"utility kept {value:.6g}, at most {bound:.6g} possible (gap {self.certificate.gap:.3%})"
        )
        return table

    def _width_table(self) -> Table:
        table = Table(title=f"{len(self.change.widths)} widths changed")
        for heading in ("width", "before", "after"):
            table.add_column(heading, justify="left" if heading == "width" else "right")
        changed = list(self.change.widths.values())
        for width in changed[:_SHOWN]:
            table.add_row(width.name, str(width.before), str(width.after))
        if len(changed) > _SHOWN:
            table.add_row(f"... and {len(changed) - _SHOWN} more (edit.change.widths)", "", "")
        return table
