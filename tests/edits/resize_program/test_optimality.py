"""The answers of a resize are as good as those of the dense formulation and of exhaustive search."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from naivegraph.edits.plan.index_formula import formula_of, indices
from naivegraph.edits.request.requests import Between, Delta, Frozen, Multiple, Request, Size
from naivegraph.edits.resize_program.resize_program import AxisRequest
from naivegraph.edits.resize_program.strategy import Attempt, Decision
from naivegraph.network import capture
from naivegraph.solvers import Outcome
from naivegraph.utility import utilities
from naivegraph.widths import Widths, constraints_of, relate
from tests.edits.resize_program.dense import Dense, Found, RequestLike
from tests.edits.resize_program.exhaustive import exhaustive
from tests.machine.correspond import Floats, Integers, Net, Node, Structure, random_nodes


@dataclasses.dataclass(frozen=True)
class Instance:
    """One random resize: the network, what is asked of it, and what its neurons are worth."""

    nodes: list[Node]
    asked: list[RequestLike]
    told: dict[int, Floats] | None
    new: int | None

    @staticmethod
    def random(seed: int, steps: int, most: int) -> Instance:
        rng = np.random.default_rng([seed, 1])
        structure = Structure(random_nodes(seed, steps, most))
        while structure.ambiguous:
            structure = Structure(random_nodes(int(rng.integers(10**6)), steps, most))
        nodes = list(structure.nodes)
        free = structure.free()
        count = int(rng.choice([0, 1, 1, 2, 3]))
        chosen = rng.choice(free, min(count, len(free)), replace=False)
        asked = [RequestLike(int(i), _random_request(rng, int(structure.counts[i].sum()))) for i in chosen]
        told = None if rng.random() < 0.15 and asked else _random_values(rng, structure)
        return Instance(nodes, asked, told, int(rng.integers(0, 5)) if rng.random() < 0.2 else None)


def _random_request(rng: np.random.Generator, now: int) -> Request:
    delta, relaxed = int(rng.integers(-4, 6)), bool(rng.random() < 0.7)
    kind = rng.choice(["change"] * 5 + ["size"] * 2 + ["between", "multiple", "frozen"])
    if kind == "change":
        return Delta(max(delta, 1 - now), relaxed)
    if kind == "size":
        return Size(max(now + delta, 1), relaxed)
    if kind == "between":
        lower = max(now + delta, 1)
        return Between(lower, None if relaxed else lower + int(rng.integers(0, 3)))
    return Multiple(int(rng.integers(1, 6))) if kind == "multiple" else Frozen()


def _random_values(rng: np.random.Generator, structure: Structure) -> dict[int, Floats]:
    """Some vertices say what their neurons are worth: of any scale, some negative, some zero."""
    scale = float(rng.choice([1e-4, 1.0, 1e5]))
    told = {}
    for index in structure.free():
        size = int(structure.counts[index].sum())
        if rng.random() < 0.7:
            draw = rng.integers(-2, 6, size) if rng.random() < 0.3 else rng.normal(1.0, 1.0, size)
            told[index] = scale * draw.astype(np.float64)
    return told


@dataclasses.dataclass(frozen=True)
class Ours:
    """The library's answer to an instance."""

    net: Net
    widths: Widths
    answer: Decision | None
    outcome: Outcome

    @staticmethod
    def of(instance: Instance) -> Ours:
        net = Net(instance.nodes)
        graph = capture(net, net.example(), verify=False)
        widths = relate(graph, free_outputs=True)
        axis_requests = []
        for one in instance.asked:
            vertex = graph[net.vertex_name(one.node)]
            axis_requests.append(AxisRequest(vertex, widths.output_axis(vertex), one.request))
        values = None
        if instance.told is not None:
            told = {net.vertex_name(i): v for i, v in instance.told.items()}
            values = utilities(widths, told, default=0)
        attempt = Attempt(
            widths,
            constraints_of(widths),
            tuple(axis_requests),
            values,
            lambda utility: values,
            new=instance.new,
        )
        return Ours(net, widths, *attempt.solve())

    def kept(self) -> tuple[dict[int, Integers], dict[int, int]]:
        """Per node the indices of its output that stay, and its new size."""
        assert self.answer is not None
        names = {width.atom: width.name for width in self.widths}
        lengths = {width.name: width.size for width in self.widths}
        stay = {width.name: np.arange(width.size) for width in self.widths}
        stay |= {width.name: kept for width, kept in self.answer.kept.items()}
        new = {width.atom: self.answer.new.get(width, 0) for width in self.widths}
        kept, sizes = {}, {}
        for index in Structure(self.net.nodes).free():
            axis = self.widths.output_axis(self.widths.graph[self.net.vertex_name(index)])
            kept[index] = indices(formula_of(axis, names), lengths, stay)
            sizes[index] = axis.size(
                lambda atom: len(stay[names[atom]]) + new[atom] if atom in names else atom.length
            )
        return kept, sizes


