"""Runs are found by what they were given and what they reached, at once among a thousand."""

from __future__ import annotations

import operator
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import naivegraph as ng
from naivegraph.errors import TrackError
from naivegraph.track import TrackingStore
from naivegraph.track.run_identity import flat, identity_of, parameter_name, parameter_text


def kept(store: TrackingStore, config: dict[str, Any], **metrics: float) -> Any:
    """A run of a config, trained by nobody."""
    run = store.create("shapes", identity_of(config), config.get("name", "run"), flat(config), {})
    if metrics:
        store.log_metrics(run.info.run_id, metrics, step=1)
        store.set_status(run.info.run_id, "FINISHED")
    return run


def depths(runs: list[Any]) -> list[int]:
    return sorted(run.parameters["model/init_args/depth"] for run in runs)


def config(depth: Any, **more: Any) -> dict[str, Any]:
    return {"model": {"class_path": "nets.resnet", "init_args": {"depth": depth, **more}}}


def test_runs_are_found_by_values_and_comparisons(folder: Path) -> None:
    store = TrackingStore(folder)
    for depth in (8, 20, 110):
        kept(store, config(depth, act="relu" if depth < 100 else "o'gelu"), accuracy=depth / 200)
    kept(store, config(56, note="x" * 7000))
    path = "model/init_args/depth"

    def found(where: dict[str, Any]) -> list[int]:
        return depths(ng.track.find("shapes", where, folder=folder))

    assert found({}) == [8, 20, 56, 110]
    assert found({path: 20}) == found({path: 20.0}) == found({path: "20"}) == [20]
    assert found({path: (">", 9)}) == [20, 56, 110]  # as texts "110" would be less than "20", and "8" more
    assert found({path: [(">=", 8), ("<", 56)]}) == [8, 20]
    assert found({path: ("!=", 20)}) == [8, 56, 110]
    assert found({"model/init_args/act": "o'gelu"}) == [110]
    assert found({"model/init_args/note": "x" * 7000}) == [56]
    assert found({"model/init_args/note": "x" * 6999 + "y"}) == []
    assert found({"metrics/accuracy": (">", 0.09)}) == [20, 110]
    assert found({"metrics/accuracy": ("<=", 0.1), path: ("<", 20)}) == [8]
    assert found({"status": "running"}) == [56]
    assert found({"status": "finished", path: (">", 8)}) == [20, 110]
    assert found({"model/init_args/none": ("<", 3)}) == []


def test_a_run_made_later_and_one_deleted_are_seen(folder: Path) -> None:
    store = TrackingStore(folder)
    path = {"model/init_args/depth": (">", 0)}
    runs = [kept(store, config(depth)) for depth in (1, 2)]
    assert depths(ng.track.find("shapes", path, folder=folder)) == [1, 2]
    kept(store, config(3))
    assert depths(ng.track.find("shapes", path, folder=folder)) == [1, 2, 3]
    store._client.delete_run(runs[0].info.run_id)
    assert depths(ng.track.find("shapes", path, folder=folder)) == [2, 3]
    # Made, and killed before its parameters were written: found once they are.
    number = store.experiment("shapes")
    half = store._client.create_run(
        number, tags={"naivegraph.parameters": "2", "naivegraph.identity": "4" * 64}
    )
    assert depths(ng.track.find("shapes", path, folder=folder)) == [2, 3]
    again = store.create("shapes", "4" * 64, "run", flat(config(4)), {})
    assert again.info.run_id == half.info.run_id
    assert depths(ng.track.find("shapes", path, folder=folder)) == [2, 3, 4]


def fill(folder: Path, like: str, count: int) -> None:
    """Copies of a run, each of another depth and identity, straight into the tables."""
    with sqlite3.connect(folder / "mlflow.db") as base:
        for table, key in (("runs", "run_uuid"), ("params", "run_uuid"), ("tags", "run_uuid"),
                           ("latest_metrics", "run_uuid")):  # fmt: skip
            columns = [row[1] for row in base.execute(f"pragma table_info({table})")]
            rows = base.execute(
                f"select {', '.join(columns)} from {table} where {key} = ?", (like,)
            ).fetchall()
            for number in range(count):
                for row in rows:
                    data = dict(zip(columns, row, strict=True))
                    data[key] = f"{number:032x}"
                    if table == "runs":
                        data["start_time"] += number
                    if data.get("key") == "naivegraph.identity":
                        data["value"] = f"{number:064x}"
                    if data.get("key") == "model/init_args/depth":
                        data["value"] = str(number)
                    marks = ", ".join("?" for _ in columns)
                    base.execute(f"insert into {table} values ({marks})", [data[c] for c in columns])
    base.close()


