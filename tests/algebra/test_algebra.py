"""The algebra of axes against index sets: every relation it states must hold neuron by neuron."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import hypothesis.strategies as st
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings

from naivegraph.algebra.algebra import Algebra
from naivegraph.algebra.axis import Atom, Axis, join, single, total
from naivegraph.algebra.reshape import reshaped

Mask = npt.NDArray[np.bool_]
Check = Callable[[Callable[[Axis], Mask]], bool]


def mask_of(algebra: Algebra, kept: dict[int, Mask], rng: np.random.Generator, axis: Axis) -> Mask:
    """Which indices of an axis stay when each free atom keeps a random subset."""

    def factor_mask(factor: Atom | int | Axis) -> Mask:
        if isinstance(factor, Axis):
            return expand(factor)
        if isinstance(factor, int):
            return np.ones(int(factor), bool)
        assert factor.bound is None
        if id(factor) not in kept:
            kept[id(factor)] = rng.random(factor.length) < 0.6
        return kept[id(factor)]

    def expand(axis: Axis) -> Mask:
        parts = []
        for term in axis.terms:
            out = np.ones(1, bool)
            for factor in term:
                out = np.logical_and.outer(out, factor_mask(factor)).ravel()
            parts.append(out)
        return np.concatenate(parts) if parts else np.ones(0, bool)

    return expand(algebra.resolve(axis))


def outer(a: Mask, b: Mask) -> Mask:
    result: Mask = np.logical_and.outer(a, b).ravel()
    return result


class Draws:
    """A random program on axes, with what must hold afterwards."""

    def __init__(self, data: st.DataObject) -> None:
        self.data = data
        self.algebra = Algebra()
        self.axes: list[Axis] = [self.algebra.new(data.draw(st.integers(1, 12))) for _ in range(3)]
        self.checks: list[Check] = []

    def pick(self, what: Callable[[Axis], bool] = lambda _: True) -> Axis | None:
        fitting = [axis for axis in self.axes if what(axis)]
        return self.data.draw(st.sampled_from(fitting)) if fitting else None

    def new(self) -> None:
        self.axes.append(self.algebra.new(self.data.draw(st.integers(1, 24))))

    def concatenate(self) -> None:
        a, b = self.pick(lambda x: x.length < 60), self.pick(lambda x: x.length < 60)
        if a is None or b is None:
            return
        out = self.algebra.concatenate([a, b])
        self.axes.append(out)
        self.checks.append(lambda m: bool((m(out) == np.concatenate([m(a), m(b)])).all()))

    def cut(self) -> None:
        axis = self.pick(lambda x: x.length > 1)
        if axis is None:
            return
        first, second = self.algebra.cut(axis, self.data.draw(st.integers(1, axis.length - 1)))
        self.axes += [first, second]
        self.checks.append(lambda m: bool((m(axis) == np.concatenate([m(first), m(second)])).all()))

    def split(self) -> None:
        axis = self.pick(lambda x: x.length > 1)
        if axis is None:
            return
        inner = self.data.draw(
            st.sampled_from([d for d in range(1, axis.length + 1) if axis.length % d == 0])
        )
        rows, row = self.algebra.split(axis, inner)
        assert row.length == inner
        self.axes += [rows, row]
        self.checks.append(lambda m: bool((m(axis) == outer(m(rows), m(row))).all()))

    def join(self) -> None:
        a, b = self.pick(lambda x: x.length < 13), self.pick(lambda x: x.length < 13)
        if a is None or b is None:
            return
        out = self.algebra.join([a, b])
        self.axes.append(out)
        self.checks.append(lambda m: bool((m(out) == outer(m(a), m(b))).all()))

    def unify(self) -> None:
        a = self.pick()
        b = self.pick(lambda x: a is not None and x.length == a.length)
        if a is None or b is None:
            return
        self.algebra.unify(a, b)
        self.checks.append(lambda m: bool((m(a) == m(b)).all()))

    def unify_fresh(self) -> None:
        """Tie an axis to a fresh sum or product of the same length: the shapes which networks make."""
        a = self.pick()
        if a is None:
            return
        divisors = [d for d in range(2, a.length) if a.length % d == 0]
        if divisors and self.data.draw(st.sampled_from([True, False])):
            d = self.data.draw(st.sampled_from(divisors))
            b = self.algebra.join([self.algebra.new(a.length // d), self.algebra.new(d)])
        else:
            at = self.data.draw(st.integers(0, a.length))
            b = self.algebra.concatenate([self.algebra.new(at), self.algebra.new(a.length - at)])
        self.axes.append(b)
        self.algebra.unify(a, b)
        self.checks.append(lambda m: bool((m(a) == m(b)).all()))

    def reshape(self) -> None:
        a, b = self.pick(lambda x: x.length < 13), self.pick(lambda x: x.length < 13)
        if a is None or b is None:
            return
        n = a.length * b.length
        first = self.data.draw(st.sampled_from([d for d in range(1, n + 1) if n % d == 0]))
        shape = [first, n // first, *([1] if self.data.draw(st.booleans()) else [])]
        out = reshaped(self.algebra, [a, b], shape)
        assert [axis.length for axis in out] == shape
        self.axes += out
        self.checks.append(
            lambda m: bool(
                (
                    outer(m(a), m(b))
                    == outer(outer(m(out[0]), m(out[1])), m(out[-1]) if len(out) > 2 else np.ones(1, bool))
                ).all()
            )
        )


STEPS = ["new", "concatenate", "cut", "split", "join", "unify", "unify_fresh", "unify_fresh", "reshape"]


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_every_relation_holds_index_by_index(data: st.DataObject) -> None:
    program = Draws(data)
    for _ in range(data.draw(st.integers(3, 14))):
        getattr(program, data.draw(st.sampled_from(STEPS)))()
    for seed in range(3):
        kept: dict[int, Mask] = {}
        rng = np.random.default_rng(seed)
        for check in program.checks:
            assert check(functools.partial(mask_of, program.algebra, kept, rng))


def test_concatenation_of_many_is_bound_once() -> None:
    algebra = Algebra()
    parts = [algebra.new(3) for _ in range(50)]
    whole = algebra.new(150)
    algebra.unify(whole, algebra.concatenate(parts))
    assert algebra.binds == 1
    assert str(algebra.resolve(whole)) == " + ".join(["<3>"] * 50)


def test_fused_projection_ties_the_parts_but_keeps_heads_and_sizes_free() -> None:
    algebra = Algebra()
    weight = algebra.new(3 * 12 * 64)
    three, h, d = reshaped(algebra, [weight], [3, 12, 64])
    assert (three.fixed, h.fixed, d.fixed) == (False, False, False)
    algebra.pin(three, "unbind")
    assert str(algebra.resolve(weight)) == "3*<12>*<64>"


def test_product_against_product_is_factored() -> None:
    algebra = Algebra()
    a, b = algebra.new(8), algebra.new(4)
    c = algebra.new(32)
    algebra.unify(c, algebra.join([a, b]))
    g, o = algebra.new(4), algebra.new(8)
    algebra.unify(c, algebra.join([g, o]))
    assert str(algebra.resolve(c)) == "<4>*<2>*<4>"


def test_something_of_length_one_is_not_dropped() -> None:
    algebra = Algebra()
    one, b = algebra.new(1), algebra.new(5)
    axis = algebra.join([one, b])
    assert len(list(axis.atoms())) == 2
    algebra.unify(axis, b)
    assert algebra.resolve(one).fixed


def test_coprime_regrouping_is_fixed_with_the_reason() -> None:
    algebra = Algebra()
    algebra.where = "net.view"
    axis = algebra.join([algebra.new(3), algebra.new(4)])
    algebra.split(axis, 6)
    fixed = algebra.resolve(axis)
    assert fixed.fixed
    assert "regrouped in rows of 6, at net.view" in fixed.terms[0][0].reason  # type: ignore[union-attr]


def test_a_width_that_would_contain_itself_is_fixed() -> None:
    algebra = Algebra()
    a, b = algebra.new(4), algebra.new(4)
    algebra.unify(algebra.concatenate([a, b]), algebra.concatenate([b, a]))
    assert str(algebra.resolve(a)) == str(algebra.resolve(b)) == "<4>"
    c = algebra.new(4)
    whole = algebra.join([single(2), c])
    algebra.unify(whole, algebra.concatenate([algebra.new(2), c, algebra.new(2)]))
    assert algebra.resolve(whole).length == 8


def test_unequal_lengths_are_an_error() -> None:
    algebra = Algebra()
    with pytest.raises(ValueError, match="axes of 4 and 5 neurons cannot be equal"):
        algebra.unify(algebra.new(4), algebra.new(5))


def test_cost_does_not_grow_with_width() -> None:
    binds = []
    for scale in (1, 100):
        algebra = Algebra()
        a, b, c = algebra.new(6 * scale), algebra.new(2 * scale), algebra.new(4 * scale)
        algebra.unify(a, algebra.concatenate([b, c]))
        algebra.split(a, scale * 2)
        binds.append(algebra.binds)
    assert binds[0] == binds[1]


def test_normal_form_distributes_an_outer_sum_only() -> None:
    a, b, c = Atom(2), Atom(3), Atom(5)
    both = total([(a,), (b,)])
    assert str(join([both, single(c)])) == "<2>*<5> + <3>*<5>"
    assert str(join([single(c), both])) == "<5>*(<2> + <3>)"
    assert join([both, single(c)]).length == math.prod([5, 5])


def test_a_single_index_on_either_side_of_the_same_width_ends() -> None:
    algebra = Algebra()
    wide, one = algebra.new(4), algebra.new(1)
    algebra.unify(join([wide, one]), join([one, wide]))
    assert algebra.resolve(wide).fixed


def test_an_axis_cut_thousands_of_times_is_resolved() -> None:
    algebra = Algebra()
    whole = rest = algebra.new(3000)
    for _ in range(2999):
        _, rest = algebra.cut(rest, 1)
    assert [axis.length for axis in map(single, algebra.resolve(whole).atoms())] == [1] * 3000


def test_one_neuron_beside_a_dimension_of_one_index_is_fixed() -> None:
    """Which of the two dimensions it becomes shows only when there are two of it."""
    algebra = Algebra()
    one, three = algebra.new(1), algebra.new(3)
    reshaped(algebra, [join([one, three])], [1, 3])
    assert algebra.resolve(one).fixed
    assert not algebra.resolve(three).fixed
    kept = algebra.new(1)
    reshaped(algebra, [join([kept, three])], [3])
    assert not algebra.resolve(kept).fixed