def _same_as_dense(seed: int, steps: int, most: int) -> Outcome:
    instance = Instance.random(seed, steps, most)
    dense = Dense(Structure(instance.nodes), instance.asked, instance.told, instance.new)
    expected, ours = dense.solve(), Ours.of(instance)
    assert ours.outcome is expected.outcome
    if ours.answer is None:
        return expected.outcome
    judged = dense.judge(*ours.kept())
    assert judged.outcome is Outcome.OPTIMAL
    assert judged.missed == pytest.approx(expected.missed, abs=1e-6)
    _close(judged.worth, expected, dense)
    _close(ours.answer.certificate.value, expected, dense)
    assert ours.answer.certificate.bound >= ours.answer.certificate.value
    return expected.outcome


def _close(worth: float, expected: Found, dense: Dense) -> None:
    scale = max([abs(expected.worth), *map(abs, dense.worth.values())])
    assert abs(worth - expected.worth) <= 1e-6 * scale


@pytest.mark.parametrize("start", range(0, 60, 10))
def test_the_objective_is_that_of_the_dense_formulation(start: int) -> None:
    outcomes = [_same_as_dense(seed, 7, 6) for seed in range(start, start + 10)]
    assert outcomes.count(Outcome.OPTIMAL) >= 5


@pytest.mark.slow
@pytest.mark.parametrize("start", range(1000, 1400, 20))
def test_the_objective_is_that_of_the_dense_formulation_in_many_cases(start: int) -> None:
    for seed in range(start, start + 20):
        _same_as_dense(seed, 6 + seed % 9, 4 + seed % 5)


def _small(seed: int) -> Instance:
    """A random resize of a network of at most 8 neurons."""
    for attempt in range(1000):
        found = Instance.random(100_000 + 1000 * seed + attempt, 5, 3)
        sizes = [len(bundle) for bundle in Structure(found.nodes).bundles]
        if sum(sizes) <= 8 and len(sizes) <= 4:
            return dataclasses.replace(found, new=None, asked=[_little(one) for one in found.asked])
    raise AssertionError("no small network was found")


def _little(one: RequestLike) -> RequestLike:
    """Changes of at most 2, so that few new neurons have to be tried."""
    if isinstance(one.request, Delta):
        return RequestLike(one.node, Delta(int(np.clip(one.request.delta, -2, 2)), one.request.relaxed))
    return RequestLike(one.node, Delta(1, True))


@pytest.mark.parametrize("seed", range(25))
def test_the_objective_is_that_of_exhaustive_search(seed: int) -> None:
    instance = _small(seed)
    dense = Dense(Structure(instance.nodes), instance.asked, instance.told)
    expected, ours = exhaustive(dense, most_new=4), Ours.of(instance)
    assert (ours.answer is None) == (expected is None)
    if ours.answer is None or expected is None:
        return
    judged = dense.judge(*ours.kept())
    assert judged.missed == pytest.approx(expected.missed, abs=1e-6)
    _close(ours.answer.certificate.value, expected, dense)


@pytest.mark.parametrize(
    ("values", "delta", "kept", "come"),
    [
        ([-1.0, -2, -3, 2, 2, 2], -3, [3, 4, 5], 0),
        ([-1.0, -2, -3, 2, 2, 2], -2, [3, 4, 5], 1),
        ([-1.0, -2, -3, 2, 2, 2], +1, [3, 4, 5], 4),
        ([-0.01, -2, 2, 2, 2, 2], -1, [2, 3, 4, 5], 1),
        ([0.0, -2, 2, 2, 2, 2], -1, [0, 2, 3, 4, 5], 0),
        ([0.01, 0.02, 3, 4, 5, 6], -1, [1, 2, 3, 4, 5], 0),
    ],
)
def test_new_neurons_replace_negative_ones_alone(
    values: list[float], delta: int, kept: list[int], come: int
) -> None:
    """A new neuron costs a tenth of the least utility, so that it is dearer than any but a negative one."""
    nodes = [Node("input", (), 3), Node("linear", (0,), 6), Node("linear", (1,), 2)]
    instance = Instance(nodes, [RequestLike(1, Delta(delta))], {1: np.array(values)}, None)
    dense = Dense(Structure(nodes), instance.asked, instance.told)
    ours = Ours.of(instance)
    assert ours.answer is not None
    _close(ours.answer.certificate.value, dense.solve(), dense)
    assert [found.tolist() for found in ours.answer.kept.values()] == [kept]
    assert list(ours.answer.new.values()) == [come]
