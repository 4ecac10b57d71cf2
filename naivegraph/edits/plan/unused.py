"""A note on parameters that the example did not reach."""

from __future__ import annotations

from naivegraph.widths.widths import UNUSED, Widths

__all__ = ["unused_notes"]


def unused_notes(widths: Widths) -> tuple[str, ...]:
    """A sentence on the parameters which keep their sizes because nothing computed with them, if any."""
    unused = dict.fromkeys(axis.name for axis in widths.fixed() if axis.reason == UNUSED)
    # A module that has a size in common with others follows them; its other sizes are its own.
    following = {_module(name) for name, axes in widths.axes.items() if not all(axis.fixed for axis in axes)}
    unused = {name: None for name in unused if _module(name) not in following}
    if not unused:
        return ()
    return (
        f"{len(unused)} parameters ({next(iter(unused))}, ...) stay as they are: running the network on the "
        "example did not use them. If it does anywhere else, check that it still runs there.",
    )


def _module(name: str) -> str:
    return name.rpartition(".")[0]
