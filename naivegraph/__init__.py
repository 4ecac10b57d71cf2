"""Change the shape of any PyTorch network: prune to an exact budget, save, load, undo.

Example:
    >>> import torch, naivegraph as ng
    >>> net = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 4))
    >>> edit = ng.prune(net, torch.ones(1, 8), macs=0.5)
    >>> edit.after.macs / edit.before.macs
    0.5
    >>> edit.undo()
    >>> net[0].out_features
    32
"""

import gc
import importlib
import importlib.util
import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING

__version__ = "0.1.0"

# A checkout without symbolic links (git on Windows makes them only if told to) holds a text file there.
_LINK = os.path.join(os.path.dirname(__file__), "solvers")
if os.path.isfile(_LINK) and importlib.util.find_spec("naivegraph.solvers") is None:
    raise ImportError(
        "naivegraph/solvers is to be a symbolic link to ../solvers, but this checkout has a text file there: "
        "say `git config core.symlinks true` (on Windows in developer mode), delete that file and "
        "`git checkout -- naivegraph/solvers`; or install the package with `pip install .`"
    )

if TYPE_CHECKING:
    from naivegraph import hf as hf
    from naivegraph import surgery as surgery
    from naivegraph import tokens as tokens
    from naivegraph import track as track
    from naivegraph import transfer as transfer
    from naivegraph import weights as weights
    from naivegraph.api import *  # noqa: F403
    from naivegraph.api import __all__ as __all__
else:
    # torch takes seconds to import, which `naivegraph --help` does not need: all public names are loaded
    # with the first that is asked for (PEP 562).
    def __getattr__(name: str) -> object:
        """Load the public names, and give one of them; of the tier for extenders all at once."""
        if name in ("extend", "hf", "search", "surgery", "tokens", "track", "transfer", "weights"):
            return importlib.import_module(f"naivegraph.{name}")
        if not name.startswith("__") or name == "__all__":
            _load()
        try:
            return globals()[name]
        except KeyError:
            raise AttributeError(f"module 'naivegraph' has no attribute '{name}'") from None

    def __dir__() -> list[str]:
        """List the public names, beside what is loaded."""
        _load()
        return sorted(globals())


class _Package(ModuleType):
    """A package whose functions are not replaced by its sub-packages of the same names, once imported."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in ("prune", "reconstruct") and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        """Pickle the package by its name, as functions do that are sent to other processes by value."""
        return importlib.import_module, (self.__name__,)


def _load() -> None:
    """Load the public names into this package.

    The garbage collector waits: it would go through all of torch's objects, none of which it can free.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        api = importlib.import_module("naivegraph.api")
    finally:
        if collects:
            gc.enable()
    globals().update((name, getattr(api, name)) for name in (*api.__all__, "__all__"))


sys.modules[__name__].__class__ = _Package
