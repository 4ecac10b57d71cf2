"""Model cards of edited networks: Markdown with what was changed, and front matter that the hub reads."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from naivegraph.edits import Edit
from naivegraph.edits.plan.change import Change
from naivegraph.hf.description import Description
from naivegraph.hf.edited_config import as_plain_kind
from naivegraph.hf.library import auto_classes

__all__ = ["base_model", "is_own_card", "model_card", "report_of"]

_OWN = "<!-- Written by naivegraph.hf, and written anew by it: take this line out to keep your changes. -->"
_SHOWN = 40


def report_of(edit: Edit, number: int) -> dict[str, Any]:
    """The costs and the certificate of an edit as data.

    Args:
        edit: The edit.
        number: Its place among those of the network.
    """
    before, after = edit.before.shown(), edit.after.shown()
    costs = [
        [title, old, after[name][1], edit.after[name] / edit.before[name] if edit.before[name] else 1.0]
        for name, (title, old) in before.items()
        if name in after
    ]
    found = edit.certificate if edit.asked.get("ratio") is None else None  # else it is not of utility
    told = {} if found is None else {"certificate": [found.value, found.bound, found.gap]}
    return {"edit": number, "costs": costs, **told}


def base_model(config: Any) -> str:
    """The name of the repository that a network was loaded from; "" if it was none, or a folder."""
    name = str(getattr(config, "name_or_path", "") or "")
    return name if re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) and not os.path.exists(name) else ""


def is_own_card(path: Path) -> bool:
    """Tell whether a model card may be replaced: there is none, or `model_card` made it."""
    return not path.exists() or _OWN in path.read_text(encoding="utf-8", errors="replace")


def model_card(network: Any, description: Description, name: str, *, plain: bool = False) -> str:
    """The model card of an edited network.

    Args:
        network: The network.
        description: Its edits, and what is known of them.
        name: The name of the folder.
        plain: Whether transformers opens it without this package.
    """
    return "\n".join(_lines(network, description, name, plain)) + "\n"


def _lines(network: Any, description: Description, name: str, plain: bool) -> Iterator[str]:
    yield from ("---", "library_name: transformers", "tags:", "- naivegraph")
    if description.base:
        yield f"base_model: {description.base}"
    yield from ("---", _OWN, "", f"# {name}", "")
    left, before = network.num_parameters(), description.parameters
    origin = (
        f" of [{description.base}](https://huggingface.co/{description.base})" if description.base else ""
    )
    yield (
        f"A `{description.kind}`{origin} whose sizes were changed by naivegraph: {left:,} of {before:,} "
        f"parameters are left ({left / max(before, 1):.1%})."
    )
    auto = _auto_class(network)
    needed = [] if plain else ["import naivegraph.hf  # pip install 'naivegraph[transformers]'"]
    why = "" if plain else " Without the import transformers does not know the type of this folder."
    yield from (
        "", "## How to open it", "", "```python", *needed, f"from transformers import {auto}", "",
        f'model = {auto}.from_pretrained("{name}")', "```", "",
        f"The network is one of its family's own class. There is no remote code, nothing is pickled.{why}",
    )  # fmt: skip
    reports = {report.get("edit"): report for report in description.reports}
    changes = description.changes()
    for number, change in enumerate(changes):
        which = f" {number + 1} of {len(changes)}" if len(changes) > 1 else ""
        yield from ("", f"## Edit{which}", "")
        yield from _edit(change, reports.get(number, {}))
    yield from ("", "How good the network is was not measured here.")


def _edit(change: Change, report: Mapping[str, Any]) -> Iterator[str]:
    costs = report.get("costs", [])
    if costs:
        rows = [[title, old, new, f"{share:.1%}"] for title, old, new, share in costs]
        yield from _table(["cost", "before", "after", "left"], rows)
        yield ""
    if "certificate" in report:
        value, bound, gap = report["certificate"]
        yield f"Utility kept {value:.6g}, at most {bound:.6g} possible within the budgets (gap {gap:.3%})."
        yield ""
    widths = [[f"`{w.name}`", f"{w.before:,}", f"{w.after:,}"] for w in change.widths.values()]
    if widths:
        yield from _table(["width", "before", "after"], widths[:_SHOWN])
    if len(widths) > _SHOWN:
        yield from ("", f"and {len(widths) - _SHOWN} more, which are in `config.json`.")
    left = [
        *([] if change.closing is None else change.closing.layers),
        *(each.path for each in change.modules),
    ]
    if left:
        yield from ("", "Left out of the network: " + ", ".join(f"`{path}`" for path in left))


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|---|{'---:|' * (len(header) - 1)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _auto_class(network: Any) -> str:
    """The name of an Auto class that gives a network of this class."""
    kind = as_plain_kind(type(network.config))
    found = []
    for auto in auto_classes():
        known = auto._model_mapping.get(kind, ())
        if type(network) in (known if isinstance(known, tuple) else (known,)):
            found.append(auto.__name__)
    return min(found, default="AutoModel")
