"""Tests of the mixed-integer core."""
