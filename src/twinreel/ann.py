"""Candidates of a large library: nearest neighbours in place of every pair (extra `ann`: faiss).

    index = Index.build(source)
    for match in scored(source, index, new, known, tolerance, calibration, families, belongs):
        ...

Three steps, each dropping what is settled:

1. An inverted file (faiss IVF, 8 bits a number) holds the moments of all videos, cut to their
   principal components; a moment like the one before it is not held twice. Where memory does not
   suffice, stretches of a video are averaged, down to one row per video.
2. Each new video asks for its nearest videos, NEAR at most. Those pass the very rule that the
   exact search uses (compare.best_moments), on the full vectors, read through memory maps.
3. The pairs are aligned and scored as everywhere. In a family of more than CROWD videos that match,
   a newcomer meets its LEADERS, one after the other, until it matches one: further pairs inside add
   nothing to what DBSCAN finds (with min_samples up to 2), so they are not looked at. Memory and
   time grow with members, not with pairs.

`Index.check` compares with the exact search on a sample and says what share was found.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import random
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from twinreel.compare import (
    QUERY_ROWS,
    Calibration,
    best_count,
    best_moments,
    compare,
    compare_some,
    ignore_interrupt,
)
from twinreel.errors import ExtraMissing
from twinreel.types import Features, Floats, Match

EXACT_CELLS = 2e10  # similarities of moments up to which every pair is looked at (minutes)
DIM = 64
FEW, FEW_DIM = 4, 256  # fewer rows to a video stand for it alone, and are kept in finer detail
NEAR = 48  # other videos that a video is compared with at most
WIDE = 192  # those whose full vectors are looked at to choose them
HITS = 32  # nearest rows that one row asks for; WIDE where a video has few
ALIKE = 0.95  # cosine from which a moment counts as the one before it
SLACK = 0.15  # what cutting to DIM numbers can take off a similarity
INDEX_BYTES = 1 << 30
ROW_BYTES = DIM + 16  # of a row in the index: its code, its number, its owner
BATCH = 128  # new videos that ask together
PROBES = (8, 16, 32, 64)
GOOD = 0.98  # share of the exact candidates that is sought on the sample
CROWD = 256
LEADERS = 3
KEPT = 2048  # Features kept in memory
Ints = npt.NDArray[np.int64]


class Source(Protocol):
    """Videos by number, in the order of their durations."""

    keys: Sequence[str]
    durations: npt.NDArray[np.float64]

    def get(self, number: int) -> Features: ...

    def laid(self, numbers: Sequence[int]) -> tuple[Floats, Ints]:
        """Rows that show something, end to end, and where each video's begin.

        A video without any has one row of zeros.
        """
        ...


class Kept:
    """The Features of a library, in the order of their durations, read when they are wanted.

    Args:
        lengths: key -> duration in seconds.
        read: key -> Features.
    """

    def __init__(self, lengths: dict[str, float], read: Callable[[str], Features]) -> None:
        self.keys: Sequence[str] = sorted(lengths, key=lambda key: (lengths[key], key))
        self.durations = np.array([lengths[key] for key in self.keys])
        self._read = read
        self._kept: OrderedDict[int, Features] = OrderedDict()

    def get(self, number: int) -> Features:
        """Features of one video."""
        if number in self._kept:
            self._kept.move_to_end(number)
            return self._kept[number]
        made = self._kept[number] = self._read(self.keys[number])
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return made

    def laid(self, numbers: Sequence[int]) -> tuple[Floats, Ints]:
        """Rows of several videos end to end, and where each begins."""
        return laid([self.get(i) for i in numbers])


def wanted(choice: str, new_rows: int, all_rows: int) -> bool:
    """Whether neighbours are asked for instead of looking at every pair.

    Args:
        choice: 'auto', 'exact' or 'ann'. new_rows, all_rows: moments.

    Raises:
        ExtraMissing: 'ann' is asked for and faiss is not installed.
    """
    if choice == "exact":
        return False
    if choice == "auto" and (new_rows * all_rows < EXACT_CELLS or not installed()):
        return False
    _faiss()
    return True


def installed() -> bool:
    """Whether faiss is there."""
    from importlib.util import find_spec

    return find_spec("faiss") is not None


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise ExtraMissing(
            "nearest neighbours need faiss: pip install 'twinreel[ann]', or --neighbours exact"
        ) from None
    return faiss


# -- the index ----------------------------------------------------------------------------------


@dataclass
class Index:
    """An inverted file over the moments of all videos.

    starts: first row of each video, (n + 1,). axes: (d, DIM), what vectors are cut to.
    most: rows of a video at most. probes: lists that a query looks into.
    """

    faiss: Any
    axes: Floats
    starts: Ints
    most: int
    probes: int = PROBES[0]
    words: str = ""

    @classmethod
    def build(cls, source: Source, threads: int = 0, index_bytes: int = INDEX_BYTES) -> Index:
        """Train on a sample, then add every video."""
        faiss = _faiss()
        faiss.omp_set_num_threads(threads or os.cpu_count() or 1)
        count = len(source.keys)
        most = max(1, index_bytes // ROW_BYTES // max(1, count))
        drawn = random.Random(0).sample(range(count), min(count, 20_000))
        whole = _axes(source, drawn[:4000])
        sample = [_reduced(source.get(i), whole[:, :DIM], most) for i in drawn[:2000]]
        mean = max(1e-9, sum(map(len, sample)) / max(1, len(sample)))
        axes = np.ascontiguousarray(whole[:, : FEW_DIM if mean < FEW else DIM])
        lists = max(1, min(16_384, round(4 * math.sqrt(mean * count)), int(mean * count / 30)))
        # 40 rows of the sample for each list.
        drawn = random.Random(0).sample(range(count), min(count, round(40 * lists / mean) + 1))
        sample = [_reduced(source.get(i), axes, most) for i in drawn]
        some = np.concatenate(sample)[: 64 * lists]
        del sample
        quantizer = faiss.IndexFlatIP(axes.shape[1])
        index = faiss.IndexIVFScalarQuantizer(
            quantizer, axes.shape[1], lists, faiss.ScalarQuantizer.QT_8bit,
            faiss.METRIC_INNER_PRODUCT, False,
        )  # fmt: skip
        index.cp.niter, index.cp.min_points_per_centroid = 8, 1
        index.train(some)
        starts = np.zeros(count + 1, np.int64)
        waiting: list[Floats] = []
        for i in range(count):
            waiting.append(_reduced(source.get(i), axes, most))
            starts[i + 1] = starts[i] + len(waiting[-1])
            if len(waiting) == 4096 or i + 1 == count:
                rows = np.concatenate(waiting)
                if len(rows):
                    index.add(rows)
                waiting = []
        each = "all unlike moments" if most > 32 else f"at most {most} rows a video"
        words = f"{index.ntotal} rows ({each}), {lists} lists"
        return cls(index, axes, starts, most, PROBES[0], words)

    def near(
        self,
        source: Source,
        numbers: Sequence[int],
        least: float,
        tolerance: tuple[float, float],
        without: npt.NDArray[np.bool_] | None = None,
    ) -> list[Ints]:
        """For each video the others with the most similar rows, best first, at most WIDE.

        Args:
            least: similarity under which a row is no hit.
            tolerance: of durations, as in compare.length_alike.
            without: videos (n,) that are not to be found.
        """
        faiss = _faiss()
        rows = [_reduced(source.get(i), self.axes, self.most) for i in numbers]
        asked = np.concatenate(rows)
        if not len(asked):
            return [np.zeros(0, np.int64) for _ in numbers]
        shortest, longest = _window(source.durations[list(numbers)], tolerance)
        lo = int(np.searchsorted(source.durations, shortest, side="left"))
        hi = int(np.searchsorted(source.durations, longest, side="right"))
        selector: Any = None
        if lo > 0 or hi < len(source.keys):
            selector = faiss.IDSelectorRange(int(self.starts[lo]), int(self.starts[hi]))
        bits = None
        if without is not None:
            bits = np.packbits(np.repeat(~without, np.diff(self.starts)), bitorder="little")
            inside = faiss.IDSelectorBitmap(bits)
            selector = inside if selector is None else faiss.IDSelectorAnd(selector, inside)
        given = faiss.SearchParametersIVF(nprobe=self.probes, sel=selector)
        hits = WIDE if self.axes.shape[1] > DIM else HITS
        found, at = self.faiss.search(asked, hits, params=given)
        owners = np.searchsorted(self.starts, at, side="right") - 1
        out = []
        first = 0
        for number, mine in zip(numbers, rows, strict=True):
            part = slice(first, first + len(mine))
            first += len(mine)
            sims, who = found[part].ravel(), owners[part].ravel()
            good = (at[part].ravel() >= 0) & (sims >= least) & (who != number)
            low, high = _window(source.durations[number : number + 1], tolerance)
            lengths = source.durations[who]
            good &= (lengths >= low) & (lengths <= high)
            who, sims = who[good], sims[good]
            order = np.argsort(-sims, kind="stable")
            _, places = np.unique(who[order], return_index=True)
            out.append(who[order][np.sort(places)][:WIDE])
        return out

    def check(
        self,
        source: Source,
        calibration: Calibration,
        tolerance: tuple[float, float],
        work: float = 4e12,
        match: Callable[[Features, Features], bool] | None = None,
    ) -> str:
        """Choose `probes` by comparing with the exact search on a sample; says what was found.

        Args:
            work: multiplications to spend on the exact search.
            match: whether two videos match; asked of what was missed.
        """
        count = len(source.keys)
        per_video = sum(len(source.get(i).vectors) for i in range(0, count, max(1, count // 64)))
        per_video = max(1, per_video // min(count, 64))
        width = source.get(0).vectors.shape[1]
        size = int(work / (per_video**2 * count * width))
        drawn = random.Random(1).sample(range(count), max(1, min(count, size, 200)))
        exact = _exact(source, drawn, calibration, tolerance)
        total = sum(map(len, exact))
        least = calibration.candidate - SLACK
        missed: list[tuple[int, int]] = []
        share = 1.0
        for self.probes in PROBES:
            missed = []
            for i, others, near in zip(
                drawn, exact, self.near(source, drawn, least, tolerance), strict=True
            ):
                got = {j for j, _ in passing(source, i, near, calibration.candidate)}
                missed += [(i, j) for j in others if j not in got]
            share = 1 - len(missed) / max(1, total)
            if share >= GOOD:
                break
        words = (
            f"on {len(drawn)} videos it found {share:.1%} of the {total} candidates that the exact "
            f"search finds (the nearest {NEAR} of each), looking into {self.probes} lists"
        )
        if missed and match is not None:
            asked = missed[:100]
            lost = sum(match(source.get(i), source.get(j)) for i, j in asked)
            words += f"; {lost} of {len(asked)} missed ones match"
        return words


def _window(
    durations: npt.NDArray[np.float64], tolerance: tuple[float, float]
) -> tuple[float, float]:
    """(shortest, longest) duration that is alike to any of these."""
    low, high = float(durations.min()), float(durations.max())
    seconds, share = tolerance
    if math.isinf(seconds) or share >= 1:
        return -math.inf, math.inf
    return (
        min(low - seconds, low * (1 - share)) - 1e-9,
        max(high + seconds, high / (1 - share)) + 1e-9,
    )


def _axes(source: Source, numbers: Sequence[int]) -> Floats:
    """The directions (d, up to FEW_DIM) that hold most of the vectors' length, these first."""
    some = [shown(source.get(i)) for i in numbers]
    rows = np.concatenate([v for v in some if len(v)] or [np.eye(1, 1, dtype=np.float32)])
    _, axes = np.linalg.eigh((rows.T @ rows).astype(np.float64))
    kept: Floats = np.ascontiguousarray(axes[:, ::-1][:, :FEW_DIM], np.float32)
    return kept


