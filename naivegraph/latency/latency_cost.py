"""Latency as a cost: the sum of the times of calls, each a constant and shares of its work."""

from __future__ import annotations

import numbers
from collections.abc import Iterator
from typing import Any

from naivegraph.costs import Cost, SizeProduct
from naivegraph.errors import EditError
from naivegraph.latency.call_work import work_of_calls
from naivegraph.latency.profile import Profile
from naivegraph.latency.seconds import Seconds
from naivegraph.tables import time_text
from naivegraph.widths import Widths

__all__ = ["Latency", "check_latency", "latency_of"]

_MICRO = 1e6


class Latency(Cost):
    """The time of one run on the example, in microseconds, as a profile predicts it.

    Args:
        profile: The profile of the network.
        offset: Microseconds that are added to those of the profile: a correction by later measurements.

    Example:
        >>> import torch, naivegraph as ng
        >>> net = torch.nn.Sequential(torch.nn.Linear(64, 512), torch.nn.ReLU(), torch.nn.Linear(512, 64))
        >>> graph = ng.capture(net, torch.ones(32, 64))
        >>> cost = Latency(ng.profile(graph))
        >>> cost.value(graph.widths) > 0
        True
    """

    name = "latency"
    title = "latency"
    unit = "microseconds of one run on the example"

    def __init__(self, profile: Profile, offset: float = 0.0) -> None:
        self.profile = profile
        self.offset = offset

    def products(self, widths: Widths) -> Iterator[SizeProduct]:
        """The constant, and one product for each tensor and each sum of products of every call."""
        work = work_of_calls(widths)
        unknown = next((name for name in work if name not in self.profile.calls), None)
        if unknown is not None:
            raise EditError(
                f"the profile knows nothing of the vertex {unknown!r}: it was taken of another network; "
                "take one of this network (ng.profile)"
            )
        yield SizeProduct(self.profile.offset * _MICRO + self.offset, ())
        for name, each in work.items():
            time = self.profile.calls[name]
            yield SizeProduct(time.fixed * _MICRO, (), (name,))
            for rate, products in ((time.per_mac, each.macs), (time.per_byte, each.bytes)):
                if rate:
                    for product in products:
                        yield SizeProduct(rate * _MICRO * product.coefficient, product.axes, (name,))

    def check_budget(self, budget: Any) -> None:
        """Check a budget: a share of the present latency, or `ng.seconds(...)`."""
        check_latency(budget)

    def limit(self, budget: float, now: int | float) -> float:
        """The most microseconds that a budget allows."""
        return float(budget) * (_MICRO if isinstance(budget, Seconds) else now)

    def format(self, value: int | float) -> str:
        """A latency as tables show it."""
        return time_text(value / _MICRO)

    def parse(self, text: str) -> int | float:
        """A share (0.6), or a time (12ms, 800us, 0.5s) from text, in the latter case as `ng.seconds`."""
        return latency_of(text)


def latency_of(text: str) -> float:
    """A budget of latency from text: a share (0.6), or `Seconds` where it ends with a unit (12ms, 800us).

    Raises:
        EditError: It is neither.

    Example:
        >>> latency_of("0.6"), latency_of("12ms")
        (0.6, seconds(0.012))
    """
    plain = text.strip().replace(",", "").replace(" ", "")
    try:
        for ending, unit in (("us", 1e-6), ("ms", 1e-3), ("s", 1.0)):
            if plain.endswith(ending):
                return Seconds(float(plain.removesuffix(ending)) * unit)
        return float(plain)
    except ValueError as error:
        raise EditError(f"a latency is a share (0.6) or a time (12ms, 800us), not {text!r}") from error


def check_latency(budget: Any) -> None:
    """Check a budget of latency.

    Raises:
        EditError: It is neither `Seconds` nor a share above 0 and at most 1.
    """
    real = isinstance(budget, numbers.Real) and not isinstance(budget, bool)
    if not isinstance(budget, Seconds) and not (real and 0 < budget <= 1):
        raise EditError(
            f"latency={budget!r} is no budget: give a share of the present latency, above 0 and at most 1.0, "
            "or ng.seconds(0.012)"
        )
