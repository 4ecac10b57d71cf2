"""Edits: planning a change, applying it all or not at all, taking it back, saving it and replaying it."""

from naivegraph.edits.change import Change
from naivegraph.edits.edit import Costs, Edit
from naivegraph.edits.plan import plan
from naivegraph.edits.replay import replay
from naivegraph.edits.save import load, save

__all__ = ["Change", "Costs", "Edit", "load", "plan", "replay", "save"]