def shown(video: Features) -> Floats:
    """The rows of a video that show something."""
    return video.vectors if not video.blank.any() else video.vectors[~video.blank]


def _reduced(video: Features, axes: Floats, most: int) -> Floats:
    """A video's rows as they stand in the index: unlike ones, at most `most`, cut, length 1."""
    rows = shown(video)
    if len(rows) > 1:
        rows = rows[_unlike(rows)]
        if len(rows) > most:
            cuts = np.linspace(0, len(rows), most + 1).astype(int)[:-1]
            rows = np.add.reduceat(rows, cuts, axis=0)
    cut = rows @ axes
    length = np.sqrt(np.einsum("ij,ij->i", cut, cut))[:, None]
    out: Floats = np.ascontiguousarray(cut / np.maximum(length, 1e-9), np.float32)
    return out


def _unlike(rows: Floats) -> list[int]:
    """The first row, and each that is unlike the last one taken."""
    length = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    step = np.einsum("ij,ij->i", rows[1:], rows[:-1]) / np.maximum(length[1:] * length[:-1], 1e-9)
    if step.size and step.max() < ALIKE:  # nothing stands still
        return list(range(len(rows)))
    taken = [0]
    for i in range(1, len(rows)):
        j = taken[-1]
        if float(rows[i] @ rows[j]) < ALIKE * float(length[i] * length[j]):
            taken.append(i)
    return taken


