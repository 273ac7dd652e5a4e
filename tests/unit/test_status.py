"""What is said of a run while it goes on, and however it ends."""

from __future__ import annotations

import csv
import errno
import json
import os
import time
from pathlib import Path

import pytest

from twinreel.extract import whole
from twinreel.extract.claims import Claims
from twinreel.extract.manifest import from_files
from twinreel.extract.outputs import HIDDEN
from twinreel.extract.status import Summary, conclude, read_status, table
from twinreel.extract.whole import Notes


def _note(folder: Path, owner: str, name: str, state: str) -> None:
    record = {"name": f"{name}.npy", "video": f"/v/{name}", "state": state, "by": owner}
    Notes(folder / HIDDEN, "status", owner).add(record)


def _state(folder: Path) -> str:
    (record,) = read_status(folder)
    return str(record["state"])


def test_what_the_dead_had_begun_is_not_in_progress_for_ever(tmp_path: Path) -> None:
    with Claims(tmp_path / HIDDEN / "claims") as claims:
        _note(tmp_path, claims.owner, "a.mp4", "started")
        assert _state(tmp_path) == "started" and table(read_status(tmp_path)) == "1 in progress"
        left = claims._card
        card = json.loads(left.read_text())
    assert _state(tmp_path) == "not reached", "it was stopped, and gave its claims back"
    left.write_text(json.dumps({**card, "birth": "0"}))
    assert _state(tmp_path) == "not reached", "killed on this machine"
    left.write_text(json.dumps({**card, "machine": "elsewhere"}))
    assert _state(tmp_path) == "started", "of another machine only its silence tells"
    os.utime(left, (time.time() - 2 * card["lease"],) * 2)
    assert _state(tmp_path) == "not reached"


def test_the_table_has_a_line_for_what_was_not_reached(tmp_path: Path) -> None:
    names = ("a.mp4", "b.mp4", "c.mp4", "d.mp4")
    jobs = from_files([f"/v/{n}" for n in names], ["/v"], tmp_path)
    with Claims(tmp_path / HIDDEN / "claims") as mine, Claims(mine.folder) as other:
        _note(tmp_path, mine.owner, "a.mp4", "done")
        _note(tmp_path, mine.owner, "b.mp4", "started")
        _note(tmp_path, other.owner, "c.mp4", "started")
        summary = Summary(tmp_path, records={"a.mp4.npy": {"state": "done"}})
        conclude(summary, jobs, mine.owner)
    assert summary.not_reached == ["b.mp4.npy", "c.mp4.npy", "d.mp4.npy"]
    assert summary.table == tmp_path / "extract-status.csv"
    with open(summary.table, newline="") as file:
        states = {row["video"]: row["state"] for row in csv.DictReader(file)}
    assert states == {
        "/v/a.mp4": "done", "/v/b.mp4": "not reached", "/v/c.mp4": "started",
        "/v/d.mp4": "not reached",
    }  # fmt: skip


def test_a_disk_that_takes_no_table_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _note(tmp_path, "me", "a.mp4", "done")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(whole.os, "fsync", full)
    summary = Summary(tmp_path)
    conclude(summary, [], "me")
    assert "No space left" in summary.stopped and summary.table is None
