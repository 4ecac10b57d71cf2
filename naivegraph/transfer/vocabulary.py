"""Another vocabulary for a pretrained network: its table of tokens and the head that has a row for each."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from naivegraph.edits.apply.edit import Edit
from naivegraph.edits.plan.change import AttributeChange, Change, InputChange
from naivegraph.edits.plan.index_formula import Floats, Indices
from naivegraph.edits.request import validate
from naivegraph.edits.request.target import graph_verb
from naivegraph.errors import EditError
from naivegraph.ir.pytree import map_leaves
from naivegraph.network import Graph
from naivegraph.operators.relation import Relation, returned
from naivegraph.transfer.kept_function import KeptFunction
from naivegraph.transfer.lookup_tables import Table, token_table
from naivegraph.transfer.rearrange import Rearrangement, rearrange
from naivegraph.transfer.special_tokens import SpecialTokens, special_tokens
from naivegraph.transfer.tokens_between import tokens_between
from naivegraph.widths import Width, Widths, relate

__all__ = ["vocabulary"]

_STARTS = ("mean of pieces", "mean", "zero")


@graph_verb
def vocabulary(
    model: Graph,
    tokens: Any,
    tokenizer: Any = None,
    *,
    table: str | None = None,
    new: str = "mean of pieces",
    optimizer: Any = None,
    seed: int = 0,
) -> Edit:
    """Give a network another vocabulary, in place: rows of its table move, go and come.

    The head follows, whether its weights are the table's or its own, and with it its bias; so do the size in
    a config, the numbers of special tokens there (`pad_token_id` and the like), and the tokens of the graph's
    example, where a token that went becomes the first that stayed.

    Args:
        model: A graph, or a network and then its example: a tensor or a tuple of positional inputs, and
            `kwargs={...}` for keyword inputs.
        tokens: The number of tokens afterwards: the first ones stay, others come behind them. Or for each
            token the number of the old one, a list of the numbers of old ones that spell it, or "new". Or the
            old tokenizer: an object with `get_vocab()` and `encode(text)`, as those of transformers and
            tokenizers.
        tokenizer: The new tokenizer, if `tokens` is the old one. A token of the same text stays the same.
        table: The name of the table's parameter; by default the one that an input of whole numbers is looked
            up in.
        new: The start of new tokens. "mean of pieces": the mean of the old tokens that spell it, or of all
            old ones where nothing spells it. "mean": the mean of all old tokens. "zero": zeros.
        optimizer: An optimizer (or several) whose state follows.
        seed: For parameters along the tokens that are no floating-point numbers.

    Returns:
        The edit. Its notes tell how many tokens were kept, by how much outputs of kept ones differ on the
        example, the probability that new ones get there, and special tokens that went.

    Raises:
        EditError: It is not clear which table is meant, the mapping makes no sense, or the two tokenizers
            have no token in common; everything is as it was.

    Example:
        >>> import naivegraph as ng
        >>> net = torch.nn.Sequential(torch.nn.Embedding(10, 4), torch.nn.Linear(4, 10))
        >>> ids = torch.tensor([[1, 2, 3]])
        >>> before = net(ids)
        >>> edit = ng.transfer.vocabulary(net, ids, [2, 1, 3, "new", [5, 6]])
        >>> net[0].num_embeddings, net[1].out_features
        (5, 5)
        >>> torch.allclose(net(torch.tensor([[1, 0, 2]]))[..., :3], before[..., [2, 1, 3]])
        True
    """
    if new not in _STARTS:
        raise EditError(f"new={new!r}: give {', '.join(map(repr, _STARTS))}")
    found = token_table(model, table)
    before = found.rows
    old, pieces = _sources(tokens, tokenizer, before)
    widths = _with_heads(model, found)
    width = next(
        width for width in widths if (found.name, 0) in width.lives or (found.name, found.dim) in width.lives
    )
    first = int(np.flatnonzero(old >= 0)[0]) if (old >= 0).any() else 0
    example = _stand_ins(model, found, old, first)
    kept = KeptFunction(model, widths, example)
    special = special_tokens(model.module, old, before)

    def notes(difference: float) -> tuple[str, ...]:
        """Return sentences on the tokens that were kept and those that are new."""
        return (*_told(kept, difference, widths, width, old, before), *special.notes)

    asked = {"vocabulary": found.name, "tokens": len(old), "kept": int((old >= 0).sum()), "new": new}
    return rearrange(
        model, widths, asked, Rearrangement(width, old, *_starts(old, pieces, new, before)),
        adjust=lambda change, key: _followed(model, change, key, found, old, special),
        kept=kept, notes=notes, optimizer=optimizer, seed=seed,
    )  # fmt: skip


def _sources(tokens: Any, tokenizer: Any, before: int) -> tuple[Indices, dict[int, list[int]]]:
    """For each token the old one or -1, and the old ones that spell some."""
    if tokenizer is not None:
        return tokens_between(tokens, tokenizer, before)
    if isinstance(tokens, Sequence) and not isinstance(tokens, str):
        entries = list(tokens)
    else:
        places = np.arange(validate.whole(tokens, "the number of tokens", 1))
        return np.where(places < before, places, -1), {}
    old, pieces = [], dict[int, list[int]]()
    for place, each in enumerate(entries):
        if isinstance(each, str) and each == "new":
            old.append(-1)
        elif isinstance(each, (list, tuple)):
            old.append(-1)
            pieces[place] = [validate.whole(one, "an old token", 0, before - 1) for one in each]
        else:
            old.append(validate.whole(each, "an old token", 0, before - 1))
    stays = np.array([each for each in old if each >= 0], np.int64)
    values, counts = np.unique(stays, return_counts=True)
    if (counts > 1).any():
        raise EditError(f"the old token {values[counts > 1][0]} is named more than once")
    if not old:
        raise EditError("a vocabulary has a token at least")
    return np.array(old, np.int64), pieces


def _with_heads(graph: Graph, found: Table) -> Widths:
    """The widths in which the table's rows may change, and outputs of as many neurons are the same tokens."""
    free: Any = {"free_outputs": True, "free_tables": [found.name]}
    widths = relate(graph, **free)
    row = widths.axes[found.name][found.dim]
    if row.fixed:
        raise EditError(f"the rows of {found.name} cannot change: other uses of it hold their number")
    heads = [
        (stub, dim)
        for stub in returned(graph.output)
        for dim, axis in enumerate(widths.of(stub))
        if axis.length == found.rows and not axis.fixed and axis != row and stub.dtype.is_floating_point
    ]
    if not heads:
        return widths

    def unify(relation: Relation) -> None:
        """Let each head have the table's rows."""
        for stub, dim in heads:
            relation.algebra.unify(relation.of(stub)[dim], relation.of(graph.state[found.name])[found.dim])

    return relate(graph, **free, afterwards=[unify])


