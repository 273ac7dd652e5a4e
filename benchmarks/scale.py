"""Libraries of 10^4, 10^5 and 10^6 videos: how long a search takes, what memory, what it finds.

    python -m benchmarks.scale describe PHOTOS --base base.npy     # real descriptors to draw from
    python -m benchmarks.scale search --base base.npy --videos 100000 --rows 24
    python -m benchmarks.scale new --base base.npy --videos 100000 --new 1000
    python -m benchmarks.scale crowd --videos 226000 --crowd 46000
    python -m benchmarks.scale rescan --files 100000

A synthetic video begins at the mean of two real descriptors of photographs and as much noise of the
real descriptors' covariance, and goes on from moment to moment as real ones do. Every tenth is a
planted copy of another: as far from it as the true copies of the scoreboard's train split are
(SIMILARITY), half of that the same way in all its moments, half in each its own. No threads but
what --threads says; memory is the peak of this process by the kernel's count, without and with
mapped files.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import footage
from twinreel import ann, models
from twinreel.candidates import Shelf, best_moments, candidates
from twinreel.cluster import clusters
from twinreel.compare import Calibration, compare
from twinreel.discover import Discovery, discover
from twinreel.options import DupsOptions, gather
from twinreel.pipeline import Run
from twinreel.progress import Progress
from twinreel.store import Facts, Library
from twinreel.types import Features, Match, VideoFile, VideoInfo
from twinreel.vectors import wide

# Mean similarity of aligned moments of 190 true pairs of the scoreboard's train split, by
# percentile (twin.v1, 2026-11-22), and how like a moment is to the next (median).
SIMILARITY = ((0, 0.608), (5, 0.669), (10, 0.713), (25, 0.791), (50, 0.9), (75, 0.978), (100, 1.0))
# The same of whole videos in one vector, the mean of their moments: 70 pairs of that split, of all
# edits that leave a video whole (2026-11-25).
POOLED = ((0, 0.467), (5, 0.526), (10, 0.609), (25, 0.806), (50, 0.964), (75, 0.999), (100, 1.0))
NEXT = 0.91
COPIES = 0.1
BLOCK = 2048  # videos made at a time
PIECE = 25_000  # videos asked for between two notes of what is done
ALIKE = 0.6  # edges of the clustering step: best moments this similar


class Synthetic:
    """A library of `count` videos of `rows` moments, in one float16 file. A source for ann/."""

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
        table = POOLED if rows == 1 else SIMILARITY
        self.similarity = np.where(
            self.is_copy, np.interp(dice.uniform(0, 100, count), *zip(*table, strict=True)), 1
        )
        self.keys: Sequence[str] = [f"{n:08}" for n in range(count)]
        path = folder / f"{count}-{rows}.npy"
        if not path.exists():
            self._make(np.load(base).astype(np.float32), path)
        self._map = np.load(path, mmap_mode="r")

    def _make(self, real: Any, path: Path) -> None:
        """Contents first, then every video in its place, copies moved aside; in blocks."""
        spread = np.linalg.cholesky(np.cov(real.T) + 1e-6 * np.eye(self.dim)).T.astype(np.float32)
        dice = np.random.default_rng(7)
        rows, count = self.rows, int(self.content.max()) + 1

        def noise(n: int) -> Any:
            made = dice.standard_normal((n * rows, self.dim), np.float32) @ spread
            return _unit(made).reshape(n, rows, self.dim)

        def opened(name: Path, n: int) -> Any:
            return np.lib.format.open_memmap(name, "w+", np.float16, (n * rows, self.dim))

        contents = opened(path.with_suffix(".contents"), count)
        for first in range(0, count, BLOCK):
            n = min(BLOCK, count - first)
            steps = noise(n)
            two = real[dice.integers(len(real), size=n)] + real[dice.integers(len(real), size=n)]
            at = _unit(two + steps[:, 0])
            for k in range(rows):
                contents[first * rows + k : (first + n) * rows : rows] = at
                if k + 1 < rows:
                    at = _unit(NEXT * at + (1 - NEXT**2) ** 0.5 * steps[:, k + 1])
        out = opened(path.with_suffix(".part"), len(self.keys))
        for first in range(0, len(self.keys), BLOCK):
            some = slice(first, min(first + BLOCK, len(self.keys)))
            rows_of = self.content[some][:, None] * rows + np.arange(rows)
            moments = contents[rows_of.ravel()].astype(np.float32).reshape(-1, rows, self.dim)
            copies = np.nonzero(self.is_copy[some])[0]
            if len(copies):
                mine = _unit(moments[copies])
                aside = _unit(noise(len(copies))[:, :1] + noise(len(copies)))
                aside = _unit(aside - (aside * mine).sum(2, keepdims=True) * mine)
                s = self.similarity[some][copies][:, None, None]
                moments[copies] = s * mine + np.sqrt(1 - s * s) * aside
            out[some.start * rows : some.stop * rows] = moments.reshape(-1, self.dim)
        out.flush()
        path.with_suffix(".contents").unlink()
        os.replace(path.with_suffix(".part"), path)

    def get(self, number: int) -> Features:
        vectors = wide(self._map[number * self.rows : (number + 1) * self.rows])
        length = float(self.durations[number])
        edges = np.linspace(0, length, self.rows + 1)
        return Features(
            self.keys[number], "synthetic", "synthetic", vectors,
            np.stack([edges[:-1], edges[1:]], axis=1), np.zeros(self.rows, bool), length,
        )  # fmt: skip

    def laid(self, numbers: Sequence[int]) -> tuple[Any, Any]:
        at = np.asarray(numbers)[:, None] * self.rows + np.arange(self.rows)
        starts = np.arange(len(numbers)) * self.rows
        return wide(self._map[at.ravel()]), starts

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
        self.name = name
        self.cost = {"clock": 0.0, "processor": 0.0, "memory": 0.0, "mapped": 0.0}
        self._over = threading.Event()

    def _look(self) -> None:
        while not self._over.wait(0.1):
            self._read()

    def _read(self) -> None:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                self._up("memory", int(line.split()[1]) * 1024)
            elif line.startswith("VmRSS:"):
                self._up("mapped", int(line.split()[1]) * 1024)

    def _up(self, name: str, value: float) -> None:
        self.cost[name] = max(self.cost[name], value)

    def __enter__(self) -> Watch:
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        self._since, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.cost["clock"] = time.perf_counter() - self._since
        self.cost["processor"] = time.process_time() - self._cpu
        self._over.set()
        self._thread.join()
        self._read()
        c = self.cost
        say(
            f"{self.name}: {c['clock']:.1f} s by the clock, {c['processor']:.1f} s of processor, "
            f"{c['memory'] / 1e9:.2f} GB ({c['mapped'] / 1e9:.2f} GB with mapped files)"
        )


def say(words: str) -> None:
    """Print a line and keep it for the results."""
    print(words, flush=True)
    Watch.lines.append(words)


def calibration() -> Calibration:
    """The default model's own."""
    return Calibration(**models.get("twin.v1").extra["calibration"])


