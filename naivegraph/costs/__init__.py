"""Costs of a network as functions of its sizes: one file each, found by name.

A new file in this folder that registers a cost is imported with the rest; nothing else has to know of it.
"""

import importlib
import pkgutil

from naivegraph.costs.by_name import cost_named, known_costs, register_cost
from naivegraph.costs.cost import Cost, SizeProduct
from naivegraph.costs.costs import Costs

__all__ = ["Cost", "Costs", "SizeProduct", "cost_named", "known_costs", "register_cost"]

for _file in pkgutil.iter_modules(__path__):
    if _file.name != "cost_contract":  # a test, which needs torch
        importlib.import_module(f"{__name__}.{_file.name}")
