"""Features of a library -> pairs worth aligning -> a Match of each that shares something.

    for match in compare_all(Shelf(features), new, tolerance, calibration): ...

Cheap first: blocked products of frame descriptors over videos of like length, where a library is
large in few numbers before all of them. Only pairs whose best moments are alike are aligned and
weighed (compare.py).
"""

from __future__ import annotations

import hashlib
import math
import multiprocessing
import signal
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import chain, islice

import numpy as np
import numpy.typing as npt
from threadpoolctl import ThreadpoolController

from twinreel.compare import Calibration, compare
from twinreel.types import Features, Floats, Match, Seconds
from twinreel.workers import held_interrupts, one_thread

SKETCH = 128  # numbers of a vector that are looked at first ...
SKETCHED_FROM = 4096  # ... where so many moments are asked for
MOST_LEFT = 0.08  # of the mean square that a sketch may leave out; half would pass it then
ROUNDING = 1e-4  # by which a sketch may be too low
BLOCK_CELLS = 24_000_000  # similarities held at a time; bounds memory to about 0.1 GB
QUERY_ROWS = 1024  # moments of one video that are asked for in a library-wide search
PARALLEL_FROM = 2000  # fewer pairs are not worth starting processes for
Told = dict[tuple[bytes, bytes, bool], Match | None]  # by what two features hold


def length_alike(a: float, b: float, tolerance: tuple[float, float]) -> bool:
    """Whether durations differ by at most the tolerance (seconds, or share of the longer)."""
    return abs(a - b) <= max(tolerance[0], tolerance[1] * max(a, b)) + 1e-9


@dataclass
class Shelf:
    """The Features of many videos, laid end to end: rows that show something, and whose they are.

    Sorted by duration, so that videos of like length stand together.
    """

    videos: list[Features]
    vectors: Floats = field(init=False)
    starts: npt.NDArray[np.int64] = field(init=False)
    durations: Seconds = field(init=False)

    def __post_init__(self) -> None:
        self.videos = sorted(self.videos, key=lambda f: (f.duration_s, f.key))
        rows = [f.vectors[~f.blank] for f in self.videos]
        counts = [len(r) for r in rows]
        self.starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        dim = self.videos[0].vectors.shape[1] if self.videos else 1
        self.vectors = np.concatenate(rows) if rows else np.zeros((0, dim), np.float32)
        self.durations = np.array([f.duration_s for f in self.videos])