TOLERANCE = (0.0, 0.6)


class Pieces:
    """What a long search has done so far, so that one that was ended goes on: `folder` keeps it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._costs = folder / "costs.json"
        self.costs = json.loads(self._costs.read_text()) if self._costs.exists() else {}

    def index(self, source: Synthetic, threads: int) -> ann.Index:
        """The index; every process builds its own, the first one's cost counts."""
        with Watch("index") as watch:
            index = ann.Index.build(source, threads)
        if "index" not in self.costs:
            self.done("index", watch, index.words)
        index.probes = self.costs.get("self-check", {}).get("probes", index.probes)
        say(f"  {index.words}")
        return index

    def found(self) -> list[Path]:
        """What the finished pieces of the search found."""
        return sorted(self.folder.glob("found-*.npz"))

    def search_cost(self) -> tuple[int, Any]:
        """Candidates; what each process cost: seconds, of processor, bytes, with mapped files."""
        asked, costs = 0, {}
        for path in self.found():
            with np.load(path) as piece:
                asked += int(piece["asked"])
                costs.setdefault(int(piece["share"]), []).append(piece["cost"])
        rows = [
            [*np.sum(c, axis=0)[:2], *np.max(c, axis=0)[2:]] for c in map(np.array, costs.values())
        ]
        return asked, np.array(rows)

    def done(self, name: str, watch: Watch, words: str = "", **more: Any) -> None:
        """Keep what a part cost."""
        self.costs[name] = {**watch.cost, "words": words, **more}
        self._costs.write_text(json.dumps(self.costs))


