"""`twinreel dups` from the first run to the tenth: what it finds, keeps, and never does again."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from tests.e2e import command
from tests.videos import make, paint, scale
from twinreel import jobs, models, search
from twinreel.cli import main

SIZE = (320, 180)


@dataclass(frozen=True)
class Desk:
    """A user's folder, library and reports; runs the command inside this process."""

    home: Path
    looks: Path

    @property
    def videos(self) -> Path:
        return self.home / "videos"

    def dups(self, *args: Any, code: int = 0, model: str = "dctgrad.v1", stdin: Any = None) -> str:
        """Run, check the exit code, give stdout."""
        words = [os.fspath(a) for a in args]
        if "--library" not in words:
            words += ["--library", str(self.home / "library.db")]
        if "-j" not in words:
            words += ["-j", "1"]
        out = CliRunner().invoke(
            main, ["dups", *words, "--nice", "0", "--model", model], input=stdin
        )
        said = out.output + (repr(out.exception) if out.exception else "")
        assert out.exit_code == code, said
        assert out.exception is None or isinstance(out.exception, SystemExit), said
        return out.output if code == 2 else out.stdout

    def report(self, *args: Any, code: int = 0, **settings: Any) -> dict[str, Any]:
        """The report of a run over the videos, or over what `args` name."""
        paths = [] if any(isinstance(a, Path) and a.exists() for a in args) else [self.videos]
        found: dict[str, Any] = json.loads(
            self.dups(*paths, *args, "--json", code=code, **settings)
        )
        return found

    def looked(self) -> list[str]:
        """Names of the videos that were decoded since the last call."""
        if not self.looks.exists():
            return []
        paths = [os.path.basename(eval(line)) for line in self.looks.read_text().splitlines()]
        self.looks.unlink()
        return sorted(paths)

    def sql(self, query: str) -> list[Any]:
        db = sqlite3.connect(self.home / "library.db", isolation_level=None)
        try:
            return db.execute(query).fetchall()
        finally:
            db.close()


def names(paths: list[str]) -> list[str]:
    return sorted(os.path.basename(p) for p in paths)


def grouped(report: dict[str, Any]) -> list[list[str]]:
    return sorted(names(g["members"]) for g in report["groups"])


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos with copies of some sorts, and one without."""
    folder = tmp_path_factory.mktemp("originals")
    make(folder / "lake.mp4", seconds=4, size=SIZE, seed=1)
    make(folder / "lake small.mkv", seconds=4, size=(200, 112), codec="hevc", seed=1)
    make(folder / "lake bars.mp4", seconds=4, size=(320, 240), letterbox=0.125, seed=1)
    make(folder / "wood.mp4", seconds=5, size=SIZE, seed=2)
    shutil.copy(folder / "wood.mp4", folder / "wood again.mp4")
    make(folder / "alone.webm", seconds=4, size=SIZE, codec="vp9", seed=3)
    return folder


@pytest.fixture
def desk(tmp_path: Path, originals: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    shutil.copytree(originals, tmp_path / "videos")
    monkeypatch.chdir(tmp_path)
    for name in [n for n in os.environ if n.startswith("TWINREEL")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("LOOKS", str(tmp_path / "looks"))
    monkeypatch.setattr(jobs, "work", command.count_looks)
    torch.set_num_threads(1)  # threads that wait for each other crawl on a busy machine
    return Desk(tmp_path, tmp_path / "looks")


ALL = ["alone.webm", "lake bars.mp4", "lake small.mkv", "lake.mp4", "wood again.mp4", "wood.mp4"]
GROUPS = [["lake bars.mp4", "lake small.mkv", "lake.mp4"], ["wood again.mp4", "wood.mp4"]]


def test_the_first_run_as_a_user_sees_it(tmp_path: Path, originals: Path) -> None:
    """A real process: table, dated report in the library's folder, no video touched."""
    folder = tmp_path / "videos"
    shutil.copytree(originals, folder)
    before = {
        p: (p.stat().st_mtime_ns, hashlib.md5(p.read_bytes()).digest()) for p in folder.iterdir()
    }
    done = command.dups(tmp_path, folder)
    assert done.code == 0 and done.err == "", done
    assert "6 videos, 2 groups, 3 copies" in done.out
    assert "keep" in done.out and "lake.mp4" in done.out and "could be freed" in done.out
    (path,) = re.findall(r"^report: (.*)$", done.out, re.M)
    assert Path(path).parent == tmp_path / "reports"
    assert re.fullmatch(r"dups-\d{4}-\d\d-\d\d-\d{6}\.json", Path(path).name)
    found = command.report(Path(path))
    assert found["version"] == 1 and not found["partial"] and found["failures"] == []
    assert grouped(found) == GROUPS
    (lake,) = [g for g in found["groups"] if len(g["members"]) == 3]
    assert os.path.basename(lake["keep"]) == "lake.mp4" and lake["why"]
    relations = {m["relation"] for m in found["matches"]}
    assert relations == {"copy", "exact"}
    assert {
        p: (p.stat().st_mtime_ns, hashlib.md5(p.read_bytes()).digest()) for p in folder.iterdir()
    } == before
    quiet = command.dups(tmp_path, folder, "-q")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")
    assert len(list((tmp_path / "reports").iterdir())) == 2


