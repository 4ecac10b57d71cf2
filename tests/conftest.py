"""Settings of every test."""

from __future__ import annotations

import importlib.util
import signal
from collections.abc import Iterator

import pytest
import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "roi_align(Tensor x, Tensor rois, float scale, SymInt h, SymInt w, int ratio, bool aligned) -> Tensor",
)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """The networks of the tests are so small that a second thread only makes them wait."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session", autouse=True)
def interrupts() -> None:
    """Ctrl-C interrupts, here and in what tests start: a shell's job in the background ignores it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def torchvision_operators() -> Iterator[None]:
    """Lets torchvision import beside a torch it was not built for."""
    library = None
    if importlib.util.find_spec("torchvision") is not None and not hasattr(torch.ops.torchvision, "nms"):
        library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for schema in _SCHEMAS:
            library.define(schema)  # type: ignore[no-untyped-call]
    yield
    del library
