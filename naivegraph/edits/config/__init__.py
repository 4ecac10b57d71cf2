"""The configuration object that a network was built from, kept in step with edits."""
