"""What comparing costs with --clips, where no pair is left out for its length.

    twinreel dups CLIPS --clips --library clips.db
    python -m benchmarks.clips_cost clips.db [--videos 250,500,1000,2000]

Libraries generated around real clips, at the moments that --clips looks at: each video is a clip's
row of descriptors, mirrored at some of the principal axes of all of them. It changes as the clip
does, and lies among the others as clips do, but is like none of them. In every tenth lie 5 to 15
seconds of another, as like it as real copies are. Measured is the stage `compare` of `dups
--clips`, each library in a process of its own; the limit at 1,000 videos is 60 s and 1.5 GB on two
cores. Memory is that of the process and of those it starts. Closer looks are not made: there is no
file.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks import footage
from benchmarks.scale import SIMILARITY, _unit, say
from twinreel import models
from twinreel.discover import Discovery
from twinreel.doubt import PIECES
from twinreel.options import DupsOptions, gather
from twinreel.pipeline import Run
from twinreel.progress import Progress
from twinreel.store import Facts, Library
from twinreel.types import Features, VideoFile, VideoInfo

LIMIT_S, LIMIT_GB, LIMIT_AT = 60.0, 1.5, 1000
PLANTED = 10  # every so manieth video holds a clip of another


class Drawn:
    """Videos one after the other, around those of a library."""

    def __init__(self, clips: list[Features]) -> None:
        self._clips = clips
        rows = np.concatenate([f.vectors[~f.blank] for f in clips])
        self._middle = rows.mean(axis=0)
        _, axes = np.linalg.eigh(np.cov((rows - self._middle).T))
        self._axes = axes.astype(np.float32)
        self._dice = np.random.default_rng(7)

    def video(self) -> Features:
        """A clip, mirrored."""
        clip = self._clips[self._dice.integers(len(self._clips))]
        sides = self._dice.choice(np.array([-1, 1], np.float32), self._axes.shape[1])
        there = (clip.vectors - self._middle) @ self._axes * sides
        return replace(clip, vectors=_unit(self._middle + there @ self._axes.T))

    def planted(self, source: Features, into: Features) -> Features:
        """A video with 5 to 15 seconds of another in the place of its own."""
        starts = into.spans_s[:, 0]
        seconds = min(float(self._dice.uniform(5, 15)), source.duration_s, into.duration_s)
        start, there = (
            self._dice.uniform(0, f.duration_s - seconds) if f.duration_s > seconds else 0.0
            for f in (source, into)
        )
        at = np.nonzero((starts >= there) & (into.spans_s[:, 1] <= there + seconds))[0]
        of = np.searchsorted(source.spans_s[:, 0], starts[at] - there + start, "right") - 1
        like = np.interp(self._dice.uniform(0, 100), *zip(*SIMILARITY, strict=True))
        mine, other = source.vectors[of], self.video().vectors
        aside = other[self._dice.integers(len(other), size=len(of))]
        aside = _unit(aside - (aside * mine).sum(axis=1, keepdims=True) * mine)
        vectors, blank = into.vectors.copy(), into.blank.copy()
        vectors[at] = like * mine + math.sqrt(1 - like * like) * aside
        blank[at] = source.blank[of]
        return replace(into, vectors=vectors, blank=blank)


def clips_of(path: Path, run: Run) -> list[Features]:
    """The features in a library that was filled with --clips, of the clips of 4 seconds or more."""
    with Library.open(path) as library:
        held = library.extents(run.model, run.sampling)
        keys = sorted(key for key, (seconds, _) in held.items() if seconds >= 4)
        found = list(library.all_features(run.model, run.sampling, keys))
    if not found:
        raise SystemExit(
            f"{path}: nothing that --clips looked at; run `twinreel dups CLIPS --clips`"
        )
    return [f for f in found if not f.blank.all()]


def peak(pids: list[int]) -> float:
    """Bytes that processes hold together, without mapped files."""
    total = 0
    for pid in pids:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        total += sum(int(x.split()[1]) for x in status.splitlines() if x.startswith("RssAnon"))
    return total * 1024.0


def one(args: argparse.Namespace, videos: int) -> None:
    """Fill a library, compare, print seconds and what was found; the parent measures memory."""
    path = args.work / f"clips-{videos}.db"
    options = gather(
        {"library": str(path), "clips": True, "contained": True, "jobs": args.jobs, "nice": 0},
        DupsOptions,
    )
    files = [
        VideoFile(f"/films/{n:08}.mp4", 1000 + n, n, n, 1, "", f"{n:032x}") for n in range(videos)
    ]
    found = Discovery(tuple(files), {}, (), ("/films",))
    with Library.open(path) as library:
        run = Run(library, options, found, Progress(False), spec=models.get("twin.v1"))
        run.name_model()
        drawn = Drawn(clips_of(args.clips, run))
        made = [replace(drawn.video(), key=file.key or "") for file in files]
        planted = []
        for n in range(PLANTED, videos, PLANTED):
            made[n] = drawn.planted(made[n - 1], made[n])
            planted.append((made[n - 1].key, made[n].key))
        for f in made:
            info = VideoInfo(f.duration_s, 320, 180, 320, 180, "h264")
            step = float(f.spans_s[0, 1] - f.spans_s[0, 0])
            library.put_look(Facts(info, step, len(f.vectors), len(f.vectors)), f)
        library.put_files(files, {}, "2026-01-01T00:00:00Z")
        moments = sum(len(f.vectors) for f in made)
        del made, drawn
        run.identify()
        print("ready", flush=True)
        begun, cpu = time.perf_counter(), time.process_time()
        run.score()
        took, cpu = time.perf_counter() - begun, time.process_time() - cpu
        met = {tuple(sorted((m.a, m.b))) for m in library.pairs(run.context, PIECES.least)}
        got = sum(tuple(sorted(p)) in met for p in planted)
    print(f"{moments} {took:.2f} {cpu:.2f} {got} {len(planted)} {len(met) - got}", flush=True)


def measure(args: argparse.Namespace, videos: int) -> tuple[float, float]:
    """One library in a process of its own: seconds, gigabytes."""
    command = [
        sys.executable, "-m", "benchmarks.clips_cost", str(args.clips), "--one",
        str(videos), "--work", str(args.work), "--jobs", str(args.jobs),
    ]  # fmt: skip
    most = 0.0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        while child.poll() is None:
            kids = Path(f"/proc/{child.pid}/task/{child.pid}/children")
            try:
                pids = [child.pid, *map(int, kids.read_text().split())]
            except OSError:
                pids = [child.pid]
            most = max(most, peak(pids))
            time.sleep(0.1)
        moments, took, cpu, met, planted, others = child.stdout.read().split()
    say(
        f"| {videos:,} | {int(moments):,} | {float(took):.1f} | {float(cpu):.1f} | "
        f"{most / 1e9:.2f} | {met} of {planted} | {others} |"
    )
    return float(took), most / 1e9


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("clips", type=Path, help="a library that `dups CLIPS --clips` filled")
    parser.add_argument("--videos", default="250,500,1000,2000")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--one", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        one(args, args.one)
        return 0
    say(f"{footage.machine()}\n")
    say(
        "| videos | moments | compare, s | main process, s | GB | planted clips | other pairs |"
    )
    say("|---:|---:|---:|---:|---:|---:|---:|")
    counts = [int(n) for n in args.videos.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        args.work = Path(folder)
        costs = [measure(args, n) for n in counts]
    if len(counts) > 1:
        grown = np.log(counts[-1] / counts[0])
        powers = [math.log(costs[-1][k] / costs[0][k]) / grown for k in (0, 1)]
        say(f"\ntime grows with the power {powers[0]:.2f}, memory with {powers[1]:.2f}")
    broken = [
        n
        for n, (took, size) in zip(counts, costs, strict=True)
        if n <= LIMIT_AT and (took > LIMIT_S or size > LIMIT_GB)
    ]
    say(f"limit {LIMIT_S:.0f} s and {LIMIT_GB} GB up to {LIMIT_AT:,} videos: "
        f"{'BROKEN at ' + str(broken) if broken else 'kept'}")  # fmt: skip
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
