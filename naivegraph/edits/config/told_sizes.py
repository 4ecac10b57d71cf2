"""Sizes that a network tells of itself in attributes that no forward reads: they follow an edit, or a note.

Libraries of networks keep such numbers for others to build on: the channels of each feature map beside the
name of the module that gives it, the number of features that another classifier is built for.
"""

from __future__ import annotations

import dataclasses

from naivegraph.edits.config.classifier_features import classifier_features
from naivegraph.edits.config.feature_records import feature_records
from naivegraph.edits.config.sizes_after import SizesAfter, Told
from naivegraph.edits.plan.change import Change
from naivegraph.widths.code.size_constraints import SizeConstraints

__all__ = ["with_told_sizes"]


def with_told_sizes(change: Change, constraints: SizeConstraints) -> tuple[Change, tuple[str, ...]]:
    """Add the changes of what a network tells of its sizes, or a sentence where that cannot follow.

    Args:
        change: A change of a network's sizes, with the attributes that its code reads.
        constraints: The constraints of the network's code.

    Returns:
        The change, and notes for the reader.
    """
    if not change.widths:
        return change, ()
    sizes = SizesAfter(change, constraints.widths)
    found = Told()
    for told in (feature_records(sizes), classifier_features(sizes)):
        found.attributes += told.attributes
        found.notes += told.notes
    if not found.attributes:
        return change, tuple(found.notes)
    known = {(each.path, each.name, each.keys) for each in change.attributes}
    added = [each for each in found.attributes if (each.path, each.name, each.keys) not in known]
    return dataclasses.replace(change, attributes=[*change.attributes, *added]), tuple(found.notes)
