"""Explanations: the smallest conflict, the nearest change, the furthest walk."""

from __future__ import annotations

import copy
import math
import xml.etree.ElementTree as ET

import pytest

from naivegraph import search
from naivegraph.errors import SchemaError
from naivegraph.search.schema.feature_shape import SizeBounds
from naivegraph.search.schema.size_model import SchemaRule, SizeModel
from naivegraph.solvers import Outcome, Program, solve
from tests.search.schema.infeasible import KINDS, infeasible
from tests.search.schema.spaces import unet

# Rules that a schema can be without.
DROPPABLE = {"channels", "multiple", "spatial", "padding", "output padding"}


def holds(model: SizeModel, rules: set[SchemaRule]) -> bool:
    """Whether the rows of these rules can hold together, by CBC, which the package does not use for this."""
    program = Program()
    for number, (low, high) in enumerate(model.first):
        program.column(f"x{number}", low, high)
    for number, row in enumerate(model.rows):
        if row.owner in rules:
            least = -math.inf if row.lower is None else row.lower
            most = math.inf if row.upper is None else row.upper
            program.row(f"r{number}", row.indices, row.factors, lower=least, upper=most)
    outcome = solve(program, backend="pulp:CBC").outcome
    assert outcome in (Outcome.OPTIMAL, Outcome.INFEASIBLE)
    return outcome is Outcome.OPTIMAL


def without(schema: search.Schema, rule: SchemaRule) -> search.Schema:
    """The schema without a rule."""
    made = copy.deepcopy(schema)
    (node,) = [node for node in made.nodes if node.name == rule.node]
    if rule.kind == "channels":
        node.channels = None
    elif rule.kind == "multiple":
        node.multiple = 1
    elif rule.kind == "spatial":
        node.spatial = (None,)
    else:
        word = rule.kind.replace(" ", "_")
        node.operation = copy.copy(node.operation)
        object.__setattr__(node.operation, word, (SizeBounds(0, None),))
    return made


@pytest.mark.parametrize("seed", range(len(KINDS)))
def test_any_rule_less_would_do_and_the_nearest_change_compiles(seed: int) -> None:
    kind, schema, shape = infeasible(seed)
    with pytest.raises(SchemaError, match="rules conflict; any one less would do"):
        schema.walk(shape)
    explanation = schema.explain(shape)
    assert not explanation.feasible
    assert not explanation.others
    rules, model = set(explanation.rules), explanation.model
    assert model is not None
    assert 1 < len(rules) < explanation.count
    assert not holds(model, rules), "the rules named can hold together"
    everything = {row.owner for row in model.rows}
    for rule in rules:
        if rule.kind in DROPPABLE:
            without(schema, rule).walk(shape)
        else:
            assert holds(model, everything - {rule}), f"{kind}: without {rule} there is a conflict still"
    changed, other = explanation.changed()
    changed.compile(other)


def test_an_explanation_reads_well() -> None:
    s = unet()
    text = str(s.explain((1, 31, 31), nodes=7))
    assert text.splitlines()[0] == "No network was found for 1 x 31 x 31 with 7 to 7 nodes."
    for line in (
        "  input: shape 1 x 31 x 31",
        "  enc: conv of kernel 3, stride 1, padding 1",
        "  up: conv_transpose of kernel 2, stride 2, padding 0, output padding 0",
        "  cat: concat takes inputs of equal spatial sizes",
        "  input: shape 1 x 31 x 31 becomes exactly 30",
    ):
        assert line in text.splitlines()
    assert "The furthest walk came to up, its node" in text
    assert "then tried join cat: cat: concat takes inputs of equal spatial sizes" in text


def test_a_picture_marks_the_nodes_in_conflict() -> None:
    svg = unet().explain((1, 31, 31), nodes=7).svg()
    root = ET.fromstring(svg)
    marked = [e for e in root.iter() if e.tag.endswith("rect") and e.get("class") == "bad"]
    assert len(marked) == 3  # enc, enc_1 and up
    texts = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert "conflict: up: conv_transpose of kernel 2, stride 2, padding 0, output padding 0" in texts


def test_what_has_a_network_says_so() -> None:
    explanation = unet().explain((1, 32, 32), nodes=7)
    assert explanation.feasible
    assert str(explanation).startswith("There is a network of 7 nodes:")
    assert "<rect" in explanation.svg()
    with pytest.raises(SchemaError, match="no change is known"):
        explanation.changed()


def test_layouts_that_do_not_go_together_are_told() -> None:
    s = search.Schema()
    s.node("conv", search.conv(3)).then(s.node("head", search.dense()))
    with pytest.raises(
        SchemaError, match=r"dense takes a vector or tokens, not a map of 2 dimensions: put search\.flatten"
    ):
        s.compile((3, 8, 8))


def test_two_conflicts_are_both_told() -> None:
    s = search.Schema()
    one = s.node("one", search.conv(3), channels=8)
    two = s.node("two", search.depthwise(3), channels=9)
    three = s.node("three", search.conv(3), channels=8, spatial=(20, None))
    one.then(two)
    two.then(three)
    explanation = s.explain((3, 16, 16))
    named = [set(explanation.rules), *map(set, explanation.others)]
    assert len(named) == 2
    assert not named[0] & named[1]
    changed, shape = explanation.changed()
    changed.compile(shape)