@dataclass(frozen=True)
class Sketch:
    """Short vectors whose product is never below that of the long ones: what a vector is in a few
    directions, and the length of the rest, which two rests cannot surpass (Cauchy and Schwarz)."""

    directions: Floats  # (long, short), orthonormal

    @classmethod
    def of(cls, vectors: Floats) -> Sketch | None:
        """In the principal directions of some of the vectors, (n, d)."""
        some = vectors[:: -(-len(vectors) // SKETCHED_FROM)]
        power, directions = np.linalg.eigh(some.T @ some)
        if power[:-SKETCH].sum() > MOST_LEFT * power.sum():
            return None  # of vectors that point everywhere it would tell nothing
        return cls(np.ascontiguousarray(directions[:, ::-1][:, :SKETCH]))

    def __call__(self, vectors: Floats) -> Floats:
        """float32 (n, d) -> (n, SKETCH + 1)."""
        short = vectors @ self.directions
        left = (vectors * vectors).sum(axis=1) - (short * short).sum(axis=1)
        out: Floats = np.concatenate([short, np.sqrt(np.maximum(left, 0))[:, None]], axis=1)
        return out


def candidates(
    shelf: Shelf,
    new: set[str],
    tolerance: tuple[float, float],
    calibration: Calibration,
    across: bool = False,
) -> Iterator[tuple[Features, Features]]:
    """Pairs worth aligning: of like length, at least one of `new` (with `across` one, not two),
    best moments alike.

    A pair's best moments: the mean over the best quarter (at least 3, at most 8: a short clip in
    a long video has no more) of each row's best match. Very long videos ask with every k-th moment.
    """
    # Known videos only meet new ones: the work is the product of the two, not a square.
    shelf_of_new = shelf
    if not all(v.key in new for v in shelf.videos):
        shelf_of_new = Shelf([v for v in shelf.videos if v.key in new])
    # A sketch of all costs what asking with some hundred moments does.
    large = len(shelf_of_new.vectors) >= SKETCHED_FROM and shelf.vectors.shape[1] >= 2 * SKETCH
    sketch = Sketch.of(shelf.vectors) if large else None
    short = {id(s): sketch(s.vectors) for s in (shelf, shelf_of_new)} if sketch else {}
    least = calibration.candidate
    passed = 0  # new ones
    for i, video in enumerate(shelf.videos):
        fresh = video.key in new
        passed += fresh
        query = shelf.vectors[shelf.starts[i] : shelf.starts[i + 1]]
        query = query[:: -(-len(query) // QUERY_ROWS) or 1]
        if not len(query):
            continue
        brief = sketch(query) if sketch else query
        block = BLOCK_CELLS // len(query)
        # Later in the order means longer: each pair is met once, from its shorter video.
        longest = longest_like(video.duration_s, tolerance)
        among, j = (shelf, i + 1) if fresh else (shelf_of_new, passed)
        stop = int(np.searchsorted(among.durations, longest, side="right"))
        while j < stop:
            last = j
            while last < stop and among.starts[last + 1] - among.starts[j] <= block:
                last += 1
            last = max(last, j + 1)
            others = [
                k
                for k in range(j, last)
                if among.starts[k + 1] > among.starts[k]
                and not (across and fresh and among.videos[k].key in new)
            ]
            if sketch:
                others = _alike(short[id(among)], among.starts, brief, others, least - ROUNDING)
            for k in _alike(among.vectors, among.starts, query, others, least):
                yield video, among.videos[k]
            j = last


def longest_like(duration_s: float, tolerance: tuple[float, float]) -> float:
    """The longest duration that `length_alike` accepts beside this one."""
    by_share = duration_s / (1 - tolerance[1]) if tolerance[1] < 1 else math.inf
    return max(duration_s + tolerance[0], by_share) + 1e-9


def _alike(
    rows: Floats,
    starts: npt.NDArray[np.int64],
    query: Floats,
    others: list[int],
    least: float,
) -> list[int]:
    """Those of `others` (places on a shelf, increasing) whose best moments are like the query's.

    rows: of the whole shelf, those of place k from starts[k] on.
    """
    if not others:
        return []
    if others[-1] - others[0] < len(others):
        block = rows[starts[others[0]] : starts[others[-1] + 1]]
    else:
        block = np.concatenate([rows[starts[k] : starts[k + 1]] for k in others])
    sims = query @ block.T  # (rows of query, rows of block)
    places = np.array(others)
    lengths = starts[places + 1] - starts[places]
    best = np.maximum.reduceat(sims, np.cumsum(lengths) - lengths, axis=1)  # (rows, videos)
    k = best_count(len(query))
    top = np.partition(best, len(query) - k, axis=0)[len(query) - k :].mean(axis=0)
    found: list[int] = places[top >= least].tolist()
    return found


def best_count(rows: int) -> int:
    """How many of a query's rows are its best moments."""
    return min(rows, max(3, min(8, rows // 4)))


def best_moments(a: Features, b: Features) -> float:
    """What `candidates` asks of one pair: the mean similarity of its best moments, -1..1."""
    first, second = sorted((a, b), key=lambda f: (f.duration_s, f.key))
    query, others = first.vectors[~first.blank], second.vectors[~second.blank]
    query = query[:: -(-len(query) // QUERY_ROWS) or 1]
    if not len(query) or not len(others):
        return -1.0
    best = (query @ others.T).max(axis=1)
    k = best_count(len(best))
    return float(np.partition(best, len(best) - k)[len(best) - k :].mean())


def compare_all(
    shelf: Shelf,
    new: set[str],
    tolerance: tuple[float, float],
    calibration: Calibration,
    jobs: int = 1,
    across: bool = False,
) -> Iterator[Match]:
    """A Match (a, b are keys) of every one of `candidates` that shares something.

    With `jobs` above 1 and enough to do, pairs are aligned in as many processes.
    """
    pairs = candidates(shelf, new, tolerance, calibration, across)
    head = list(islice(pairs, PARALLEL_FROM))
    if jobs < 2 or len(head) < PARALLEL_FROM:
        # Products of single pairs are small: threads that share one cost more than they save.
        blas, rest = ThreadpoolController(), chain(head, pairs)
        told: Told = {}
        while chunk := list(islice(rest, 64)):
            with blas.limit(limits=1, user_api="blas"):
                found = compare_some(chunk, calibration, told)
            yield from found
            if len(told) > PARALLEL_FROM:
                told.clear()
        return
    context = multiprocessing.get_context("spawn")
    with one_thread(), ProcessPoolExecutor(jobs, context, ignore_interrupt) as pool:
        waiting: deque[Future[list[Match]]] = deque()
        rest = chain(head, pairs)
        while chunk := list(islice(rest, 64)):
            with held_interrupts():  # it starts the processes
                waiting.append(pool.submit(compare_some, chunk, calibration))
            if len(waiting) > 4 * jobs:  # bounded: results leave as pairs come in
                yield from waiting.popleft().result()
        for future in waiting:
            yield from future.result()


def compare_some(
    pairs: list[tuple[Features, Features]], calibration: Calibration, told: Told | None = None
) -> list[Match]:
    """`compare` on several pairs, without those that share nothing: a process's share of work.

    told: what was found of pairs before; a copy in another container has the very same features.
    """
    told = {} if told is None else told
    digests = {key: _digest(f) for key, f in {f.key: f for p in pairs for f in p}.items()}
    found = []
    for a, b in pairs:
        pair = (digests[a.key], digests[b.key], a.key < b.key)  # aligned in the order of keys
        if pair not in told:
            told[pair] = compare(a, b, calibration)
        if (m := told[pair]) is not None:
            found.append(replace(m, a=a.key, b=b.key))
    return found


def _digest(f: Features) -> bytes:
    """Of all that `compare` reads."""
    named = repr((f.model, f.sampling, f.duration_s))
    digest = hashlib.blake2b(named.encode(), digest_size=16)
    for part in (f.vectors, f.spans_s, f.blank):
        digest.update(np.ascontiguousarray(part).data)
    return digest.digest()


def ignore_interrupt() -> None:
    """Ctrl-C is the parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
