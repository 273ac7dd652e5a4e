"""Features x Features -> Match: what two videos share, and how sure that is.

    match = compare(a, b, calibration)       # Match or None

In two steps. `candidates` is cheap and runs over a whole library: blocked products of frame
descriptors, a pair goes on when its best moments are alike. `compare` aligns a pair in time: which
seconds of one are which seconds of the other, and at what speed (a Hough vote over the similarity
matrix, after Douze et al., ECCV 2010), then weighs the evidence.

Everything is symmetric: a pair is always worked on in the order of its keys. No torch, no files.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from twinreel.types import Features, Floats, Match, Seconds, Segment

VERSION = 3  # part of every context: pairs scored by other rules are never mixed

COPY_COVERAGE = 0.85  # of both: then one is a copy of the other
SPEEDS = (1.0, 0.9, 1 / 0.9, 0.95, 1 / 0.95, 0.8, 1.25, 2 / 3, 1.5, 0.7, 1 / 0.7)
PEAKS = 3  # offsets tried per speed
BLOCK_ROWS = 60_000  # moments compared at a time; bounds memory


@dataclass(frozen=True)
class Calibration:
    """From evidence to score; fitted per model on the scoreboard's train split.

    The score is a logistic function of the evidence vector (see Evidence.vector). `floor` is the
    similarity below which two moments count as unlike, `candidate` the mean similarity of a pair's
    best moments from which on it is aligned at all.
    """

    weights: tuple[float, ...] = (25.0, 12.0, 0.0, 1.0, 0.0)
    bias: float = -30.5
    floor: float = 0.5
    candidate: float = 0.55


@dataclass(frozen=True)
class Evidence:
    """What speaks for two aligned videos showing the same.

    similarity: mean cosine of aligned moments, -1..1. agreement: how well the changes agree (each
    moment less its video's mean, correlated over the aligned moments), -1..1; one room and camera
    at two times are similar and disagree; 1 where nothing changes and so nothing can disagree.
    change: how much there is, 0 (still) to 1. covered: the smaller coverage. moments: distinct
    aligned moments that show something.
    """

    similarity: float
    agreement: float
    change: float
    covered: float
    moments: int

    def vector(self) -> tuple[float, ...]:
        """The numbers that the score is made of."""
        return (
            self.similarity,
            self.agreement,
            self.change,
            self.covered,
            math.log2(1 + min(self.moments, 32)) / 5,
        )

    def score(self, calibration: Calibration) -> float:
        """0..1."""
        x = calibration.bias + sum(
            w * v for w, v in zip(calibration.weights, self.vector(), strict=True)
        )
        return 1 / (1 + math.exp(-max(-60.0, min(60.0, x))))


@dataclass(frozen=True)
class _Aligned:
    """One way to lay b over a: b = speed * a + offset."""

    speed: float
    offset: float
    sims: Floats  # best similarity near the predicted place, one per used moment of a, then of b
    rows_a: npt.NDArray[np.int64]
    rows_b: npt.NDArray[np.int64]
    gain: float


def length_alike(a: float, b: float, tolerance: tuple[float, float]) -> bool:
    """Whether durations differ by at most the tolerance (seconds, or share of the longer)."""
    return abs(a - b) <= max(tolerance[0], tolerance[1] * max(a, b)) + 1e-9


# -- over a library -----------------------------------------------------------------------------


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


def candidates(
    shelf: Shelf,
    new: set[str],
    tolerance: tuple[float, float],
    calibration: Calibration,
) -> Iterator[tuple[Features, Features]]:
    """Pairs worth aligning: of like length, at least one of `new`, best moments alike.

    A pair's best moments: the mean over the better quarter (at least 3) of each row's best match.
    """
    n = len(shelf.videos)
    for i, video in enumerate(shelf.videos):
        query = shelf.vectors[shelf.starts[i] : shelf.starts[i + 1]]
        if not len(query):
            continue
        # Later in the order means longer: each pair is met once, from its shorter video.
        longest = _longest(video.duration_s, tolerance)
        stop = int(np.searchsorted(shelf.durations, longest, side="right"))
        fresh = video.key in new
        j = i + 1
        while j < stop:
            last = j
            while last < stop and shelf.starts[last + 1] - shelf.starts[j] <= BLOCK_ROWS:
                last += 1
            last = max(last, j + 1)
            others = [k for k in range(j, last) if shelf.starts[k + 1] > shelf.starts[k]]
            if not fresh:
                others = [k for k in others if shelf.videos[k].key in new]
            if others:
                yield from _alike(shelf, video, query, others, calibration.candidate)
            j = last
    assert n == len(shelf.durations)


def _longest(duration_s: float, tolerance: tuple[float, float]) -> float:
    """The longest duration that `length_alike` accepts beside this one."""
    by_share = duration_s / (1 - tolerance[1]) if tolerance[1] < 1 else math.inf
    return max(duration_s + tolerance[0], by_share) + 1e-9


def _alike(
    shelf: Shelf, video: Features, query: Floats, others: Sequence[int], least: float
) -> Iterator[tuple[Features, Features]]:
    """Those of `others` (places on the shelf) whose best moments are like the query's."""
    first, last = others[0], others[-1]
    lo, hi = shelf.starts[first], shelf.starts[last + 1]
    sims = query @ shelf.vectors[lo:hi].T  # (rows of query, rows of block)
    starts = shelf.starts[first : last + 1] - lo
    filled = np.nonzero(np.diff(shelf.starts[first : last + 2]) > 0)[0]
    best = np.maximum.reduceat(sims, starts[filled], axis=1)  # (rows of query, videos)
    k = max(min(3, len(query)), len(query) // 4)
    top = np.partition(best, len(query) - k, axis=0)[len(query) - k :].mean(axis=0)
    wanted = set(others)
    for place, score in zip(filled + first, top, strict=True):
        if score >= least and int(place) in wanted:
            yield video, shelf.videos[int(place)]


def compare_all(
    shelf: Shelf,
    new: set[str],
    tolerance: tuple[float, float],
    calibration: Calibration,
) -> Iterator[Match]:
    """A Match (a, b are keys) of every candidate pair that shares something."""
    for a, b in candidates(shelf, new, tolerance, calibration):
        match = compare(a, b, calibration)
        if match is not None:
            yield match


# -- one pair -----------------------------------------------------------------------------------


def compare(a: Features, b: Features, calibration: Calibration) -> Match | None:
    """Align two videos and weigh the evidence; None when nothing can be laid together.

    Raises:
        ValueError: the Features were made by unlike models or samplings.
    """
    if (a.model, a.sampling) != (b.model, b.sampling):
        raise ValueError(
            f"{a.model}/{a.sampling} and {b.model}/{b.sampling} never meet in one comparison"
        )
    if b.key < a.key:
        match = compare(b, a, calibration)
        return None if match is None else match.swapped()
    if a.key == b.key:
        whole = Segment((0.0, a.duration_s), (0.0, b.duration_s))
        return Match(a.key, b.key, 1.0, "exact", (whole,))
    rows_a, rows_b = np.nonzero(~a.blank)[0], np.nonzero(~b.blank)[0]
    if not len(rows_a) or not len(rows_b):
        return None
    sims = a.vectors[rows_a] @ b.vectors[rows_b].T
    best = _align(sims, a, b, rows_a, rows_b, calibration.floor)
    if best is None:
        return None
    segment = _segment(best, sims, a, b, rows_a, rows_b, calibration.floor)
    cover_a = _share(segment.a, a.duration_s)
    cover_b = _share(segment.b, b.duration_s)
    evidence = weigh(best, a, b, rows_a, rows_b, min(cover_a, cover_b))
    score = evidence.score(calibration)
    return Match(a.key, b.key, score, relation_of(cover_a, cover_b), (segment,), cover_a, cover_b)


def relation_of(cover_a: float, cover_b: float) -> str:
    """The relation that coverage both ways says; reads 'a RELATION b'."""
    if cover_a >= COPY_COVERAGE and cover_b >= COPY_COVERAGE:
        return "copy"
    if cover_b >= COPY_COVERAGE:
        return "contains"
    if cover_a >= COPY_COVERAGE:
        return "part_of"
    return "overlap"


def _share(span: tuple[float, float], duration_s: float) -> float:
    return 1.0 if duration_s <= 0 else min(1.0, max(0.0, (span[1] - span[0]) / duration_s))


def _align(
    sims: Floats,
    a: Features,
    b: Features,
    rows_a: npt.NDArray[np.int64],
    rows_b: npt.NDArray[np.int64],
    floor: float,
) -> _Aligned | None:
    """The speed and offset under which most is alike."""
    ta, tb = a.times_s[rows_a], b.times_s[rows_b]
    step = max(_step(a), _step(b))
    votes = np.clip(sims - floor, 0, None) ** 2
    # Only clearly better than its row and column: a static shot votes for every offset alike.
    peak = np.minimum(sims.max(axis=1, keepdims=True), sims.max(axis=0, keepdims=True))
    strong = (sims >= peak - 0.03) & (votes > 0)
    if not strong.any():
        return None
    at, to = np.nonzero(strong)
    weight = votes[at, to]
    hypotheses: list[tuple[float, float]] = []
    whole = b.duration_s / a.duration_s if a.duration_s > 0 else 1.0
    if 0.6 < whole < 1.67:
        hypotheses += [(1.0, 0.0), (whole, 0.0)]
    for speed in SPEEDS:
        hypotheses += [(speed, o) for o in _peaks(tb[to] - speed * ta[at], weight, step)]
    tried = [
        _lay(sims, ta, tb, a, b, rows_a, rows_b, speed, offset, step, floor)
        for speed, offset in dict.fromkeys(hypotheses)
    ]
    found = [t for t in tried if t is not None]
    if not found:
        return None
    # At equal gain the plainer explanation: speed 1, then no offset.
    return max(found, key=lambda t: (round(t.gain, 3), -abs(math.log(t.speed)), -abs(t.offset)))


def _step(f: Features) -> float:
    """Typical distance of a video's moments in seconds."""
    return float(np.median(np.diff(f.times_s))) if len(f.times_s) > 1 else max(f.duration_s, 0.125)


def _peaks(offsets: Seconds, weight: Floats, step: float) -> list[float]:
    """The offsets with most votes, in seconds; neighbours within a step are one."""
    low = offsets.min()
    bins = np.round((offsets - low) / (step / 2)).astype(int)
    count = np.bincount(bins, weight)
    smooth = np.convolve(count, [0.5, 1.0, 0.5], mode="same")
    out = []
    for _ in range(PEAKS):
        top = int(smooth.argmax())
        if smooth[top] <= 0:
            break
        near = np.abs(bins - top) <= 1
        out.append(float(np.average(offsets[near], weights=weight[near])) if near.any() else 0.0)
        smooth[max(0, top - 2) : top + 3] = 0
    return out


def _lay(
    sims: Floats,
    ta: Seconds,
    tb: Seconds,
    a: Features,
    b: Features,
    rows_a: npt.NDArray[np.int64],
    rows_b: npt.NDArray[np.int64],
    speed: float,
    offset: float,
    step: float,
    floor: float,
) -> _Aligned | None:
    """Lay b over a at one speed and offset: which moments meet, and how alike they are."""
    reach = 0.55 * step
    there = speed * ta + offset  # where a's moments should be in b
    gap = np.abs(there[:, None] - tb[None, :])
    near = gap <= reach * max(1.0, speed)
    masked = np.where(near, sims, -2.0)
    from_a, from_b = masked.max(axis=1), masked.max(axis=0)
    used_a, used_b = from_a > -2, from_b > -2
    if not used_a.any():
        return None
    values = np.concatenate([from_a[used_a], from_b[used_b]])
    # What is alike speaks for the layout, what is unlike against it.
    gain = float((values - floor).sum()) / 2
    pick_a = np.nonzero(used_a)[0]
    return _Aligned(speed, offset, values, pick_a, masked.argmax(axis=1)[pick_a], gain)


def _segment(
    best: _Aligned,
    sims: Floats,
    a: Features,
    b: Features,
    rows_a: npt.NDArray[np.int64],
    rows_b: npt.NDArray[np.int64],
    floor: float,
) -> Segment:
    """From the first to the last moment that agree, out to the middle of what lies between.

    Blank moments at the ends prove nothing and break nothing: where only they lie between the
    segment and an end that both videos share, it reaches that end.
    """
    agree = sims[best.rows_a, best.rows_b] >= floor
    rows = best.rows_a[agree] if agree.any() else best.rows_a
    ta = a.times_s[rows_a[rows]]
    step = max(_step(a), _step(b))
    start = float(ta[0]) - step / 2
    end = float(ta[-1]) + step
    first, last = rows_a[rows[0]], rows_a[rows[-1]]
    if a.blank[:first].all():
        start = 0.0
    if a.blank[last + 1 :].all():
        end = a.duration_s
    # Only what exists in both.
    start = max(start, 0.0, -best.offset / best.speed)
    end = min(end, a.duration_s, (b.duration_s - best.offset) / best.speed)
    end = max(end, start)
    to_b = (best.speed * start + best.offset, best.speed * end + best.offset)
    return Segment(
        (start, end),
        (max(0.0, to_b[0]), min(b.duration_s, max(to_b[1], 0.0))),
        best.speed,
    )


def weigh(
    best: _Aligned,
    a: Features,
    b: Features,
    rows_a: npt.NDArray[np.int64],
    rows_b: npt.NDArray[np.int64],
    covered: float,
) -> Evidence:
    """Sum up an alignment."""
    va = a.vectors[rows_a[best.rows_a]]
    vb = b.vectors[rows_b[best.rows_b]]
    da, db = va - va.mean(axis=0), vb - vb.mean(axis=0)
    energy_a, energy_b = float((da * da).sum()), float((db * db).sum())
    common = float((da * db).sum())
    power = math.sqrt(energy_a * energy_b)
    # Change below 2 % of a vector's length per moment is noise of coding.
    change = min(1.0, power / (0.02 * len(va) + 1e-9))
    agreement = 1.0 - change * (1.0 - common / power) if power > 0 else 1.0
    moments = min(len(np.unique(best.rows_b)), len(va))
    return Evidence(float(best.sims.mean()), agreement, change, covered, moments)
