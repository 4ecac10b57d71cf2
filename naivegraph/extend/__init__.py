"""The tier for those who extend naivegraph: what can be registered, and the contract each has to meet.

| to add | write | give it as | or by name, with | its contract |
|---|---|---|---|---|
| a rule for a function of yours | a `Rule` | `rule=` | `register_rule` | `RuleContract` |
| what neurons are worth | a `Criterion` | `utility=` | `register_criterion` | `CriterionContract` |
| what budgets limit | a `Cost` | `budgets=` | `register_cost` | `CostContract` |
| what an operator does to sizes | an `Operator` | | `register_operator` | `OperatorContract` |
| what to do where sizes cannot be had | a `Strategy` | `strategy=` | | `StrategyContract` |
| a solver | a `Backend` | `backend=` | `register_backend` | `BackendContract` |
| a change of networks in a search | a `Mutation` | `search.Evolution` | | `MutationContract` |
| a choice of parents in a search | a `Selection` | `select=` | | `SelectionContract` |

A contract is a class of tests: subclass it, say in it what is to be tested, and let pytest collect it or call
`run_contract`. `tutorials/extend.py` has an example of each.
"""

from naivegraph.costs import Cost, SizeProduct, register_cost
from naivegraph.costs.cost_contract import CostContract
from naivegraph.edits.resize_program.strategy import Attempt, Decision, Strategy
from naivegraph.extend.criterion_contract import CriterionContract
from naivegraph.extend.mutation_contract import MutationContract
from naivegraph.extend.operator_contract import OperatorContract, Sample
from naivegraph.extend.registrations import temporary_registrations
from naivegraph.extend.rule_contract import RuleContract
from naivegraph.extend.run_contract import run_contract
from naivegraph.extend.selection_contract import SelectionContract
from naivegraph.extend.strategy_contract import StrategyContract
from naivegraph.ir.custom_rule import Absorb, Fixed, Rule, Same, Stack, Ties, register_rule
from naivegraph.operators import Operator, register_operator
from naivegraph.operators.pointwise import pointwise
from naivegraph.operators.zeros import KEPT
from naivegraph.search.evolution import Genome, Mutation, Selection
from naivegraph.search.study import Candidate, History
from naivegraph.solvers import (
    Answer,
    Backend,
    HighsBackend,
    Limits,
    Outcome,
    Session,
    backends,
    register_backend,
)
from naivegraph.solvers.arrays import Arrays, FloatArray, Rows
from naivegraph.solvers.backend_contract import BackendContract
from naivegraph.utility.criteria import (
    Criterion,
    CriterionData,
    OfWidths,
    WeightScore,
    register_criterion,
)
from naivegraph.utility.data_criterion import DataCriterion
from naivegraph.utility.scores import BoundLoss, Score

__all__ = [
    "KEPT",
    "Absorb",
    "Answer",
    "Arrays",
    "Attempt",
    "Backend",
    "BackendContract",
    "BoundLoss",
    "Candidate",
    "Cost",
    "CostContract",
    "Criterion",
    "CriterionContract",
    "CriterionData",
    "DataCriterion",
    "Decision",
    "Fixed",
    "FloatArray",
    "Genome",
    "HighsBackend",
    "History",
    "Limits",
    "Mutation",
    "MutationContract",
    "OfWidths",
    "Operator",
    "OperatorContract",
    "Outcome",
    "Rows",
    "Rule",
    "RuleContract",
    "Same",
    "Sample",
    "Score",
    "Selection",
    "SelectionContract",
    "Session",
    "SizeProduct",
    "Stack",
    "Strategy",
    "StrategyContract",
    "Ties",
    "WeightScore",
    "backends",
    "pointwise",
    "register_backend",
    "register_cost",
    "register_criterion",
    "register_operator",
    "register_rule",
    "run_contract",
    "temporary_registrations",
]
