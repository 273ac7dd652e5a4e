"""`extract` from a list of videos to files on the disk, with a small network."""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from rich.console import Console

from tests import videos
from tests.e2e import command, unruly
from twinreel import models
from twinreel.cli import main
from twinreel.errors import BadConfig, WeightsMissing
from twinreel.extract import cli, devices, hardware, journey, ray_runner, whole
from twinreel.extract.claims import Claim, Claims
from twinreel.extract.cli import _progress
from twinreel.extract.devices import spread
from twinreel.extract.hardware import gpu_files
from twinreel.extract.journey import extract
from twinreel.extract.manifest import from_csv, from_files
from twinreel.extract.options import ExtractOptions
from twinreel.extract.outputs import FORMATS, HIDDEN, SHARDED
from twinreel.extract.plan import plan
from twinreel.extract.status import Listener, Summary, read_status
from twinreel.models import network
from twinreel.workers import WorkerPool

GRID = "tests.e2e.nets:grid"
CLIPS = "tests.e2e.nets:clip_grid"


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three films in two folders, two of them with one name."""
    top = tmp_path_factory.mktemp("films")
    (top / "a").mkdir()
    (top / "b").mkdir()
    videos.make(top / "a" / "x.mp4", seconds=3.2, seed=1)
    videos.make(top / "b" / "x.mp4", seconds=5, seed=2, size=(180, 320))
    videos.make(top / "b" / "y.mkv", seconds=2, seed=3)
    return top


def _jobs(folder: Path, out: Path, suffix: str = ".npy") -> list[Any]:
    files = sorted(str(p) for p in folder.rglob("*") if p.is_file())
    return from_files(files, [str(folder)], out, suffix)


def _run(folder: Path, out: Path, **options: Any) -> Summary:
    given = {"model": (GRID,), "jobs": 2, "threads": 1, **options}
    suffix = FORMATS[given.get("format", "npy")]
    return extract(_jobs(folder, out, suffix), ExtractOptions(**given), out)


def _states(summary: Summary) -> dict[str, str]:
    return {n.removesuffix(".npy"): r["state"] for n, r in summary.records.items()}


def _table(out: Path) -> dict[str, str]:
    """extract-status.csv: output -> state."""
    with open(out / "extract-status.csv", newline="") as file:
        return {os.path.relpath(r["output"], out): r["state"] for r in csv.DictReader(file)}


def _short(folder: Path) -> Path:
    """A folder with a video of 0.3 s, less than a clip of CLIPS."""
    folder.mkdir()
    videos.make(folder / "short.mp4", seconds=0.3)
    return folder


def test_a_folder_is_mirrored_and_a_second_run_does_nothing(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _run(films, tmp_path)
    assert first.exit_code == 0 and first.computed == 3
    assert _states(first) == {"a/x.mp4": "done", "b/x.mp4": "done", "b/y.mkv": "done"}
    rows = {p.name + p.parent.name: np.load(p) for p in tmp_path.rglob("*.npy")}
    assert {k: v.shape for k, v in rows.items()} == {
        "x.mp4.npya": (3, 48), "x.mp4.npyb": (5, 48), "y.mkv.npyb": (2, 48)
    }  # fmt: skip
    for array in rows.values():
        assert array.dtype == np.float16
        np.testing.assert_allclose(np.linalg.norm(array.astype(float), axis=1), 1, atol=2e-3)
    words = json.loads((tmp_path / "a/x.mp4.npy.json").read_text())
    assert words["spans_s"] == [[0, 1], [1, 2], [2, 3]]
    assert words["frames_expected"] == words["frames"] == 3
    assert words["source"]["key"] and words["twinreel"] and len(words["weights"]) == 64
    with open(tmp_path / "extract-status.csv", newline="") as file:
        assert [r["state"] for r in csv.DictReader(file)] == ["done"] * 3
    # Nothing to do: no decoder is started and no network loaded.
    monkeypatch.setattr(WorkerPool, "start", None)
    monkeypatch.setattr(models, "load", None)
    again = _run(films, tmp_path)
    assert again.computed == 0 and _states(again) == _states(first)


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_rows_do_not_depend_on_the_batch(batch_size: int, films: Path, tmp_path: Path) -> None:
    _run(films, tmp_path / "a", half_precision=0)
    _run(films, tmp_path / "b", half_precision=0, batch_size=batch_size, jobs=1)
    for path in (tmp_path / "a").rglob("*.npy"):
        other = tmp_path / "b" / path.relative_to(tmp_path / "a")
        np.testing.assert_allclose(np.load(path), np.load(other), rtol=1e-5, atol=1e-6)


def test_several_models_one_decode(films: Path, tmp_path: Path) -> None:
    names = (GRID, "tests.e2e.nets:wide_grid", "tests.e2e.nets:clip_grid")
    summary = _run(films, tmp_path / "all", model=names)
    assert summary.exit_code == 0
    for name in names:
        _run(films, tmp_path / "one", model=(name,), format="npz")
        mark = name.replace(":", "_")
        with np.load(tmp_path / "one" / "a" / "x.mp4.npz") as alone:
            together = np.load(tmp_path / "all" / "a" / f"x.mp4.{mark}.npy")
            np.testing.assert_allclose(alone["features"], together, atol=1e-3)
        shutil.rmtree(tmp_path / "one")
    # One model's output lost: only that one is computed again, from the same decode.
    lost = tmp_path / "all" / "a" / "x.mp4.tests.e2e.nets_wide_grid.npy"
    kept = tmp_path / "all" / "a" / "x.mp4.tests.e2e.nets_grid.npy"
    before, stamp = np.load(lost), kept.stat().st_mtime_ns
    lost.unlink()
    assert _run(films, tmp_path / "all", model=names).computed == 1
    np.testing.assert_array_equal(np.load(lost), before)
    assert kept.stat().st_mtime_ns == stamp


def test_a_changed_source_is_redone_and_a_moved_time_is_not(films: Path, tmp_path: Path) -> None:
    mine = tmp_path / "in"
    shutil.copytree(films, mine)
    _run(mine, tmp_path / "out")
    os.utime(mine / "b" / "y.mkv", (1, 1))
    shutil.copy(mine / "a" / "x.mp4", mine / "b" / "x.mp4")
    again = _run(mine, tmp_path / "out")
    assert again.computed == 1 and again.exit_code == 0
    assert np.load(tmp_path / "out/b/x.mp4.npy").shape == (3, 48)


def test_another_models_output_is_an_error_and_overwrite_replaces_it(
    films: Path, tmp_path: Path
) -> None:
    _run(films, tmp_path)
    other = _run(films, tmp_path, fps=2.0)
    assert other.exit_code == 1 and set(_states(other).values()) == {"failed"}
    reason = other.records["a/x.mp4.npy"]["reason"]
    assert "sampling.fps is 1.0, asked is 2.0" in reason and "--overwrite" in reason
    assert np.load(tmp_path / "a/x.mp4.npy").shape == (3, 48), "nothing was touched"
    replaced = _run(films, tmp_path, fps=2.0, overwrite=True)
    assert replaced.exit_code == 0
    assert np.load(tmp_path / "a/x.mp4.npy").shape == (6, 48)


def _broken(folder: Path) -> dict[str, str]:
    """The table of bad inputs; name -> how each must end."""
    good = videos.make(folder / "good.mp4", seconds=3)
    fast = videos.faststart(folder / "faststart.mp4", seconds=6)
    mkv = videos.make(folder / "whole.mkv", seconds=6)
    large = videos.make(folder / "large.mp4", seconds=6, size=(640, 360))
    videos.empty(folder / "empty.mp4")
    videos.text(folder / "text.mp4")
    videos.truncated(good, folder / "half.mp4")
    videos.truncated(fast, folder / "half_faststart.mp4")
    videos.truncated(mkv, folder / "half.mkv")
    videos.garbage(large, folder / "garbage.mp4", amount=large.stat().st_size // 2)
    videos.audio_only(folder / "audio.mp4")
    videos.one_frame(folder / "one_frame.mp4")
    videos.make(folder / "short.mp4", seconds=0.2)
    videos.no_timestamps(folder / "raw.h264", seconds=2)
    videos.make(folder / "vfr.mp4", seconds=2, vfr=True)
    videos.make(folder / "turned.mp4", seconds=2, rotate=90)
    videos.make(folder / "hdr.mp4", seconds=1, ten_bit_hdr=True, codec="libx265")
    videos.make(folder / "odd.avi", seconds=1, size=(161, 91), codec="mpeg4")
    videos.gif(folder / "moving.gif")
    videos.make(folder / "interlaced.mp4", seconds=1, interlaced=True)
    shutil.copy(good, folder / "new\nline.mp4")
    shutil.copy(good, os.fsencode(folder) + b"/caf\xe9.mp4")
    os.mkfifo(folder / "pipe.mp4")
    (folder / "dangling.mp4").symlink_to(folder / "nowhere.mp4")
    ends = dict.fromkeys(
        ("good.mp4", "faststart.mp4", "whole.mkv", "large.mp4", "one_frame.mp4", "short.mp4",
         "raw.h264", "vfr.mp4", "turned.mp4", "hdr.mp4", "odd.avi", "moving.gif",
         "interlaced.mp4", "new\nline.mp4", "caf\udce9.mp4"), "done")  # fmt: skip
    ends |= dict.fromkeys(("empty.mp4", "text.mp4", "half.mp4", "audio.mp4", "pipe.mp4"), "failed")
    ends |= {"half_faststart.mp4": "partial", "half.mkv": "partial", "dangling.mp4": "missing"}
    return {**ends, "garbage.mp4": "failed or partial"}


def test_no_broken_file_stops_the_run(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    ends = _broken(folder)
    jobs = from_files([str(folder / n) for n in ends], [str(folder)], tmp_path / "out")
    options = ExtractOptions(model=(GRID,), jobs=2, threads=1)
    summary = extract(jobs, options, tmp_path / "out")
    states = _states(summary)
    assert states.pop("garbage.mp4") in ("failed", "partial")
    del ends["garbage.mp4"]
    assert states == ends
    assert summary.exit_code == 1 and not summary.not_reached and not summary.stopped
    for name, state in states.items():
        written = (tmp_path / "out" / f"{name}.npy").exists()
        assert written == (state in ("done", "partial")), name
        record = summary.records[f"{name}.npy"]
        if state == "partial":
            assert "of 6.0 s" in record["reason"]
        elif state != "done":
            assert record["stage"] and record["reason"]
    status = {r["name"]: r["state"] for r in read_status(tmp_path / "out")}
    assert status == {n: r["state"] for n, r in summary.records.items()}
    # Content failures are remembered; --retry-failed tries them again.
    assert extract(jobs, options, tmp_path / "out").computed == 0
    retry = ExtractOptions(model=(GRID,), jobs=2, threads=1, retry_failed=True)
    tried = extract(jobs, retry, tmp_path / "out")
    assert sum(bool(r.get("computed")) for r in tried.records.values()) >= 4


def test_a_decoder_that_hangs_or_crashes(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("hang.mp4", "crash.mp4", "good.mp4"):
        shutil.copy(films / "a" / "x.mp4", folder / name)
    monkeypatch.setattr(journey, "work", unruly.unruly)
    summary = _run(folder, tmp_path / "out", stall=8.0)
    assert _states(summary) == {"hang.mp4": "failed", "crash.mp4": "failed", "good.mp4": "done"}
    reasons = {n: r["error"] for n, r in summary.records.items() if r["state"] == "failed"}
    assert reasons == {"hang.mp4.npy": "Stalled", "crash.mp4.npy": "WorkerDied"}
    # Not the content's fault: the next run tries again by itself.
    monkeypatch.undo()
    assert _run(folder, tmp_path / "out").exit_code == 0


def test_a_file_that_vanishes_during_the_run(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("gone.mp4", "good.mp4"):
        shutil.copy(films / "a" / "x.mp4", folder / name)
    monkeypatch.setattr(journey, "work", unruly.vanish)
    summary = _run(folder, tmp_path / "out")
    assert _states(summary) == {"gone.mp4": "missing", "good.mp4": "done"}


def test_a_file_that_is_written_to_during_the_run(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("grows.mp4", "good.mp4"):
        shutil.copy(films / "a" / "x.mp4", folder / name)
    monkeypatch.setattr(journey, "work", unruly.grow)
    summary = _run(folder, tmp_path / "out")
    assert _states(summary) == {"grows.mp4": "failed", "good.mp4": "done"}
    record = summary.records["grows.mp4.npy"]
    assert record["stage"] == "read" and "changed while it was read" in record["reason"]
    assert not (tmp_path / "out" / "grows.mp4.npy").exists()
    # It may be finished by the next run, which looks again by itself.
    monkeypatch.undo()
    assert _run(folder, tmp_path / "out").exit_code == 0


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_a_file_that_may_not_be_read(films: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("good.mp4", "locked.mp4"):
        shutil.copy(films / "a" / "x.mp4", folder / name)
    (folder / "locked.mp4").chmod(0)
    given = ("--model", "dctgrad.v1", "--threads", "1", "-j", "1", "--json")
    done = command.run(tmp_path, "extract", folder, "-o", tmp_path / "out", *given)
    records = {Path(r["video"]).name: r for r in map(json.loads, done.out.splitlines())}
    assert done.code == 1 and records["good.mp4"]["state"] == "done", done
    bad = records["locked.mp4"]
    assert (bad["state"], bad["stage"], bad["reason"]) == ("failed", "read", "Permission denied")


def test_a_failure_stands_for_what_was_asked_alone(tmp_path: Path) -> None:
    folder = _short(tmp_path / "in")
    dropped = _run(folder, tmp_path / "out", model=(CLIPS,), tail="drop")
    assert "pass --tail pad or loop" in dropped.records["short.mp4.npy"]["reason"]
    again = _run(folder, tmp_path / "out", model=(CLIPS,), tail="drop")
    assert not again.records["short.mp4.npy"].get("computed"), "remembered"
    padded = _run(folder, tmp_path / "out", model=(CLIPS,), tail="pad")
    assert _states(padded) == {"short.mp4": "done"}


def test_a_corrected_row_is_tried_again(films: Path, tmp_path: Path) -> None:
    table = tmp_path / "list.csv"
    for start, state in ((100, "failed"), (1, "done")):
        rows = f"video_path,feature_path,start\n{films / 'b' / 'y.mkv'},{tmp_path / 'y'},{start}\n"
        table.write_text(rows)
        summary = extract(from_csv(table), ExtractOptions(model=(GRID,), jobs=1, threads=1))
        assert _states(summary) == {"y": state}


def test_a_video_too_short_for_one_model_keeps_the_rows_of_others(tmp_path: Path) -> None:
    folder, out = _short(tmp_path / "in"), tmp_path / "out"
    summary = _run(folder, out, model=(GRID, CLIPS), tail="drop")
    record = summary.records["short.mp4.npy"]
    assert record["state"] == "failed" and "clip_grid" in record["reason"]
    assert np.load(out / "short.mp4.tests.e2e.nets_grid.npy").shape == (1, 48)
    assert len(list(out.glob("*.npy"))) == 1
    again = _run(folder, out, model=(GRID, CLIPS), tail="drop")
    assert _states(again) == {"short.mp4": "failed"} and again.computed == 0


def test_a_stopped_run_leaves_a_whole_table(films: Path, tmp_path: Path) -> None:
    def interrupt(record: Any, so_far: Summary) -> None:
        if len(so_far.records) == 1:
            raise KeyboardInterrupt

    jobs, options = _jobs(films, tmp_path), ExtractOptions(model=(GRID,), jobs=2, threads=1)
    summary = extract(jobs, options, tmp_path, Listener(interrupt))
    assert "goes on from here" in summary.stopped and summary.exit_code == 1
    (done,) = summary.records
    assert sorted(summary.not_reached) == sorted({j.name for j in jobs} - {done})
    assert _table(tmp_path) == {j.name: "done" if j.name == done else "not reached" for j in jobs}
    assert "started" not in {r["state"] for r in read_status(tmp_path)}
    assert _run(films, tmp_path).exit_code == 0
    assert set(_table(tmp_path).values()) == {"done"}


@pytest.mark.parametrize(("fmt", "lost"), [("npy", "status-"), ("tar", "shard-"), ("npy", "")])
def test_a_disk_that_goes_away_is_one_message_where_it_is_read(
    fmt: str, lost: str, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    glob, stat = Path.glob, os.stat

    def globbed(folder: Path, pattern: str) -> Any:
        if lost and pattern.startswith(lost):
            raise OSError(errno.ESTALE, "Stale file handle")
        return glob(folder, pattern)

    def looked(path: Any, **given: Any) -> Any:
        if not lost and str(path).endswith(".npy"):
            raise OSError(errno.ESTALE, "Stale file handle")
        return stat(path, **given)

    monkeypatch.setattr(Path, "glob", globbed)
    monkeypatch.setattr(os, "stat", looked)
    summary = _run(films, tmp_path, format=fmt)
    assert "Stale file handle" in summary.stopped and len(summary.not_reached) == 3


def test_a_full_disk_ends_the_run_with_one_message(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left = os.replace, [1]

    def replace(source: Any, target: Any) -> None:
        if str(target).endswith(".npy"):
            if not left[0]:
                raise OSError(errno.ENOSPC, "No space left on device")
            left[0] -= 1
        real(source, target)

    monkeypatch.setattr(whole.os, "replace", replace)
    summary = _run(films, tmp_path)
    assert "No space left" in summary.stopped and summary.exit_code == 1
    assert len(summary.records) == 1 and len(summary.not_reached) == 2
    assert "2 not reached" in summary.line()
    assert not [p for p in tmp_path.rglob("*") if ".part-" in p.name]
    monkeypatch.undo()
    assert _run(films, tmp_path).exit_code == 0


def test_csv_rows_with_start_and_end(films: Path, tmp_path: Path) -> None:
    table = tmp_path / "list.csv"
    with open(table, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["video_path", "feature_path", "start", "end"])
        writer.writerow([films / "b" / "x.mp4", tmp_path / "out" / "first", 0, 2])
        writer.writerow([films / "b" / "x.mp4", tmp_path / "out" / "rest", 2, ""])
    options = ExtractOptions(model=(GRID,), jobs=1, threads=1, half_precision=0)
    assert extract(from_csv(table), options).exit_code == 0
    first, rest = (np.load(tmp_path / "out" / f"{n}.npy") for n in ("first", "rest"))
    words = json.loads((tmp_path / "out" / "rest.npy.json").read_text())
    assert words["spans_s"] == [[2, 3], [3, 4], [4, 5]]
    _run(films, tmp_path / "all", half_precision=0)
    both = np.load(tmp_path / "all" / "b" / "x.mp4.npy")
    np.testing.assert_allclose(np.concatenate([first, rest]), both, atol=0.02)


def test_num_frames_one(films: Path, tmp_path: Path) -> None:
    _run(films, tmp_path, num_frames=1)
    assert {np.load(p).shape for p in tmp_path.rglob("*.npy")} == {(1, 48)}


def test_another_pooling_is_another_output(films: Path, tmp_path: Path) -> None:
    named = {"model": ("tests.e2e.nets:map_grid",)}
    assert _run(films, tmp_path, **named, pool="mean").exit_code == 0
    other = _run(films, tmp_path, **named, pool="max")
    assert set(_states(other).values()) == {"failed"}
    assert "model.pool is 'mean', asked is 'max'" in other.records["a/x.mp4.npy"]["reason"]
    assert _run(films, tmp_path, **named, pool="mean").computed == 0


def test_what_auto_came_to_is_part_of_an_output(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "is_plain_cpu", lambda device: False)  # torch is asked
    monkeypatch.setattr(network, "pick_dtype", lambda precision, device: torch.float32)
    assert _run(films, tmp_path, precision="auto").exit_code == 0
    words = json.loads((tmp_path / "a/x.mp4.npy.json").read_text())
    assert words["output"]["precision"] == "fp32"
    assert _run(films, tmp_path, precision="fp32").computed == 0
    monkeypatch.setattr(network, "pick_dtype", lambda precision, device: torch.bfloat16)
    other = _run(films, tmp_path, precision="auto")
    assert "output.precision is 'fp32', asked is 'bf16'" in other.records["a/x.mp4.npy"]["reason"]


def test_a_name_that_is_too_long_is_one_videos_failure(films: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    # The names of their outputs, of what is beside these, and of half-written ones grow by that.
    ends = {230: "done", 246: "done", 248: "failed", 255: "failed"}
    for length in ends:
        shutil.copy(films / "a" / "x.mp4", folder / f"{'n' * (length - 4)}.mp4")
    for overwrite in (False, True):
        summary = _run(folder, tmp_path / "out", overwrite=overwrite)
        assert {len(n): s for n, s in _states(summary).items()} == ends
        assert not summary.stopped and not summary.not_reached
    reasons = {r["reason"] for r in summary.records.values() if r["state"] == "failed"}
    assert len(reasons) == 2 and all("too long for the output disk" in r for r in reasons)


@pytest.mark.parametrize("fmt", ["npz", "safetensors", "tar", "parquet"])
def test_a_damaged_output_is_no_traceback(fmt: str, films: Path, tmp_path: Path) -> None:
    if fmt == "parquet":
        pytest.importorskip("pyarrow")
    _run(films, tmp_path, format=fmt)
    hurt = next(p for p in sorted(tmp_path.rglob(f"*.{fmt}")) if p.is_file())
    hurt.write_bytes(hurt.read_bytes()[:-1000])
    again = _run(films, tmp_path, format=fmt)
    assert again.exit_code == 1
    if fmt in SHARDED:  # nobody knows whose it was
        assert hurt.name in again.stopped and "move it away" in again.stopped
        hurt.unlink()
    else:
        assert Counter(_states(again).values()) == {"done": 2, "failed": 1}
        reasons = [r["reason"] for r in again.records.values() if r["state"] == "failed"]
        assert f"not a whole {fmt} file" in reasons[0]
    assert _run(films, tmp_path, format=fmt, overwrite=True).exit_code == 0


@pytest.mark.parametrize("fmt", ["tar", "parquet"])
def test_a_video_taken_over_before_its_shard_closed_is_not_in_it(
    fmt: str, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fmt == "parquet":
        pytest.importorskip("pyarrow")
    real, asked = Claims.holds, Counter[str]()

    def holds(self: Claims, claim: Claim) -> bool:
        asked[claim.name] += 1
        if claim.name == "a/x.mp4.npy" and asked[claim.name] == 2:  # when the shard is closed
            self.release(claim)
            return False
        return real(self, claim)

    monkeypatch.setattr(Claims, "holds", holds)
    summary = _run(films, tmp_path, format=fmt)
    assert set(_states(summary).values()) == {"done"} and summary.exit_code == 0
    assert summary.computed == 4  # it was taken up again
    assert len(list(tmp_path.glob(f"shard-*.{fmt}"))) == 2
    assert _run(films, tmp_path, format=fmt).computed == 0


def test_what_killed_runs_left_half_written_is_removed(films: Path, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with Claims(tmp_path / HIDDEN / "claims") as other:
        kept = tmp_path / f"{whole.temporary('projection-4.npz')}{other.owner}"
        for path in (
            kept,
            tmp_path / f"{whole.temporary('manifest.jsonl')}{'0' * 32}",
            tmp_path / "a" / f"{whole.temporary('x.mp4.npy')}{'1' * 32}",
        ):
            path.write_text("half")
        assert _run(films, tmp_path, shard="1/1").exit_code == 0
    assert [p for p in tmp_path.rglob("*") if ".part-" in p.name] == [kept]


def test_shards_divide_the_rows(films: Path, tmp_path: Path) -> None:
    parts = [_run(films, tmp_path, shard=f"{k}/2") for k in (1, 2)]
    assert [p.computed for p in parts] == [2, 1]
    assert len(list(tmp_path.rglob("*.npy"))) == 3


def test_embedding_size_is_fitted_once_and_stored(films: Path, tmp_path: Path) -> None:
    summary = _run(films, tmp_path / "a", embedding_size=4, half_precision=0, l2_normalize=0)
    assert summary.exit_code == 0
    stored = tmp_path / "a" / "projection-4.npz"
    rows = np.load(tmp_path / "a" / "b" / "x.mp4.npy")
    assert rows.shape == (5, 4) and stored.is_file()
    options = {"embedding_size": 4, "half_precision": 0, "l2_normalize": 0}
    _run(films, tmp_path / "b", **options, projection=str(stored))
    np.testing.assert_allclose(np.load(tmp_path / "b" / "b" / "x.mp4.npy"), rows, atol=1e-4)
    _run(films, tmp_path / "raw", half_precision=0, l2_normalize=0)
    with np.load(stored) as file:
        raw = np.load(tmp_path / "raw" / "b" / "x.mp4.npy")
        by_hand = (raw - file["mean"]) @ file["components"].T
    np.testing.assert_allclose(rows, by_hand, atol=1e-3)
    with pytest.raises(BadConfig, match="smaller one"):
        _run(films, tmp_path / "c", embedding_size=40)


def test_a_projection_of_other_weights_is_not_used(films: Path, tmp_path: Path) -> None:
    """A dry run's, say."""
    _run(films, tmp_path, embedding_size=4, weights=("random:0",))
    with pytest.raises(BadConfig, match="another network: weights is 'random:0'.*move it away"):
        _run(films, tmp_path, embedding_size=4, weights=("random:1",), overwrite=True)
    (tmp_path / "projection-4.npz").unlink()
    again = _run(films, tmp_path, embedding_size=4, weights=("random:1",), overwrite=True)
    assert again.exit_code == 0 and again.computed == 3


