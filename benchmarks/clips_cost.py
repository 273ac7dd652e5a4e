"""What comparing costs with --clips, where no pair is left out for its length.

    python -m benchmarks.clips_cost --base base.npy [--videos 250,500,1000,2000]

Libraries of synthetic videos (scale.py makes `base.npy` and tells how such videos are drawn), at
the moments that --clips looks at, of 4 s to 10 minutes, the median 55 s. In every tenth lie 5 to
15 seconds of another, as like it as real copies are. Measured is the stage `compare` of `dups
--clips`, each library in a process of its own; the limit at 1,000 videos is 60 s and 1.5 GB on two
cores. Memory is that of the process and of those it starts.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import footage
from benchmarks.scale import NEXT, SIMILARITY, _unit, say
from twinreel import models
from twinreel.discover import Discovery
from twinreel.options import DupsOptions, gather
from twinreel.pipeline import Run
from twinreel.progress import Progress
from twinreel.sample import plan
from twinreel.store import Facts, Library
from twinreel.types import Features, VideoFile, VideoInfo

LIMIT_S, LIMIT_GB, LIMIT_AT = 60.0, 1.5, 1000
PLANTED = 10  # every so manieth video holds a clip of another


class Drawn:
    """Videos one after the other, as (seconds of the moments, vectors)."""

    def __init__(self, base: Path, options: DupsOptions) -> None:
        self._real = np.load(base).astype(np.float32)
        self._dim = self._real.shape[1]
        covariance = np.cov(self._real.T) + 1e-6 * np.eye(self._dim)
        self._spread = np.linalg.cholesky(covariance).T.astype(np.float32)
        self._dice = np.random.default_rng(7)
        self._options = options.sample

    def _noise(self, rows: int) -> Any:
        made = self._dice.standard_normal((rows, self._dim)).astype(np.float32) @ self._spread
        return _unit(made)

    def video(self) -> tuple[float, Any, Any]:
        """Duration in seconds, spans (n, 2), vectors (n, d)."""
        duration = float(np.clip(np.exp(self._dice.normal(4.0, 1.0)), 4.0, 600.0))
        moments = plan(duration, self._options)
        steps = self._noise(len(moments.times_s))
        two = self._real[self._dice.integers(len(self._real), size=2)].sum(axis=0)
        at = _unit(two + steps[0])
        rows = [at]
        for step in steps[1:]:
            rows.append(at := _unit(NEXT * at + (1 - NEXT**2) ** 0.5 * step))
        spans = np.stack([moments.times_s, moments.times_s + moments.step_s], axis=1)
        return duration, spans, np.stack(rows)

    def plant(self, source: Any, into: Any) -> None:
        """Put 5 to 15 seconds of one video (spans, vectors) into another, in place."""
        (spans, rows), (spans_to, rows_to) = source, into
        seconds = min(float(self._dice.uniform(5, 15)), spans[-1, 1], spans_to[-1, 1])
        start, there = (self._dice.uniform(0, s[-1, 1] - seconds) for s in (spans, spans_to))
        at = np.nonzero((spans_to[:, 0] >= there) & (spans_to[:, 1] <= there + seconds))[0]
        of = np.searchsorted(spans[:, 0], spans_to[at, 0] - there + start, "right") - 1
        like = np.interp(self._dice.uniform(0, 100), *zip(*SIMILARITY, strict=True))
        mine = rows[of]
        aside = self._noise(len(of))
        aside = _unit(aside - (aside * mine).sum(axis=1, keepdims=True) * mine)
        rows_to[at] = like * mine + math.sqrt(1 - like * like) * aside


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
    drawn, planted, moments = Drawn(args.base, options), [], 0
    made = [drawn.video() for _ in range(videos)]
    for n in range(PLANTED, videos, PLANTED):
        drawn.plant(made[n - 1][1:], made[n][1:])
        planted.append((files[n - 1].key, files[n].key))
    with Library.open(path) as library:
        run = Run(library, options, found, Progress(False), spec=models.get("twin.v1"))
        run.name_model()
        for file, (duration, spans, vectors) in zip(files, made, strict=True):
            blank = np.zeros(len(vectors), bool)
            key = file.key or ""
            f = Features(key, run.model, run.sampling, vectors, spans, blank, duration)
            info = VideoInfo(duration, 320, 180, 320, 180, "h264")
            library.put_look(Facts(info, float(spans[0, 1]), len(vectors), len(vectors)), f)
            moments += len(vectors)
        library.put_files(files, {}, "2026-01-01T00:00:00Z")
        del made
        run.identify()
        print("ready", flush=True)
        begun, cpu = time.perf_counter(), time.process_time()
        run.score()
        took, cpu = time.perf_counter() - begun, time.process_time() - cpu
        run.select()
        met = sum(tuple(sorted(p)) in run.matches for p in planted)
        others = len(run.matches) - met
    print(f"{moments} {took:.2f} {cpu:.2f} {met} {len(planted)} {others}", flush=True)


def measure(args: argparse.Namespace, videos: int) -> tuple[float, float]:
    """One library in a process of its own: seconds, gigabytes."""
    command = [
        sys.executable, "-m", "benchmarks.clips_cost", "--base", str(args.base), "--one",
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
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--videos", default="250,500,1000,2000")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--one", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        one(args, args.one)
        return 0
    say(f"{footage.machine()}\n")
    say("| videos | moments | compare, s | main process, s | GB | planted clips | other matches |")
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
