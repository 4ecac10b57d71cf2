"""Schemas as spaces of studies."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from naivegraph import search
from naivegraph.errors import StudyError
from naivegraph.search import Rung
from tests.search.schema.spaces import residual

SHAPE, NODES = (1, 16, 16), (6, 14)


def parameters(module: nn.Module, rung: Rung, seed: int) -> dict[str, float]:
    """Measure the size instead of training."""
    return {"params": float(sum(p.numel() for p in module.parameters()))}


def study(folder: Path, seed: int = 0) -> search.Study:
    space = search.SchemaSpace(residual(), SHAPE, nodes=NODES, population=4, fresh=0.0)
    aims = {"params": "min"}
    return search.Study(folder, space=space, evaluate=parameters, objectives=aims, ahead=1, seed=seed)


def test_children_are_bred_of_walks_that_were_drawn(tmp_path: Path) -> None:
    run = study(tmp_path / "a")
    run.run(networks=9, engine="serial")
    candidates = run.candidates
    told = [each.lineage.mutation for each in candidates]
    assert told[:4] == ["drawn"] * 4
    assert "bred" in told
    names = [each.name for each in candidates]
    assert len(set(names)) == 9
    for each in candidates:
        assert search.structure_name(each.graph) == each.name
        if each.lineage.mutation == "bred":
            assert set(each.lineage.parents) <= set(names)
            assert each.lineage.parents
    best = run.best
    assert best is not None
    assert parameters(best.module(), Rung(0, 0, 1), 0)["params"] == min(
        c.values["params"] for c in candidates
    )


def test_a_seed_gives_one_study(tmp_path: Path) -> None:
    names = []
    for folder in ("a", "b"):
        run = study(tmp_path / folder, seed=5)
        run.run(networks=6, engine="serial")
        names.append([each.name for each in run.candidates])
    assert names[0] == names[1]


def test_two_schemas_do_not_share_a_folder(tmp_path: Path) -> None:
    study(tmp_path).run(networks=1, engine="serial")
    other = search.SchemaSpace(residual(128), SHAPE, nodes=NODES)
    with pytest.raises(StudyError, match="space"):
        search.Study(tmp_path, space=other, evaluate=parameters, objectives={"params": "min"}).run(networks=1)


def test_what_is_no_schema_is_refused() -> None:
    with pytest.raises(StudyError, match=r"takes a search\.Schema"):
        search.SchemaSpace(None, SHAPE)  # type: ignore[arg-type]
