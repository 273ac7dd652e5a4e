"""The small verbs: library, search, doctor, and what `dups` remembers of the past."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.e2e.command import run as in_process_of_its_own
from tests.videos import make
from twinreel import exact
from twinreel.cli import main
from twinreel.store import Library

MODEL = ("--model", "dctgrad.v1")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder `v` of three videos, one of them twice, and a library that knows them."""
    home = tmp_path_factory.mktemp("verbs")
    folder = home / "v"
    folder.mkdir()
    make(folder / "one.mp4", seconds=4, seed=1)
    make(folder / "one-smaller.mp4", seconds=4, seed=1, size=(240, 136))
    make(folder / "two.mp4", seconds=4, seed=2, audio="sine")
    call(home, "dups", folder, "-q", "-j", "1", "--nice", "0", *MODEL)
    yield home


def call(home: Path, verb: str, *args: Any, code: int = 0) -> str:
    """Run a verb on the library of `home` in this process; stdout."""
    words = [*verb.split(), *map(str, args), "--library", str(home / "lib.db")]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == code, done.output + repr(done.exception)
    return done.stdout


def grouped(home: Path, folder: Path, *args: str) -> list[set[str]]:
    out = call(home, "dups", folder, "--json", "-j", "1", "--nice", "0", *MODEL, *args)
    return [{Path(p).name for p in g["members"]} for g in json.loads(out)["groups"]]


def test_check_tells_what_is_there_and_what_is_broken(home: Path) -> None:
    broken = home / "v" / "broken.mp4"
    broken.write_bytes(b"not a video")
    try:
        said = call(home, "library check", home / "v", *MODEL, "-j", "1", code=1)
    finally:
        broken.unlink()
    line = next(x for x in said.splitlines() if x.startswith(str(home / "v" / "two.mp4")))
    assert "4.0 s 320x180 h264 25.00 fps, audio und" in line
    assert "broken.mp4  ! probe: not readable as a video" in said
    assert "3 readable, 1 broken, 0 too dark" in said


def test_check_as_json_names_tracks(home: Path) -> None:
    found = json.loads(call(home, "library check", home / "v", "--json", *MODEL, "-j", "1"))
    two = next(v for v in found["videos"] if v["file"]["path"].endswith("two.mp4"))
    assert [t["codec"] for t in two["info"]["audio"]] == ["aac"]
    assert found["failures"] == []


def test_info_counts(home: Path) -> None:
    rows = dict(line.split() for line in call(home, "library info").splitlines())
    assert (rows["videos"], rows["features"], rows["pairs"] >= "1") == ("3", "3", True)


def test_search_finds_a_clip_that_is_not_in_the_library(home: Path, tmp_path: Path) -> None:
    clip = make(tmp_path / "clip.mkv", seconds=4, seed=1, size=(256, 144))
    # The library must be looked at densely for clips.
    call(home, "dups", home / "v", "-q", "--clips", "-j", "1", "--nice", "0", *MODEL)
    found = json.loads(call(home, "search", clip, "--json", *MODEL))
    assert {Path(m["b"]).name for m in found[:2]} == {"one.mp4", "one-smaller.mp4"}
    assert all(m["score"] > 0.9 for m in found[:2])
    assert "two.mp4" not in {Path(m["b"]).name for m in found if m["score"] > 0.5}
    said = call(home, "search", clip, *MODEL)
    assert "one.mp4" in said and "0:00.0-0:04.0 = 0:00.0-0:04.0" in said


def test_search_in_a_library_that_was_filled_without_clips(home: Path, tmp_path: Path) -> None:
    copy = make(tmp_path / "copy.mkv", seconds=4, seed=1, size=(192, 108))
    words = ["search", str(copy), "--library", str(tmp_path / "lib.db"), *MODEL]
    empty = CliRunner().invoke(main, words)
    assert empty.exit_code == 2 and "run `twinreel dups` on a folder first" in empty.output
    call(tmp_path, "dups", home / "v", "-q", "-j", "1", "--nice", "0", *MODEL)
    found = json.loads(call(tmp_path, "search", copy, "--json", *MODEL))
    assert Path(found[0]["b"]).name in {"one.mp4", "one-smaller.mp4"} and found[0]["score"] > 0.9