def test_a_second_run_opens_no_video(desk: Desk) -> None:
    first = desk.report()
    assert grouped(first) == GROUPS
    assert desk.looked() == [n for n in ALL if n != "wood.mp4"]  # one of two equal files
    assert desk.report()["groups"] == first["groups"]
    assert desk.looked() == []


def test_a_rename_or_move_costs_no_decode(desk: Desk) -> None:
    desk.report()
    desk.looked()
    (desk.videos / "deep").mkdir()
    (desk.videos / "lake.mp4").rename(desk.videos / "deep" / "sea.mov")
    after = desk.report()
    assert desk.looked() == []
    assert grouped(after) == [["lake bars.mp4", "lake small.mkv", "sea.mov"], GROUPS[1]]


def test_a_touched_or_new_file_costs_only_itself(desk: Desk) -> None:
    desk.report()
    desk.looked()
    os.utime(desk.videos / "alone.webm")  # same bytes, other time
    make(desk.videos / "new.mp4", seconds=4, size=SIZE, seed=8)
    desk.report()
    assert desk.looked() == ["new.mp4"]


def test_changed_options_never_meet_stale_vectors(desk: Desk) -> None:
    a = desk.report("--moments", "8")
    assert len(desk.looked()) == 5
    b = desk.report("--moments", "32")
    assert len(desk.looked()) == 5  # finer: has to look again
    assert a["model"]["sampling"] != b["model"]["sampling"]
    rows = dict(desk.sql("SELECT sampling, max(rows) FROM features GROUP BY sampling"))
    assert rows == {a["model"]["sampling"]: 8, b["model"]["sampling"]: 32}
    assert grouped(a) == grouped(b) == GROUPS
    desk.report("--moments", "8")
    desk.report("--moments", "32")
    assert desk.looked() == []
    desk.report("--sampler", "keyframes")
    assert len(desk.looked()) == 5


def test_a_changed_threshold_opens_no_video_and_scores_nothing_anew(desk: Desk) -> None:
    loose = desk.report("--min-score", "0.3", "--all-matches")
    pairs = desk.sql("SELECT * FROM pairs ORDER BY a, b")
    desk.looked()
    scores = {m["score"] for m in loose["matches"]}
    strict = desk.report("--min-score", "1.0")
    assert grouped(strict) == [GROUPS[1]]  # bytes only
    assert desk.looked() == [] and desk.sql("SELECT * FROM pairs ORDER BY a, b") == pairs
    by_epsilon = desk.report("--epsilon", "0.7", "--all-matches")
    assert {m["score"] for m in by_epsilon["matches"]} == scores
    assert grouped(by_epsilon) == grouped(loose)


def test_the_library_may_lie_among_the_videos_and_the_reports(desk: Desk) -> None:
    again = desk.report("--library", desk.videos / "library.db")
    assert grouped(again) == GROUPS


