"""Saving edited networks, and replaying edits; no pickle."""
