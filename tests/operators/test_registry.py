"""Registering records: names that do not exist, that come with a later torch, that are taken; wrong facts."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from naivegraph.errors import NaivegraphError
from naivegraph.extend import temporary_registrations
from naivegraph.operators import Operator, record_of, register_operator
from naivegraph.operators.pointwise import pointwise
from naivegraph.operators.registry import RECORDS, SHAPES, register
from naivegraph.operators.shapes import view
from naivegraph.operators.zeros import KEPT

RECORD = Operator(pointwise, zeros=KEPT)


def test_a_name_that_torch_lacks_is_refused_with_those_like_it() -> None:
    with pytest.raises(NaivegraphError, match=r"no operator aten::convolutoin; did you mean 'convolution'"):
        register("convolutoin", RECORD)


def test_a_name_that_torch_should_have_by_now_is_refused() -> None:
    with pytest.raises(NaivegraphError, match=r"said to be there since torch 2\.6"):
        register("no_such_operator", RECORD, since="2.6")


def test_a_name_of_a_later_torch_is_left_out() -> None:
    before = dict(RECORDS)
    register("no_such_operator", RECORD, since="99.0")
    assert before == RECORDS


def test_a_name_with_a_record_is_refused() -> None:
    with pytest.raises(NaivegraphError, match=r"aten\.relu has a record already"):
        register("relu", RECORD)
    with pytest.raises(NaivegraphError, match=r"aten\.relu has a record already"):
        register_operator(torch.ops.aten.relu, RECORD)


def test_variants_in_place_have_the_record_too() -> None:
    assert record_of(torch.ops.aten.squeeze_.dim).axes is record_of(torch.ops.aten.squeeze.dim).axes


@pytest.mark.parametrize("operator", [torch.relu, "aten::relu", torch.nn.ReLU()])
def test_what_is_no_operator_is_refused(operator: Any) -> None:
    with pytest.raises(NaivegraphError, match=r"is no operator: give it as torch\.ops"):
        register_operator(operator, RECORD)


def test_what_is_no_record_is_refused() -> None:
    with pytest.raises(NaivegraphError, match=r"is an Operator\(axes=\.\.\.\)"):
        register_operator(torch.ops.aten.block_diag, pointwise)  # type: ignore[arg-type]


def test_a_record_without_a_rule_says_what_to_give() -> None:
    with pytest.raises(NaivegraphError, match="give `pointwise` for an operator that treats every element"):
        Operator(None)  # type: ignore[arg-type]


def test_facts_of_the_wrong_type_are_refused() -> None:
    with pytest.raises(NaivegraphError, match="zeros='kept' of an Operator is a Zeros or None"):
        Operator(pointwise, zeros="kept")  # type: ignore[arg-type]


def test_shapes_of_an_overload_that_is_not_there_are_refused() -> None:
    with pytest.raises(
        NaivegraphError, match=r"aten\.block_diag has no overload 'defualt'; did you mean 'de"
    ):
        register_operator(torch.ops.aten.block_diag, Operator(pointwise, shapes={"defualt": view}))
    assert torch.ops.aten.block_diag not in RECORDS


def test_a_record_is_replaced_only_if_said_so() -> None:
    with temporary_registrations(), torch.library._scoped_library("naivegraph_test", "DEF") as library:
        library.define("twice(Tensor x) -> Tensor")
        twice = torch.ops.naivegraph_test.twice
        first = dataclasses.replace(RECORD, shapes={"default": lambda arguments: None})
        register_operator(twice, first)
        register_operator(twice, first)  # the same again is no clash
        with pytest.raises(NaivegraphError, match=r"has a record already: .* replace=True takes this one"):
            register_operator(twice, RECORD)
        assert twice.default in SHAPES
        register_operator(twice, RECORD, replace=True)
        assert record_of(twice.default) is RECORD
        assert twice.default not in SHAPES
    assert twice not in RECORDS
