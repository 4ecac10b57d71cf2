"""What the widths of particular networks are, and why the rest is fixed or held."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import Tensor, nn

from naivegraph.network import capture
from naivegraph.widths import SizeConstraints, Widths, constraints_of, relate
from tests.networks.between import Body
from tests.networks.plain import ALL, TRAPS, Network, by_name


@functools.cache
def related(network: Network) -> tuple[Widths, SizeConstraints]:
    model, inputs = network.make()
    widths = relate(capture(model, inputs, verify="recorded"))
    return widths, constraints_of(widths)


def free(network: str) -> dict[str, int]:
    """The sizes of the widths that the network's own code does not hold, by name; single neurons left out."""
    widths, constraints = related(by_name(network))
    return {w.name: w.size for w in widths.widths if w.atom not in constraints.fixed and w.size > 1}


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        ("chain", {"0": 12, "3": 16}),
        ("Residual", {"stem.0": 12, "first.0": 10}),
        ("Dense", {"stem.0": 8, "blocks.0.2": 4, "blocks.1.2": 4, "blocks.2.2": 4, "transition": 10}),
        ("SqueezeExcite", {"stem.0": 16, "reduce": 6, "out": 8}),
        ("Flatten", {"conv": 10, "linear": 14}),
        ("InvertedResidual", {"stem.0": 8, "expand.0": 24}),
        ("PixelShuffle", {"first": 12, "up": 6}),
        ("Gated", {"up": 18}),
        ("TiedEmbeddings", {"down": 16, "up": 28}),
        ("TiedTranspose", {"encode": 10}),
        ("Reused", {"first": 10}),
        ("OneBroadcast", {"body": 10}),
        ("flip", {"second": 9}),
        ("self concatenated", {"first": 4, "second": 9}),
    ],
)
def test_free_widths(network: str, expected: dict[str, int]) -> None:
    assert free(network) == expected


def axes(network: str, *names: str) -> list[str]:
    widths, _ = related(by_name(network))
    shown = {w.atom: w.name for w in widths.widths}

    def text(value: object) -> str:
        return shown.get(value, str(value)) if not hasattr(value, "terms") else str(value)  # type: ignore[call-overload]

    return [
        " + ".join("*".join(text(f) for f in term) for term in widths.axes[name][dim].terms)
        for name, dim in ((n.rpartition(":")[0], int(n.rpartition(":")[2])) for n in names)
    ]


def test_heads_and_head_size_are_two_widths() -> None:
    assert axes("FusedAttention", "qkv.weight:0", "proj.weight:1") == ["3*qkv*qkv:2", "qkv*qkv:2"]


def test_values_may_have_a_head_size_of_their_own() -> None:
    names = ("query.weight:0", "key.weight:0", "value.weight:0", "out.weight:1")
    assert axes("SeparateAttention", *names) == [
        "query*query:2",
        "query*query:2",
        "query*value",
        "query*value",
    ]


@pytest.mark.parametrize("network", ["RotaryGrouped", "GroupedQuery"])
def test_grouped_query_heads_are_key_heads_times_repeats(network: str) -> None:
    widths, _ = related(by_name(network))
    q, k = (widths.axes[f"{name}.weight"][0].terms[0] for name in "qk")
    assert len(q) == len(k) + 1
    assert q[0] is k[0]
    assert [f.length for f in q[:2]] == [2, 3]  # type: ignore[union-attr]


def test_concatenation_is_a_sum_in_order() -> None:
    assert axes("Dense", "transition.weight:1") == ["stem.0 + blocks.0.2 + blocks.1.2 + blocks.2.2"]


def test_flattened_map_is_channels_times_places() -> None:
    assert axes("Flatten", "linear.weight:1") == ["conv*16"]


def test_padded_shortcut_puts_the_old_channels_between_new_ones() -> None:
    assert axes("PaddedShortcut", "two.weight:0", "stem.0.weight:0") == ["two + stem.0 + two:2", "stem.0"]


def test_grouped_convolution_has_groups_times_channels_of_each() -> None:
    widths, _ = related(by_name("Grouped"))
    (count, *_), second = widths.axes["grouped.0.weight"][0].terms[0], widths.axes["grouped.0.weight"][1]
    vertex = widths.graph["grouped.0"]
    assert count.length == 4  # type: ignore[union-attr]
    assert second.length == 3
    assert widths.relation.counts[vertex.output.id].length == 4
    # The group count is only known when everything is tied: the input's channels are count times its own.
    assert widths.axes["stem.0.weight"][0].terms[0][0] is count


def test_depthwise_channels_are_tied_to_what_comes_before() -> None:
    widths, _ = related(by_name("InvertedResidual"))
    atom = widths.axes["expand.0.weight"][0].terms[0][0]
    assert widths.axes["depth.0.weight"][0].terms[0][0] is atom
    assert widths.axes["project.0.weight"][1].terms[0][0] is atom


@pytest.mark.parametrize(
    ("network", "width", "statistic"),
    [
        ("softmax", "first", "a softmax at softmax"),
        ("mean", "first", "a mean at mean"),
        ("GroupNorms", "conv:2", "a group norm at norm"),
        ("Block", "embed", "a layer norm at norm1"),
        ("WeightStandardised", "first", "batch statistics at second.batch_norm"),
        ("Gram", "first", "a sum"),
    ],
)
def test_widths_in_statistics_are_marked(network: str, width: str, statistic: str) -> None:
    widths, _ = related(by_name(network))
    marks = {w.name: w.coupled for w in widths.widths}[width]
    assert any(mark.startswith(statistic) for mark in marks), marks


