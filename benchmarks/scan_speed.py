"""How close `dups` comes to the work that nobody can avoid.

    python -m benchmarks.scan_speed --clips DIR [--jobs 2] [--seconds 60] [--repeat 3] [--out FILE]

In one run, with the same number of processes, on small clips (the given ones as hard copies under
other content keys, until the bare work takes `--seconds`) and on long 1080p films (the clips
joined, re-encoded and looped):

    decode     PyAV alone decodes the frames that `dups` samples, by plain code in this file: small
               clips read on to the last one, films by seeks
    forward    the network alone on as many batches of as many frames
    start-up   the command on two small copies of two seconds, which loads all there is to load,
               less the bare work on them
    look       `library check` on a cold library: all of `dups` up to the descriptors
    dups       `dups` on a cold library
    ratio      (dups - start-up) / (decode + forward); the limit is 1.2

Every clip matches its own hard copies, so the report holds a group for each: comparing, choosing
what to keep and listening, which a library of unlike videos hardly needs, are paid for every file.
What that is stands between the ratio of `look` and that of `dups`.

Medians of `--repeat` rounds, in seconds by the clock and of processor time: on a busy machine only
the second tells something. The network runs on the same number of threads both times.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

from benchmarks import footage
from twinreel import models
from twinreel.jobs import _leave_cores_to_decoding
from twinreel.options import EXTENSIONS, SampleOptions
from twinreel.probe import probe
from twinreel.sample import plan

LIMIT = 1.2


@dataclass(frozen=True)
class Cost:
    """Seconds by the clock and of processor time (this process and its children)."""

    wall: float
    cpu: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.wall + other.wall, self.cpu + other.cpu)

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.wall - other.wall, self.cpu - other.cpu)


def median(costs: Sequence[Cost]) -> Cost:
    """Of the clock and of processor time, each by itself."""
    return Cost(*(statistics.median(getattr(c, of) for c in costs) for of in ("wall", "cpu")))


def measured(work: Callable[[], Any]) -> Cost:
    def cpu() -> float:
        who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, who))

    cpu0, wall0 = cpu(), time.perf_counter()
    work()
    return Cost(time.perf_counter() - wall0, cpu() - cpu0)


# -- the bare work --------------------------------------------------------------------------------


def read_on(path: str, times: Sequence[float]) -> int:
    """Decode from the start up to the frame shown at the last moment."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        start = float((stream.start_time or 0) * (stream.time_base or 1))
        left, got = list(times), 0
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                continue
            for frame in frames:
                while left and frame.time is not None and frame.time - start >= left[0] - 1e-6:
                    left.pop(0)
                    got += 1
                if not left:
                    return got
        return got + len(left)