def _exact(
    source: Source,
    numbers: Sequence[int],
    calibration: Calibration,
    tolerance: tuple[float, float],
) -> list[list[int]]:
    """For each video its candidates by the exact rule, the best NEAR, in one pass over all."""
    asked = [source.get(i) for i in numbers]
    rows, firsts = laid(asked)
    windows = [_window(source.durations[i : i + 1], tolerance) for i in numbers]
    best: list[list[tuple[float, int]]] = [[] for _ in numbers]
    for block in range(0, len(source.keys), 256):
        others = range(block, min(block + 256, len(source.keys)))
        theirs, starts = source.laid(others)
        sims = np.maximum.reduceat(rows @ theirs.T, firsts, axis=0)  # (asked, rows of others)
        top = np.maximum.reduceat(sims, starts, axis=1)  # the best moment alone is above the mean
        for n, at in zip(*np.nonzero(top >= calibration.candidate), strict=True):
            i, j = numbers[n], block + int(at)
            if i == j or not windows[n][0] <= source.durations[j] <= windows[n][1]:
                continue
            score = best_moments(asked[n], source.get(j))
            if score >= calibration.candidate:
                best[n].append((score, j))
    return [[j for _, j in sorted(found, reverse=True)[:NEAR]] for found in best]


def laid(videos: Sequence[Features]) -> tuple[Floats, Ints]:
    """See Source.laid."""
    parts = [shown(v) if len(shown(v)) else np.zeros((1, v.vectors.shape[1])) for v in videos]
    starts = np.cumsum([0, *map(len, parts[:-1])])
    return np.concatenate(parts).astype(np.float32, copy=False), starts


