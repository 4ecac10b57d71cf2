# %% [markdown]
# # Extend it
#
# What naivegraph knows can be added to from outside: rules for functions, criteria, costs, strategies,
# solvers, operators. Each has a contract, a class of tests which comes along: subclass it, say in it what is
# to be tested, and pytest finds the tests in a file of yours. Here `run_contract` runs them.

# %%
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

import naivegraph as ng
from naivegraph import extend

torch.manual_seed(0)

# %% [markdown]
# ## A rule for a function of your own
#
# A network written by hand may call any function. Its rule says which dimensions are the same neurons and
# what else must hold of their sizes; what it says nothing of stays as it is. This one has a second input,
# with at most as many neurons as the first, and returns both side by side.


# %%
class Beside(extend.Rule):
    """What is returned has the neurons of the first input and then those of the second."""

    def tie(self, ties: extend.Ties) -> None:
        """State what holds of the dimensions."""
        first, second = ties.inputs[0][1], ties.inputs[1][1]
        ties.joined(ties.outputs[0][1], [first, second])
        ties.linear([(1, first), (-1, second)], low=0)


def beside(first: Tensor, second: Tensor) -> Tensor:
    """(batch, m) and (batch, n) to (batch, m + n)."""
    return torch.cat([first, second], 1)


extend.register_rule("beside", Beside())

x = ng.input_node("x", 3)
wide, narrow = ng.layer(nn.Linear(3, 6), x, name="wide"), ng.layer(nn.Linear(3, 4), x, name="narrow")
both = ng.call(beside, wide, narrow, rule="beside")
graph = ng.Graph([x], [ng.layer(nn.Linear(10, 2), both, name="last")])
ng.resize(graph, {"narrow": +4})

assert graph.sizes["narrow"] == graph.sizes["wide"] == 8

# %% [markdown]
# The contract calls the function on inputs of other sizes, puts it into a network, and looks whether neurons
# that go act as if they were zero, whether new ones leave the others alone, and whether all can be undone.


# %%
class TestBeside(extend.RuleContract):
    """The rule with its function."""

    rule = "beside"

    def function(self, *tensors: Tensor) -> Tensor:
        """Call the function."""
        return beside(*tensors)

    def examples(self) -> Sequence[tuple[Tensor, ...]]:
        """Give the arguments of one call or more."""
        return [(torch.randn(2, 5), torch.randn(2, 3))]


print(extend.run_contract(TestBeside))

# %% [markdown]
# ## A criterion
#
# It says what neurons are worth. Most score single weights, which `WeightScore` sums up for each neuron,
# over all parameters that live on it. Here only the largest weight of each row counts. Its name goes wherever
# there is a `utility=`.


# %%
def largest(module: nn.Module, loss: extend.BoundLoss | None) -> extend.Score:
    """The weights, but for those that are not the largest of their row."""
    parameters = dict(module.named_parameters())

    def score(name: str) -> Tensor | None:
        weight = parameters[name].detach().abs()
        if weight.dim() < 2:
            return None  # biases do not count
        rows = weight.flatten(1)
        return (rows * (rows == rows.amax(1, keepdim=True))).reshape(weight.shape)

    return score


extend.register_criterion("largest", extend.WeightScore(largest))

network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
ng.prune(network, torch.ones(1, 4), macs=0.5, utility="largest")
print(network)


class TestLargest(extend.CriterionContract):
    """One finite number per neuron, whatever their order, the seed or the process; nothing is changed."""

    criterion = "largest"


print(extend.run_contract(TestLargest))

# %% [markdown]
# ## A cost
#
# A sum of products of sizes, which budgets limit and edits show: here the bytes of all parameters at half
# precision.


# %%
class HalfBytes(extend.Cost):
    """Bytes of the parameters at two bytes each."""

    name, title, unit = "half_bytes", "bytes", "bytes of parameters at half precision"

    def products(self, widths: ng.Widths) -> Iterable[extend.SizeProduct]:
        """Two times the product of each parameter's sizes."""
        return [extend.SizeProduct(2, tuple(axes)) for axes in widths.parameters().values()]


