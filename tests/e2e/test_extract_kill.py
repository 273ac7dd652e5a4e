"""Several processes on one folder, killed at random: each output once and whole."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests import videos

COUNT = 60
KILLS = 10
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty short videos in three folders with equal names inside."""
    top = tmp_path_factory.mktemp("sixty")
    one = videos.make(top / "seed.mp4", seconds=1.2, size=(96, 64), fps=10)
    for i in range(COUNT):
        place = top / "in" / str(i % 3)
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(one, place / f"v{i // 3:02}.mp4")
    return top / "in"


def _start(folder: Path, out: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.e2e.extract_child", str(folder), str(out), *more]
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path})


def _records(out: Path) -> list[dict]:
    lines = []
    for path in sorted((out / ".twinreel").glob("status-*.jsonl")):
        for line in path.read_text().splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                continue  # a line that the kill cut short
    return sorted(lines, key=lambda r: r["when"])


def _done(out: Path) -> int:
    return len(list(out.rglob("*.npy")))


@pytest.mark.parametrize("processes", [2, 4])
def test_each_output_once_and_whole(processes: int, folder: Path, tmp_path: Path) -> None:
    out, dice = tmp_path / "out", random.Random(processes)
    out.mkdir()
    running = [_start(folder, out, "--slow", "0.05") for _ in range(processes)]
    kills = 0
    limit = time.monotonic() + 600
    while kills < KILLS and time.monotonic() < limit:
        # At a moment when the run is under way, not while Python starts.
        target = (kills + 1) * COUNT // (KILLS + 2) + dice.randrange(-2, 3)
        while _done(out) < target and any(p.poll() is None for p in running):
            time.sleep(0.01)
        alive = [i for i, p in enumerate(running) if p.poll() is None]
        assert alive, "the run ended before the last kill"
        victim = dice.choice(alive)
        running[victim].send_signal(signal.SIGKILL)
        running[victim].wait()
        kills += 1
        running[victim] = _start(folder, out, "--slow", "0.05")
    for process in running:
        assert process.wait(300) == 0
    assert kills == KILLS
    _check(folder, out)


def _check(folder: Path, out: Path) -> None:
    names = sorted(str(p.relative_to(folder)) + ".npy" for p in folder.rglob("*.mp4"))
    assert len(names) == COUNT
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*.npy")) == names
    for name in names:
        array = np.load(out / name)
        words = json.loads((out / f"{name}.json").read_text())
        assert list(array.shape) == words["shape"] == [1, 100] and np.isfinite(array).all()
    # Nothing half written is left, and no claim.
    assert not [p for p in out.rglob("*") if ".part-" in p.name]
    assert not [p for p in (out / ".twinreel" / "claims").iterdir() if not p.name.startswith(".")]
    # A video was begun again only where its owner was killed with it in hand.
    ended = {p.name.removeprefix("ended-") for p in out.glob("ended-*")}
    records = _records(out)
    computed = Counter(r["name"] for r in records if r.get("computed"))
    assert all(n == 1 for n in computed.values()), "a video was computed twice"
    finished = {(r["name"], r["by"]) for r in records if r.get("computed")}
    lost: Counter[str] = Counter()
    for record in records:
        if record["state"] == "started" and (record["name"], record["by"]) not in finished:
            assert record["by"] not in ended, "begun twice without a kill"
            lost[record["by"]] += 1
    # What a kill can lose: one video per decoder and those that wait for a full batch.
    assert max(lost.values(), default=0) <= 24


def test_half_written_files_are_not_taken_for_outputs(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    few = tmp_path / "few"
    few.mkdir()
    shutil.copy(next(folder.rglob("*.mp4")), few / "a.mp4")
    assert _start(few, out).wait(120) == 0
    whole = (out / "a.mp4.npy").read_bytes()
    (out / "a.mp4.npy").write_bytes(whole[: len(whole) // 2])
    assert _start(few, out).wait(120) == 0
    failed = [r for r in _records(out) if r["state"] == "failed"]
    assert failed and "not a whole npy file" in failed[-1]["reason"]
    (out / "a.mp4.npy").unlink()
    assert _start(few, out).wait(120) == 0
    assert (out / "a.mp4.npy").read_bytes() == whole


@pytest.mark.parametrize("fmt", ["npz", "safetensors", "tar", "parquet"])
def test_other_formats_resume_too(fmt: str, folder: Path, tmp_path: Path) -> None:
    if fmt == "parquet":
        pytest.importorskip("pyarrow")
    out = tmp_path / "out"
    both = [_start(folder, out, "--format", fmt) for _ in range(2)]
    assert [p.wait(300) for p in both] == [0, 0]
    computed = Counter(r["name"] for r in _records(out) if r.get("computed"))
    assert len(computed) == COUNT and set(computed.values()) == {1}
    assert _start(folder, out, "--format", fmt).wait(120) == 0
    again = Counter(r["name"] for r in _records(out) if r.get("computed"))
    assert again == computed


def test_one_manifest_for_all(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert _start(folder, out, "--meta", "manifest").wait(300) == 0
    lines = [json.loads(x) for x in (out / "manifest.jsonl").read_text().splitlines()]
    assert len(lines) == COUNT and not list(out.rglob("*.npy.json"))
    assert _start(folder, out, "--meta", "manifest").wait(300) == 0
    assert sum(bool(r.get("computed")) for r in _records(out)) == COUNT