# -- families -----------------------------------------------------------------------------------


@dataclass
class Families:
    """Which videos are known to belong together: union of what matches.

    A family of CROWD videos is a crowd: its first LEADERS stand for it.
    """

    count: int
    crowd: int = CROWD
    leaders: int = LEADERS
    family: Ints = field(init=False)
    members: dict[int, list[int]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.family = np.arange(self.count)

    def join(self, a: int, b: int) -> bool:
        """Say that two videos match; whether that was news."""
        x, y = int(self.family[a]), int(self.family[b])
        if x == y:
            return False
        ours, theirs = self.members.get(x, [x]), self.members.get(y, [y])
        if len(ours) < len(theirs):
            x, y, ours, theirs = y, x, theirs, ours
        self.family[theirs] = x
        self.members[x] = ours + theirs if len(ours) < 2 else ours
        if len(ours) >= 2:
            ours.extend(theirs)
        self.members.pop(y, None)
        return True

    def is_crowd(self, video: int) -> bool:
        """Whether a video belongs to a crowd."""
        return len(self.members.get(int(self.family[video]), ())) >= self.crowd

    def first(self, video: int) -> list[int]:
        """The leaders of a video's crowd."""
        return self.members[int(self.family[video])][: self.leaders]

    def crowds(self) -> list[list[int]]:
        """The members of every crowd."""
        return [m for m in self.members.values() if len(m) >= self.crowd]


# -- the pairs ----------------------------------------------------------------------------------


@dataclass
class Counts:
    """What a run cost: queries, pairs that passed the exact rule and were aligned, matches."""

    asked: int = 0
    again: int = 0
    aligned: int = 0
    matches: int = 0


def neighbours(
    source: Source,
    index: Index,
    new: Sequence[int],
    known: npt.NDArray[np.bool_],
    tolerance: tuple[float, float],
    calibration: Calibration,
) -> Iterator[tuple[int, list[tuple[int, float]]]]:
    """Each new video with those it is worth aligning with: (number, mean of the best moments).

    Args:
        new: numbers of videos. known: (n,), videos they meet; `new` are added as they are done.
    """
    least = calibration.candidate - SLACK
    for first in range(0, len(new), BATCH):
        todo = list(new[first : first + BATCH])
        known[todo] = True
        without = None if known.all() else ~known
        near = index.near(source, todo, least, tolerance, without)
        for i, found in zip(todo, near, strict=True):
            yield i, passing(source, i, found, calibration.candidate)


def candidates(
    source: Source,
    index: Index,
    new: Sequence[int],
    known: npt.NDArray[np.bool_],
    tolerance: tuple[float, float],
    calibration: Calibration,
) -> Iterator[tuple[Features, Features]]:
    """Pairs worth aligning, each once: what compare.candidates yields, out of neighbours."""
    done: set[tuple[int, int]] = set()
    for i, near in neighbours(source, index, new, known, tolerance, calibration):
        for j, _ in near:
            if _pair(i, j) not in done:
                done.add(_pair(i, j))
                yield source.get(i), source.get(j)


def scored(
    source: Source,
    index: Index,
    new: Sequence[int],
    known: npt.NDArray[np.bool_],
    tolerance: tuple[float, float],
    calibration: Calibration,
    families: Families,
    belongs: Callable[[Match], bool],
    pool: Executor | None = None,
    counts: Counts | None = None,
) -> Iterator[Match]:
    """Matches of new videos with the known ones and among themselves.

    Args:
        new: numbers of videos. known: (n,), videos they meet; `new` are added as they are done.
        belongs: whether a match makes its two one family.
    """
    counts = counts or Counts()
    place = {key: i for i, key in enumerate(source.keys)}
    least = calibration.candidate - SLACK
    done: set[tuple[int, int]] = set()
    for first in range(0, len(new), BATCH):
        todo = list(new[first : first + BATCH])
        known[todo] = True
        without = None if known.all() else ~known
        near = index.near(source, todo, least, tolerance, without)
        counts.asked += len(todo)
        done.clear()
        waiting = {
            i: [j for j, _ in passing(source, i, found, calibration.candidate)]
            for i, found in zip(todo, near, strict=True)
        }
        while waiting:
            pairs = [
                pair for i, others in waiting.items() for pair in _next(i, others, families, done)
            ]
            counts.aligned += len(pairs)
            for match in _aligned(source, pairs, calibration, pool):
                counts.matches += 1
                if belongs(match):
                    families.join(place[match.a], place[match.b])
                yield match
            waiting = {i: others for i, others in waiting.items() if others}
            if pairs or waiting:
                continue
        # What filled the answer of a crowd's member was the crowd: what else is near?
        for i, found in zip(todo, near, strict=True):
            if families.is_crowd(i) and len(found) and _same(families, i, found) > len(found) // 2:
                yield from _beyond(
                    source,
                    index,
                    i,
                    known,
                    tolerance,
                    calibration,
                    families,
                    belongs,
                    place,
                    counts,
                )


def _same(families: Families, i: int, others: Ints) -> int:
    return int((families.family[others] == families.family[i]).sum())


def _beyond(
    source: Source,
    index: Index,
    i: int,
    known: npt.NDArray[np.bool_],
    tolerance: tuple[float, float],
    calibration: Calibration,
    families: Families,
    belongs: Callable[[Match], bool],
    place: dict[str, int],
    counts: Counts,
) -> Iterator[Match]:
    """Matches of a crowd's member outside of its crowd; asks again while that finds more."""
    least = calibration.candidate - SLACK
    while True:
        without = ~known | (families.family == families.family[i])
        found = index.near(source, [i], least, tolerance, without)[0]
        counts.again += 1
        joined = False
        others = [j for j, _ in passing(source, i, found, calibration.candidate)]
        done = set[tuple[int, int]]()
        while pairs := _next(i, others, families, done):
            counts.aligned += len(pairs)
            for match in _aligned(source, pairs, calibration, None):
                counts.matches += 1
                if belongs(match):
                    joined |= families.join(place[match.a], place[match.b])
                yield match
        if not joined:
            return


def _next(
    i: int,
    others: list[int],
    families: Families,
    done: set[tuple[int, int]],
) -> list[tuple[int, int]]:
    """The next few of a video's pairs worth aligning; takes them off `others`."""
    pairs: list[tuple[int, int]] = []
    while others and len(pairs) < LEADERS:
        j = others.pop(0)
        if families.is_crowd(j):
            if families.family[i] == families.family[j]:
                continue  # they belong together already
            led = [k for k in families.first(j) if _pair(i, k) not in done]
            if led:
                others.insert(0, j)  # only if its leaders are unlike
                j = led[0]
        if _pair(i, j) in done:
            continue
        done.add(_pair(i, j))
        pairs.append((i, j))
        if families.is_crowd(j):
            break  # see what comes of it
    return pairs


def passing(source: Source, i: int, others: Ints, least: float) -> list[tuple[int, float]]:
    """Those of a video's neighbours whose best moments are alike: the most alike, at most NEAR."""
    if not len(others):
        return []
    mine, (theirs, starts) = shown(source.get(i)), source.laid(others.tolist())
    ends = np.append(starts[1:], len(theirs))
    scores = np.empty(len(others))
    if not len(mine) or max(len(mine), int((ends - starts).max())) > QUERY_ROWS:
        scores[:] = [best_moments(source.get(i), source.get(int(j))) for j in others]
    else:
        sims = mine @ theirs.T
        k = best_count(len(mine))
        best = np.maximum.reduceat(sims, starts, axis=1)  # (mine, others): for longer ones
        scores[:] = np.partition(best, len(mine) - k, axis=0)[len(mine) - k :].mean(axis=0)
        # The shorter video asks; the numbers are in the order of durations.
        shorter = np.nonzero(others < i)[0]
        back = sims.max(axis=0)
        for n in shorter.tolist():
            part = back[starts[n] : ends[n]]
            k = best_count(len(part))
            scores[n] = np.partition(part, len(part) - k)[len(part) - k :].mean()
    order = np.argsort(-scores, kind="stable")
    return [(int(others[n]), float(scores[n])) for n in order[:NEAR].tolist() if scores[n] >= least]


def _pair(a: int, b: int) -> tuple[int, int]:
    return (a, b) if a < b else (b, a)


def _aligned(
    source: Source,
    pairs: Iterable[tuple[int, int]],
    calibration: Calibration,
    pool: Executor | None,
) -> Iterator[Match]:
    """A Match of every pair that shares something."""
    videos = [(source.get(a), source.get(b)) for a, b in pairs]
    if pool is None or len(videos) < 32:
        for a, b in videos:
            if (match := compare(a, b, calibration)) is not None:
                yield match
        return
    parts = [videos[n : n + 16] for n in range(0, len(videos), 16)]
    for found in pool.map(compare_some, parts, [calibration] * len(parts)):
        yield from found


def workers(jobs: int) -> ProcessPoolExecutor | None:
    """Processes that align pairs; None for one job."""
    if jobs < 2:
        return None
    return ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), ignore_interrupt)
