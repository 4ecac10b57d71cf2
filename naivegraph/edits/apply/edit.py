"""An applied change of a network: what was asked, what changed, how good it is, and the way back."""

from __future__ import annotations

import dataclasses
import io
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import nn

from naivegraph.edits.apply.apply import Change, apply
from naivegraph.edits.apply.size_report import SizeChange, SizeReport, sizes_table
from naivegraph.errors import EditError
from naivegraph.graph.export.history import is_last_edit
from naivegraph.network import Graph
from naivegraph.solvers.budget import Certificate

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Costs", "Edit"]

_SHOWN = 12
_TOLD = {
    "insert": "inserted {name} after {behind}",
    "remove": "removed {vertex}",
    "connect": "connected {source} to {target}",
    "disconnect": "took away the edge from {source} to {target}",
}


@dataclasses.dataclass(frozen=True)
class Costs:
    """What a network costs.

    Attributes:
        macs: Multiply-accumulates of one run on the example input, as `Widths.macs` counts them; 0 if there
            was no example to run on.
        params: Number of parameters, tied ones counted once.
    """

    macs: int
    params: int


class Edit:
    """One applied change of a network; truthy if anything changed.

    Attributes:
        asked: What was asked: of a resize the requests by the vertex's name, else the arguments by theirs.
        change: What changed, as plain data.
        certificate: `value` (the utility kept), `bound` (the most that any answer can keep) and `gap`.
        before: Costs before the edit.
        after: Costs after it.
        notes: Sentences on what could not change and why, and on what else a reader should know.
        earlier: If this stands for several edits: those before the last one, whose `change` this has.
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
        optimizers: Iterable[Any] = (),
        sizing: SizeReport | None = None,
    ) -> None:
        """Apply `change` to `module`; all of it or nothing.

        Args:
            module: The network.
            change: The change.
            asked: What was asked, as given.
            certificate: How good the answer is.
            before: Costs before.
            after: Costs after.
            notes: Sentences on what could not change and why, and on what else a reader should know.
            optimizers: Optimizers of the network's parameters and averaged models of it, which follow.
            sizing: Tells what becomes of the sizes of vertices.

        Raises:
            EditError: The change does not fit the module, or an optimizer cannot follow.
        """
        self.asked = asked
        self.change = change
        self.certificate = certificate
        self.before = before
        self.after = after
        self.notes = notes
        self.earlier: tuple[Edit, ...] = ()
        self._sizing = sizing
        self._module = weakref.ref(module)
        self._undo: list[Callable[[], None]] = [apply(change, module, optimizers)] if self else []

    def __bool__(self) -> bool:
        return bool(self.change)

    def follows(self, earlier: Sequence[Edit]) -> None:
        """Let this edit, the last of several, stand for all of them: undone and written together."""
        if earlier:
            self.earlier, self.before = tuple(earlier), earlier[0].before

    @property
    def sizes(self) -> dict[str, SizeChange]:
        """By name, what became of every vertex whose neurons changed: which stayed, how many came, why.

        Example:
            >>> import torch, naivegraph as ng
            >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
            >>> edit = ng.resize(ng.capture(net, torch.ones(1, 4)), {"0": +2})
            >>> size = edit.sizes["1"]
            >>> size.before, size.after, size.kept, size.new, size.why
            (8, 10, (range(0, 8),), 2, 'follows 0')
        """
        return self._sizing.sizes() if self._sizing is not None and self else {}

    def then_refresh(self, graph: Graph) -> None:
        """Bring a graph of the network up to date; `undo` puts it back as it is now.

        Raises:
            Exception: Whatever the network raises when it runs; the graph is as it was then.
        """
        if not self:
            return  # Nothing changed, so the graph stays as it is, too.
        restore = graph.snapshot()
        graph.refresh()
        self._undo.append(restore)

    def after_undo(self, step: Callable[[], None]) -> None:
        """Let `undo` call a function at its very end: what was done before this edit was applied."""
        if self._undo:
            self._undo.insert(0, step)

    def undo(self) -> None:
        """Put the network back as it was before this edit, bit for bit; gradients and optimizers too.

        Weights trained since the edit are gone then. Later edits must be undone first.

        Raises:
            EditError: The edit was undone already, or a later one has not been.
        """
        module = self._module()
        if not self:
            return
        if not self._undo or module is None:
            raise EditError("this edit was undone already" if not self._undo else "the network is gone")
        if not is_last_edit(module, self.change.to_json):
            raise EditError(
                "the network was edited again since: undo the later edits first, the last one first"
            )
        while self._undo:
            self._undo.pop()()
        for edit in reversed(self.earlier):
            edit.undo()

    def to_json(self) -> str:
        """The change as JSON, for `ng.replay`: not what was asked, but what came of it.

        That is which neurons stay, how many come and how they start, where they live, and the steps by which
        the structure changed. Of several edits (a replay of several) it is a list.
        """
        texts = [*(edit.to_json() for edit in self.earlier), self.change.to_json()]
        return texts[0] if len(texts) == 1 else f"[{','.join(texts)}]"

    def __str__(self) -> str:
        from rich.console import Console

        stream = io.StringIO()
        console = Console(file=stream, width=100, force_terminal=False)
        console.print(self._cost_table())
        value, bound = self.certificate.value, self.certificate.bound
        if value or bound:
            gap = f"(gap {self.certificate.gap:.3%})"
            console.print(f"utility kept {value:.6g}, at most {bound:.6g} possible {gap}", highlight=False)
        if self.change.structure is not None:
            console.print(_told(self.change.structure), highlight=False)
        if self._sizing is not None and self._sizing.of_vertices and self.sizes:
            console.print(sizes_table(self._sizing))
        elif self.change.widths:
            console.print(self._width_table())
        for note in self.notes:
            console.print(note, highlight=False)
        return "\n".join(line.rstrip() for line in stream.getvalue().rstrip().split("\n"))

    __repr__ = __str__

    def _cost_table(self) -> Table:
        from rich.table import Table

        table = Table(title="Nothing changed" if not self else None)
        for heading in ("", "before", "after", "left"):
            table.add_column(heading, justify="left" if not heading else "right")
        for name, old, new in (
            ("MACs", self.before.macs, self.after.macs),
            ("parameters", self.before.params, self.after.params),
        ):
            if name == "MACs" and old == new == 0:
                continue
            table.add_row(name, f"{old:,}", f"{new:,}", f"{new / old:.1%}" if old else "-")
        return table

    def _width_table(self) -> Table:
        from rich.table import Table

        count = len(self.change.widths)
        table = Table(title=f"{count} width{'s' * (count != 1)} changed", title_justify="left")
        for heading in ("width", "before", "after"):
            table.add_column(heading, justify="left" if heading == "width" else "right")
        changed = list(self.change.widths.values())
        for width in changed[:_SHOWN]:
            table.add_row(width.name, str(width.before), str(width.after))
        if len(changed) > _SHOWN:
            table.add_row(f"... and {len(changed) - _SHOWN} more (edit.change.widths)", "", "")
        return table


def _told(structure: Mapping[str, Any]) -> str:
    """What was done to the structure of a graph, in words."""
    return _TOLD.get(structure["verb"], "{verb}").format_map(structure)
