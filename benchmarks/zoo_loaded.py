"""Importing this imports every library that `benchmarks.coverage` needs."""

from __future__ import annotations

import benchmarks.coverage_measures  # noqa: F401
from benchmarks.common import peer, timm, transformers

for library in (timm, transformers, peer):
    library()
