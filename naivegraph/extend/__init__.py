"""The tier for those who extend naivegraph: what can be registered, and the contract each has to meet.

| to add | write | make it known by | its contract |
|---|---|---|---|
| a rule for a function of yours | a `Rule` | `rule=` itself, or `register_rule` | `RuleContract` |
| a solver | a `Backend` | `backend=` itself, or `register_backend` | `BackendContract` |

A contract is a class of tests: subclass it, say in it what is to be tested, and let pytest collect it or call
`run_contract`. `tutorials/extend.py` has an example of each.
"""

from naivegraph.extend.rule_contract import RuleContract
from naivegraph.extend.run_contract import run_contract
from naivegraph.ir.custom_rule import Absorb, Fixed, Rule, Same, Stack, Ties, register_rule
from naivegraph.solvers import Answer, Backend, Limits, Outcome, Session, backends, register_backend
from naivegraph.solvers.arrays import Arrays, Rows
from naivegraph.solvers.backend_contract import BackendContract

__all__ = [
    "Absorb",
    "Answer",
    "Arrays",
    "Backend",
    "BackendContract",
    "Fixed",
    "Limits",
    "Outcome",
    "Rows",
    "Rule",
    "RuleContract",
    "Same",
    "Session",
    "Stack",
    "Ties",
    "backends",
    "register_backend",
    "register_rule",
    "run_contract",
]
