"""The measures, as pure functions on arrays and spans. No files, no tools, no torch.

    >>> ranking = Ranking(np.array([0.9, 0.5, 0.4]), np.array([True, False, True]))
    >>> ranking.average_precision(), ranking.recall_at_precision_one()
    (0.8333333333333333, 0.5)
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .truth import Segment, union_s

__all__ = ["Bootstrap", "GroupCounts", "Ranking", "SegmentScore", "average_precision", "f_score",
           "group_counts", "segments_f", "segments_within"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class Ranking:
    """Pairs from most to least alike, sorted once and weighed many times (bootstrap).

    Args:
        scores: (n,) higher is more alike; equal scores are one step of the ranking.
        positive: (n,) bool.

    ``order`` (n,) sorts what belongs to the pairs; weights are given in that order.
    """

    def __init__(self, scores: Floats, positive: Bools) -> None:
        if scores.shape != positive.shape:
            raise ValueError(f"one truth a score: got {scores.shape = }, {positive.shape = }")
        self.order = np.argsort(-scores, kind="stable")
        s, positive = scores[self.order], positive[self.order]
        begins = np.insert(s[1:] != s[:-1], 0, True) if len(s) else np.array([], bool)
        first = np.flatnonzero(begins)
        step = np.cumsum(begins) - 1
        self.positives, self.negatives = np.flatnonzero(positive), np.flatnonzero(~positive)
        # Where the step of each positive ends, and the step of each negative begins.
        self.ends = np.append(first[1:], len(s))[step[self.positives]]
        self.begins = first[step[self.negatives]]

    def average_precision(self, weights: Floats | None = None) -> float:
        """Micro average precision: area under precision over recall. nan without a positive."""
        w = np.ones(len(self.order)) if weights is None else weights
        mine = w[self.positives]
        total = float(mine.sum())
        if not total:
            return float("nan")
        # Up to and with its step, for each positive.
        hits = np.append(0.0, np.cumsum(mine))[np.searchsorted(self.positives, self.ends)]
        seen = np.cumsum(w)[self.ends - 1]
        return float(np.sum(mine * hits / np.maximum(seen, 1e-12)) / total)

    def recall_at_precision_one(self, weights: Floats | None = None) -> float:
        """Part of the positives that score above every negative. nan without a positive."""
        w = np.ones(len(self.order)) if weights is None else weights
        mine = w[self.positives]
        total = float(mine.sum())
        if not total:
            return float("nan")
        weighty = w[self.negatives] > 0
        hardest = int(np.argmax(weighty))
        above = self.begins[hardest] if weighty.any() else len(w)
        return float(mine[self.positives < above].sum()) / total


def average_precision(scores: Floats, positive: Bools, weights: Floats | None = None) -> float:
    """Micro average precision, all pairs in one ranking.

    Args:
        scores: (n,) higher is more alike; equal scores are one step of the ranking.
        positive: (n,) bool.
        weights: (n,) how often a pair counts; default 1.

    Returns:
        0 to 1; nan without a positive.
    """
    ranking = Ranking(scores, positive)
    return ranking.average_precision(None if weights is None else weights[ranking.order])


def weighted_mean(values: npt.NDArray[np.generic], weights: Floats | None = None) -> float:
    """Mean of (n,) values; nan if nothing has weight."""
    if weights is None:
        return float(np.mean(values)) if len(values) else float("nan")
    total = float(weights.sum())
    return float((values * weights).sum() / total) if total else float("nan")


@dataclass(frozen=True)
class Bootstrap:
    """Draws of source groups with replacement: clips of one source stand or fall together.

    ``draws`` is (n, groups) float: how often each group was drawn.
    """

    names: tuple[Hashable, ...]
    draws: Floats

    @staticmethod
    def over(names: Iterable[Hashable], n: int = 200, seed: int = 0) -> Bootstrap:
        """``n`` draws over the distinct ``names``."""
        distinct = tuple(sorted(set(names), key=str))
        k = len(distinct)
        drawn = np.random.default_rng(seed).integers(0, k, size=(n, k))
        return Bootstrap(distinct, np.stack([np.bincount(d, minlength=k) for d in drawn])
                         .astype(np.float64))

    def index(self, names: Sequence[Hashable]) -> npt.NDArray[np.intp]:
        """Columns of ``draws`` for ``names``."""
        place = {name: i for i, name in enumerate(self.names)}
        return np.array([place[name] for name in names], dtype=np.intp)

    def pairs(self, a: npt.NDArray[np.intp], b: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        """(n,) codes of pairs between groups ``a`` and ``b``, for :meth:`pair_weights`."""
        return a * len(self.names) + b

    def pair_weights(self, pairs: npt.NDArray[np.intp], draw: int) -> Floats:
        """(n,) weights of pairs in one draw: of two groups the product, of one its own."""
        w = self.draws[draw]
        table = np.outer(w, w)
        np.fill_diagonal(table, w)
        return table.ravel().take(pairs)

    def interval(self, measure: Callable[[int], float]) -> tuple[float, float]:
        """95 % interval of ``measure(draw)`` over all draws, nan draws left out."""
        values = np.array([measure(i) for i in range(len(self.draws))])
        values = values[~np.isnan(values)]
        if not len(values):
            return float("nan"), float("nan")
        lo, hi = np.percentile(values, [2.5, 97.5])
        return float(lo), float(hi)


def f_score(precision: float, recall: float) -> float:
    """Harmonic mean, 0 if both are."""
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@dataclass(frozen=True)
class SegmentScore:
    """Seconds (or counts) found, proposed and true, summed over pairs."""

    found_p: float = 0.0
    proposed: float = 0.0
    found_r: float = 0.0
    true: float = 0.0

    def __add__(self, other: SegmentScore) -> SegmentScore:
        return SegmentScore(self.found_p + other.found_p, self.proposed + other.proposed,
                            self.found_r + other.found_r, self.true + other.true)

    @property
    def precision(self) -> float:
        return self.found_p / self.proposed if self.proposed else float("nan")

    @property
    def recall(self) -> float:
        return self.found_r / self.true if self.true else float("nan")

    @property
    def f(self) -> float:
        return f_score(np.nan_to_num(self.precision), np.nan_to_num(self.recall))


def _covered(spans: Sequence[tuple[float, float]], by: Sequence[tuple[float, float]]) -> float:
    """Seconds of the union of ``spans`` that lie in the union of ``by``."""
    return union_s(spans) + union_s(by) - union_s([*spans, *by])


def segments_f(proposed: Sequence[Segment], true: Sequence[Segment]) -> SegmentScore:
    """Temporal overlap of one pair, as in VSC 2022 (facebookresearch/vsc2022): per proposed and
    true segment that overlap on both time lines, geometric mean of the seconds covered on each.
    """

    def side(of: Sequence[Segment], by: Sequence[Segment]) -> tuple[float, float]:
        # Only partners that overlap on both time lines count: otherwise a box on the right
        # rows and the wrong columns would be right.
        part_a, part_b = [], []
        for x in of:
            near = [y for y in by if _meet(x.a, y.a) and _meet(x.b, y.b)]
            part_a += [c for y in near if (c := _common(x.a, y.a))]
            part_b += [c for y in near if (c := _common(x.b, y.b))]
        found = (union_s(part_a) * union_s(part_b)) ** 0.5
        total = (union_s(s.a for s in of) * union_s(s.b for s in of)) ** 0.5
        return found, total

    found_p, total_p = side(proposed, true)
    found_r, total_r = side(true, proposed)
    return SegmentScore(found_p, total_p, found_r, total_r)


def _meet(x: tuple[float, float], y: tuple[float, float]) -> bool:
    return min(x[1], y[1]) > max(x[0], y[0])


def _common(x: tuple[float, float], y: tuple[float, float]) -> tuple[float, float] | None:
    return (max(x[0], y[0]), min(x[1], y[1])) if _meet(x, y) else None


def segments_within(proposed: Sequence[Segment], true: Sequence[Segment],
                    tolerance_s: float = 1.0) -> tuple[SegmentScore, list[float]]:
    """Segments whose four ends all lie within ``tolerance_s`` of a true one's.

    Returns:
        Counts, and the start error in seconds (greater of the two time lines) of each true
        segment's nearest proposed one that overlaps it, tolerated or not.
    """
    used: set[int] = set()
    starts: list[float] = []
    for t in true:
        order = sorted(range(len(proposed)), key=lambda i, t=t: _apart(proposed[i], t))
        near = [i for i in order if _meet(proposed[i].a, t.a) and _meet(proposed[i].b, t.b)]
        if near:
            p = proposed[near[0]]
            starts.append(max(abs(p.a[0] - t.a[0]), abs(p.b[0] - t.b[0])))
        free = [i for i in near if i not in used and _apart(proposed[i], t) <= tolerance_s]
        if free:
            used.add(free[0])
    hit = float(len(used))
    return SegmentScore(hit, float(len(proposed)), hit, float(len(true))), starts


def _apart(x: Segment, y: Segment) -> float:
    return max(abs(x.a[0] - y.a[0]), abs(x.a[1] - y.a[1]), abs(x.b[0] - y.b[0]),
               abs(x.b[1] - y.b[1]))


@dataclass(frozen=True)
class GroupCounts:
    """Pairs of files in one proposed group: right, wrong, and true pairs in no common group."""

    right: int
    wrong: int
    missed: int

    @property
    def precision(self) -> float:
        total = self.right + self.wrong
        return self.right / total if total else float("nan")

    @property
    def recall(self) -> float:
        total = self.right + self.missed
        return self.right / total if total else float("nan")

    @property
    def f(self) -> float:
        return f_score(np.nan_to_num(self.precision), np.nan_to_num(self.recall))


def group_counts(labels: npt.NDArray[np.intp], positive: Bools, negative: Bools,
                 pairs: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]) -> GroupCounts:
    """Pairwise counts of a grouping.

    Args:
        labels: (files,) group of each file, -1 for none.
        positive, negative: (pairs,) truth; a pair that is neither is not counted.
        pairs: Two (pairs,) index arrays.
    """
    together = (labels[pairs[0]] == labels[pairs[1]]) & (labels[pairs[0]] >= 0)
    return GroupCounts(int((together & positive).sum()), int((together & negative).sum()),
                       int((~together & positive).sum()))
