"""Memory of random networks of random sizes, predicted before they are pruned, against torch's allocator."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

import naivegraph as ng
from naivegraph.costs import cost_named
from naivegraph.edits.apply.apply import apply
from naivegraph.edits.plan.plan import plan
from naivegraph.widths import constraints_of, relate
from tests.memory.counting import left_bytes, peak_bytes
from tests.networks.plain import randomised
from tests.oracle import choose
from tests.prune.test_random_networks import Random, networks


@settings(max_examples=15, deadline=None)
@given(networks, st.integers(0, 2**16), st.sampled_from([torch.float32, torch.float64]), st.integers(1, 3))
def test_predictions_are_what_the_allocator_counts(
    built: Random, seed: int, dtype: torch.dtype, batch: int
) -> None:
    model = randomised(built).to(dtype).eval()
    x = torch.randn(batch, 3, 4, 4, generator=torch.Generator().manual_seed(0)).to(dtype)
    widths = relate(ng.capture(model, x, verify=False, fake=bool(seed % 2)))
    constraints = constraints_of(widths)
    kept = choose(widths, constraints, seed)
    sizes = {width.atom: kept[width].shape[-1] if width in kept else width.size for width in widths}
    told = cost_named("memory").value(widths, lambda atom: sizes.get(atom, atom.length))
    saved = cost_named("training_memory").value(widths, lambda atom: sizes.get(atom, atom.length))
    now = cost_named("memory").value(widths)
    assert now == peak_bytes(model, x)
    apply(plan(widths, constraints, kept), model)
    peak = peak_bytes(model, x)
    # Beside a dimension of size 1 a moved tensor may be a view where it was a copy: then too much is told.
    assert told == peak or (told > peak and 1 in sizes.values())
    assert saved == pytest.approx(left_bytes(model, (x,)), abs=64)
