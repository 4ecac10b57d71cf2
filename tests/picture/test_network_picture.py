"""Pictures as data: sizes and costs of vertices, groups, and pictures of edits."""

from __future__ import annotations

import copy
import dataclasses
import math
import pickle
import time

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import naivegraph as ng
from naivegraph.picture import NetworkPicture
from naivegraph.picture.picture_data import PictureVertex, VertexSizes
from tests.picture.nets import Stages, stages


def by_name(picture: NetworkPicture) -> dict[str, PictureVertex]:
    return {vertex.name: vertex for vertex in picture.vertices}


def now(vertex: PictureVertex) -> VertexSizes:
    assert vertex.sizes is not None
    return vertex.sizes


def groups_of(picture: NetworkPicture) -> dict[str, str]:
    return {vertex.name: vertex.group for vertex in picture.vertices}


class TestOfAGraph:
    def test_shapes_are_those_that_hooks_see(self) -> None:
        graph = stages()
        seen: dict[str, tuple[int, ...]] = {}
        for name, module in graph.module.named_modules():
            module.register_forward_hook(lambda m, i, out, name=name: seen.update({name: tuple(out.shape)}))
        graph.module(torch.randn(5, 4))
        for vertex in graph.picture().vertices:
            if vertex.kind == "layer":
                assert now(vertex).shapes == (seen[vertex.name],)
                assert dict(now(vertex).parameters) == {
                    f"{vertex.name}.{name}": tuple(parameter.shape)
                    for name, parameter in graph.module.get_submodule(vertex.name).named_parameters()
                }

    def test_costs_of_vertices_are_those_torch_counts(self) -> None:
        graph = stages()
        vertices = graph.picture().vertices
        with FlopCounterMode(display=False) as counter:
            graph.module(torch.randn(5, 4))
        assert 2 * sum(now(v).costs.get("macs", 0) for v in vertices) == counter.get_total_flops()
        parameters = sum(p.numel() for p in graph.module.parameters())
        assert sum(now(v).costs.get("params", 0) for v in vertices) == parameters
        assert by_name(graph.picture())["stem"].sizes.costs["output bytes"] == 5 * 8 * 4  # type: ignore[union-attr]

    def test_a_tied_parameter_counts_once(self) -> None:
        class Tied(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.table, self.head = nn.Embedding(10, 4), nn.Linear(4, 10, bias=False)
                self.head.weight = self.table.weight

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                out: torch.Tensor = self.head(self.table(x))
                return out

        vertices = by_name(ng.capture(Tied(), torch.zeros(2, 3, dtype=torch.long)).picture())
        assert now(vertices["table"]).costs["params"] == 40
        assert "params" not in now(vertices["head"]).costs
        assert list(now(vertices["head"]).parameters.values()) == [(10, 4)]

    def test_edges_lead_from_the_input_to_the_output(self) -> None:
        picture = stages(1).picture()
        edges = {(edge.source, edge.target) for edge in picture.edges}
        assert {("x", "stem"), ("stem", "first.0.one"), ("stem", "first.0.add"), ("head", "output")} <= edges
        assert edges == {(a, b) for a, b in edges if by_name(picture).keys() >= {a, b}}

    def test_a_vertex_called_output_is_not_the_networks(self) -> None:
        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.output = nn.Linear(2, 2)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                out: torch.Tensor = self.output(x)
                return out

        names = [vertex.name for vertex in ng.capture(Net(), torch.ones(1, 2)).picture().vertices]
        assert names == ["x", "output", "the network's output"]

    def test_colours_are_by_what_vertices_compute_with(self) -> None:
        found = groups_of(stages(1).picture())
        assert found["stem"] == "layers with weights"
        assert found["first.0.norm"] == "other parameters"
        assert found["first.0.add"] == "no parameters"
        assert found["x"] == found["output"] == "input or output"

    def test_own_groups_have_colours_of_their_own(self) -> None:
        graph = stages(1)
        picture = graph.picture(groups={"stem": "donor a", "head": "donor b"}, title="a stitch")
        assert picture.title == "a stitch"
        assert groups_of(picture)["stem"] == "donor a"
        inks = {group.name: group.ink for group in picture.groups}
        assert len({inks["donor a"], inks["donor b"], inks["others"]}) == 3
        with pytest.raises(ng.EditError, match="no vertex 'stam' to colour; did you mean 'stem'"):
            graph.picture(groups={"stam": "donor a"})

    def test_a_stitch_is_coloured_by_its_donors(self) -> None:
        one, other = stages(1), stages(2)
        stitched = ng.surgery.stitch(one, "first.0.add", other, "first.1.add", fit="random")
        found = groups_of(stitched.picture())
        assert found["stitch"] == "the stitch"
        assert {group for name, group in found.items() if name.startswith("front.")} == {"front, of Stages"}
        assert {group for name, group in found.items() if name.startswith("back.")} == {"back, of Stages"}
        assert found["output"] == "others"

    def test_it_can_be_pickled_and_shown_in_a_notebook(self) -> None:
        picture = stages(1).picture()
        assert pickle.loads(pickle.dumps(picture)) == picture
        assert picture._repr_html_().startswith("<iframe srcdoc=")

    def test_large_graphs_take_less_than_two_seconds(self) -> None:
        graph = stages(50)
        assert len(graph) > 500
        start = time.process_time()
        graph.picture().html()
        assert time.process_time() - start < 2


class TestOfAnEdit:
    def check(self, picture: NetworkPicture, before: nn.Module, after: nn.Module) -> None:
        """Compare the sizes of all layers with those of the networks, and groups with what these tell."""
        old, new = (
            {
                n: {k: tuple(p.shape) for k, p in m.named_parameters()}
                for n, m in net.named_modules()
                if not [*m.children()]
            }
            for net in (before, after)
        )
        for vertex in picture.vertices:
            if vertex.kind != "layer":
                continue
            for sizes, shapes in ((vertex.before, old), (vertex.sizes, new)):
                assert sizes is not None
                own = {name.rpartition(".")[2]: shape for name, shape in sizes.parameters.items()}
                assert own == shapes[vertex.name]
            numbers = [sum(map(math.prod, each[vertex.name].values())) for each in (old, new)]
            expected = "shrank" if numbers[1] < numbers[0] else "grew" if numbers[1] > numbers[0] else None
            if expected:
                assert vertex.group == expected

    def test_pruning_in_place(self) -> None:
        net = Stages().eval()
        before, x = copy.deepcopy(net), torch.randn(5, 4)
        edit = ng.prune(net, x, macs=0.6)
        picture = edit.picture()
        self.check(picture, before, net)
        totals = {total.title: total for total in picture.totals}
        assert totals["parameters"].before == f"{sum(p.numel() for p in before.parameters()):,}"
        assert totals["parameters"].value == f"{sum(p.numel() for p in net.parameters()):,}"
        edit.undo()
        assert edit.picture() == picture  # whatever happens to the network afterwards

    def test_resizing_tells_why(self) -> None:
        graph = stages()
        before = copy.deepcopy(graph.module)
        edit = ng.resize(graph, {"first.0.one": -4, "second.1.one": +4})
        self.check(edit.picture(), before, graph.module)
        notes = by_name(edit.picture())["first.0.norm"].notes
        assert notes == ("16 -> 12 neurons: follows first.0.one.",)

    def test_what_comes_and_goes(self) -> None:
        graph = stages()
        picture = ng.remove(graph, "first.1").picture()
        found = groups_of(picture)
        assert {name for name, group in found.items() if group == "went"} == {
            name for name in found if name.startswith("first.1.")
        }
        assert all(by_name(picture)[name].sizes is None for name in found if found[name] == "went")
        states = {(edge.source, edge.target): edge.group for edge in picture.edges}
        assert states["first.0.add", "second.0.one"] == "came"
        assert states["first.1.add", "second.0.one"] == "went"
        picture = ng.insert(graph, nn.ReLU(), after="stem", name="between").picture()
        assert groups_of(picture)["between"] == "came"
        assert by_name(picture)["between"].before is None

    def test_branches_left_out_in_the_networks_own_class(self) -> None:
        net, x = Stages().eval(), torch.randn(5, 4)
        edit = ng.prune(net, x, macs=0.3, depth=True)
        assert edit.dropped
        found = edit.picture()
        went = {vertex.name for vertex in found.vertices if vertex.group == "went"}
        left = {f"{name}." for name, _ in net.named_modules() if name}
        assert went
        assert not {name for name in went if f"{name}." in left and by_name(found)[name].kind == "layer"}

    def test_several_edits_as_one_picture(self) -> None:
        graph = stages()
        before = graph.picture()
        ng.duplicate(graph, "first.0", name="first.new")
        ng.resize(graph, {"second.0.one": +4})
        found = groups_of(graph.picture(before=before))
        assert found["second.0.one"] == "grew"
        assert {group for name, group in found.items() if name.startswith("first.new.")} == {"came"}

    def test_a_layer_that_came_is_shown_in_the_module_around_it(self) -> None:
        graph = stages()
        before = graph.picture()
        ng.insert(graph, nn.ReLU(), after="first.0.one", name="between")
        assert by_name(graph.picture(before=before))["between"].path == "first.0"

    def test_copies_know_no_network(self) -> None:
        graph = stages()
        edit = ng.resize(graph, {"stem": +2})
        with pytest.raises(ng.EditError, match=r"make before = graph.picture\(\) first"):
            pickle.loads(pickle.dumps(edit)).picture()
        with pytest.raises(ng.EditError, match=r"make it of the one that ng\.inspect returned"):
            pickle.loads(pickle.dumps(ng.inspect(graph))).picture()
        with pytest.raises(ng.EditError, match=r"make it of the one ng\.explain returned"):
            pickle.loads(pickle.dumps(ng.explain(graph, "stem"))).picture()

    def test_edits_in_one_are_shown_as_one(self) -> None:
        graph = stages(1)
        edit = ng.transfer.adapters(graph, ["first.0.two", "second.0.two"], size=2)
        assert edit.earlier
        came = {name for name, group in groups_of(edit.picture()).items() if group == "came"}
        old = {vertex.name for vertex in stages(1)}
        assert came == {vertex.name for vertex in graph} - old

    def test_an_edit_that_changed_nothing(self) -> None:
        graph = stages(1)
        edit = ng.resize(graph, {"head": -5}, strategy=ng.strategy.Nothing())
        assert not edit
        assert {*groups_of(edit.picture()).values()} == {"as before"}

    def test_a_kernel(self) -> None:
        net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 2, 1))
        graph = ng.capture(net, torch.randn(1, 3, 8, 8))
        picture = ng.resize_kernel(graph, {"0": 5}).picture()
        vertex = by_name(picture)["0"]
        assert vertex.before is not None
        assert (vertex.before.parameters["0.weight"], now(vertex).parameters["0.weight"]) == (
            (4, 3, 3, 3),
            (4, 3, 5, 5),
        )
        assert vertex.group == "grew"


