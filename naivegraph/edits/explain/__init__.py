"""Explanations of sizes, and of requests in conflict."""
