"""Settings of the tests of networks of transformers, which are left out where it is not installed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _quiet(torchvision_operators: None) -> Iterator[None]:
    """Whatever the library warns of while it builds and loads is not ours."""
    library = pytest.importorskip("transformers")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library.logging.set_verbosity_error()
        library.logging.disable_progress_bar()
        yield