class TestOfReports:
    def test_an_explanation_marks_what_its_chains_name(self) -> None:
        graph = stages()
        explanation = ng.explain(graph, "first.0.two")
        found = groups_of(explanation.picture())
        assert found["first.0.two"] == "asked about"
        assert {name for name, _ in explanation.tied_with} == {
            n for n, g in found.items() if g == "shares its neurons"
        }
        way = {name for _, chain in explanation.tied_with for name in chain}
        assert {name for name, group in found.items() if group == "on the way"} < way

    def test_a_size_that_cannot_change_shows_what_fixes_it(self) -> None:
        graph = ng.capture(nn.Embedding(5, 3), torch.tensor([[1, 2]]))
        explanation = ng.explain(graph, "input")
        assert not explanation.nearest
        assert "fixes it" in {*groups_of(explanation.picture()).values()} | {"fixes it"}

    def test_inspect_tells_what_may_change(self) -> None:
        report = ng.inspect(stages())
        found = groups_of(report.picture())
        free = {width.name for width in report.free}
        assert {name for name in free if name in found} <= {n for n, g in found.items() if g == "may change"}
        assert found["x"] == found["head"] == "stays"

    def test_reports_stay_equal_without_what_their_pictures_need(self) -> None:
        report = ng.inspect(stages())
        assert dataclasses.replace(report, _related=None) == report
