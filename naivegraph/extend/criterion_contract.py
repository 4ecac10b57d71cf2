"""Tests every criterion must pass; subclass `CriterionContract` to run them on yours.

Example:
    >>> class TestLargest(CriterionContract):
    ...     criterion = "l1"
    >>> TestLargest().test_follows_the_order_of_neurons()
"""

from __future__ import annotations

import contextlib
import copy
import os
import pickle
import random
import subprocess
import sys
import tempfile
import unittest
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from naivegraph.calibration import Calibration
from naivegraph.edits.plan.index_formula import formula_of, indices
from naivegraph.errors import EditError
from naivegraph.extend.checks import NetworkState, expect
from naivegraph.extend.example_networks import example_networks
from naivegraph.network import capture
from naivegraph.utility import Criterion, CriterionData
from naivegraph.utility.collect import shape_of
from naivegraph.utility.criteria import criterion as named
from naivegraph.utility.scores import BoundLoss
from naivegraph.widths import Width, Widths, relate

__all__ = ["CriterionContract"]

Values = dict[str, npt.NDArray[np.float64]]

# Set in the other process. The module of a contract may run it when it is imported, and so on without end.
_INSIDE = "NAIVEGRAPH_CONTRACT_IN_ANOTHER_PROCESS"


class CriterionContract:
    """Tests of one criterion, on small networks with convolutions, linear layers and attention.

    A network that the criterion refuses by an EditError is passed over; one at least has to be judged. Run
    the tests by pytest, as a subclass whose name begins with `Test`, or by calling the methods; each raises
    an AssertionError that says what is wrong.

    Attributes:
        criterion: The criterion, or the name it is registered by.
        of_places: True for chance and the like, whose values belong to places and not to the neurons there:
            then they need not follow the order of neurons.
        tolerance: The largest difference of values that should be equal, relative to the largest value.
    """

    criterion: ClassVar[Criterion | str]
    of_places: ClassVar[bool] = False
    tolerance: ClassVar[float] = 1e-4

    def networks(self) -> Mapping[str, tuple[nn.Module, tuple[Any, ...]]]:
        """Give fresh networks, by a name, each with the arguments of a call; the same ones every time."""
        return example_networks()

    def loss(self, network: nn.Module, arguments: tuple[Any, ...]) -> torch.Tensor:
        """Work out the loss which the criterion is given along with a network; one number."""
        loss: torch.Tensor = network(*arguments).square().mean()
        return loss

    def calibration(self, network: nn.Module, arguments: tuple[Any, ...]) -> Any:
        """Give batches of inputs, for a criterion that learns from them; None for all others."""
        return None

    def test_one_finite_number_per_neuron(self) -> None:
        """By width or its name: a number for each neuron (of each row, where these differ) or one for all."""
        for which, network, arguments in self._networks():
            widths = _widths(network, arguments)
            names = {width.name: width for width in widths}
            judged = self._informed(widths, network, arguments).neurons(
                widths, self._bound(network, arguments)
            )
            expect(isinstance(judged, Mapping), f"{which}: it gives {type(judged).__name__}, not a mapping")
            for key, values in judged.items():
                name = key.name if isinstance(key, Width) else key
                expect(name in names, f"{which}: there are values for {name!r}, which is no width")
                if values is not None:
                    self._check_values(f"{which}, width {name}", widths, names[name], values)

    def test_judges_something(self) -> None:
        """Of one network at least neurons are told apart."""
        apart = any(np.ptp(values) > 0 for _, found in self._judged() for values in found.values())
        expect(apart, "in every network all neurons are worth the same")

    def test_follows_the_order_of_neurons(self) -> None:
        """The same network with its neurons in another order: what each is worth moves along with it."""
        if self.of_places:
            raise unittest.SkipTest("its values are of places")
        for which, network, arguments in self._networks():
            before = self._values(network, arguments)
            other, orders, rows = _reordered(network, arguments)
            after = self._values(other, arguments)
            expect(before.keys() == after.keys(), f"{which}: other widths are judged in another order")
            for name, values in before.items():
                moved = values[rows[name]] if values.ndim == 2 and name in rows else values
                moved = moved[..., orders[name]]
                self._close(moved, after[name], f"{which}, width {name} with its neurons in another order")

    def test_depends_on_no_seed(self) -> None:
        """Asked twice, whatever the state of the generators of torch, numpy and Python, it gives the same."""
        for which, network, arguments in self._networks():
            first = self._values(network, arguments)
            with _seeded(1):
                second = self._values(network, arguments)
            self._same(first, second, f"{which}, asked again with other seeds")

    def test_same_in_another_process(self) -> None:
        """In a process of its own, where strings have other hashes, it gives the same.

        Only for a class which that process can import; not one in a script or a function.
        """
        first = dict(self._judged())
        for which, values in self._elsewhere().items():
            expect(first[which].keys() == values.keys(), f"{which}: another process judges other widths")
            for name, found in values.items():
                # But for rounding: another process may add up in another order.
                self._close(first[which][name], found, f"{which}, width {name} in another process")

    def test_leaves_the_network_alone(self) -> None:
        """Parameters, buffers, gradients, flags, attributes and hooks of the network are as they were."""
        for which, network, arguments in self._networks():
            self.loss(network, arguments).backward()  # type: ignore[no-untyped-call]
            first = next(network.parameters())
            first.requires_grad_(False)
            next(network.children()).train()
            state = NetworkState(network)
            self._values(network, arguments)
            changed = state.change()
            expect(changed == "", f"{which}: {changed} is not as before")
            expect(torch.is_grad_enabled(), f"{which}: gradients are switched off")

    def test_gradient_modes_do_not_matter(self) -> None:
        """Called where gradients are switched off, it gives the same."""
        for which, network, arguments in self._networks():
            first = self._values(network, arguments)
            with torch.no_grad():
                second = self._values(network, arguments)
            self._same(first, second, f"{which}, under torch.no_grad()")

    def test_precision_does_not_matter(self) -> None:
        """Of the same network in float64 it gives about the same."""
        for which, network, arguments in self._networks():
            first = self._values(network, arguments)
            doubled = tuple(
                a.double() if isinstance(a, torch.Tensor) and a.is_floating_point() else a for a in arguments
            )
            second = self._values(copy.deepcopy(network).double(), doubled)
            expect(first.keys() == second.keys(), f"{which}: other widths are judged in float64")
            for name, values in first.items():
                self._close(values, second[name], f"{which}, width {name} in float64")

    def test_elements_have_the_shape_of_their_parameter(self) -> None:
        """Values of a parameter's elements, if it gives any, have the parameter's shape and are finite."""
        for which, network, arguments in self._networks():
            try:
                score = self._criterion.elements(network, self._bound(network, arguments))
            except EditError:
                continue
            for name, parameter in network.named_parameters():
                values = score(name)
                if values is not None:
                    fits = isinstance(values, torch.Tensor) and values.shape == parameter.shape
                    expect(fits, f"{which}: the elements of {name} are not of shape {tuple(parameter.shape)}")
                    expect(bool(values.isfinite().all()), f"{which}: the elements of {name} are not finite")

    # What the tests are made of

    @property
    def _criterion(self) -> Criterion:
        if not isinstance(getattr(self, "criterion", None), (str, Criterion)):
            raise TypeError(f"{type(self).__name__} needs an attribute criterion, a Criterion or its name")
        return named(self.criterion) if isinstance(self.criterion, str) else self.criterion

    def _networks(self) -> Iterator[tuple[str, nn.Module, tuple[Any, ...]]]:
        """The networks which the criterion does not refuse."""
        some, refusal = False, ""
        for which, (network, arguments) in self.networks().items():
            try:
                self._values(copy.deepcopy(network), arguments)
            except EditError as error:
                refusal = refusal or f": {error}"
                continue
            some = True
            yield which, network, arguments
        expect(some, f"it refuses every network{refusal}")

    def _judged(self) -> Iterator[tuple[str, Values]]:
        for which, network, arguments in self._networks():
            yield which, self._values(network, arguments)

    def _values(self, network: nn.Module, arguments: tuple[Any, ...]) -> Values:
        """The values it gives, by the name of each width that it gives values for."""
        widths = _widths(network, arguments)
        out: Values = {}
        informed = self._informed(widths, network, arguments)
        for key, values in informed.neurons(widths, self._bound(network, arguments)).items():
            if values is not None:
                width = key if isinstance(key, Width) else next(w for w in widths if w.name == key)
                found = np.asarray(values, np.float64)
                out[width.name] = np.full(width.size, found) if found.ndim == 0 else found
        return out

    def _informed(self, widths: Widths, network: nn.Module, arguments: tuple[Any, ...]) -> Criterion:
        """The criterion with the data it learns from, if any."""
        batches = self.calibration(network, arguments)
        if batches is None:
            return self._criterion
        return self._criterion.with_data(CriterionData(Calibration(widths.graph, batches)))

    def _bound(self, network: nn.Module, arguments: tuple[Any, ...]) -> BoundLoss:
        return lambda: self.loss(network, arguments)

    def _check_values(self, where: str, widths: Widths, width: Width, values: Any) -> None:
        found = np.asarray(values, np.float64)
        shapes = ((), (width.size,), shape_of(widths, width))
        expect(found.shape in shapes, f"{where}: values of shape {found.shape}, not {shapes[-1]}")
        expect(bool(np.isfinite(found).all()), f"{where}: values that are not finite, {found}")

    def _same(self, first: Values, second: Values, where: str) -> None:
        expect(first.keys() == second.keys(), f"{where}: the widths judged are not the same")
        for name, values in first.items():
            same = np.array_equal(values, second[name])
            expect(same, f"{where}: width {name} is worth {second[name]}, not {values}")

    def _close(self, expected: Any, found: Any, where: str) -> None:
        most = float(np.abs(expected).max(initial=0.0))
        same = expected.shape == found.shape and np.allclose(
            expected, found, rtol=0, atol=self.tolerance * most
        )
        expect(same, f"{where}: {found} instead of {expected}")

    def _elsewhere(self) -> dict[str, Values]:
        """The values computed in another process, by network."""
        if _INSIDE in os.environ:
            raise unittest.SkipTest("this is the other process: its module runs the contract when imported")
        try:
            if type(self).__module__ == "__main__":
                raise pickle.PicklingError("in a script")
            self_by_name = pickle.dumps(type(self))
        except (pickle.PicklingError, AttributeError) as error:
            raise unittest.SkipTest(f"another process cannot import {type(self).__name__}") from error
        seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
        environment = {
            **os.environ,
            "PYTHONHASHSEED": seed,
            _INSIDE: "1",
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "values"
            words = [sys.executable, "-c", f"from {__name__} import _answer; _answer()", str(path)]
            done = subprocess.run(
                words, input=self_by_name, env=environment, capture_output=True, check=False, timeout=600
            )
            expect(done.returncode == 0, f"in another process: {done.stderr.decode(errors='replace')}")
            found: dict[str, Values] = pickle.loads(path.read_bytes())
        return found


def _answer() -> None:
    """In a process of its own: judge the networks of the contract whose name comes in; write to a file."""
    contract: type[CriterionContract] = pickle.loads(sys.stdin.buffer.read())
    Path(sys.argv[1]).write_bytes(pickle.dumps(dict(contract()._judged())))


def _widths(network: nn.Module, arguments: tuple[Any, ...]) -> Widths:
    return relate(capture(network, arguments, verify="recorded", fake=True))


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Other seeds for a while."""
    numbers, choices = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(numbers)
            random.setstate(choices)


Orders = dict[str, npt.NDArray[np.int64]]


def _reordered(network: nn.Module, arguments: tuple[Any, ...]) -> tuple[nn.Module, Orders, Orders]:
    """A copy with the neurons of every width in another order, the order of each, and that of its rows."""
    widths = _widths(network, arguments)
    rng = np.random.default_rng(0)
    names = {width.atom: width.name for width in widths}
    sizes = {width.name: width.size for width in widths}
    orders = {width.name: rng.permutation(width.size) for width in widths}
    other = copy.deepcopy(network)
    state = {**dict(other.named_parameters()), **dict(other.named_buffers())}
    with torch.no_grad():
        for name, axes in widths.axes.items():
            tensor = state[name].clone()
            for dim, axis in enumerate(axes):
                chosen = torch.from_numpy(indices(formula_of(axis, names), sizes, orders))
                tensor = tensor.index_select(dim, chosen)
            state[name].copy_(tensor)
    rows = {names[atom]: orders[names[outer]] for atom, outer in widths.outer.items() if outer in names}
    return other, orders, rows