def pairs_of(found: dict[str, Any], relation: str = "exact") -> set[frozenset[str]]:
    name = os.path.basename
    chosen = [m for m in found["matches"] if m["relation"] == relation]
    pairs = {frozenset((name(m["a"]), name(m["b"]))) for m in chosen}
    assert len(pairs) == len(chosen)  # each pair once
    return pairs


def test_matches_hold_every_pair_of_equal_files_and_every_path(desk: Desk) -> None:
    """Also of equal files that are not kept, and of those that cannot be decoded."""
    shutil.copy(desk.videos / "lake bars.mp4", desk.videos / "lake bars again.mp4")
    for name in ("broken.mp4", "broken too.mp4"):
        (desk.videos / name).write_text("no video")
    found = desk.report(code=1)
    assert pairs_of(found) == {
        frozenset(("wood.mp4", "wood again.mp4")),
        frozenset(("lake bars.mp4", "lake bars again.mp4")),
        frozenset(("broken.mp4", "broken too.mp4")),
    }
    lakes = {n for n in names([v["path"] for v in found["videos"]]) if n.startswith("lake")}
    copies = pairs_of(found, "copy")
    assert copies == {
        frozenset((a, b)) for a in lakes for b in lakes
        if a < b and not (a.startswith("lake bars") and b.startswith("lake bars"))
    }  # fmt: skip
    # Both files of a broken content are failures, in this run and the next.
    assert names([f["path"] for f in found["failures"]]) == ["broken too.mp4", "broken.mp4"]
    assert desk.report(code=1)["failures"] == found["failures"]
    assert "7 videos, 3 groups, 5 copies" in desk.dups(desk.videos, code=1)
    assert ", 2 failed" in desk.dups(desk.videos, code=1)


def test_many_equal_files_are_listed_against_one_of_them(desk: Desk) -> None:
    for i in range(6):
        shutil.copy(desk.videos / "lake bars.mp4", desk.videos / f"bars {i}.mp4")
    found = desk.report()
    bars = {"lake bars.mp4", *(f"bars {i}.mp4" for i in range(6))}
    ties = [p for p in pairs_of(found) if p <= bars]
    assert len(ties) == 6 and len(frozenset.intersection(*ties)) == 1
    copies = pairs_of(found, "copy")  # each with the kept file, one with the third
    assert {next(iter(p & bars)) for p in copies if "lake.mp4" in p and p & bars} == bars
    everything = desk.report("--all-matches")
    assert len([p for p in pairs_of(everything) if p <= bars]) == 7 * 6 // 2
    assert len([p for p in pairs_of(everything, "copy") if "lake small.mkv" in p and p & bars]) == 7


