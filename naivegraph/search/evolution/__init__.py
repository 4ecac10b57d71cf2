"""Evolution: mutations, crossover, selection, and the space they make."""

from naivegraph.search.evolution.choice_space import ChoiceSpace
from naivegraph.search.evolution.cost_measures import cost, latency
from naivegraph.search.evolution.depth_mutations import activation, deeper, shallower, skip, unskip
from naivegraph.search.evolution.evolution import Evolution
from naivegraph.search.evolution.fit import fit
from naivegraph.search.evolution.genome import Genome
from naivegraph.search.evolution.graft import graft
from naivegraph.search.evolution.mutation import Mutation, chain, chance, one_of
from naivegraph.search.evolution.optuna_space import OptunaSpace
from naivegraph.search.evolution.proxies import gradient_norm, jacobian_covariance, naswot, synflow
from naivegraph.search.evolution.recipe_mutations import batch_size, choice, learning_rate
from naivegraph.search.evolution.selection import Selection, ageing, elite, nsga2, tournament, universal
from naivegraph.search.evolution.size_mutations import kernel, narrower, wider
from naivegraph.search.evolution.surrogate_space import SurrogateSpace
from naivegraph.search.evolution.training import Classification, Regression

__all__ = [
    "ChoiceSpace",
    "Classification",
    "Evolution",
    "Genome",
    "Mutation",
    "OptunaSpace",
    "Regression",
    "Selection",
    "SurrogateSpace",
    "activation",
    "ageing",
    "batch_size",
    "chain",
    "chance",
    "choice",
    "cost",
    "deeper",
    "elite",
    "fit",
    "gradient_norm",
    "graft",
    "jacobian_covariance",
    "kernel",
    "latency",
    "learning_rate",
    "narrower",
    "naswot",
    "nsga2",
    "one_of",
    "shallower",
    "skip",
    "synflow",
    "tournament",
    "universal",
    "unskip",
    "wider",
]
