"""Requests of users, validated."""