def test_where_one_of_two_equal_files_cannot_be_read_the_other_is(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(desk.videos / "deleted a.mp4", seconds=1, size=SIZE, seed=5)
    shutil.copy(desk.videos / "deleted a.mp4", desk.videos / "stays.mp4")
    monkeypatch.setattr(jobs, "work", command.misbehave)
    found = desk.report(code=1)
    assert names([f["path"] for f in found["failures"]]) == ["deleted a.mp4"]
    assert [v["width"] for v in found["videos"] if v["path"].endswith("stays.mp4")] == [SIZE[0]]


# -- networks of others -------------------------------------------------------------------------


class Coarse(torch.nn.Module):
    """Grey values of an 8 x 8 grid less their mean: of no unit length."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = gain

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        cells = torch.nn.functional.adaptive_avg_pool2d(x.mean(dim=1), 8).flatten(1)
        return self.gain * (cells - cells.mean(dim=1, keepdim=True))


@pytest.mark.filterwarnings("ignore")
def test_a_torchscript_file_is_a_descriptor(desk: Desk) -> None:
    file = desk.home / "coarse.torchscript.pt"
    torch.jit.trace(Coarse(50.0), torch.zeros(2, 3, 64, 64)).save(str(file))
    file.with_name(file.name + ".json").write_text('{"size": [64, 64]}')
    found = desk.report("--all-matches", model=str(file))
    assert found["model"]["name"] == file.name and len(found["model"]["weights_sha256"]) == 64
    best: dict[str, float] = {}
    for m in found["matches"]:
        pair = {Path(m["a"]).stem.split()[0], Path(m["b"]).stem.split()[0]}
        kind = "copy" if len(pair) == 1 else "other"
        best[kind] = max(best.get(kind, 0.0), m["score"])
    assert best["copy"] > 0.9 > best.get("other", 0.0)
    # Another file under the same name is another network: nothing it made is met again.
    first = found["model"]["identity"]
    torch.jit.trace(Coarse(7.0), torch.zeros(2, 3, 64, 64)).save(str(file))
    assert desk.report(model=str(file))["model"]["identity"] != first


def test_a_network_of_clips_is_no_descriptor(desk: Desk) -> None:
    said = desk.dups(desk.videos, code=2, model="resnext101-3d")
    assert "looks at 16 pictures at a time" in said and "dups --features" in said


# -- outputs ------------------------------------------------------------------------------------


def test_o_writes_over_its_own_report_and_nothing_else(desk: Desk) -> None:
    target = desk.home / "r.json"
    desk.dups(desk.videos, "-o", target)
    desk.dups(desk.videos, "-o", target)  # untouched: may be written again
    data = json.loads(target.read_text())
    data["groups"][0]["decision"] = "skip"
    target.write_text(json.dumps(data))
    said = desk.dups(desk.videos, "-o", target, code=2)
    assert "was edited" in said and "name another output" in said
    assert json.loads(target.read_text()) == data
    letter = desk.home / "letter.txt"
    letter.write_text("dear")
    assert "not written by twinreel" in desk.dups(desk.videos, "-o", letter, code=2)
    assert letter.read_text() == "dear"
    assert "not a file" in desk.dups(desk.videos, "-o", desk.videos, code=2)


def test_csv_text_and_stdout(desk: Desk) -> None:
    desk.dups(desk.videos, "-q", "-o", desk.home / "r.csv")
    head, *rows = (desk.home / "r.csv").read_text().splitlines()
    assert head.startswith("group,role,path") and len(rows) == 5
    desk.dups(desk.videos, "-q", "-o", desk.home / "r.txt")
    assert "keep  " in (desk.home / "r.txt").read_text()
    assert grouped(json.loads(desk.dups(desk.videos, "-o", "-"))) == GROUPS


def test_a_full_output_disk_is_said(desk: Desk) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    said = desk.dups(desk.videos, "-o", "/dev/full", code=2)
    assert "/dev/full" in said


# -- usage --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], "no path given"),
        (["--nothing"], "No such option"),
        (["nowhere"], "not reached"),
        (["{empty}"], "no video under"),
        (["{videos}", "--min-score", "0.9", "--epsilon", "0.1"], "say the same thing"),
        (["{videos}", "--min-score", "1.5"], "must be within 0 and 1, got 1.5"),
        (["{videos}", "--length-tolerance", "long"], "must be seconds"),
        (["{videos}", "--moments", "0"], "must be at least 1"),
        (["{videos}", "--model", "dctgrad.v2"], "no model is called 'dctgrad.v2'"),
        (["{videos}", "--sampler", "other"], "uniform"),
        (["{videos}", "--config", "missing.toml"], "missing.toml"),
    ],
)
def test_usage_errors_exit_with_2(desk: Desk, args: list[str], words: str) -> None:
    (desk.home / "empty").mkdir()
    args = [a.format(videos=desk.videos, empty=desk.home / "empty") for a in args]
    model = "dctgrad.v2" if "dctgrad.v2" in args else "dctgrad.v1"
    args = [a for a in args if a not in ("--model", "dctgrad.v2")]
    said = desk.dups(*args, code=2, model=model)
    assert words in re.sub(r"\s*\n\s*", " ", said)
    assert "Traceback" not in said
    assert desk.looked() == []


def test_exit_code_1_when_a_video_failed(desk: Desk) -> None:
    (desk.videos / "broken.mp4").write_text("no video")
    found = desk.report(code=1)
    assert names([f["path"] for f in found["failures"]]) == ["broken.mp4"]
    assert grouped(found) == GROUPS
    desk.looked()
    # Remembered: told again, not tried again, until it is asked for.
    again = desk.report(code=1)
    assert again["failures"] == found["failures"] and desk.looked() == []
    desk.report("--retry-failed", code=1)
    assert desk.looked() == ["broken.mp4"]
    # Mended under the same name: another content, looked at at once.
    make(desk.videos / "broken.mp4", seconds=1, size=SIZE, seed=5)
    assert desk.report()["failures"] == []


def test_what_was_not_the_contents_fault_is_tried_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(desk.videos / "crashes.mp4", seconds=1, size=SIZE, seed=5)
    monkeypatch.setattr(jobs, "work", command.misbehave)
    (failure,) = desk.report(code=1)["failures"]
    assert failure["error"] == "WorkerDied"
    monkeypatch.setattr(jobs, "work", command.count_looks)
    assert desk.report()["failures"] == []
    assert desk.looked() == ["crashes.mp4"]


def test_a_disk_that_goes_away_is_one_message(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(12):
        make(desk.videos / f"t{i:02}.mp4", seconds=0.4, size=(160, 96), seed=50 + i)
    make(desk.videos / "b unplugs.mp4", seconds=0.4, size=(160, 96), seed=90)
    monkeypatch.setattr(jobs, "work", command.misbehave)
    found = desk.report(code=1)
    assert found["partial"]
    assert len(found["failures"]) <= 2
    assert any("went away during the run" in n for n in found["notes"])
    # Back again: the run goes on where it stopped.
    os.rename(f"{desk.videos}.unplugged", desk.videos)
    monkeypatch.setattr(jobs, "work", command.count_looks)
    after = desk.report()
    assert not after["partial"] and after["failures"] == []
    assert grouped(after) == GROUPS


# -- where paths and options come from ------------------------------------------------------------


@pytest.mark.parametrize("end", [b"\n", b"\0"])
def test_a_list_on_stdin(tmp_path: Path, originals: Path, end: bytes) -> None:
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xff \xfe.mp4")
    shutil.copy(originals / "wood.mp4", odd)
    wanted = [str(originals / "wood.mp4"), str(originals / "alone.webm"), odd]
    done = command.dups(
        tmp_path, "-", "--json", stdin=b"".join(os.fsencode(p) + end for p in wanted)
    )
    assert done.code == 0, done
    found = done.json()
    assert sorted(v["path"] for v in found["videos"]) == sorted(wanted)
    assert [sorted(g["members"]) for g in found["groups"]] == [sorted([wanted[0], odd])]


def test_a_configuration_file_and_flags_above_it(desk: Desk) -> None:
    (desk.home / "twinreel.toml").write_text(
        f'min_score = 1.0\n[discover]\nexclude = ["alone*"]\n[sample]\nmoments = 8\n'
        f'[output]\nlibrary = "{desk.home}/own.db"\n'
    )
    found = json.loads(desk.dups(desk.videos, "--json", "--library", desk.home / "l2.db"))
    assert grouped(found) == [GROUPS[1]]
    assert (found["options"]["moments"], found["options"]["min_score"]) == (8, 1.0)
    assert names([v["path"] for v in found["videos"]]) == ALL[1:]
    assert found["library"].endswith("l2.db")  # the flag wins
    other = desk.home / "other.toml"
    other.write_text("min_score = 0.9\n")
    found = desk.report("--config", str(other))
    assert grouped(found) == GROUPS


def test_the_seeds_names(desk: Desk) -> None:
    toml = desk.home / "twinreel.toml"
    toml.write_text(
        f'videos_dir = "{desk.videos}"\nextensions = [".mp4"]\nbatch_size = 3\nepsilon = 0.05\n'
        "delete_files = false\n"
    )
    found = json.loads(desk.dups("--json"))
    assert names([v["path"] for v in found["videos"]]) == [n for n in ALL if n.endswith("mp4")]
    assert found["options"]["epsilon"] == 0.05 and found["options"]["batch_size"] == 3
    assert found["options"]["min_score"] == pytest.approx(0.95)
    toml.write_text(f'videos_dir = "{desk.videos}"\ndelete_files = true\n')
    said = desk.dups(code=2)
    assert "delete_files = true is not taken" in said and "act" in said
    assert names([str(p) for p in desk.videos.iterdir()]) == ALL
    toml.write_text("colour = 1\n")
    assert "unknown option 'colour'" in desk.dups(desk.videos, code=2)
    toml.write_text("colour = \n")
    assert "not readable as TOML" in desk.dups(desk.videos, code=2)


def test_globs_extensions_and_sizes(desk: Desk) -> None:
    found = desk.report("--ext", "MKV", "--ext", ".webm")
    assert names([v["path"] for v in found["videos"]]) == ["alone.webm", "lake small.mkv"]
    found = json.loads(desk.dups(f"{desk.videos}/wood*", "--json"))
    assert grouped(found) == [GROUPS[1]]


# -- pictures, other models ---------------------------------------------------------------------


def inverse(spec: models.ModelSpec) -> Any:
    """A builder: the same descriptor with the opposite sign, so rows can be told apart."""
    from twinreel.models.dctgrad import DctGrad

    class Inverse(DctGrad):
        def forward(self, x: Any) -> Any:
            return -super().forward(x)

    return Inverse()


@pytest.fixture
def another_model() -> Any:
    name = "test.inverse"
    known = models.get("dctgrad.v1")
    models.names()
    yield models.register(
        models.ModelSpec(
            name=name, builder="tests.e2e.test_dups:inverse", dim=known.dim, size=known.size,
            mean=known.mean, std=known.std, min_score=known.min_score,
        )
    )  # fmt: skip
    models._REGISTRY.pop(name)


def test_a_wish_that_protects_nothing_is_said(desk: Desk) -> None:
    found = desk.report("--protect", "/none", "--protect", "*")
    assert [n for n in found["notes"] if "--protect" in n] == ["no video matches --protect /none"]


def test_new_weights_reembed_from_kept_pictures(desk: Desk, another_model: Any) -> None:
    desk.report()
    assert len(desk.looked()) == 5
    found = desk.report(model=another_model.name)
    assert desk.looked() == []
    assert grouped(found) == GROUPS
    assert any("from kept pictures, not decoded" in n for n in found["notes"])
    rows = desk.sql("SELECT model, count(*), sum(rows) FROM features GROUP BY model")
    assert len(rows) == 2 and rows[0][1:] == rows[1][1:]
    sizes = desk.sql("SELECT max(length(data)) FROM thumbs")
    assert sizes[0][0] <= 100_000


def test_a_film_inside_another_is_found_and_never_removed_unseen(tmp_path: Path) -> None:
    desk = Desk(tmp_path, tmp_path / "looks")
    desk.videos.mkdir()
    size = (640, 360)
    source = make(desk.videos / "film.mp4", seed=1, size=size, number=False)

    def laid(picture: Any, moment: float) -> Any:
        picture[196:340, 364:620] = scale(paint(1, moment, size), (256, 144))
        return picture

    around = make(desk.videos / "reaction.mp4", seed=2, size=size, number=False, edit=laid)
    make(desk.videos / "other.mp4", seed=2, size=size, number=False, start_s=60.0)
    found = desk.report(model="twin.v1")
    (group,) = found["groups"]
    assert set(group["members"]) == {str(source), str(around)}
    assert group["keep"] == str(source) and group["look"]
    assert "of it, which the kept file does not show" in " ".join(group["losses"][str(around)])
    again = make(tmp_path / "videos" / "again.mp4", seed=1, size=size, number=False, gop=10)
    members = [set(g["members"]) for g in desk.report(model="twin.v1")["groups"]]
    assert members == [{str(source), str(around), str(again)}]


def test_a_clip_in_a_longer_film_is_told_with_its_seconds(tmp_path: Path) -> None:
    desk = Desk(tmp_path, tmp_path / "looks")
    desk.videos.mkdir()
    size = (320, 180)
    clip = make(desk.videos / "clip.mp4", 6, seed=1, size=size, number=False)

    def within(picture: Any, moment: float) -> Any:
        return paint(1, moment - 20, size) if 20 <= moment < 26 else picture

    film = make(desk.videos / "film.mp4", 40, seed=2, size=size, number=False, edit=within)
    printed = desk.dups(desk.videos, "--clips", model="twin.v1")
    assert "1 pair shares a part (" in printed and "0 groups" in printed
    told = f"  {clip}\n    part of [01]\\.\\d{{3}}  {film}\n    (.*) = 0:(.*)-0:(.*)\n"
    found = re.search(told, printed)
    assert found is not None, printed
    assert float(found[2]) == pytest.approx(20, abs=0.5)
    assert float(found[3]) == pytest.approx(26, abs=0.5)
    assert "`--contained` groups" in printed
    report = desk.report("--clips", "--contained", model="twin.v1")
    (group,) = report["groups"]
    assert group["keep"] == str(film) and group["members"] == [str(clip), str(film)]
    assert report["notes"] == []


def test_slides_that_share_a_ticker_are_no_copies(tmp_path: Path) -> None:
    """To the network they are alike, whatever is written on them. The same slide in another
    container is a copy all the same."""

    def signs(seed: int, count: int) -> Any:
        """Letters of 3 x 3 dots, bool (24, 24 * count)."""
        dots = np.random.default_rng(seed).integers(0, 2, (3, 3 * count)).astype(bool)
        dots[:, ::3] = False
        return dots.repeat(8, 0).repeat(8, 1)

    news = signs(99, 100)

    def slide(seed: int) -> Callable[[Any, float], Any]:
        def paint(frame: Any, t: float) -> Any:
            out = np.full_like(frame, 245)
            out[110:134, 60:204][signs(seed, 6)] = 0
            out[320:] = (128, 0, 0)
            out[328:352][np.roll(news, -int(60 * t), axis=1)[:, : frame.shape[1]]] = 255
            return out

        return paint

    videos = tmp_path / "videos"
    videos.mkdir()
    for n in range(3):
        make(videos / f"{n}.mp4", 12, size=(640, 360), number=False, edit=slide(n))
    with av.open(videos / "0.mp4") as given, av.open(videos / "again.mkv", "w") as out:
        stream = out.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(given.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    desk = Desk(tmp_path, tmp_path / "looks")
    report = desk.report("--all-matches", model="twin.v1")
    assert [names(g["members"]) for g in report["groups"]] == [["0.mp4", "again.mkv"]]
    assert not report["groups"][0]["look"]
    scores = {frozenset(names([m["a"], m["b"]])): m["score"] for m in report["matches"]}
    assert 0 < scores[frozenset(("0.mp4", "1.mp4"))] < 0.1  # they were met
    found = search(videos / "1.mp4", str(tmp_path / "library.db"), model="twin.v1")
    assert found and all(m.score < 0.1 for m in found)
    # Coded anew it is found, too; nobody has read the small print.
    make(videos / "coded.mp4", 12, size=(640, 360), number=False, edit=slide(0), gop=10)
    (group,) = desk.report(model="twin.v1")["groups"]
    assert names(group["members"]) == ["0.mp4", "again.mkv", "coded.mp4"] and group["look"]
    assert "small print may differ" in str(group["losses"])


def test_without_kept_pictures_new_weights_look_again(desk: Desk, another_model: Any) -> None:
    blind = desk.report("--no-thumbs")
    # Nobody has seen the pictures beside each other, but where they are the same bytes.
    assert grouped(blind) == GROUPS
    asks = [g["look"] and "pictures were not compared" in g["why"] for g in blind["groups"]]
    assert sorted(asks) == [False, True]
    desk.looked()
    assert desk.sql("SELECT count(*) FROM thumbs") == [(0,)]
    desk.report(model=another_model.name)
    assert len(desk.looked()) == 5


# -- other disks --------------------------------------------------------------------------------


def unplug(desk: Desk, move: Callable[[str], bool]) -> None:
    """Make the library believe that some paths lie on a disk that is not mounted now."""
    db = sqlite3.connect(desk.home / "library.db", isolation_level=None)
    for (path,) in db.execute("SELECT path FROM files").fetchall():
        if move(os.fsdecode(path)):
            away = b"/no-such-disk/" + os.path.basename(path)
            db.execute(
                "UPDATE files SET path = ?, volume = 'uuid-away', last_seen = ? WHERE path = ?",
                (away, "2026-01-02T03:04:05Z", path),
            )
            os.unlink(path)
    db.close()


def test_videos_of_disks_not_plugged_in_match_but_justify_nothing(desk: Desk) -> None:
    desk.report()
    unplug(desk, lambda p: p.endswith(("lake.mp4", "wood.mp4")))
    found = desk.report()
    away = {v["path"]: v for v in found["videos"] if v["offline"]}
    assert sorted(away) == ["/no-such-disk/lake.mp4", "/no-such-disk/wood.mp4"]
    assert all(v["last_seen"] == "2026-01-02T03:04:05Z" for v in away.values())
    assert grouped(found) == GROUPS  # still told
    for group in found["groups"]:
        assert not group["keep"].startswith("/no-such-disk/")
    # The lake has two copies here: one may go. The wood has one: nothing may.
    text = desk.dups(desk.videos)
    assert "(2 offline)" in text
    kept = {g["keep"] for g in found["groups"]}
    here = [str(desk.videos / n) for n in ("lake bars.mp4", "lake small.mkv", "wood again.mp4")]
    assert kept <= set(here)
    (other,) = set(here) - kept
    assert f"{os.path.getsize(other) / 1000:.1f} kB could be freed" in text


def test_a_deleted_file_is_not_offline(desk: Desk) -> None:
    desk.report()
    (desk.videos / "wood.mp4").unlink()
    found = desk.report()
    assert [v for v in found["videos"] if v["offline"]] == []
    assert grouped(found) == [GROUPS[0]]


def test_map_tells_an_old_path_by_its_new_name(desk: Desk) -> None:
    """A share that another machine or container calls differently is not read again."""
    desk.report()
    desk.looked()
    new = desk.home / "mnt"
    desk.videos.rename(new)
    for path in new.iterdir():  # a network share has its own times and inodes
        stat = path.stat()
        shutil.copy(path, f"{path}.tmp")
        os.replace(f"{path}.tmp", path)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    found = json.loads(desk.dups(new, "--json", "--map", f"{desk.videos}={new}"))
    assert desk.looked() == [] and grouped(found) == GROUPS


# -- Ctrl-C -------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_ctrl_c_writes_what_is_known_and_the_next_run_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    for i in range(16):
        make(folder / f"v{i:02}.mp4", seconds=1, size=(160, 96), seed=i)
    shutil.copy(folder / "v00.mp4", folder / "v00 again.mp4")
    target = tmp_path / "r.json"
    child = command.start(
        tmp_path, "dups", folder, "-o", target, "-j", "1", *command.MODEL,
        program=("-c", command.SLOW),
    )  # fmt: skip
    library = tmp_path / "library.db"
    begun = time.monotonic()
    while time.monotonic() - begun < 120 and child.poll() is None:
        if library.exists() and _count(library) >= 2:
            break
        time.sleep(0.02)
    os.killpg(child.pid, signal.SIGINT)
    done = command.finish(child, begun)
    assert done.code == 1, done
    assert "Traceback" not in done.err
    first = command.report(target)
    assert first["partial"] and "(partial: the run was interrupted)" in done.out
    kept = dict(_rows(library))
    assert 2 <= len(kept) < 16
    left = re.search(r"(\d+) of 17 videos were not looked at yet", done.out)
    assert left and 16 - len(kept) <= int(left[1]) <= 17 - len(kept), done
    again = command.dups(tmp_path, folder, "-o", tmp_path / "r2.json", "-j", "2")
    assert again.code == 0, again
    second = command.report(tmp_path / "r2.json")
    assert not second["partial"] and second["failures"] == []
    after = dict(_rows(library))
    assert len(after) == 16
    assert all(after[key] == row for key, row in kept.items())  # the same rows: not done again
    assert ["v00 again.mp4", "v00.mp4"] in grouped(second)


def _count(library: Path) -> int:
    return len(_rows(library))


def _rows(library: Path) -> list[Any]:
    """(key, row id) of what the library holds; a second look would have a new row id."""
    try:
        db = sqlite3.connect(f"file:{library}?mode=ro", uri=True, timeout=1)
        try:
            return db.execute("SELECT key, id FROM features").fetchall()
        finally:
            db.close()
    except sqlite3.OperationalError:
        return []