def _starts(
    old: Indices, pieces: dict[int, list[int]], new: str, before: int
) -> tuple[list[tuple[Indices, Floats]], Indices]:
    """The combinations that new tokens start as, and the combination of each."""
    every: Indices = np.arange(before if new != "zero" else 0)
    sums = [(every, np.full(len(every), 1 / max(before, 1)))]
    chosen = []
    for place in np.flatnonzero(old < 0):
        spelt = pieces.get(int(place), []) if new == "mean of pieces" else []
        if spelt:
            some, counts = np.unique(np.array(spelt, np.int64), return_counts=True)
            sums.append((some, counts / counts.sum()))
        chosen.append(len(sums) - 1 if spelt else 0)
    return sums, np.array(chosen, np.int64)


def _followed(
    graph: Graph, change: Change, key: str, found: Table, old: Indices, special: SpecialTokens
) -> Change:
    """The change in which the example's tokens and the special ones follow the rows."""
    asked = [InputChange(name, index, None, [[key]]) for name, index in found.inputs]
    module = graph.module.get_submodule(found.name.rpartition(".")[0])
    padding = getattr(module, "padding_idx", None)
    attributes = [*change.attributes, *special.attributes]
    if isinstance(padding, int):
        place = np.flatnonzero(old == padding)
        if not len(place):
            raise EditError(f"token {padding} is the padding of {found.name}: keep it")
        if place[0] != padding:
            path = found.name.rpartition(".")[0]
            attributes.append(AttributeChange(path, "padding_idx", (), padding, int(place[0])))
    return dataclasses.replace(change, inputs=(*change.inputs, *asked), attributes=attributes)


def _stand_ins(graph: Graph, found: Table, old: Indices, first: int) -> dict[str, Any]:
    """The example with tokens that will go replaced by the first that stays, as it will have them."""
    stays = np.zeros(found.rows, bool)
    stays[old[old >= 0]] = True
    instead = torch.from_numpy(np.where(stays, np.arange(found.rows), max(int(old[first]), 0)))
    names = {name for name, _ in found.inputs}

    def replace(leaf: Any) -> Any:
        """Return a tensor of tokens with those that stay, and any other leaf as it is."""
        whole = isinstance(leaf, torch.Tensor) and not leaf.is_floating_point() and leaf.dtype != torch.bool
        return instead.to(leaf.device)[leaf.long()].to(leaf.dtype) if whole else leaf

    return {
        name: map_leaves(value, replace) if name in names else value for name, value in graph.example.items()
    }


def _told(
    kept: KeptFunction, difference: float, widths: Widths, width: Width, old: Indices, before: int
) -> tuple[str, ...]:
    stay, come = int((old >= 0).sum()), int((old < 0).sum())
    told = f"{stay} of {before} tokens were kept and {come} are new"
    if not stay:
        return (f"{told}.",)
    told += f"; outputs of kept ones differ by at most {difference:.1e} of the largest one"
    shares = [
        float(value.softmax(dim).index_select(dim, torch.from_numpy(np.flatnonzero(old < 0))).sum(dim).mean())
        for stub, value in kept.outputs()
        for dim, axis in enumerate(widths.of(stub))
        if width.atom in axis.atoms() and value.shape[dim] == len(old)
    ]
    share = f"; new ones get {shares[0]:.1%} of the probability on the example" if shares and come else ""
    return (f"{told}{share}.",)