def test_told_apart_is_respected_survives_a_rename_and_is_revocable(
    home: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "v"
    shutil.copytree(home / "v", folder)
    pair = {"one.mp4", "one-smaller.mp4"}
    assert grouped(home, folder) == [pair]
    a, b = folder / "one.mp4", folder / "one-smaller.mp4"
    call(home, "library unmatch", a, b)
    assert grouped(home, folder) == []
    b.rename(folder / "renamed.mp4")
    assert grouped(home, folder) == []
    assert "one.mp4" in call(home, "library unmatched")
    call(home, "library unmatch", a, folder / "renamed.mp4", "--undo")
    assert grouped(home, folder) == [{"one.mp4", "renamed.mp4"}]
    assert call(home, "library unmatched") == ""


def test_against_an_archive_only_pairs_across_count(home: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    new.mkdir()
    make(new / "again.mp4", seconds=4, seed=2, size=(256, 144))
    make(new / "again-smaller.mp4", seconds=4, seed=2, size=(240, 136))
    for name in ("only here.mp4", "only here too.mp4"):  # identical, but on one side
        make(new / name, seconds=4, seed=31, size=(256, 144))
    out = call(
        home, "dups", new, "--against", home / "v", "--json", "-j", "1", "--nice", "0", *MODEL
    )
    pairs = {
        frozenset((Path(m["a"]).name, Path(m["b"]).name)) for m in json.loads(out)["matches"]
    }
    assert frozenset(("again.mp4", "two.mp4")) in pairs
    assert frozenset(("one.mp4", "one-smaller.mp4")) not in pairs
    assert frozenset(("again.mp4", "again-smaller.mp4")) not in pairs
    members = {Path(p).name for g in json.loads(out)["groups"] for p in g["members"]}
    assert {"again.mp4", "two.mp4"} <= members and not {"only here.mp4", "one.mp4"} & members


def test_what_was_removed_is_recognised_until_forgotten(home: Path, tmp_path: Path) -> None:
    back = tmp_path / "back"
    back.mkdir()
    shutil.copy(home / "v" / "two.mp4", back / "downloaded again.mp4")
    with Library.open(home / "lib.db") as library:
        removal = {"path": "old.mp4", "at": "2026-11-01T00:00:00Z", "keep": "best.mp4"}
        library.remember("removed", exact.content_key(str(home / "v" / "two.mp4")), removal)
    words = ("--json", "-j", "1", "--nice", "0", *MODEL)
    notes = json.loads(call(home, "dups", back, *words))["notes"]
    assert any("shows what you removed on 2026-11-01 (old.mp4; kept: best.mp4)" in n for n in notes)
    assert "1 removed videos forgotten" in call(home, "library forget")
    assert not json.loads(call(home, "dups", back, *words))["notes"]


def test_act_is_remembered_and_undo_forgets(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    folder = tmp_path / "v"
    shutil.copytree(home / "v", folder)
    words = ("-j", "1", "--nice", "0", *MODEL)
    report = tmp_path / "report.json"
    call(home, "dups", folder, "-q", "-o", report, *words)
    group = json.loads(report.read_text())["groups"][0]
    victim = next(Path(p) for p in group["members"] if p != group["keep"])
    spare = tmp_path / "again" / victim.name
    spare.parent.mkdir()
    shutil.copy(victim, spare)
    call(home, "act", "move", report, "--yes", "--accept", "all")
    assert not victim.exists()
    with Library.open(home / "lib.db") as library:
        removed = library.recall_all("removed")
    assert list(removed) == [exact.content_key(str(spare))]
    notes = json.loads(call(home, "dups", spare.parent, "--json", *words))["notes"]
    assert any("shows what you removed on" in n and victim.name in n for n in notes), notes
    done = CliRunner().invoke(main, ["undo"])
    assert done.exit_code == 0 and victim.exists(), done.output
    assert not json.loads(call(home, "dups", spare.parent, "--json", *words))["notes"]


def test_doctor_finds_this_machine_able(tmp_path: Path) -> None:
    done = in_process_of_its_own(tmp_path, "doctor", "--json")
    found = {f["what"]: f for f in json.loads(done.out)}
    assert done.code == 0, done.err
    assert found["torch"]["level"] in ("ok", "note") and "frames/s" in found["cpu"]["found"]
    assert found["av"]["level"] == "ok"
    assert not list((tmp_path / "data").rglob("*.db")), "doctor must not create a library"


def test_help_loads_no_torch(tmp_path: Path) -> None:
    done = in_process_of_its_own(tmp_path, "--help")
    assert done.code == 0
    verbs = "dups search review act undo extract models library doctor"
    for verb in verbs.split():
        assert f"\n  {verb}" in done.out