def test_a_shard_without_a_video_fits_no_projection(films: Path, tmp_path: Path) -> None:
    summary = _run(films, tmp_path, embedding_size=4, shard="8/8")
    assert summary.exit_code == 0 and not summary.records


def test_parquet_takes_a_video_without_rows(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    folder = tmp_path / "in"
    folder.mkdir()
    videos.make(folder / "none.mp4", seconds=0.4)
    shutil.copy(folder / "none.mp4", os.fsencode(folder) + b"/caf\xe9.mp4")
    for count in (2, 0):
        summary = _run(folder, tmp_path / "out", seed_exact=True, format="parquet")
        assert not summary.stopped and summary.computed == count
        assert set(_states(summary).values()) == {"done"}


def test_seed_exact_repeats_what_the_seed_does_with_short_videos(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    videos.make(folder / "one.mp4", seconds=1)
    videos.make(folder / "none.mp4", seconds=0.4)
    summary = _run(folder, tmp_path / "out", seed_exact=True)
    assert _states(summary) == {"one.mp4": "failed", "none.mp4": "done"}
    assert np.load(tmp_path / "out" / "none.mp4.npy").shape == (0, 48)
    right = _run(folder, tmp_path / "right")
    assert set(_states(right).values()) == {"done"}
    assert {np.load(p).shape for p in (tmp_path / "right").rglob("*.npy")} == {(1, 48)}


@pytest.mark.skipif(gpu_files(), reason="a GPU is here: nothing falls back")
def test_without_a_gpu_its_decoder_is_replaced_and_said_once(films: Path, tmp_path: Path) -> None:
    said: list[str] = []
    jobs = _jobs(films, tmp_path)
    options = ExtractOptions(model=(GRID,), jobs=2, threads=1, decoder="cuda")
    summary = extract(jobs, options, tmp_path, Listener(on_words=said.append))
    assert set(_states(summary).values()) == {"done"}
    words = [w for w in said if w.startswith("decoder cuda: GPU 0 cannot be opened")]
    assert len(words) == 1 and words[0].endswith("going on with decoder cpu")
    meta = json.loads((tmp_path / "a" / "x.mp4.npy.json").read_text())
    assert meta["video"]["decoder"] == "cpu"
    # Who decodes is no part of what an output is: nothing is left to do.
    again = extract(jobs, ExtractOptions(model=(GRID,), jobs=2, threads=1), tmp_path)
    assert again.computed == 0 and again.exit_code == 0


def test_two_devices_share_the_work(films: Path, tmp_path: Path) -> None:
    options = ExtractOptions(model=("dctgrad.v1",), devices="cpu,cpu", jobs=2, threads=1)
    seen: list[str] = []
    paces: list[str] = []

    def hear(record: Any, so_far: Summary) -> None:
        seen.append(record["name"])
        paces.append(so_far.pace())

    summary = spread(_jobs(films, tmp_path), options, tmp_path, Listener(hear))
    assert summary.exit_code == 0 and summary.computed == 3 and set(seen) == set(summary.records)
    # How fast, and what is waited for, is told while the work goes on.
    assert any("frames/s, decode" in pace for pace in paces), paces
    assert _table(tmp_path) == dict.fromkeys(summary.records, "done")


def test_two_devices_share_a_shard(films: Path, tmp_path: Path) -> None:
    given = {"model": ("dctgrad.v1",), "jobs": 2, "threads": 1, "shard": "1/2"}
    options = ExtractOptions(devices="cpu,cpu", **given)
    summary = spread(_jobs(films, tmp_path), options, tmp_path)
    assert summary.exit_code == 0 and not summary.not_reached
    assert summary.computed == len(summary.records) == 2


def test_ctrl_c_stops_every_device(films: Path, tmp_path: Path) -> None:
    interrupted: list[str] = []

    def interrupt(record: Any, so_far: Summary) -> None:
        if not interrupted:
            interrupted.append(record["name"])
            raise KeyboardInterrupt

    jobs = _jobs(films, tmp_path)
    options = ExtractOptions(model=("dctgrad.v1",), devices="cpu,cpu", jobs=2, threads=1)
    said: list[str] = []
    summary = spread(jobs, options, tmp_path, Listener(interrupt, said.append))
    assert "goes on from here" in summary.stopped and summary.exit_code == 1 and not said
    assert sorted([*summary.records, *summary.not_reached]) == sorted(j.name for j in jobs)
    table = _table(tmp_path)
    assert all(table[name] == "done" for name in summary.records) and len(table) == 3
    assert set(table.values()) <= {"done", "not reached"}


def test_the_manifest_goes_by_the_clock_that_all_share(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Claims, "now", lambda claims: 5.0)
    _run(films, tmp_path, meta="manifest")
    lines = [json.loads(x) for x in (tmp_path / "manifest.jsonl").read_text().splitlines()]
    assert [line["when"] for line in lines] == [5.0] * 3


def test_a_cluster_gathers_its_manifest(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def here(items: Any, actor: Any, given: Any, *_: Any) -> Iterator[Any]:
        yield from actor(*given)(items)

    monkeypatch.setattr(ray_runner, "connected", lambda address: contextlib.nullcontext())
    monkeypatch.setattr(ray_runner, "spread", here)
    options = ExtractOptions(model=(GRID,), jobs=1, threads=1, runner="ray", meta="manifest")
    summary = ray_runner.spread_ray(_jobs(films, tmp_path), options, tmp_path)
    assert summary.exit_code == 0 and set(_table(tmp_path).values()) == {"done"}
    assert len((tmp_path / "manifest.jsonl").read_text().splitlines()) == 3


def test_the_command(films: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke
    given = ["--model", GRID, "--threads", "1", "-j", "1"]
    done = run(main, ["extract", str(films), "-o", str(tmp_path / "o"), *given])
    assert done.exit_code == 0, done.output
    assert "3 videos: 3 done" in done.output and "frames/s" in done.output
    status = run(main, ["extract", "--status", str(tmp_path / "o")])
    assert status.exit_code == 0 and "3 done" in status.output
    records = run(main, ["extract", "--status", str(tmp_path / "o"), "--json"])
    assert len([json.loads(x) for x in records.output.splitlines()]) == 3
    for wrong, words in (
        ([], "either folders"),
        ([str(films)], "need -o"),
        ([str(films), "-o", "x", "--fps", "1", "--num-frames", "3"], "two ways"),
        ([str(films), "-o", "x", "--shard", "9/8"], "K/N"),
    ):
        refused = run(main, ["extract", *wrong])
        assert refused.exit_code == 2 and words in refused.output.replace("\n", " ")


def test_the_command_tells_what_was_not_reached(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(jobs: Any, options: Any, folder: Path, listener: Any) -> Summary:
        names = [job.name for job in jobs]
        return Summary(folder, not_reached=names, stopped="the disk is gone")

    monkeypatch.setattr(devices, "spread", stopped)
    given = [str(films), "-o", str(tmp_path), "--model", GRID]
    told = CliRunner().invoke(main, ["extract", *given, "--json"])
    records = [json.loads(line) for line in told.stdout.splitlines()]
    assert [r["state"] for r in records] == ["not reached"] * 3 and told.exit_code == 1
    assert all(r["video"].startswith(str(films)) for r in records)
    told = CliRunner().invoke(main, ["extract", *given])
    assert "3 not reached" in told.output and "status:" not in told.output


def test_what_libraries_print_stands_in_no_record(capfd: pytest.CaptureFixture[str]) -> None:
    with cli._libraries_aside():
        os.write(1, b"a node has missed its heartbeats\n")  # as Ray's core does, past Python's
    print("{}")
    told = capfd.readouterr()
    assert told.out == "{}\n" and "heartbeats" in told.err


def test_the_bar_is_as_long_as_the_shard(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    totals: list[int] = []

    @contextlib.contextmanager
    def shown(total: int, quiet: bool) -> Iterator[Any]:
        totals.append(total)
        yield lambda record, summary: None

    monkeypatch.setattr(cli, "_shown", shown)
    monkeypatch.setattr(devices, "spread", lambda jobs, options, folder, tell: Summary(folder))
    CliRunner().invoke(main, ["extract", str(films), "-o", str(tmp_path), "--shard", "1/2"])
    assert totals == [2]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_progress_is_whole_on_any_terminal(width: int, tmp_path: Path) -> None:
    summary = Summary(tmp_path, frames=3120)
    summary.seconds = {"decode": 24.0, "transfer": 4.0, "model": 168.0, "write": 4.0}
    console = Console(width=width, file=io.StringIO())
    bar = _progress(console)
    task = bar.add_task("extract", total=2000, words=summary.pace())
    bar.update(task, completed=1200)
    console.print(bar.get_renderable())
    words = console.file.getvalue().split()  # type: ignore[attr-defined]
    assert "1200/2000" in words and "videos, left -:--:--" in " ".join(words)
    for word in ("15.6", "frames/s,", "12%,", "transfer", "2%,", "84%,"):
        assert word in words


def test_models_lists_every_network() -> None:
    listed = CliRunner().invoke(main, ["models", "--json"])
    records = {r["name"]: r for r in map(json.loads, listed.output.splitlines())}
    assert records["resnet152"]["dim"] == 2048 and len(records["resnet152"]["sha256"]) == 64
    assert records["resnext101-3d"]["input"] == "16 x 112 x 112 crop"
    assert all(r["licence"] for r in records.values())
    assert "resnet152" in CliRunner().invoke(main, ["models"]).output


def test_missing_weights_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWINREEL_WEIGHTS", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for kind, file in (("2d", "resnet152-394f9c45.pth"), ("3d", "resnext101.pth")):
        with pytest.raises(WeightsMissing) as caught:
            plan(ExtractOptions(type=kind))
        for word in (file, str(tmp_path), "https://", "sha256", "models fetch", "--weights"):
            assert word in str(caught.value)
