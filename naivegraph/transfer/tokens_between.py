"""The tokens of one tokenizer among those of another."""

from __future__ import annotations

from typing import Any

import numpy as np

from naivegraph.edits.plan.index_formula import Indices
from naivegraph.errors import EditError

__all__ = ["tokens_between"]


def tokens_between(old: Any, new: Any, rows: int) -> tuple[Indices, dict[int, list[int]]]:
    """For each token of a new tokenizer the same one of the old, and the old ones that spell the others.

    Args:
        old: The old tokenizer: `get_vocab()` gives a dict of texts and numbers, `encode(text)` numbers.
        new: The new one.
        rows: The number of rows of the table that the old one's numbers are looked up in.

    Returns:
        For each number of the new tokenizer the old number, or -1; and for some of the others the old
        numbers of their pieces.

    Raises:
        EditError: One is no tokenizer, or they have no token in common.
    """
    before, after = _vocabulary(old, "tokens"), _vocabulary(new, "tokenizer")
    outside = next((token for token, number in before.items() if number >= rows), None)
    if outside is not None:
        raise EditError(
            f"the old tokenizer has {outside!r} as number {before[outside]}, and the table has {rows} rows: "
            "it is not the tokenizer of this network"
        )
    size = max(after.values(), default=-1) + 1
    sources = np.full(size, -1, np.int64)
    for token, number in after.items():
        sources[number] = before.get(token, -1)
    if not (sources >= 0).any():
        raise EditError(
            "the two tokenizers have no token in common, as tokenizers of different families that mark the "
            "beginning of words in other ways: give a list of tokens, with the old ones that spell each"
        )
    spelt = {number: _pieces(old, new, token) for token, number in after.items() if sources[number] < 0}
    return sources, {number: pieces for number, pieces in spelt.items() if pieces}


def _vocabulary(tokenizer: Any, name: str) -> dict[str, int]:
    get = getattr(tokenizer, "get_vocab", None)
    found = get() if callable(get) else None
    if not isinstance(found, dict):
        raise EditError(
            f"{name}= is {type(tokenizer).__name__}, which is no tokenizer: it needs get_vocab() and encode()"
        )
    return found


def _pieces(old: Any, new: Any, token: str) -> list[int]:
    """The old numbers of the pieces of a token's text, without those that stand around every text."""
    to_text = getattr(new, "convert_tokens_to_string", None)
    text = to_text([token]) if callable(to_text) else token
    try:
        found = old.encode(text, add_special_tokens=False)
    except TypeError:  # a tokenizer without special tokens has no such argument
        found = old.encode(text)
    return [int(number) for number in getattr(found, "ids", found)]
