"""Constraints on sizes that the network's own code, and custom rules, impose."""
