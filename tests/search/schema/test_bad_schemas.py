"""Schemas that are none, and what is said of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch import nn

from naivegraph import search
from naivegraph.errors import SchemaError


def chain(**settings: Any) -> search.Schema:
    """A schema of one node."""
    s = search.Schema()
    s.node("it", **settings)
    return s


NODES: dict[str, tuple[dict[str, Any], str]] = {
    "no identifier": ({"name": "a.b"}, "'a.b' cannot be the name of a node"),
    "a module's attribute": ({"name": "train"}, "no attribute of torch.nn.Module"),
    "bounds upside down": ({"channels": (9, 8)}, "it: channels: the least, 9, is above the most, 8"),
    "bounds of three": ({"channels": (1, 2, 3)}, r"\(least, most\) with None for open"),
    "bounds below 1": ({"spatial": 0}, "it: spatial is a whole number from 1 up"),
    "no multiple within": ({"channels": (9, 15), "multiple": 8}, "no multiple of 8 is 9 to 15"),
    "multiple 0": ({"multiple": 0}, "multiple is a whole number from 1 up, not 0"),
    "dropout 1": ({"dropout": 1.0}, "dropout is a probability"),
    "unknown merge": ({"merge": "concatenate"}, "there is no merge 'concatenate'; did you mean 'concat'"),
    "unknown norm": ({"norm": "bath"}, "there is no norm 'bath'; did you mean 'batch'"),
    "unknown activation": ({"activation": "rellu"}, "there is no activation 'rellu'; did you mean 'relu'"),
    "several inputs, no merge": ({"inputs": 2}, "several inputs need a merge"),
    "a layer for an operation": ({"operation": nn.Conv2d(1, 1, 1)}, r"search\.module\(lambda given"),
    "growth is no function": ({"growth": 2}, r"growth is a function, as search\.scale\(0\.5, 2\) makes one"),
    "too few ports": (
        {"operation": search.cross_attention(2), "ports": ("query",)},
        "its operation takes 2 inputs",
    ),
}


@pytest.mark.parametrize("what", NODES)
def test_a_node_that_is_none(what: str) -> None:
    settings, message = NODES[what]
    s = search.Schema()
    with pytest.raises(SchemaError, match=message):
        s.node(**{"name": "it", **settings})
    assert s.nodes == ()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: search.conv(0), "kernel is a whole number from 1 up"),
        (lambda: search.conv(3, padding=(2, 1)), "padding: the least, 2, is above the most, 1"),
        (lambda: search.max_pool(2, padding=2), "pads by at most half of it"),
        (lambda: search.group_norm(0), "groups is a whole number"),
        (lambda: search.scale(1, float("inf")), "scale takes numbers above 0, the smaller one first"),
        (lambda: search.linear(float("nan")), "linear takes a number of channels, not nan"),
        (lambda: search.new(chain().node("a"), priority="last"), "priority is a whole number"),  # type: ignore[arg-type]
        (lambda: chain().compile((3, 8, 8), seed=0, nodes=1.5), "nodes is a number from 1 up"),  # type: ignore[arg-type]
        (lambda: search.scale(2, 1), "scale takes numbers above 0, the smaller one first"),
        (lambda: search.module(lambda: nn.ReLU()), "a factory takes its channels in and out"),
        (lambda: search.module(nn.Identity, spatial="any"), 'spatial is "same" or "measured"'),  # type: ignore[arg-type]
    ],
)
def test_an_operation_that_is_none(make: Callable[[], object], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        make()


def test_transitions_that_lead_nowhere() -> None:
    s, other = chain(), search.Schema()
    (it,) = s.nodes
    look = s.node("look", search.cross_attention(2))
    with pytest.raises(SchemaError, match="takes inputs by the ports query, memory: name one"):
        search.new(look)
    with pytest.raises(SchemaError, match="look has no port 'key', but query, memory"):
        search.new(look, port="key")
    with pytest.raises(SchemaError, match="at least one transition"):
        it.then()
    with pytest.raises(SchemaError, match="the weight of an alternative is above 0"):
        it.then(it, weight=0)
    it.then(other.node("elsewhere"))
    with pytest.raises(SchemaError, match="leads to elsewhere, which is of another schema"):
        s.walk((1, 4, 4))


def test_a_loop_without_an_end() -> None:
    s = search.Schema()
    one, two = s.node("one"), s.node("two")
    one.then(two)
    two.then(one)
    with pytest.raises(SchemaError, match="no walk comes to an end: each alternative of one, two leads to"):
        s.compile((3, 4, 4))
    assert "no walk comes to an end" in str(s.explain((3, 4, 4)))


def test_a_loop_whose_end_sizes_forbid() -> None:
    s = search.Schema()
    down = s.node("down", search.conv(3, stride=2, padding=0), channels=(4, 8))
    down.then(down).then(s.node("end", search.conv(1), spatial=(20, None)))
    with pytest.raises(SchemaError, match="end: spatial size at least 20"):
        s.compile((3, 16, 16))


def test_numbers_of_nodes_that_no_walk_has() -> None:
    s = search.Schema()
    s.node("one").then(s.node("two"))
    with pytest.raises(SchemaError, match="3 to 4 nodes are asked for, but walks of this schema have 2 to 2"):
        s.walk((3, 4, 4), nodes=(3, 4))
    with pytest.raises(SchemaError, match=r"nodes is a number from 1 up or \(least, most\)"):
        s.walk((3, 4, 4), nodes=(4, 3))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((0, 4, 4), "sizes of a shape are whole numbers from 1 up"),
        ("3x4", "a shape is"),
        ({}, "at least one input"),
        ({"other": (3, 4, 4)}, "there is no node 'other'"),
    ],
)
def test_shapes_that_are_none(shape: Any, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        chain().walk(shape)


def test_an_empty_schema() -> None:
    with pytest.raises(SchemaError, match="a schema needs at least one node"):
        search.Schema().walk((3, 4, 4))


def test_a_schema_within_itself() -> None:
    s = search.Schema()
    s.node("first")
    with pytest.raises(SchemaError, match="a schema cannot be a part of itself"):
        s.node("again", s)


def test_a_genome_of_something_else() -> None:
    with pytest.raises(SchemaError, match="a genome is a list of whole numbers"):
        chain().walk((3, 4, 4), genome=["a"])  # type: ignore[list-item]


def test_a_growth_function_that_returns_no_factor() -> None:
    s = search.Schema()
    s.node("it", search.conv(1), growth=lambda given, draw: float("nan"))
    with pytest.raises(SchemaError, match="it: its growth function returned nan for 3 channels"):
        s.walk((3, 4, 4))


def test_a_module_that_gives_another_shape_than_it_says() -> None:
    s = search.Schema()
    s.node("it", search.module(lambda given: nn.Conv2d(given, given, 3)))
    with pytest.raises(SchemaError, match=r'gives 3 x 6 x 6, not 3 x 8 x 8 .*spatial="measured"'):
        s.compile((3, 8, 8))


def test_a_module_that_does_not_run() -> None:
    s = search.Schema()
    s.node("it", search.module(lambda given: nn.Conv3d(given, given, 3), spatial="measured", name="solid"))
    with pytest.raises(SchemaError, match=r"solid does not run on 3 x \(8, 8\)"):
        s.compile((3, 8, 8))


def test_what_waits_for_an_input_that_never_comes() -> None:
    s = search.Schema()
    one, both = s.node("one"), s.node("both", merge="add", inputs=2)
    one.then(both)
    with pytest.raises(SchemaError, match="all that is left waits for inputs: both for another input"):
        s.compile((3, 4, 4))


def test_a_second_input_without_a_merge() -> None:
    s = search.Schema()
    one, two = s.node("one"), s.node("two")
    one.then(search.new(two, priority=2), search.new(s.node("three", activation="relu")))
    s.nodes[2].then(search.join(two))
    with pytest.raises(SchemaError, match="two: it takes one input; several need a merge"):
        s.compile((3, 4, 4))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"output_padding": 2}, "conv_transpose pads its output by less than 2, its stride or dilation"),
        ({"output_padding": [0, 1, 0]}, r"its output_padding .* is for 3 dimensions"),
    ],
)
def test_output_paddings_that_torch_refuses(settings: dict[str, Any], message: str) -> None:
    s = chain(operation=search.conv_transpose(3, stride=2, **settings), channels=4)
    with pytest.raises(SchemaError, match=message):
        s.compile((3, 8, 8), seed=0)
