"""The numbers of special tokens in configs, which follow a vocabulary.

Transformers names them `pad_token_id`, `eos_token_id` and so on, a number or a list of numbers, in the config
of a network and in the one for `generate`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from torch import nn

from naivegraph.edits.plan.change import AttributeChange
from naivegraph.edits.plan.index_formula import Indices
from naivegraph.graph.torch_utils.module_paths import INTERNAL, modules_of
from naivegraph.ir.pytree import fields_of, is_record

__all__ = ["SpecialTokens", "special_tokens"]

_ENDING = "_token_id"
_TOKENS = "vocab_size"
_DEPTH = 2  # of configs in configs


@dataclasses.dataclass(frozen=True)
class SpecialTokens:
    """The numbers of special tokens in configs.

    Attributes:
        attributes: Those whose token has another number afterwards.
        notes: Sentences on those whose token went.
    """

    attributes: tuple[AttributeChange, ...]
    notes: tuple[str, ...]


def special_tokens(module: nn.Module, old: Indices, before: int) -> SpecialTokens:
    """Find the special tokens that a change of a vocabulary moves.

    A config that tells of another number of tokens is of another vocabulary, and left aside.

    Args:
        module: The network.
        old: For each token afterwards its number before, or -1.
        before: The number of tokens before.

    Example:
        >>> import types, numpy as np
        >>> net = nn.Module()
        >>> net.config = types.SimpleNamespace(vocab_size=9, pad_token_id=0, eos_token_id=[4, 7])
        >>> found = special_tokens(net, np.array([7, 0, -1]), 9)
        >>> [str(each) for each in found.attributes]
        ['config.pad_token_id: 0 -> 1', 'config.eos_token_id[1]: 7 -> 0']
        >>> found.notes
        ('config.eos_token_id has token 4, which went: set it from the new tokenizer.',)
    """
    places = {int(token): place for place, token in enumerate(old) if token >= 0}
    changes, notes = list[AttributeChange](), dict[str, None]()
    for path, owner in modules_of(module):
        for name, value in vars(owner).items():
            if name in INTERNAL or isinstance(value, nn.Module) or not is_record(value):
                continue
            for keys, token in _numbers(value, before):
                after = places.get(token)
                if after is None:
                    field = ".".join(str(key) for key in (name, *keys) if isinstance(key, str))
                    notes[f"{field} has token {token}, which went: set it from the new tokenizer."] = None
                elif after != token:
                    changes.append(AttributeChange(path, name, keys, token, after))
    return SpecialTokens(tuple(changes), tuple(notes))


def _numbers(config: Any, before: int, at: tuple[int | str, ...] = ()) -> Iterator[tuple[Any, int]]:
    """The places of the numbers of special tokens in a config, and these."""
    fields = fields_of(config) or {}
    if fields.get(_TOKENS, before) != before:
        return
    for key, value in fields.items():
        if isinstance(key, str) and key.endswith(_ENDING):
            listed = list(enumerate(value)) if type(value) in (list, tuple) else [(None, value)]
            for place, token in listed:
                if type(token) is int and 0 <= token < before:
                    yield (*at, key, *(() if place is None else (place,))), token
        elif len(at) < _DEPTH and is_record(value):
            yield from _numbers(value, before, (*at, key))