def _ask(asker: ann.Search, pieces: Pieces, args: argparse.Namespace) -> bool:
    """Ask for every video's neighbours, PIECE after PIECE, shared among `--processes`.

    Returns:
        whether all were asked; False where the minutes were over before.
    """
    last = time.monotonic() + 60 * args.minutes
    children, mine = [], 0
    for share in range(1, args.processes):
        if not (child := os.fork()):
            children, mine = [], share
            break
        children.append(child)
    content = asker.source.content  # type: ignore[attr-defined]
    for number, first in enumerate(range(0, args.videos, PIECE)):
        block = range(first, min(first + PIECE, args.videos))
        path = pieces.folder / f"found-{first:08}.npz"
        if number % args.processes != mine or path.exists() or time.monotonic() > last:
            continue
        asker.known[:first] = True  # as in a first run: each video meets those before it
        asker.known[first:] = False
        with Watch(f"search of {block}") as watch:
            found: list[tuple[int, int, float]] = []
            asked = 0
            for i, near in ann.neighbours(asker, block):
                asked += len(near)
                found += [(i, j, s) for j, s in near if s >= ALIKE or content[i] == content[j]]
        part = path.with_suffix(".part")
        with open(part, "wb") as file:
            np.savez(
                file, pairs=np.array(found, np.float64).reshape(-1, 3),
                cost=[*watch.cost.values()], asked=asked, share=mine,
            )  # fmt: skip
        os.replace(part, path)
    if mine:
        os._exit(0)
    for child in children:
        os.waitpid(child, 0)
    done, wanted = len(pieces.found()), -(-args.videos // PIECE)
    if done < wanted:
        say(f"{done} of {wanted} pieces are done; the same command goes on from there")
    return done == wanted


def search(args: argparse.Namespace) -> None:
    """Build, check, ask for every video's neighbours, cluster; goes on where --work has a part."""
    rule = calibration()
    with Watch(f"make {args.videos} videos of {args.rows} moments"):
        source = Synthetic(args.base, args.videos, args.rows, args.work)
    pieces = Pieces(args.work / f"search-{args.videos}-{args.rows}")
    index = pieces.index(source, args.threads)
    known = np.ones(args.videos, bool)
    asker = ann.Search(source, index, known, TOLERANCE, rule)
    if "self-check" not in pieces.costs:
        with Watch("self-check") as watch:
            said = ann.check(asker, args.check)
        pieces.done("self-check", watch, said, probes=index.probes)
    say(f"  {pieces.costs['self-check']['words']}")
    if not _ask(asker, pieces, args):
        return
    every = np.concatenate([np.load(p)["pairs"] for p in pieces.found()])
    each, cost = pieces.search_cost()
    say(
        f"search in {len(cost)} processes: {cost[:, 0].max():.1f} s by the clock, "
        f"{cost[:, 1].sum():.1f} s of processor, {cost[:, 2].sum() / 1e9:.2f} GB "
        f"({cost[:, 3].sum() / 1e9:.2f} GB with mapped files, those of all processes added)"
    )
    say(f"  {each / args.videos:.1f} candidates a video, at most {ann.NEAR}")
    ends = np.sort(every[:, :2].astype(np.int64), axis=1)
    names, first_of = np.unique(ends[:, 0] * args.videos + ends[:, 1], return_index=True)
    pairs, scores = ends[first_of], every[first_of, 2]
    del every, ends
    planted = np.sort(np.array(source.planted()), axis=1)
    got = np.isin(planted[:, 0] * args.videos + planted[:, 1], names)
    like = source.similarity[planted].min(axis=1)
    say(f"  planted copies: {got.sum()} of {len(planted)} found ({got.mean():.2%})")
    for low, high in ((0.4, 0.5), (0.5, 0.6), (0.6, 0.7), (0.7, 0.8), (0.8, 0.9), (0.9, 1.01)):
        band = got[(low <= like) & (like < high)]
        if len(band):
            say(
                f"    of similarity {low} to {min(high, 1.0)}: "
                f"{band.sum()} of {len(band)} ({band.mean():.2%})"
            )
    with Watch("cluster") as watch:
        sure = scores >= ALIKE
        edges = (
            Match(source.keys[a], source.keys[b], min(1.0, s), "copy")
            for (a, b), s in zip(pairs[sure].tolist(), scores[sure].tolist(), strict=True)
        )
        groups = clusters(source.keys, edges, 1 - ALIKE, 2)
    pieces.done("cluster", watch)
    say(f"  {len(groups)} clusters of {sure.sum()} pairs at {ALIKE} of best moments")
    parts = [pieces.costs[n] for n in ("index", "self-check", "cluster")]
    clock, processor = (
        sum(p[n] for p in parts) + own
        for n, own in (("clock", cost[:, 0].max()), ("processor", cost[:, 1].sum()))
    )
    memory, mapped = (
        max([p[n] for p in parts] + [own]) / 1e9
        for n, own in (("memory", cost[:, 2].sum()), ("mapped", cost[:, 3].sum()))
    )
    say(
        f"index, self-check, search and cluster together: {clock:.0f} s by the clock, "
        f"{processor:.0f} s of processor, at most {memory:.2f} GB "
        f"({mapped:.2f} GB with mapped files)"
    )
    if args.exact:
        shelf = Shelf([source.get(i) for i in range(args.videos)])
        with Watch("exact search of every pair"):
            every = {
                (a.key, b.key) for a, b in candidates(shelf, set(source.keys), TOLERANCE, rule)
            }
        place = {k: i for i, k in enumerate(source.keys)}
        both = {tuple(sorted((place[a], place[b]))) for a, b in every}
        alike = [p for p in both if best_moments(source.get(p[0]), source.get(p[1])) >= ALIKE]
        held = len(set(alike) & set(map(tuple, pairs.tolist())))
        say(
            f"  {len(both)} pairs pass its rule; of the {len(alike)} at {ALIKE} or more the index "
            f"found {held} ({held / max(1, len(alike)):.2%})"
        )
    sample = random.Random(0).sample(pairs.tolist(), min(200, len(pairs)))
    begun = time.process_time()
    for a, b in sample:
        compare(source.get(a), source.get(b), rule)
    each = (time.process_time() - begun) / max(1, len(sample))
    say(f"  aligning a pair takes {each * 1e3:.2f} ms")


def new(args: argparse.Namespace) -> None:
    """A few new videos against many known ones, exactly and by the index."""
    rule = calibration()
    source = Synthetic(args.base, args.videos, args.rows, args.work)
    drawn = sorted(random.Random(0).sample(range(args.videos), args.new))
    known = np.ones(args.videos, bool)
    with Watch(f"index of {args.videos}"):
        index = ann.Index.build(source, args.threads)
    asker = ann.Search(source, index, known, TOLERANCE, rule)
    say(f"  {ann.check(asker, args.check)}")
    with Watch(f"{args.new} new by the index"):
        got = {tuple(sorted((i, j))) for i, near in ann.neighbours(asker, drawn) for j, _ in near}
    if args.exact:
        shelf = Shelf([source.get(i) for i in range(args.videos)])
        for count in (args.new // 4, args.new):
            keys = {source.keys[i] for i in drawn[:count]}
            with Watch(f"{count} new, every pair"):
                pairs = sum(1 for _ in candidates(shelf, keys, TOLERANCE, rule))
            say(f"  {pairs} candidates")
    say(f"  {len(got)} candidates by the index")


def crowd(args: argparse.Namespace) -> None:
    """`dups` on a library of many videos with one group of thousands, without any file."""
    source = Synthetic(args.base, args.videos, args.rows, args.work)
    dice = np.random.default_rng(1)
    first = source.get(0).vectors
    length = float(np.median(source.durations))
    path = args.work / f"crowd-{args.videos}-{args.crowd}.db"
    options = gather(
        {
            "library": str(path),
            "jobs": args.threads or 1,
            "sound": False,
            "nice": 0,
            "neighbours": "ann",
        },
        DupsOptions,
    )
    files = [
        VideoFile(f"/films/{n // 500:04}/{n:08}.mp4", 1000 + n, n, n, 1, "", f"{n:032x}")
        for n in range(args.videos)
    ]
    found = Discovery(tuple(files), {}, (), ("/films",))
    fresh = not path.exists()
    with Library.open(path) as library:
        run = Run(library, options, found, Progress(False), spec=models.get("twin.v1"))
        run.name_model()
        if fresh:
            with Watch(f"fill the library: {args.videos} videos, {args.crowd} of them one content"):
                with library.transaction():
                    for n, file in enumerate(files):
                        f = source.get(n)
                        vectors, seconds = f.vectors, f.duration_s
                        if n < args.crowd:
                            aside = dice.standard_normal(first.shape).astype(np.float32)
                            vectors, seconds = _unit(first + 0.2 * _unit(aside)), length
                        edges = np.linspace(0, seconds, args.rows + 1)
                        spans = np.stack([edges[:-1], edges[1:]], axis=1)
                        library._put_features(
                            Features(
                                file.key or "",
                                run.model,
                                run.sampling,
                                vectors,
                                spans,
                                f.blank,
                                seconds,
                            )
                        )
                library.put_files(files, {}, "2026-01-01T00:00:00Z")
        for number in ("first", "second"):
            run = Run(library, options, found, Progress(False), spec=models.get("twin.v1"))
            with Watch(f"{number} run: scored"):
                run.identify()
                run.look()
                run.score()
            with Watch(f"{number} run: grouped"):
                run.select()
                report = run.report()
            largest = max((len(g.members) for g in report.groups), default=0)
            say(
                f"  {len(report.groups)} groups, the largest of {largest}; "
                f"{library.sizes()['pairs']} pairs kept; the group alone has "
                f"{args.crowd * (args.crowd - 1) // 2}"
            )
            for note in run.notes:
                say(f"  {note}")


def rescan(args: argparse.Namespace) -> None:
    """`dups` twice on a tree of small files that the library knows: rows and stat calls alone."""
    folder = args.work / f"tree-{args.files}"
    path = args.work / f"tree-{args.files}.db"
    dice = np.random.default_rng(0)
    if not folder.exists():
        with Watch(f"make {args.files} files"):
            for n in range(args.files):
                place = folder / f"{n // 500:04}"
                place.mkdir(parents=True, exist_ok=True)
                (place / f"{n:08}.mp4").write_bytes(b"%d" % n)
    options = gather({"library": str(path), "jobs": 1, "sound": False, "nice": 0}, DupsOptions)
    if not path.exists():
        with Watch("fill the library"), Library.open(path) as library:
            found = discover([str(folder)], options.discover)
            run = Run(library, options, found, Progress(False), spec=models.get("twin.v1"))
            run.name_model()
            files = [replace(f, key=f"{n:032x}") for n, f in enumerate(found.files)]
            info = VideoInfo(10.0, 320, 180, 320, 180, "h264")
            spans = np.stack([np.arange(8) * 1.25, np.arange(1, 9) * 1.25], axis=1)
            for file in files:
                vectors = _unit(dice.standard_normal((8, 512), np.float32))
                seen = Features(
                    file.key or "", run.model, run.sampling, vectors, spans, np.zeros(8, bool), 10.0
                )
                library.put_look(Facts(info, 1.25, 8, 8), seen)
            library.put_files(files, {}, "2026-01-01T00:00:00Z")
            pairs = (
                Match(files[n].key or "", files[n + 1].key or "", 0.999, "copy")
                for n in range(0, len(files) - 1, 10)
            )
            library.put_pairs(run.context, [f.key or "" for f in files], pairs)
    command = [
        sys.executable, "-m", "twinreel", "dups", str(folder), "-q", "--nice", "0", "--no-sound",
        "--library", str(path), "-o", "-", "-j", "1",
    ]  # fmt: skip
    for number in range(1, 4):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        begun = time.perf_counter()
        with open(os.devnull, "w") as nowhere:
            code = subprocess.run(command, stdout=nowhere, check=False).returncode
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        wall = time.perf_counter() - begun
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        say(
            f"run {number} over {args.files} unchanged files: {wall:.1f} s by the clock, "
            f"{cpu:.1f} s of processor, at most {after.ru_maxrss / 1e6:.2f} GB; exit code {code}"
        )


def describe(args: argparse.Namespace) -> None:
    """Descriptors of photographs by the default network, to draw synthetic videos from."""
    from PIL import Image

    spec = models.get(models.default())
    network = models.load(spec, "", "cpu", "fp32", 0)
    names = (".webp", ".jpg", ".png")
    paths = sorted(p for p in args.photos.rglob("*") if p.suffix.lower() in names)
    random.Random(0).shuffle(paths)  # folders hold scenes that look alike
    rows, some = [], []
    for path in paths[: args.videos]:
        with Image.open(path) as image:
            some.append(np.asarray(image.convert("RGB").resize(spec.size[::-1])))
        if len(some) == 64:
            rows.append(network(np.stack(some)))
            some = []
    np.save(args.base, np.concatenate(rows).astype(np.float16))
    say(f"{sum(map(len, rows))} photographs described")


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
    parser.add_argument("--processes", type=int, default=1, help="search: that ask side by side")
    parser.add_argument("--minutes", type=float, default=1e6, help="search: end after so many")
    parser.add_argument("--exact", action="store_true")
    parser.add_argument("--check", type=float, default=4e12)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--out", type=Path, help="append the lines to this file")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        args.work = args.work or Path(temporary)
        args.work.mkdir(parents=True, exist_ok=True)
        say(f"{footage.machine()}; {args.threads or os.cpu_count()} threads")
        known = {"search": search, "new": new, "crowd": crowd, "rescan": rescan}
        {**known, "describe": describe}[args.what](args)
    if args.out:
        with open(args.out, "a") as file:
            file.write("\n".join(Watch.lines) + "\n\n")


if __name__ == "__main__":
    main()
