"""Edits: planning a change, applying it all or not at all, undoing, saving and replaying it."""

from naivegraph.edits.apply.edit import Edit
from naivegraph.edits.plan.change import Change
from naivegraph.edits.plan.plan import plan
from naivegraph.edits.save.replay import replay
from naivegraph.edits.save.save import load, save

__all__ = ["Change", "Edit", "load", "plan", "replay", "save"]
