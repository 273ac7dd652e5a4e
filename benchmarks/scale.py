"""Libraries of 10^4, 10^5 and 10^6 videos: how long a search takes, what memory, what it finds.

    python -m benchmarks.scale describe PHOTOS --base base.npy     # real descriptors to draw from
    python -m benchmarks.scale search --base base.npy --videos 100000 --rows 24
    python -m benchmarks.scale new --base base.npy --videos 100000 --new 1000
    python -m benchmarks.scale crowd --videos 226000 --crowd 46000
    python -m benchmarks.scale rescan --files 100000

A synthetic video begins at a real descriptor of a photograph, moved by noise of the real
descriptors' covariance, and goes on from moment to moment as real ones do. Every tenth is a planted
copy of another: as far from it as the true copies of the scoreboard's train split are (SIMILARITY),
half of that the same way in all its moments, half in each its own. No threads but what --threads
says; memory is the peak of this process by the kernel's count, without and with mapped files.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import footage
from twinreel import ann, models
from twinreel.cluster import clusters
from twinreel.compare import Calibration, Shelf, best_moments, candidates, compare
from twinreel.types import Features, Match

# Mean similarity of aligned moments of 190 true pairs of the scoreboard's train split, by
# percentile (twin.v1, 2026-11-22), and how like a moment is to the next (median).
SIMILARITY = ((0, 0.608), (5, 0.669), (10, 0.713), (25, 0.791), (50, 0.9), (75, 0.978), (100, 1.0))
NEXT = 0.91
COPIES = 0.1
ALIKE = 0.6  # edges of the clustering step: best moments this similar


class Synthetic:
    """A library of `count` videos of `rows` moments, in one float16 file. A source for ann.py."""

    def __init__(self, base: Path, count: int, rows: int, folder: Path, dim: int = 512) -> None:
        self.rows, self.dim = rows, dim
        dice = np.random.default_rng(count)
        copies = int(count * COPIES)
        contents = count - copies
        of = np.concatenate([np.arange(contents), dice.choice(contents, copies, replace=False)])
        lengths = np.exp(dice.normal(4.0, 1.0, contents))
        durations = lengths[of] * np.where(
            np.arange(count) < contents, 1.0, dice.uniform(0.97, 1.03, count)
        )
        order = np.argsort(durations, kind="stable")
        self.durations = durations[order]
        self.content = of[order]
        self.is_copy = order >= contents
        self.similarity = np.where(
            self.is_copy, np.interp(dice.uniform(0, 100, count), *zip(*SIMILARITY, strict=True)), 1
        )
        self.keys: Sequence[str] = [f"{n:08}" for n in range(count)]
        path = folder / f"{count}-{rows}.npy"
        if not path.exists():
            self._make(np.load(base).astype(np.float32), path)
        self._map = np.load(path, mmap_mode="r")

    def _make(self, real: Any, path: Path) -> None:
        out = np.lib.format.open_memmap(
            path.with_suffix(".part"), "w+", np.float16, (len(self.keys) * self.rows, self.dim)
        )
        spread = np.linalg.cholesky(np.cov(real.T) + 1e-6 * np.eye(self.dim)).T.astype(np.float32)

        def noise(dice: Any, n: int) -> Any:
            return _unit(dice.standard_normal((n, self.dim), np.float32) @ spread)

        for i, content in enumerate(self.content.tolist()):
            dice = np.random.default_rng(content)
            at = _unit(real[dice.integers(len(real))] + noise(dice, 1)[0])
            steps = noise(dice, self.rows)
            moments = np.empty((self.rows, self.dim), np.float32)
            for n in range(self.rows):
                moments[n] = at
                at = _unit(NEXT * at + (1 - NEXT**2) ** 0.5 * steps[n])
            if self.is_copy[i]:
                s = self.similarity[i]
                aside = _unit(noise(dice, 1) + noise(dice, self.rows))
                aside = _unit(aside - (aside * moments).sum(1, keepdims=True) * moments)
                moments = s * moments + (1 - s * s) ** 0.5 * aside
            out[i * self.rows : (i + 1) * self.rows] = moments
        out.flush()
        os.replace(path.with_suffix(".part"), path)

    def get(self, number: int) -> Features:
        vectors = self._map[number * self.rows : (number + 1) * self.rows].astype(np.float32)
        length = float(self.durations[number])
        edges = np.linspace(0, length, self.rows + 1)
        return Features(
            self.keys[number], "synthetic", "synthetic", vectors,
            np.stack([edges[:-1], edges[1:]], axis=1), np.zeros(self.rows, bool), length,
        )  # fmt: skip

    def laid(self, numbers: Sequence[int]) -> tuple[Any, Any]:
        at = np.asarray(numbers)[:, None] * self.rows + np.arange(self.rows)
        starts = np.arange(len(numbers)) * self.rows
        return self._map[at.ravel()].astype(np.float32), starts

    def planted(self) -> list[tuple[int, int]]:
        """(original, copy) of every planted copy, as numbers."""
        first = {int(c): i for i, c in enumerate(self.content.tolist()) if not self.is_copy[i]}
        return [(first[int(self.content[i])], int(i)) for i in np.nonzero(self.is_copy)[0]]


def _unit(v: Any) -> Any:
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-9)


class Watch:
    """Time and peak memory of a part of the run.

    with Watch("build") as watch: ...
    """

    lines: list[str] = []

    def __init__(self, name: str) -> None:
        self.name, self.peak, self.mapped = name, 0, 0
        self._over = threading.Event()

    def _look(self) -> None:
        while not self._over.wait(0.1):
            self._read()

    def _read(self) -> None:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                self.peak = max(self.peak, int(line.split()[1]) * 1024)
            elif line.startswith("VmRSS:"):
                self.mapped = max(self.mapped, int(line.split()[1]) * 1024)

    def __enter__(self) -> Watch:
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        self._since, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall = time.perf_counter() - self._since
        self.cpu = time.process_time() - self._cpu
        self._over.set()
        self._thread.join()
        self._read()
        say(
            f"{self.name}: {self.wall:.1f} s by the clock, {self.cpu:.1f} s of processor, "
            f"{self.peak / 1e9:.2f} GB ({self.mapped / 1e9:.2f} GB with mapped files)"
        )


def say(words: str) -> None:
    """Print a line and keep it for the results."""
    print(words, flush=True)
    Watch.lines.append(words)


def calibration() -> Calibration:
    """The default model's own."""
    return Calibration(**models.get("twin.v1").extra["calibration"])