extend.register_cost(HalfBytes())

network = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 3))
edit = ng.prune(network, torch.ones(1, 4), budgets={"half_bytes": 0.5})
print(edit)

assert edit.after["half_bytes"] == 2 * edit.after.params


class TestHalfBytes(extend.CostContract):
    """It counts networks of other sizes, and never falls as they grow."""

    cost = HalfBytes()


print(extend.run_contract(TestHalfBytes))

# %% [markdown]
# ## A strategy
#
# It is called with an attempt, and gives a decision, or None for "change nothing", or raises an
# `InfeasibleError`. Most go on with another. This one asks for the nearest change without a warning.


# %%
class Quietly(extend.Strategy):
    """Exactly, else as near as can be."""

    def __init__(self, then: extend.Strategy) -> None:
        self.then = then

    def __call__(self, attempt: extend.Attempt) -> extend.Decision | None:
        """Decide."""
        decision, _ = attempt.solve()
        return decision or ng.strategy.Relax(self.then)(attempt)


ng.resize(graph, {"wide": -4}, strategy=Quietly(ng.strategy.Solve()))  # 4 would be fewer than `narrow` has
assert graph.sizes["wide"] == graph.sizes["narrow"] == 4


class TestQuietly(extend.StrategyContract):
    """Its decisions can be carried out, and callbacks of what it goes on with run once."""

    def strategy(self, then: extend.Strategy) -> extend.Strategy:
        """Make one that goes on with `then`."""
        return Quietly(then)


print(extend.run_contract(TestQuietly))

# %% [markdown]
# ## A solver
#
# It maximises arrays, once; all else (concave terms, checks, conflicts) is done around it. This one leaves
# the work to HiGHS, and counts.


# %%
@extend.register_backend
class Counting(extend.Backend):
    """HiGHS, and how often it was asked."""

    name = "counting"
    asked = 0

    @classmethod
    def available(cls) -> bool:
        """Tell whether it can be used here."""
        return extend.HighsBackend.available()

    def solve_arrays(
        self, arrays: extend.Arrays, limits: extend.Limits, start: extend.FloatArray | None = None
    ) -> extend.Answer:
        """Maximise."""
        Counting.asked += 1
        return extend.HighsBackend().solve_arrays(arrays, limits, start)


ng.resize(graph, {"wide": +1}, backend="counting")
assert Counting.asked > 0


class TestCounting(extend.BackendContract):
    """Small programs against trying everything, bounds, limits, rows added on the way, failures."""

    backend = "counting"
    cases = 10


print(extend.run_contract(TestCounting))

# %% [markdown]
# ## An operator
#
# Networks are related by the tensor operators they are made of. One of another library is met with caution:
# nothing that it touches may change, and `inspect` says so.


# %%
@torch.library.custom_op("tutorial::twice", mutates_args=())
def twice(x: Tensor) -> Tensor:
    """2 x, by a kernel of your own, say."""
    return 2 * x


@twice.register_fake
def _twice_shape(x: Tensor) -> Tensor:
    return torch.empty_like(x)


class Doubled(nn.Module):
    """Two linear layers with the operator between them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 4) to (batch, 2)."""
        out: Tensor = self.last(torch.ops.tutorial.twice(self.first(x)))
        return out


report = str(ng.inspect(Doubled(), torch.ones(1, 4)))
print(report)
assert "register_operator" in report

# %% [markdown]
# Its record says what it does to sizes. This one treats every element by itself, and leaves zeros zero.

# %%
extend.register_operator(torch.ops.tutorial.twice, extend.Operator(extend.pointwise, zeros=extend.KEPT))

doubled = Doubled()
ng.prune(doubled, torch.ones(1, 4), ratio=0.5)
assert doubled.first.out_features == 4
