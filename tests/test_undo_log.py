"""The log by which everything is undone."""

from __future__ import annotations

import pytest

from naivegraph.undo import UndoLog, all_or_nothing


class Steps:
    """Steps that write down when they are taken; those named raise the first time, or every time."""

    def __init__(self, once: str = "", always: str = "") -> None:
        self.taken: list[str] = []
        self._once, self._always = set(once), set(always)

    def push(self, undo: UndoLog, name: str) -> None:
        def step() -> None:
            self.taken.append(name)
            if name in self._once or name in self._always:
                self._once.discard(name)
                raise KeyboardInterrupt(name)

        undo.push(step)


def test_steps_are_taken_once_the_last_first() -> None:
    undo, steps = UndoLog(), Steps()
    for name in "abc":
        steps.push(undo, name)
    assert undo
    undo.undo()
    undo.undo()
    assert steps.taken == ["c", "b", "a"]
    assert not undo


def test_a_block_that_raises_is_undone_and_what_was_before_is_kept() -> None:
    undo, steps = UndoLog(), Steps()
    steps.push(undo, "a")

    def fail() -> None:
        with all_or_nothing(undo):
            steps.push(undo, "b")
            with all_or_nothing(undo):
                steps.push(undo, "c")
            with all_or_nothing(undo):
                steps.push(undo, "d")
                raise ValueError("inner")

    with pytest.raises(ValueError, match="inner"):
        fail()
    assert steps.taken == ["d", "c", "b"]
    undo.undo()
    assert steps.taken == ["d", "c", "b", "a"]


def test_an_inner_block_is_undone_alone_if_its_error_is_caught() -> None:
    undo, steps = UndoLog(), Steps()

    def fail() -> None:
        with all_or_nothing(undo):
            steps.push(undo, "b")
            raise ValueError("caught")

    with all_or_nothing(undo):
        steps.push(undo, "a")
        with pytest.raises(ValueError, match="caught"):
            fail()
        steps.push(undo, "c")
    assert steps.taken == ["b"]
    undo.undo()
    assert steps.taken == ["b", "c", "a"]


def test_back_to_a_mark() -> None:
    undo, steps = UndoLog(), Steps()
    steps.push(undo, "a")
    mark = undo.mark()
    steps.push(undo, "b")
    undo.rollback_to(mark)
    undo.rollback_to(mark)
    assert steps.taken == ["b"]
    assert undo


def test_an_interrupted_step_is_taken_again_and_the_interrupt_told_at_the_end() -> None:
    undo, steps = UndoLog(), Steps(once="b")
    for name in "abc":
        steps.push(undo, name)
    with pytest.raises(KeyboardInterrupt, match="b"):
        undo.undo()
    assert steps.taken == ["c", "b", "b", "a"]
    assert not undo


def test_a_step_that_never_works_stops_no_other() -> None:
    undo, steps = UndoLog(), Steps(always="bc")
    for name in "abc":
        steps.push(undo, name)
    with pytest.raises(KeyboardInterrupt, match="c"):
        undo.undo()
    assert steps.taken == ["c", "c", "b", "b", "a"]


def test_mappings_keep_their_order_and_entries_come_and_go() -> None:
    undo, order = UndoLog(), {"a": 1, "b": 2}
    undo.keep_mapping(order)
    del order["a"]
    order["a"] = 3
    undo.keep_entry(order, "c")
    order["c"] = 4
    undo.keep_entry(order, "b")
    order["b"] = 5
    undo.undo()
    assert list(order.items()) == [("a", 1), ("b", 2)]