TOLERANCE = (0.0, 0.55)


def search(args: argparse.Namespace) -> None:
    """Build, check, ask for every video's neighbours, cluster."""
    rule = calibration()
    with Watch(f"make {args.videos} videos of {args.rows} moments"):
        source = Synthetic(args.base, args.videos, args.rows, args.work)
    with Watch("index"):
        index = ann.Index.build(source, args.threads)
    say(f"  {index.words}")
    with Watch("self-check"):
        said = index.check(source, rule, TOLERANCE, args.check)
    say(f"  {said}")
    found: list[tuple[int, int, float]] = []
    known = np.ones(args.videos, bool)
    asked = 0
    with Watch("search"):
        for i, near in ann.neighbours(source, index, range(args.videos), known, TOLERANCE, rule):
            asked += len(near)
            found += [
                (i, j, s) for j, s in near if s >= ALIKE or source.content[i] == source.content[j]
            ]
    say(f"  {asked / args.videos:.1f} candidates a video, of at most {ann.NEAR}")
    pairs = {(min(i, j), max(i, j)): s for i, j, s in found}
    planted = [(min(p), max(p)) for p in source.planted()]
    passing = [
        p for p in planted if best_moments(source.get(p[0]), source.get(p[1])) >= rule.candidate
    ]
    hits = sum(p in pairs for p in planted)
    say(
        f"  planted copies: {hits} of {len(planted)} found ({hits / len(planted):.2%}); "
        f"{len(passing)} of them pass the exact rule, {hits / max(1, len(passing)):.2%} of those"
    )
    for low, high in ((0.6, 0.7), (0.7, 0.8), (0.8, 0.9), (0.9, 1.01)):
        band = [p for p in planted if low <= min(source.similarity[list(p)]) < high]
        got = sum(p in pairs for p in band)
        say(
            f"    of similarity {low} to {min(high, 1.0)}: {got} of {len(band)} ({got / max(1, len(band)):.2%})"
        )
    with Watch("cluster"):
        edges = (
            Match(source.keys[a], source.keys[b], min(1.0, s), "copy")
            for (a, b), s in pairs.items()
            if s >= ALIKE
        )
        groups = clusters(source.keys, edges, 1 - ALIKE, 2)
    say(f"  {len(groups)} clusters at {ALIKE} of best moments")
    if args.exact:
        shelf = Shelf([source.get(i) for i in range(args.videos)])
        with Watch("exact search of every pair"):
            every = {
                (a.key, b.key) for a, b in candidates(shelf, set(source.keys), TOLERANCE, rule)
            }
        place = {k: i for i, k in enumerate(source.keys)}
        both = {tuple(sorted((place[a], place[b]))) for a, b in every}
        got = {p for p in both if p in pairs}
        alike = [p for p in both if best_moments(source.get(p[0]), source.get(p[1])) >= ALIKE]
        held = sum(p in pairs for p in alike)
        say(
            f"  {len(both)} pairs pass its rule; of the {len(alike)} at {ALIKE} or more the index "
            f"found {held} ({held / max(1, len(alike)):.2%})"
        )
    sample = random.Random(0).sample(sorted(pairs), min(200, len(pairs)))
    begun = time.perf_counter()
    for a, b in sample:
        compare(source.get(a), source.get(b), rule)
    say(
        f"  aligning a pair takes {(time.perf_counter() - begun) / max(1, len(sample)) * 1e3:.2f} ms"
    )


