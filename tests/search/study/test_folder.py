"""The folder of a study: foreign, damaged, full, of another study; what is lost is told and made again."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from naivegraph.errors import StudyError
from naivegraph.search import Study, StudyView
from naivegraph.search.study.result import Result
from tests.search.study.numbers_space import Numbers
from tests.search.study.test_study import rows, study_in


@pytest.fixture
def done(tmp_path: Path) -> Study:
    """A study with some results."""
    study = study_in(tmp_path / "done", rungs=(1, 3))
    study.run(networks=9, engine="serial")
    return study


def again(study: Study, **more: Any) -> Study:
    return study_in(study.folder, **{"rungs": (1, 3), **more})


def test_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(
        StudyError, match=r"is not the folder of a study: it has no study\.json, but thesis\.tex"
    ):
        study_in(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(StudyError, match="is not the folder of a study"):
        StudyView(tmp_path)
    with pytest.raises(StudyError, match=r"cannot be the folder of a study: (File exists|Not a directory)"):
        study_in(tmp_path / "thesis.tex")


def test_a_folder_that_lost_its_manifest_is_refused(done: Study) -> None:
    (done.folder / "study.json").unlink()
    with pytest.raises(StudyError, match=r"it has no study\.json, but"):
        again(done)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff\xfe", b'{"format": 1}', b'{"id": 1, "settings": 2}']
)
def test_a_damaged_manifest_is_told(done: Study, content: bytes) -> None:
    (done.folder / "study.json").write_bytes(content)
    with pytest.raises(StudyError, match=r"study\.json is damaged .* Results in it are as they were"):
        again(done)


def test_another_format_is_told(done: Study) -> None:
    manifest = json.loads((done.folder / "study.json").read_text())
    (done.folder / "study.json").write_text(json.dumps({**manifest, "format": 2}))
    with pytest.raises(StudyError, match="has format 2; this version of naivegraph reads 1"):
        again(done)


def test_two_studies_of_different_spaces_do_not_share_a_folder(done: Study) -> None:
    with pytest.raises(StudyError, match=r"holds a study of another space \('numbers below 1000000', not"):
        again(done, space=Numbers(3))


def test_other_settings_are_named(done: Study) -> None:
    with pytest.raises(
        StudyError, match="begun with other settings: seed was 0 and is 1; recipe was '' and is 'b'"
    ):
        again(done, seed=1, recipe="b")


@pytest.mark.parametrize("content", [b"", b'{"name": "a"', b"[1]", b"\x00\xff", b"{}", b'{"name": 3}'])
def test_a_damaged_result_is_told_set_aside_and_evaluated_again(done: Study, content: bytes) -> None:
    before = rows(done)
    files = sorted((done.folder / "results").glob("*.json"))
    files[2].write_bytes(content)
    with pytest.warns(UserWarning, match=rf"{files[2].name} is damaged .* it is set aside as"):
        study = again(done)
    assert len(study.results) == len(before) - 1
    study.run(networks=9, engine="serial")
    assert rows(study) == before
    (aside,) = (done.folder / "aside").iterdir()
    assert aside.read_bytes() == content


def test_a_result_of_another_network_counts_as_damaged(done: Study) -> None:
    first, second, *_ = sorted((done.folder / "results").glob("*.0.json"))
    second.write_bytes(first.read_bytes())
    with pytest.warns(UserWarning, match="is damaged .it is of"):
        again(done)


def test_a_damaged_proposal_is_made_again(done: Study) -> None:
    before = rows(done)
    path = done.folder / "proposals" / "00000004.json"
    path.write_bytes(b"")
    with pytest.warns(UserWarning, match=r"00000004\.json is damaged"):
        study = again(done)
    study.run(networks=9, engine="serial")
    assert rows(study) == before


def test_a_lost_structure_is_told(done: Study) -> None:
    name = done.candidates[0].name
    (done.folder / "networks" / f"{name}.json").unlink()
    with pytest.raises(StudyError, match=rf"the structure of network '{name}' is lost"):
        done.candidates[0].structure  # noqa: B018


def test_a_full_disk_loses_nothing(done: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.read_bytes() for path in done.folder.rglob("*.json")}
    real, left = os.fsync, 5

    def full(handle: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(
            StudyError, match=r"could not be written: No space left on device. Nothing that was there"
        ):
            again(done).run(networks=20, engine="serial")
    assert {path: path.read_bytes() for path in before} == before
    assert not list(done.folder.rglob("*.part"))
    study = again(done)
    study.run(networks=20, engine="serial")
    whole = study_in(done.folder.parent / "whole", rungs=(1, 3))
    whole.run(networks=20, engine="serial")
    assert {row[1:4] for row in rows(whole)} <= {row[1:4] for row in rows(study)}


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StudyError, match="Permission denied"):
        study_in(tmp_path)


def test_what_killed_writers_leave_goes_after_an_hour(done: Study) -> None:
    old, new = (done.folder / "results" / f".{name}.part" for name in ("old", "new"))
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 4000,) * 2)
    again(done)
    assert not old.exists()
    assert new.exists()


def test_a_study_can_be_looked_at_without_its_space(done: Study) -> None:
    view = StudyView(done.folder)
    assert [found.name for found in view.front] == [found.name for found in done.front]
    assert repr(view) == repr(done).replace("<Study", "<StudyView")


def test_nothing_is_pickled(done: Study) -> None:
    assert {path.suffix for path in done.folder.rglob("*") if path.is_file()} <= {
        ".json",
        ".lock",
        ".safetensors",
    }


def test_a_thousand_networks_are_gone_on_with_in_two_seconds(tmp_path: Path) -> None:
    study = study_in(tmp_path, rungs=(1, 3, 9), ahead=16)
    for number in range(1000):
        name = f"n{number}"
        (tmp_path / "networks" / f"{name}.json").write_text(json.dumps({"number": number}))
        lineage = {
            "number": number,
            "name": name,
            "parents": [],
            "mutation": "any",
            "inherited": 0,
            "keeps_function": None,
            "starts": False,
        }
        (tmp_path / "proposals" / f"{number:08d}.json").write_text(json.dumps(lineage))
        for rung in range(3):
            result = Result(name, rung, "done", {"loss": (number * 7919) % 1000, "digit": number % 7})
            study.store.result_path(name, rung).write_text(json.dumps(result.to_json()))

    def never(*_: object) -> dict[str, float]:
        raise AssertionError("trained twice")

    began, busy = time.perf_counter(), time.process_time()
    study = study_in(tmp_path, rungs=(1, 3, 9), ahead=16, evaluate=never)
    study.run(networks=1000, engine="serial")
    assert len(study.candidates) == 1000
    assert all(row["status"] == "done" for row in study.results)
    # The time of the clock is that of the machine's other work, too.
    assert min(time.process_time() - busy, time.perf_counter() - began) < 2
