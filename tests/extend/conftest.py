"""Settings of the tests of what can be extended."""

from collections.abc import Iterator

import pytest

from naivegraph.extend import temporary_registrations


@pytest.fixture
def for_a_while() -> Iterator[None]:
    """What is registered is forgotten after the test."""
    with temporary_registrations():
        yield
