"""Search for architectures.

Its names load with the first that is asked for, as those of the package do.
"""

import importlib
from typing import TYPE_CHECKING

# Where each public name lives.
_HOMES = {
    "Callback": "study",
    "Candidate": "study",
    "History": "study",
    "Proposal": "study",
    "Rung": "study",
    "Space": "study",
    "Study": "study",
    "StudyView": "study",
    "structure_name": "architecture_names",
}

if TYPE_CHECKING:
    from naivegraph.search.architecture_names import structure_name as structure_name
    from naivegraph.search.study import Callback as Callback
    from naivegraph.search.study import Candidate as Candidate
    from naivegraph.search.study import History as History
    from naivegraph.search.study import Proposal as Proposal
    from naivegraph.search.study import Rung as Rung
    from naivegraph.search.study import Space as Space
    from naivegraph.search.study import Study as Study
    from naivegraph.search.study import StudyView as StudyView
else:

    def __getattr__(name: str) -> object:
        """Load a public name (PEP 562)."""
        if name not in _HOMES:
            raise AttributeError(f"module 'naivegraph.search' has no attribute '{name}'")
        return getattr(importlib.import_module(f"naivegraph.search.{_HOMES[name]}"), name)


__all__ = [
    "Callback",
    "Candidate",
    "History",
    "Proposal",
    "Rung",
    "Space",
    "Study",
    "StudyView",
    "structure_name",
]
