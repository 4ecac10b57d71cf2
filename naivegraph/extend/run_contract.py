"""Running a contract without a test runner."""

from __future__ import annotations

import unittest

__all__ = ["run_contract"]


def run_contract(contract: type) -> tuple[str, ...]:
    """Run every test of a contract; for scripts and notebooks, where pytest would collect it by itself.

    Args:
        contract: A subclass of one of the contracts, such as `RuleContract`, that fills in what is tested.

    Returns:
        The names of the tests that passed; one that cannot run here, and says so by `unittest.SkipTest`, is
        not among them.

    Raises:
        TypeError: It has no tests.
        AssertionError: The first test that fails, with a note which one; so does whatever else it raises.

    Example:
        >>> from naivegraph.solvers.backend_contract import BackendContract
        >>> class Highs(BackendContract):
        ...     backend, cases = "highs", 5
        >>> "test_bounds" in run_contract(Highs)
        True
    """
    names = [name for name in dir(contract) if name.startswith("test_")]
    if not isinstance(contract, type) or not names:
        raise TypeError(f"run_contract takes a class with tests, a subclass of a contract, not {contract!r}")
    passed = []
    for name in names:
        try:
            getattr(contract(), name)()
        except unittest.SkipTest:
            continue
        except Exception as error:
            error.add_note(f"in {name} of {contract.__name__}")
            raise
        passed.append(name)
    return tuple(passed)