def test_a_thousand_runs_are_searched_at_once(folder: Path) -> None:
    store = TrackingStore(folder)
    like = kept(store, config(5000, **{f"p{number}": number for number in range(30)}), accuracy=0.5)
    fill(folder, like.info.run_id, 1000)
    path = "model/init_args/depth"
    assert len(ng.track.find("shapes", {path: (">", 998)}, folder=folder)) == 2  # remembers the others

    def seconds(search: Any) -> float:
        times = []
        for _ in range(9):
            start = time.perf_counter()
            search()
            times.append(time.perf_counter() - start)
        return min(times)  # what else the machine does is not measured

    assert store.with_identity("shapes", f"{77:064x}").info.run_id == f"{77:032x}"
    assert depths(ng.track.find("shapes", {path: [(">", 990), ("<=", 992)]}, folder=folder)) == [991, 992]
    assert seconds(lambda: store.with_identity("shapes", f"{77:064x}")) < 0.1
    assert seconds(lambda: ng.track.find("shapes", {path: 20}, folder=folder)) < 0.1
    assert seconds(lambda: ng.track.find("shapes", {path: [(">", 990), ("<", 994)]}, folder=folder)) < 0.25


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"a": ("~", 1)}, "a: '~' is no comparison; there are ==, !=, <"),
        ({"a": (">", "x")}, "a: > takes a number, not 'x'"),
        ({"metrics/a": "x"}, "metrics/a is a number, and 'x' is none"),
        ({"status": "done"}, "status is one of finished, running, failed, stopped, not 'done'"),
    ],
)
def test_nonsense_is_told(folder: Path, where: dict[str, Any], message: str) -> None:
    kept(TrackingStore(folder), config(1))
    with pytest.raises(TrackError, match=message.replace("(", r"\(")):
        ng.track.find("shapes", where, folder=folder)


def test_an_experiment_that_is_not_there_is_told(folder: Path) -> None:
    kept(TrackingStore(folder), config(1))
    with pytest.raises(TrackError, match="there is no experiment 'shape'; did you mean 'shapes'"):
        ng.track.find("shape", folder=folder)


def test_runs_tell_what_they_were_given(folder: Path) -> None:
    store = TrackingStore(folder)
    entity = kept(
        store, {**config(20, rate=1e-3, widths=[1, 2], name=None), "name": "first"}, loss=float("inf")
    )
    (run,) = ng.track.runs("shapes", folder=folder)
    assert run == ng.track.open_run("first", folder=folder)
    assert run == ng.track.open_run(entity.info.run_id[:9], folder=folder)
    assert run == ng.track.open_run(entity.info.run_id, folder=folder)
    assert run == ng.track.open_run(run.identity, folder=folder)
    assert run == ng.track.open_run(run.identity[:9], folder=folder)
    assert run.parameters["model/init_args/widths"] == [1, 2]
    assert run.parameters["model/init_args/rate"] == 0.001
    assert run.parameters["model/init_args/name"] is None
    assert (run.status, run.metrics, run.history("loss")) == (
        "finished",
        {"loss": float("inf")},
        [(1, float("inf"))],
    )
    assert "model/init_args/depth" in str(run)
    assert "first" in repr(run)
    with pytest.raises(TrackError, match="no run is 'second'; `naivegraph runs` lists those there are"):
        ng.track.open_run("second", folder=folder)
    with pytest.raises(TrackError, match='no run is "first\'s"'):
        ng.track.open_run("first's", folder=folder)


def test_tables_show_what_differs(folder: Path) -> None:
    store = TrackingStore(folder)
    for depth in (8, 20):
        kept(store, config(depth, width=16), accuracy=depth / 100)
    runs = ng.track.runs("shapes", folder=folder)
    from naivegraph.tables import as_text

    text = as_text(ng.track.comparison_table(runs), 200)
    assert "model/init_args/depth" in text
    assert "init_args/width" not in text
    assert "2 parameters are the same" in text
    assert "0.08" in text
    assert "0.2" in text
    listed = as_text([ng.track.runs_table(runs)], 200)
    assert listed.count("finished") == 2
    assert "accuracy" in listed


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
CONFIGS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.text(min_size=1, max_size=6), CONFIGS, max_size=4))
def test_the_identity_is_of_the_content(found: dict[str, Any]) -> None:
    turned = dict(reversed(found.items()))
    assert identity_of(turned) == identity_of(found)
    changed = {**found, "model": {"depth": 3, "was": found.get("model")}}
    assert identity_of(changed) != identity_of(found)
    assert identity_of({**found, "machine": None, "loader": {}}) == identity_of(
        {**found, "loader": {"num_workers": 3}}
    )
    for name in map(parameter_name, flat(found)):
        assert len(name) <= 250


@given(st.integers(-(10**9), 10**9), st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), st.integers(-9, 9))
def test_comparisons_are_those_of_numbers(value: int, sign: str, bound: int) -> None:
    from naivegraph.track.find_runs import OPERATORS, _holds

    known = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq,
             "!=": operator.ne}  # fmt: skip
    assert OPERATORS.keys() == known.keys()
    assert _holds({"a": str(value)}, [("a", sign, bound)]) == known[sign](value, bound)


def test_machine_fields_of_ones_own_do_not_count() -> None:
    one = {"data": {"train": {"init_args": {"root": "/a", "train": True}}}}
    two = {"data": {"train": {"init_args": {"root": "/b", "train": True}}}}
    assert identity_of(one) != identity_of(two)
    own = {"machine": ["data/train/init_args/root"]}
    assert identity_of({**one, **own}) == identity_of({**two, **own})
    assert parameter_text("x" * 7000) != parameter_text("x" * 6999 + "y")
