"""Search for architectures.

Its names load with the first that is asked for, as those of the package do.
"""

import importlib
from typing import TYPE_CHECKING

# Where each public name lives.
_HOMES = {
    "structure_name": "architecture_names",
}

if TYPE_CHECKING:
    from naivegraph.search.architecture_names import structure_name as structure_name
else:

    def __getattr__(name: str) -> object:
        """Load a public name (PEP 562)."""
        if name not in _HOMES:
            raise AttributeError(f"module 'naivegraph.search' has no attribute '{name}'")
        return getattr(importlib.import_module(f"naivegraph.search.{_HOMES[name]}"), name)


__all__ = ["structure_name"]
