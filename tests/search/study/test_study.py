"""Studies: the same seed gives the same one, on whatever engine; they go on; what fails is recorded."""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from naivegraph.errors import StudyError
from naivegraph.search import Candidate, History, Proposal, Rung, Study
from tests.search.study.layers_space import Layers, count_epochs
from tests.search.study.numbers_space import Numbers, loss


def study_in(folder: Path, **more: Any) -> Study:
    settings: dict[str, Any] = {
        "space": Numbers(),
        "evaluate": loss,
        "objectives": {"loss": "min", "digit": "min"},
        "rungs": (1, 3, 9),
        "ahead": 4,
    }
    return Study(folder, **{**settings, **more})


def late(structure: Mapping[str, Any], rung: Rung, seed: int) -> dict[str, float]:
    """Measure a number after a while, which is another one each time."""
    threading.Event().wait(random.SystemRandom().random() / 50)
    return loss(structure, rung, seed)


def rows(study: Study) -> list[tuple[Any, ...]]:
    """All that does not depend on time."""
    return [
        tuple(row[name] for name in ("number", "network", "rung", "loss", "parents")) for row in study.results
    ]


class TestOrder:
    def test_the_same_seed_gives_the_same_study(self, tmp_path: Path) -> None:
        first, second, other = (study_in(tmp_path / str(i), seed=i // 2) for i in range(3))
        for study in (first, second, other):
            study.run(networks=15, engine="serial")
        assert rows(first) == rows(second) != rows(other)

    def test_the_order_in_which_results_come_changes_nothing(self, tmp_path: Path) -> None:
        plain = study_in(tmp_path / "plain")
        plain.run(networks=20, engine="serial")
        for workers in (2, 3, 4):
            study = study_in(tmp_path / str(workers), evaluate=late)
            with ThreadPoolExecutor(workers) as pool:
                study.run(networks=20, engine=pool)
            assert rows(study) == rows(plain)

    def test_no_more_run_at_once_than_are_chosen_ahead(self, tmp_path: Path) -> None:
        running, most, lock = 0, 0, threading.Lock()

        def counted(structure: Mapping[str, Any], rung: Rung, seed: int) -> dict[str, float]:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            threading.Event().wait(0.01)
            with lock:
                running -= 1
            return loss(structure, rung, seed)

        with ThreadPoolExecutor(8) as pool:
            study = study_in(tmp_path, evaluate=counted, ahead=3)
            with pytest.warns(UserWarning, match="of 8 workers only 3 have something to do"):
                study.run(networks=12, engine=pool)
        assert most == 3

    def test_a_study_that_is_stopped_and_goes_on_is_the_one_that_was_not(self, tmp_path: Path) -> None:
        whole = study_in(tmp_path / "whole")
        whole.run(networks=24, engine="serial")
        for _ in range(4):
            calls = 0

            def stops(structure: Mapping[str, Any], rung: Rung, seed: int) -> dict[str, float]:
                nonlocal calls
                calls += 1
                if calls == 9:
                    raise KeyboardInterrupt
                return loss(structure, rung, seed)

            with pytest.raises(KeyboardInterrupt):
                study_in(tmp_path / "parts", evaluate=stops).run(networks=24, engine="serial")
        parts = study_in(tmp_path / "parts")
        assert len(parts.results) == 4 * 8
        parts.run(networks=24, engine="serial")
        assert rows(parts) == rows(whole)

    def test_a_proposal_knows_only_results_far_enough_back(self, tmp_path: Path) -> None:
        known: list[int] = []

        class Counts(Numbers):
            def propose(self, history: History, rng: random.Random) -> Proposal:
                known.append(len(history.candidates))
                return super().propose(history, rng)

        study_in(tmp_path, space=Counts(), rungs=(1,), ahead=5).run(networks=9, engine="serial")
        assert known == [0, 0, 0, 0, 0, 1, 2, 3, 4]

    def test_a_space_that_has_no_more_ends_the_study(self, tmp_path: Path) -> None:
        study = study_in(tmp_path, space=Numbers(7), ahead=2)
        study.run(networks=50, engine="serial")
        assert len(study.candidates) == 7
        assert "were all of networks evaluated before" in study.exhausted

    def test_time_that_is_over_ends_a_run(self, tmp_path: Path) -> None:
        study = study_in(tmp_path)
        study.run(seconds=0, engine="serial")
        assert len(study.candidates) == 0
        study.run(seconds=0.5, engine="serial")
        assert len(study.candidates) > 0


class TestRungs:
    def test_a_third_goes_on_and_the_best_do(self, tmp_path: Path) -> None:
        study = study_in(tmp_path, objectives={"loss": "min"}, space=Numbers(10**6), ahead=1)
        study.run(networks=27, engine="serial")
        counts = [sum(row["rung"] == rung for row in study.results) for rung in range(3)]
        assert counts[0] == 27
        assert counts[1] >= 9
        assert counts[2] >= counts[1] // 3
        best = study.best
        assert best is not None
        assert best.result.rung == 2

    def test_a_rung_goes_on_from_stored_weights(self, tmp_path: Path) -> None:
        study = Study(
            tmp_path,
            space=Layers(),
            evaluate=count_epochs,
            objectives={"epochs": "max"},
            rungs=(1, 3, 9),
        )
        threads = torch.get_num_threads()
        study.run(networks=9, engine="serial")
        assert torch.get_num_threads() == threads
        assert {(row["rung"], row["start"], row["epochs"]) for row in study.results} == {
            (0, 0, 1),
            (1, 1, 3),
            (2, 3, 9),
        }
        assert {row["threads"] for row in study.results} == {1}
        best = study.best
        assert best is not None
        assert best.result.rung == 2
        assert best.module()[1].bias.item() == 9
        assert best.values["inherited"] == best.structure["width"]

    def test_of_equals_the_smallest_is_best(self, tmp_path: Path) -> None:
        study = Study(tmp_path, space=Layers(), evaluate=count_epochs, objectives={"epochs": "max"})
        study.run(networks=6, engine="serial")
        assert study.best is not None
        assert study.best.structure == {"width": 2}
        assert [found.structure["width"] for found in study.front] == [2]

    def test_lost_weights_are_told_and_all_epochs_trained_anew(self, tmp_path: Path) -> None:
        def damaging(network: nn.Module, rung: Rung, seed: int) -> dict[str, float]:
            for path in (tmp_path / "weights").glob("*.0.safetensors"):
                path.write_bytes(b"damaged")
            return count_epochs(network, rung, seed)

        study = Study(tmp_path, space=Layers(), evaluate=damaging, objectives={"epochs": "max"}, rungs=(1, 3))
        with pytest.warns(UserWarning, match=r"weights.*0\.safetensors is damaged .* is set aside as"):
            study.run(networks=3, engine="serial")
        assert {(row["rung"], row["epochs"]) for row in study.results} == {(0, 1), (1, 3)}

    @pytest.mark.parametrize("content", [None, b"damaged"])
    def test_a_network_whose_weights_are_lost_is_evaluated_again(
        self, tmp_path: Path, content: bytes | None
    ) -> None:
        study = Study(tmp_path, space=Layers(), evaluate=count_epochs, objectives={"epochs": "max"})
        study.run(networks=2, engine="serial")
        assert study.best is not None
        (path,) = (tmp_path / "weights").glob(f"{study.best.name}.*.0.safetensors")
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
        with pytest.raises(StudyError, match=r"are lost .* the next run evaluates it again"):
            study.best.module()
        study.run(networks=2, engine="serial")
        assert len(study.results) == 2
        assert study.best.module()[1].bias.item() == 1

    def test_random_numbers_of_the_caller_are_left_alone(self, tmp_path: Path) -> None:
        torch.manual_seed(7)
        expected = torch.rand(3)
        torch.manual_seed(7)
        study = Study(tmp_path, space=Layers(), evaluate=count_epochs, objectives={"epochs": "max"}, seed=3)
        study.run(networks=3, engine="serial")
        assert torch.equal(torch.rand(3), expected)


class TestTrouble:
    def test_a_network_that_raises_is_recorded_and_the_study_goes_on(self, tmp_path: Path) -> None:
        def unlucky(structure: Mapping[str, Any], rung: Rung, seed: int) -> dict[str, float]:
            if structure["number"] % 3 == 0:
                raise ZeroDivisionError("divided by three")
            return loss(structure, rung, seed)

        study = study_in(tmp_path, evaluate=unlucky)
        study.run(networks=20, engine="serial")
        failed = [row for row in study.results if row["status"] == "failed"]
        assert {row["error"] for row in failed} == {"ZeroDivisionError: divided by three"}
        results = [found.result for found in study.candidates if found.result.status == "failed"]
        assert all("Traceback" in result.error and "in unlucky" in result.error for result in results)
        assert len(study.candidates) == 20
        assert not {found.name for found in study.front} & {row["network"] for row in failed}
        study.run(networks=20, engine="serial")
        cured = study_in(tmp_path)
        cured.run(networks=20, engine="serial", retry_failed=True)
        assert all(row["status"] == "done" for row in cured.results)

    @pytest.mark.parametrize(
        ("answer", "told"),
        [
            ({"loss": math.nan, "digit": 1}, "returned nan for 'loss'"),
            ({"loss": math.inf, "digit": 1}, "returned inf for 'loss'"),
            ({"loss": 1}, "returned no 'digit'; it returned loss"),
            ({"loss": "high", "digit": 1}, "'high' for 'loss', which is no number"),
            (3, "returns a dict of numbers; this one returned int"),
        ],
    )
    def test_what_is_no_measurement_is_recorded(self, tmp_path: Path, answer: Any, told: str) -> None:
        def sometimes(structure: Mapping[str, Any], rung: Rung, seed: int) -> Any:
            return answer if structure["number"] % 2 else loss(structure, rung, seed)

        study = study_in(tmp_path, evaluate=sometimes)
        study.run(networks=10, engine="serial")
        errors = {row["error"] for row in study.results if row["status"] == "failed"}
        assert len(errors) == 1
        assert told in errors.pop()
        assert len(study.candidates) == 10

    def test_an_evaluation_that_never_succeeds_ends_the_run(self, tmp_path: Path) -> None:
        def broken(structure: Mapping[str, Any], rung: Rung, seed: int) -> dict[str, float]:
            raise NameError("no such thing")

        with pytest.raises(StudyError, match=r"all of the first 20 evaluations failed.*NameError: no such"):
            study_in(tmp_path, evaluate=broken).run(networks=100, engine="serial")

    def test_a_network_beyond_a_limit_is_not_trained(self, tmp_path: Path) -> None:
        trained: list[int] = []

        def train(network: nn.Module, rung: Rung, seed: int) -> dict[str, float]:
            trained.append(sum(parameter.numel() for parameter in network.parameters()))
            return count_epochs(network, rung, seed)

        study = Study(
            tmp_path, space=Layers(), evaluate=train, objectives={"epochs": "max"}, limits={"params": 13}
        )
        study.run(networks=6, engine="serial")
        assert sorted(trained) == [9, 13]
        assert [row["status"] for row in study.results] == ["done"] * 2 + ["over"] * 4

    def test_a_limit_on_what_is_returned_is_kept_by_the_best(self, tmp_path: Path) -> None:
        study = study_in(tmp_path, objectives={"loss": "min"}, limits={"digit": 2})
        study.run(networks=40, engine="serial")
        assert study.best is not None
        assert study.best.values["digit"] <= 2
        assert any(row["digit"] > 2 for row in study.results)

    def test_a_measure_may_be_an_objective(self, tmp_path: Path) -> None:
        study = Study(
            tmp_path,
            space=Layers(),
            evaluate=count_epochs,
            objectives={"epochs": "max", "layers": "min", "params": "min"},
            measures={"layers": lambda network: len(list(network.children()))},
        )
        study.run(networks=4, engine="serial")
        assert all(row["status"] == "done" for row in study.results)
        assert study.best is not None
        assert study.best.values["layers"] == min(row["layers"] for row in study.results)

    def test_a_limit_that_nothing_measures_is_told(self, tmp_path: Path) -> None:
        study = study_in(tmp_path, objectives={"loss": "min"}, limits={"digits": 2})
        study.run(networks=3, engine="serial")
        assert all("returned no 'digits'" in row["error"] for row in study.results)

    @pytest.mark.parametrize(
        ("settings", "told"),
        [
            ({"limits": {"digit": math.nan}}, "limit 'digit' is to be a number, not nan"),
            ({"limits": {"digit": "few"}}, "limit 'digit' is to be a number, not 'few'"),
            ({"rungs": "ab"}, "rungs are growing numbers of epochs"),
            ({"ahead": 1.5}, r"ahead=1\.5: at least one evaluation runs at a time, a whole number"),
        ],
    )
    def test_settings_that_are_none(self, tmp_path: Path, settings: Any, told: str) -> None:
        with pytest.raises(StudyError, match=told):
            study_in(tmp_path, **settings)

    def test_folders_that_are_none(self) -> None:
        with pytest.raises(StudyError, match="folder=None is no path of a folder"):
            study_in(None)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("settings", "told"),
        [
            ({"networks": 0}, "networks=0: give a whole number from 1 up"),
            ({"seconds": math.nan}, "seconds=nan: give a number from 0 up"),
            ({"networks": 1, "engine": 3}, "engine=3 is no name of one, and no concurrent"),
            ({"networks": 1, "workers": 1.5}, r"workers=1\.5: at least one is needed, a whole number"),
        ],
    )
    def test_runs_that_are_none(self, tmp_path: Path, settings: Any, told: str) -> None:
        with pytest.raises(StudyError, match=told):
            study_in(tmp_path).run(**settings)

    def test_measures_come_before_training(self, tmp_path: Path) -> None:
        study = Study(
            tmp_path,
            space=Layers(),
            evaluate=count_epochs,
            objectives={"layers": "min"},
            measures={"layers": lambda network: len(network)},
        )
        with pytest.raises(StudyError, match="say when to stop"):
            study.run(engine="serial")

    def test_nothing_but_tensors_is_stored(self, tmp_path: Path) -> None:
        class Extra(nn.Linear):
            def get_extra_state(self) -> Any:
                return {"a": 1}

            def set_extra_state(self, state: Any) -> None: ...

        class Space(Layers):
            def propose(self, history: History, rng: random.Random) -> Proposal:
                return Proposal({"width": 2 + len(history.names)})

            def build(self, structure: Mapping[str, Any]) -> nn.Module:
                return nn.Sequential(nn.Linear(2, 2), Extra(2, 1))

        study = Study(tmp_path, space=Space(), evaluate=count_epochs, objectives={"epochs": "max"})
        study.run(networks=1, engine="serial")
        assert "holds '1._extra_state', which is no tensor" in study.results[0]["error"]


class TestWords:
    @pytest.mark.parametrize(
        ("more", "told"),
        [
            ({"objectives": {}}, "needs an objective"),
            ({"objectives": {"loss": "low"}}, "'max' or 'min', not 'low'"),
            ({"rungs": (3, 1)}, r"growing numbers of epochs, such as \(1, 3, 9\), not \(3, 1\)"),
            ({"ahead": 0}, "at least one evaluation runs at a time"),
            ({"reduction": 1}, "at least two networks are compared"),
            ({"space": 3}, "a space has propose"),
            ({"evaluate": 3}, "evaluate is a function"),
            ({"data": object()}, "data= and recipe= are texts"),
        ],
    )
    def test_arguments_that_make_no_sense_are_told_before_a_folder_is_made(
        self, tmp_path: Path, more: dict[str, Any], told: str
    ) -> None:
        with pytest.raises(StudyError, match=told):
            study_in(tmp_path / "folder", **more)
        assert not (tmp_path / "folder").exists()

    def test_a_name_that_no_file_can_have_is_refused(self) -> None:
        with pytest.raises(StudyError, match=r"'\.\./a' is no name of an architecture"):
            Proposal({}, name="../a")
        with pytest.raises(StudyError, match="numbers, texts, lists and dicts alone"):
            Proposal({"a": object()})

    def test_a_candidate_shows_its_values(self, tmp_path: Path) -> None:
        study = study_in(tmp_path)
        study.run(networks=3, engine="serial")
        best: Candidate | None = study.best
        assert best is not None
        assert repr(best).startswith(f"<Candidate {best.name}: done, loss=")
        with pytest.raises(StudyError, match="this space makes no networks"):
            best.module()
        with pytest.raises(StudyError, match="this space makes no graphs"):
            best.graph  # noqa: B018
        assert f"{best.name}" in study.results.to_csv()
        assert best.name in str(study.results)
        assert "<table>" in study.results._repr_html_()