def seek(path: str, times: Sequence[float]) -> int:
    """Seek to each moment and decode on from the key frame before it."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        base = stream.time_base
        start = float((stream.start_time or 0) * (base or 1))
        got = 0
        for t in times:
            if t and base:
                container.seek(int((t + start) / base), stream=stream, backward=True)
            for frame in container.decode(stream):
                if frame.time is None or frame.time - start >= t - 1e-6:
                    got += 1
                    break
        return got


WAYS = {"read on": read_on, "seek": seek}


def _process(way: str, tasks: Any, begin: Any, ready: Any, cpu: Any) -> None:
    av.logging.set_level(None)
    ready.release()
    begin.wait()
    before = time.process_time()
    while (task := tasks.get()) is not None:
        WAYS[way](*task)
    with cpu.get_lock():
        cpu.value += time.process_time() - before


def bare_decode(way: str, tasks: Sequence[tuple[str, list[float]]], jobs: int) -> Cost:
    """The same frames out of the same files in as many processes, which are up already."""
    context = multiprocessing.get_context("spawn")
    queue, begin, ready = context.SimpleQueue(), context.Event(), context.Semaphore(0)
    cpu = context.Value("d", 0.0)
    workers = [
        context.Process(target=_process, args=(way, queue, begin, ready, cpu)) for _ in range(jobs)
    ]
    for worker in workers:
        worker.start()
    for _ in workers:
        ready.acquire()
    started = time.perf_counter()
    begin.set()
    for task in [*tasks, *[None] * jobs]:
        queue.put(task)
    for worker in workers:
        worker.join()
    return Cost(time.perf_counter() - started, cpu.value)


def bare_forward(model: str, frames: int, batch: int) -> Cost:
    """The network on `frames` pictures in full batches, loaded and warmed up before."""
    _leave_cores_to_decoding()
    spec = models.get(model)
    network = models.load(spec)
    pixels = np.random.default_rng(0).integers(0, 256, (batch, *spec.size, 3), np.uint8)
    network(pixels)

    def work() -> None:
        left = frames
        while left > 0:
            network(pixels[: min(left, batch)])
            left -= batch

    return measured(work)


# -- the command ----------------------------------------------------------------------------------


def command(verb: Sequence[str], folder: Path, home: Path, model: str, jobs: int) -> Cost:
    """A verb on a cold library, in a process of its own."""
    library = home / f"{folder.name}.db"
    for stale in home.glob(f"{library.name}*"):
        stale.unlink()
    words = [
        sys.executable, "-m", "twinreel", *verb, str(folder), "--library", str(library),
        "-q", "--model", model, "-j", str(jobs), "--nice", "0",
    ]  # fmt: skip
    return measured(lambda: subprocess.run(words, check=False))


def dups(folder: Path, home: Path, model: str, jobs: int) -> tuple[Cost, dict[str, Any]]:
    """`dups` and its report."""
    report = home / f"{folder.name}.json"
    report.unlink(missing_ok=True)
    cost = command(["dups", "-o", str(report)], folder, home, model, jobs)
    return cost, json.loads(report.read_text())


@dataclass(frozen=True)
class Round:
    """What one round over one kind of video cost."""

    decode: Cost
    forward: Cost
    startup: Cost
    startup_of_look: Cost
    look: Cost
    dups: Cost

    def ratio(self, clock: str, what: str = "dups") -> float:
        """Of `dups`, or of `look`, to the bare work."""
        startup = self.startup if what == "dups" else self.startup_of_look
        work, bare = getattr(self, what) - startup, self.decode + self.forward
        return float(getattr(work, clock) / getattr(bare, clock))


@dataclass(frozen=True)
class Result:
    """One kind of video, measured."""

    kind: str
    files: int
    frames: int
    groups: int
    way: str
    rounds: tuple[Round, ...]

    def cost(self, what: str) -> Cost:
        return median([getattr(r, what) for r in self.rounds])

    def ratio(self, clock: str, what: str = "dups") -> float:
        return statistics.median(r.ratio(clock, what) for r in self.rounds)

    @property
    def per_minute(self) -> float:
        return 60 * self.files / (self.cost("dups") - self.cost("startup")).wall

    def line(self) -> str:
        about = (self.kind, self.files, self.frames, self.groups, f"{self.per_minute:.0f}")
        cells = [*map(str, about), self.way]
        for what in ("decode", "forward", "startup", "look", "dups"):
            cost = self.cost(what)
            cells.append(f"{cost.wall:.1f} / {cost.cpu:.1f}")
        for what in ("look", "dups"):
            cells.append(f"{self.ratio('wall', what):.2f} / {self.ratio('cpu', what):.2f}")
        return "| " + " | ".join(cells) + " |"


COLUMNS = (
    "videos", "files", "frames", "groups", "files/min", "bare way", "decode s", "forward s",
    "start-up s", "look s", "dups s", "ratio of look", "ratio of dups",
)  # fmt: skip
HEAD = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}"


def tasks_of(folder: Path) -> list[tuple[str, list[float]]]:
    """(file, sampled moments) of every video that can be probed."""
    out = []
    for path in sorted(folder.iterdir()):
        info = probe(str(path))
        if info.duration_s:
            out.append((str(path), plan(info.duration_s, SampleOptions()).times_s.tolist()))
    return out


def measure(kind: str, folder: Path, home: Path, model: str, jobs: int, repeat: int) -> Result:
    """Bare work, start-up, `look` and `dups` on one folder, `repeat` times by turns."""
    tasks, small = tasks_of(folder), two_copies(home)
    # Seeking was 5.6 times dearer than reading on for small clips, and saves nearly all of a film.
    way = "seek" if kind == "films" else "read on"
    rounds: list[Round] = []
    frames = sum(len(times) for _, times in tasks)
    groups = 0
    for _ in range(repeat):
        decode = bare_decode(way, tasks, jobs)
        forward = bare_forward(model, frames, 64)
        tiny = bare_decode(way, tasks_of(small), jobs)
        tiny += bare_forward(model, sum(len(times) for _, times in tasks_of(small)), 64)
        startup, told = dups(small, home, model, jobs)
        if len(told["groups"]) != 1:
            print("note: the two small copies were not grouped", file=sys.stderr)
        check = ["library", "check"]
        startup_of_look = command(check, small, home, model, jobs)
        look = command(check, folder, home, model, jobs)
        cost, report = dups(folder, home, model, jobs)
        groups = len(report["groups"])
        looked = [v for v in report["videos"] if v["width"]]
        if len(looked) != len(tasks):
            print(f"note: {len(tasks)} files, {len(looked)} looked at", file=sys.stderr)
        starts = (startup - tiny, startup_of_look - tiny)
        rounds.append(Round(decode, forward, *starts, look, cost))
    return Result(kind, len(tasks), frames, groups, way, tuple(rounds))


def two_copies(home: Path) -> Path:
    """A folder with a video of two seconds and its copy."""
    folder = home / "two"
    if not folder.exists():
        folder.mkdir()
        first = folder / "a.mp4"
        footage.encode(footage.painted(2.0, 25, (160, 96), 0), first, (160, 96), 25)
        footage.hard_copy(first, folder / "b.mp4", 1)
    return folder


def small_clips(clips: Sequence[Path], home: Path, jobs: int, model: str, seconds: float) -> Path:
    """The clips as often as makes the bare work take `seconds`."""
    folder = home / "small"
    folder.mkdir()
    for clip in clips:
        shutil.copy(clip, folder / clip.name)
    tasks = tasks_of(folder)
    once = bare_decode("read on", tasks, jobs).cpu / jobs
    once += bare_forward(model, sum(len(t) for _, t in tasks), 64).wall
    for n in range(1, max(1, math.ceil(seconds / once))):
        for clip in clips:
            footage.hard_copy(clip, folder / f"{clip.stem}-{n}{clip.suffix}", 1000 * n)
    return folder


def films(clips: Sequence[Path], home: Path, count: int, minutes: float) -> Path:
    """`count` films of `minutes` in 1080p: clips joined and re-encoded once, then looped."""
    folder = home / "films"
    folder.mkdir()
    for n in range(count):
        first = clips[n :: count]
        reel = footage.encode(
            footage.pictures(first, 40, 25), home / f"reel{n}.mp4", footage.FILM, 25
        )
        footage.looped(reel, folder / f"film{n}.mp4", 60 * minutes)
    return folder


def main() -> None:
    root = Path(__file__).parents[1]
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=Path, default=root.parent / "shared/corpus/videos")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--films", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--model", default=models.default())
    parser.add_argument("--only", choices=["small", "films"])
    parser.add_argument("--work", type=Path, help="keep the videos here")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if not args.clips.is_dir():
        sys.exit(f"{args.clips}: no such folder; name one with videos by --clips")
    endings = {f".{e}" for e in EXTENSIONS}
    clips = sorted(p for p in args.clips.iterdir() if p.suffix.lower() in endings)
    av.logging.set_level(None)
    head = f"{footage.machine()}\n\nmodel {args.model}, {args.jobs} processes, "
    head += f"medians of {args.repeat}; seconds and ratios by the clock / of processor time"
    print(f"{head}\n\n{HEAD}", flush=True)
    lines = []
    with tempfile.TemporaryDirectory() as temporary:
        home = args.work or Path(temporary)
        home.mkdir(exist_ok=True)
        for kind in ("small", "films"):
            if args.only not in (None, kind):
                continue
            if (home / kind).exists():
                folder = home / kind
            elif kind == "small":
                folder = small_clips(clips, home, args.jobs, args.model, args.seconds)
            else:
                folder = films(clips, home, args.films, args.minutes)
            result = measure(kind, folder, home, args.model, args.jobs, args.repeat)
            print(result.line(), flush=True)
            lines.append(result)
    worst = {clock: max(r.ratio(clock) for r in lines) for clock in ("wall", "cpu")}
    said = {clock: "kept" if ratio <= LIMIT else "BROKEN" for clock, ratio in worst.items()}
    verdict = f"limit {LIMIT}: by the clock {said['wall']}, by processor time {said['cpu']}"
    print(f"\n{verdict}")
    if args.out:
        text = "\n".join([head, "", HEAD, *(r.line() for r in lines), "", verdict, ""])
        args.out.write_text(text)
    sys.exit(0 if min(worst.values()) <= LIMIT else 1)


if __name__ == "__main__":
    main()
