"""Pruning a network in place to exact budgets."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from torch import nn

from naivegraph.calibration import Calibration
from naivegraph.costs import Cost, Costs
from naivegraph.edits import Edit
from naivegraph.edits.apply.apply import apply
from naivegraph.edits.apply.latency_report import LatencyReport
from naivegraph.edits.apply.optimizer_state import as_optimizers
from naivegraph.edits.apply.size_report import SizeReport
from naivegraph.edits.config.told_sizes import with_told_sizes
from naivegraph.edits.plan.unused import unused_notes
from naivegraph.edits.request import validate
from naivegraph.edits.request.size_choice import SizeChoice
from naivegraph.errors import EditError
from naivegraph.graph.record.record_train_mode import run_training
from naivegraph.graph.torch_utils.ordinary_mode import ordinary_mode
from naivegraph.graph.torch_utils.preserve_state import same_seed
from naivegraph.graph.verify.verify import disagreement
from naivegraph.ir.recording import Recording
from naivegraph.latency.profile import Profile
from naivegraph.latency.runtimes import AnyRuntime
from naivegraph.network import Graph
from naivegraph.prune.budgets import asked_budgets, check_size_asked
from naivegraph.prune.captured import Captured, captured
from naivegraph.prune.choose_sizes import (
    Chosen,
    SolveOptions,
    choose_sizes,
    fixed_reasons,
    told_rounding,
)
from naivegraph.prune.depth_argument import check_depth, let_go
from naivegraph.prune.floors import AllFloors, check_at_least, floors
from naivegraph.prune.keep import Keep
from naivegraph.prune.latency_budget import AskedLatency, LatencyBudget, step_of
from naivegraph.prune.leave_out import leave_out
from naivegraph.prune.outputs import check_shapes
from naivegraph.prune.posed_program import posed_program
from naivegraph.prune.trial import Trials
from naivegraph.prune.uniform import check_said
from naivegraph.reconstruct.reconstruct import RefitWithEdit
from naivegraph.solvers import Backend
from naivegraph.utility import Utility, utilities
from naivegraph.utility.scores import Loss
from naivegraph.widths import Widths, relate

__all__ = ["prune"]

Progress = Callable[[str], None]


@ordinary_mode()
def prune(
    model: nn.Module | Graph,
    args: Any = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    budgets: Mapping[Any, float] | None = None,
    macs: float | None = None,
    params: float | None = None,
    weight_bytes: float | None = None,
    memory: float | None = None,
    training_memory: float | None = None,
    ratio: float | Mapping[Any, float] | None = None,
    at_least: float | Mapping[Any, float] | None = None,
    latency: float | None = None,
    runtime: AnyRuntime = "eager",
    profile: Profile | str | os.PathLike[str] | None = None,
    round_to: int | Literal["auto"] | None = None,
    uniform: bool = False,
    keep: Sequence[Keep] | Keep = (),
    depth: bool | Sequence[Keep] | Keep = False,
    utility: Utility = None,
    loss: Loss | None = None,
    calibration: Any = None,
    refit: bool = True,
    backend: str | Backend = "highs",
    gap: float = 1e-3,
    time_limit: float = 20.0,
    optimizer: Any = None,
    progress: Progress | None = None,
) -> Edit:
    """Remove the neurons of least utility, in place, until the network fits the budgets.

    The model stays the same object of the same class with the same parameter objects; only their sizes, and
    the attributes its code reads, change. Budgets are never exceeded. If anything fails the model is as
    before. What `torch.compile` made is compiled anew at the next call; what `torch.export` made before the
    edit shares the parameters and does not run any more: export after it.

    Args:
        model: A graph, or a network and then its example: a tensor or a tuple of positional inputs, and
            `kwargs={...}` for keyword inputs. Of `nn.DataParallel` and `torch.compile`, the network inside is
            pruned. A graph is updated.
        args: The example's positional inputs, as in `model(*args)`.
        kwargs: Its keyword inputs.
        budgets: By the name of a cost (or by a `Cost`): a fraction of what the network costs now (0.5; a
            float up to 1.0) or an absolute number (2_000_000 or 2e6). Several budgets are kept at once.
        macs: Short for a budget of multiply-accumulates of one run on the example. They are half of the FLOPs
            of `torch.utils.flop_counter`, which leaves out products with a vector; here they count, too.
        params: Short for a budget of parameters.
        weight_bytes: Short for a budget of the bytes of parameters.
        memory: Short for a budget of the most bytes that one run on the example has allocated at one time, in
            eval mode without gradients. The network runs once for it.
        training_memory: Short for a budget of the bytes that autograd saves in one run in train mode.
        ratio: Instead of budgets: keep this fraction of every axis that may change. In a product, such as
            heads times head size, the outermost gives way and what is inside stays. Or a dict of fractions by
            layer: paths, patterns or modules, as for `keep`; all others keep their sizes.
        at_least: The least that stays of every width: a fraction (0.1; a float up to 1.0) or a number of
            neurons, or a dict of these by layer, as for `ratio`. By default a tenth, for no training repairs
            a layer of two neurons, but less where the budget cannot be met so (a note says that).
        latency: A budget of the time of one run on the example: a share of the present one (0.6), or
            `ng.seconds(0.012)`. Times of calls are fitted to sizes on copies of the network (see
            `ng.profile`), the copy with the sizes chosen is timed beside the network as it is, and the fit
            corrected, up to three times; `edit.latency` has what was asked, predicted and measured.
        runtime: What runs the network where its latency counts: "eager", "channels_last", "compiled",
            "onnxruntime", or a function `f(model, example)` that returns a function which runs it.
        profile: A profile of `ng.profile`, or its file, instead of one that is taken now. It is refused
            where the machine is another one, or in another state.
        round_to: Make the sizes of all layers that change multiples of this number. "auto" is the number
            that the runtime is quick at, which is the default with `latency=`; otherwise sizes are not
            rounded.
        uniform: Only sizes that the config can say which the network was built from and keeps (as those of
            transformers do): layers built from one entry of it have one size, so that `save_pretrained` and
            the like go on working. Sizes without an entry stay. With `depth` whole layers may go, which the
            config counts, and no single branches.
        keep: Module paths, glob patterns or modules whose output sizes (and those inside them) stay.
        depth: Whether branches of residual sums may be left out, too: of blocks, attentions, layers of a
            decoder. Or which: paths, patterns or modules as for `keep`, all layers of a branch being inside.
            Sizes and branches are chosen together. The network stays of its class where its forward then
            does without them; else its graph does (`edit.graph`, `edit.graph.to_module()`), as a note says.
            `edit.dropped` names them.
        utility: The values of neurons, by default "fisher" with calibration data and "l2" without; see
            `naivegraph.utility.utility`.
        loss: For utility="taylor" and "fisher": a function of the network that returns its loss; with
            calibration data, of the network and a batch as it was given (`lambda network, batch: ...`).
        calibration: Batches of example inputs, for utilities by data: a DataLoader or another iterable of
            batches, or a tensor of samples. Labels after the inputs are left aside. See
            `naivegraph.calibration`.
        refit: Whether weights that are left are refitted to the calibration data, where there are some: each
            layer by least squares to what it gave before, without labels or training; see
            `ng.reconstruct`. It uses the first 1,024 samples.
        backend: The solver, where one is needed; `naivegraph.solvers.backends()` lists those there are.
        gap: Stop searching once the utility kept is within this fraction of the most possible.
        time_limit: Seconds after which the best answer so far is taken; its certificate says how good it is.
        optimizer: A torch optimizer of the model's parameters, an `AveragedModel` of it, or several of them,
            whose state is resized with the parameters and restored by undo. Undo restores the learning rate,
            too; so give the scheduler along with its optimizer.
        progress: Called with a sentence before each step that may take long.

    Returns:
        The edit: print it for a table, `edit.certificate`, `edit.undo()`.

    Raises:
        CaptureError: The model could not be captured.
        EditError: An argument makes no sense, or the model cannot be changed.
        InfeasibleError: No sizes keep the budgets; the message tells the smallest costs that can be reached.

    Example:
        >>> import torch, naivegraph as ng
        >>> net = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 4))
        >>> edit = ng.prune(net, torch.ones(1, 8), macs=0.5)
        >>> edit.before.macs, edit.after.macs, net[0].out_features
        (384, 192, 16)
    """
    short = {
        "macs": macs,
        "params": params,
        "weight_bytes": weight_bytes,
        "memory": memory,
        "training_memory": training_memory,
    }
    by_cost = asked_budgets(budgets, short)
    asked_latency = AskedLatency.of(latency, runtime, profile)
    step = step_of(round_to, runtime, asked_latency is not None)
    check_size_asked(by_cost, ratio, asked_latency is not None)
    check_depth(depth, ratio)
    check_at_least(at_least)
    validate.at_least_zero(gap, "gap")
    validate.at_least_zero(time_limit, "time_limit")
    if progress is not None:
        validate.function(progress, "progress", "a function of a sentence")
    choice = SizeChoice(utility, loss, backend=backend, calibration=calibration)
    optimizers = as_optimizers(optimizer)
    say = progress or (lambda sentence: None)
    found = captured(model, args, kwargs, say)
    data = None if calibration is None else Calibration(found.graph, calibration)
    later = None if data is None or not refit else RefitWithEdit(found.graph, data, optimizers, say)
    say("relating its axes")
    widths = relate(found.graph)
    least = floors(widths, at_least) if ratio is None or at_least is not None else {}
    program, branches = posed_program(
        found, widths, least, keep=keep, depth=depth, uniform=uniform, step=step
    )
    chosen = "fisher" if utility is None and data is not None else utility
    values = utilities(widths, chosen, loss=loss, calibration=data)
    measured: tuple[str, ...] = ()
    if depth is not False:
        say("measuring what branches are worth")
        measured = let_go(program, branches, values, chosen, data, loss)
    may_lower = at_least is None or (isinstance(at_least, AllFloors) and at_least.may_lower)
    options = SolveOptions(ratio, step, gap, time_limit, choice.backend, say, may_lower)
    timing = None
    if asked_latency is not None:
        with same_seed():
            budget = LatencyBudget(asked_latency, Trials(found, program, asked_latency.runtime), step, say)
            sizes, timing = budget.meet(
                lambda cost, limit, other=step: choose_sizes(
                    program, values, {**by_cost, cost: limit}, dataclasses.replace(options, round_to=other)
                )
            )
    else:
        say("choosing neurons")
        sizes = choose_sizes(program, values, by_cost, options)
        if round_to == "auto" and by_cost:
            sizes = told_rounding(sizes, values, by_cost, options)
    say("changing the network")
    given = short | {cost.name: limit for cost, limit in by_cost.items()}
    asked = {**given, "ratio": _by_name(ratio), "round_to": step, "keep": _named(keep)}
    if asked_latency is not None:
        asked |= {"latency": latency, "runtime": asked_latency.runtime.name}
    if at_least is not None and not isinstance(at_least, AllFloors):
        asked["at_least"] = _by_name(at_least)
    if depth is not False:
        asked["depth"] = depth if isinstance(depth, bool) else _named(depth)
    change, notes = sizes.planned
    if uniform:
        check_said(change, notes)
    return _edit(sizes, asked, by_cost, optimizers, found, later, timing, measured, uniform)


def _by_name(values: Any) -> Any:
    """Values by layer with the names of modules in their places."""
    if not isinstance(values, Mapping):
        return values
    return {key if isinstance(key, str) else type(key).__name__: value for key, value in values.items()}


def _named(keep: Sequence[Keep] | Keep) -> list[str]:
    items = [keep] if isinstance(keep, (str, nn.Module)) else keep
    return [item if isinstance(item, str) else type(item).__name__ for item in items]


def _edit(
    chosen: Chosen,
    asked: dict[str, Any],
    costs: Iterable[Cost],
    optimizers: tuple[Any, ...],
    found: Captured,
    later: RefitWithEdit | None,
    timing: LatencyReport | None,
    measured: tuple[str, ...],
    uniform: bool,
) -> Edit:
    program, (change, config_notes) = chosen.program, chosen.planned
    change, untold = with_told_sizes(change, program.constraints)
    widths = program.widths
    sizes = {w.atom: w.size for w in widths.widths}
    after = {w.name: w for w in change.widths.values()}
    sizes.update({w.atom: after[w.name].after for w in widths.widths if w.name in after})
    notes = [*program.reasons()[:5], *measured, *chosen.notes, *config_notes, *untold]
    if not change and not chosen.dropped:
        fixed = "; ".join(fixed_reasons(program)[:3])
        notes.append(f"Nothing was removed: {fixed or 'what was asked for leaves every size as it is'}.")
    notes += unused_notes(widths)
    notes += later.notes if later is not None and (change or chosen.dropped) else ()
    costs = list(costs)
    told: dict[str, Any] = {
        "optimizer": optimizers,
        "asked": asked,
        "certificate": chosen.solution.certificate,
        "before": Costs.of(widths, also=costs),
        "after": Costs.of(widths, lambda a: sizes.get(a, a.length), also=costs, gone=chosen.gone),
        "notes": tuple(notes),
        "sizes": SizeReport(widths, change, gone=chosen.gone),
        "latency": timing,
    }
    if chosen.dropped:
        refitted = None if later is None else later.run
        return leave_out(
            found, chosen.dropped, change, refit=refitted, constraints=program.constraints, said=uniform,
            check=functools.partial(_check_runs, widths, found), **told,
        )  # fmt: skip
    refit = None if later is None else functools.partial(later.run, change)
    check = functools.partial(_check_runs, widths, found, found.graph)
    return apply(change, found.edited, refit=refit, check=check, **told)


def _check_runs(
    widths: Widths, found: Captured, graph: Recording, seen: Callable[[Any], Any] = lambda output: output
) -> None:
    """Run the edited network's own forward, which has to compute what the graph does.

    Its code may take another branch for another size, or have a size written in a way capture cannot see.
    Where the graph's structure was edited, the network's own forward computes something else and is not run.

    Args:
        widths: The related axes.
        found: The network.
        graph: Its graph.
        seen: What is looked at of the network's output.
    """
    if not found.runs:
        return
    try:
        output, difference = disagreement(graph, found.args, found.kwargs, seen)
        check_shapes(widths, graph, output)
        if difference:
            raise ValueError(f"it does something else than before: {difference}")
        if graph.training is not None:
            check_shapes(widths, graph.training, run_training(graph.training), " in train mode")
    except Exception as error:
        raise EditError(
            f"the edited network's own forward does not run ({error}); nothing was changed. "
            "ng.capture(model, ...).to_module() gives a network of its calls alone, without the code around"
        ) from error