def alike(x: Tensor) -> Tensor:
    return x.sigmoid() @ x.sigmoid().t() @ x


def test_a_sum_of_values_that_do_not_vanish_is_a_statistic() -> None:
    widths, _ = related(Network("alike", lambda: Body(alike), lambda: (torch.randn(3, 6),)))
    (width,) = (w for w in widths.widths if w.name == "first")
    assert any(mark.startswith("a sum over values that do not vanish") for mark in width.coupled)


def test_a_sum_of_products_that_vanish_is_none() -> None:
    widths, _ = related(by_name("FusedAttention"))
    (width,) = (w for w in widths.widths if w.name == "qkv:2")
    assert width.coupled == ()


@pytest.mark.parametrize("network", ["Residual", "Dense", "SqueezeExcite", "Gated", "OneD", "Reused", "glu"])
def test_widths_without_statistics_are_not_marked(network: str) -> None:
    widths, _ = related(by_name(network))
    assert [w.name for w in widths.widths if w.coupled] == []


@pytest.mark.parametrize("network", [*ALL, *TRAPS], ids=str)
def test_everything_fixed_or_held_has_a_reason_with_a_place(network: Network) -> None:
    widths, constraints = related(network)
    names = [vertex.name for vertex in widths.graph.vertices]
    for axis in widths.fixed():
        assert len(axis.reason.split()) >= 3, axis
        assert "the network" in axis.reason or any(name in axis.reason for name in names), axis
    for atom, reason in constraints.fixed.items():
        assert any(name in reason for name in names) or ".py:" in reason, reason
        assert atom in widths.by_atom


@pytest.mark.parametrize("network", [*ALL, *TRAPS], ids=str)
def test_demands_hold_now(network: Network) -> None:
    widths, constraints = related(network)
    for row in constraints.width_constraints:
        assert row.polynomial.degree == 1
        assert row.polynomial.value(lambda atom: atom.length) == 0
    for attribute, size in constraints.attributes.items():
        value: object = widths.graph.module.get_submodule(attribute.path)
        for key in (attribute.name, *attribute.keys):
            value = value[key] if isinstance(key, int) else getattr(value, key)  # type: ignore[index]
        assert value == size.value(lambda atom: atom.length), attribute


def test_default_scale_of_attention_is_made_up_for_by_the_query() -> None:
    widths, constraints = related(by_name("SeparateAttention"))
    (rescaled,) = constraints.rescales
    assert [widths.by_atom[atom].name for atom in rescaled.axis.atoms()] == ["query:2"]
    assert [(feed.name, feed.rows) for feed in rescaled.entries] == [
        ("query.weight", None),
        ("query.bias", None),
    ]
    held = {widths.by_atom[atom].name for atom in constraints.fixed}
    assert "query" not in held


def test_equal_parts_are_equal_in_number_not_in_place() -> None:
    widths, constraints = related(by_name("third chunk"))
    assert [w.name for w in widths.widths if w.name.startswith("first")] == ["first", "first:2", "first:3"]
    assert {row.reason for row in constraints.width_constraints} == {constraints.width_constraints[0].reason}
    assert "makes equal parts" in constraints.width_constraints[0].reason


def test_a_literal_size_names_its_line() -> None:
    network = Network("literal", lambda: Body(lambda x: x.view(-1, 12)), lambda: (torch.randn(3, 6),))
    _, constraints = related(network)
    (reason,) = constraints.fixed.values()
    line = test_a_literal_size_names_its_line.__code__.co_firstlineno + 1
    assert reason.startswith("its size is written as 12 at")
    assert f"test_widths.py:{line})" in reason


def test_an_operator_without_a_rule_is_named() -> None:
    widths, _ = related(Network("unknown", lambda: Body(torch.block_diag), lambda: (torch.randn(3, 6),)))
    assert widths.relation.unknown == [("aten.block_diag", "block_diag")]
    reasons = {f"{axis.name} {axis.dim}": axis.reason for axis in widths.fixed()}
    assert reasons["first.weight 0"] == (
        "operator aten.block_diag has no rule (naivegraph.extend.register_operator states one), at block_diag"
    )


def test_numbers_written_into_an_attention_hold_its_heads() -> None:
    widths, constraints = related(by_name("HeadsInFunction"))
    held = {widths.by_atom[atom].name: reason for atom, reason in constraints.fixed.items()}
    assert set(held) == {"weight", "weight:2", "embed"}
    assert all("networks/traps.py" in reason for reason in held.values())
    assert held["embed"].startswith("its size is used in a comparison at")
    assert held["weight:2"].startswith("its size is used in a comparison at")


def test_time_does_not_grow_with_width() -> None:
    def binds(width: int) -> int:
        model = nn.Sequential(
            nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.Conv2d(width, width, 3, groups=width),
            nn.Flatten(),
            nn.Linear(width * 16, 4),
        )  # fmt: skip
        return relate(capture(model, torch.zeros(1, 3, 8, 8), verify=False)).relation.algebra.binds

    assert binds(8) == binds(80)