def new(args: argparse.Namespace) -> None:
    """A few new videos against many known ones, exactly and by the index."""
    rule = calibration()
    source = Synthetic(args.base, args.videos, args.rows, args.work)
    drawn = sorted(random.Random(0).sample(range(args.videos), args.new))
    known = np.ones(args.videos, bool)
    with Watch(f"index of {args.videos}"):
        index = ann.Index.build(source, args.threads)
    with Watch(f"{args.new} new by the index"):
        got = {
            tuple(sorted((i, j)))
            for i, near in ann.neighbours(source, index, drawn, known, TOLERANCE, rule)
            for j, _ in near
        }
    if args.exact:
        shelf = Shelf([source.get(i) for i in range(args.videos)])
        for count in (args.new // 4, args.new):
            keys = {source.keys[i] for i in drawn[:count]}
            with Watch(f"{count} new, every pair"):
                pairs = sum(1 for _ in candidates(shelf, keys, TOLERANCE, rule))
            say(f"  {pairs} candidates")
    say(f"  {len(got)} candidates by the index")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("describe", "search", "new", "crowd", "rescan"))
    parser.add_argument("photos", nargs="?", type=Path)
    parser.add_argument("--base", type=Path, default=Path("base.npy"))
    parser.add_argument("--videos", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=24)
    parser.add_argument("--new", type=int, default=1000)
    parser.add_argument("--crowd", type=int, default=46_000)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--exact", action="store_true")
    parser.add_argument("--check", type=float, default=4e12)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--out", type=Path, help="append the lines to this file")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        args.work = args.work or Path(temporary)
        args.work.mkdir(parents=True, exist_ok=True)
        say(f"{footage.machine()}; {args.threads or os.cpu_count()} threads")
        {"search": search, "new": new}[args.what](args)
    if args.out:
        with open(args.out, "a") as file:
            file.write("\n".join(Watch.lines) + "\n\n")


if __name__ == "__main__":
    main()
