"""Which seconds of one video are which seconds of another: similarity matrix -> aligned runs.

    for run in align(sims, times_a, times_b, step_s=0.5, floor=0.5):
        print(run.rows_a, run.rows_b, run.speed, run.offset)

A Hough vote over speed and offset (after Douze, Jegou, Schmid, ECCV 2010): moments that are alike
vote for the line b = speed * a + offset they lie on; the best line's best stretch (largest sum of
similarity above the floor) is a run; its moments are taken out, and the vote is held again. So
inserted pieces, swapped pieces and several clips of one source all come out, as runs of their own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from twinreel.types import Floats, Seconds

Rows = npt.NDArray[np.int64]
Line = tuple[float, float]  # speed, offset

SPEEDS = (1.0, 0.95, 1 / 0.95, 0.9, 1 / 0.9, 0.8, 1.25, 0.7, 1 / 0.7, 2 / 3, 1.5)
SLOWEST, FASTEST = 0.65, 1.55
FROM_END_TO_END = 2.6  # times faster or slower: no piece is sought at it, only the whole
PEAKS = 3  # offsets tried per speed
NEAR_BEST = 0.03  # a vote must be about the best of its row or column
MOST_RUNS = 8
ENOUGH = 0.95  # a line that gains this share of what any line could is taken at once
SLACK = 0.05  # how far below the floor the moments just outside a run still belong to it
UNUSUAL = 0.3  # share of its gain that the most unusual speed loses when lines are chosen ...
UNUSUAL_PART = 0.6  # ... and where it is not the speed at which the two are of one length
FURTHER = 0.15  # of the first run's gain that every further one must reach
LEAST_GAIN = 0.35  # similarity above the floor, summed over a run
ODD = 0.02  # |log speed| from which on a run is held against several pieces at the plain speed ...
PIECE = 0.05  # ... of which each but the first has to pay this share of their gain


@dataclass(frozen=True)
class Run:
    """Moments rows_a of one video lie beside rows_b of the other, on b = speed * a + offset."""

    speed: float
    offset: float
    rows_a: Rows
    rows_b: Rows
    sims: Floats
    gain: float


def align(
    sims: Floats,
    times_a: Seconds,
    times_b: Seconds,
    step_s: float,
    floor: float,
    whole: float = 1.0,
) -> list[Run]:
    """The aligned runs of two videos, the strongest first.

    Args:
        sims: cosine similarity of moments, float32 (n, m); not changed.
        times_a, times_b: seconds of the moments, (n,) and (m,), increasing.
        step_s: distance of moments in the sparser video.
        floor: similarity from which on moments speak for, not against, being the same.
        whole: length of b by length of a: the speed at which they are copies from end to end.
    """
    runs = _runs(sims, times_a, times_b, step_s, floor, whole, SPEEDS)
    if not any(abs(math.log(r.speed)) > ODD for r in runs):
        return runs
    # One line at another speed lies near all pieces of a video with something put in or taken out.
    plain = _runs(sims, times_a, times_b, step_s, floor, 1.0, (1.0,))
    pays = sum(r.gain for r in plain) * (1 - PIECE * (len(plain) - 1))
    return plain if pays > sum(r.gain for r in runs) else runs


def _runs(
    sims: Floats,
    times_a: Seconds,
    times_b: Seconds,
    step_s: float,
    floor: float,
    whole: float,
    speeds: tuple[float, ...],
) -> list[Run]:
    """`align` with lines of these speeds and, for the first one, of the speed `whole`."""
    left = sims.copy()
    runs: list[Run] = []
    while len(runs) < MOST_RUNS:
        speed = whole if not runs else 1.0
        best = _best_run(left, times_a, times_b, step_s, floor, speed, speeds)
        if best is None or (runs and best.gain < max(LEAST_GAIN, FURTHER * runs[0].gain)):
            break
        runs.append(best)
        # A stretch is explained once: nothing else may claim its moments of either video.
        left[best.rows_a[0] : best.rows_a[-1] + 1, :] = -1.0
        left[:, best.rows_b[0] : best.rows_b[-1] + 1] = -1.0
    return runs


def _best_run(
    sims: Floats,
    ta: Seconds,
    tb: Seconds,
    step: float,
    floor: float,
    whole: float,
    speeds: tuple[float, ...],
) -> Run | None:
    """The stretch of a line with the largest gain; at equal gain the plainer line."""
    best_of_row, best_of_column = sims.max(axis=1), sims.max(axis=0)
    # No line can gain more than every moment with its best partner.
    most = float(np.maximum(best_of_row - floor, 0).sum())
    if most < LEAST_GAIN / 2:
        return None
    best: Line | None = None
    rank: tuple[float, float, float] = (LEAST_GAIN / 2, 0.0, 0.0)

    def consider(lines: Sequence[Line]) -> None:
        nonlocal best, rank
        gains = _Gains.of(sims, ta, tb, lines, step, floor)
        for i, (speed, offset) in enumerate(lines):
            if i and speed != lines[i - 1][0] and rank[0] >= ENOUGH * most:
                return
            likely = _likely(speed, whole)
            if round(gains.most[i] * likely, 2) >= rank[0]:
                mine = (round(gains[i] * likely, 2), -abs(math.log(speed)), -abs(offset))
                if mine > rank:
                    best, rank = (speed, offset), mine

    # The plain explanations first; the vote over all speeds only where they leave much unexplained.
    ends_meet = whole != 1.0 and 1 / FROM_END_TO_END < whole < FROM_END_TO_END
    consider([(1.0, 0.0)] + ([(whole, 0.0)] if ends_meet else []))
    if rank[0] < ENOUGH * most:
        peak = np.minimum(best_of_row[:, None], best_of_column[None, :])
        at, to = np.nonzero((sims > floor) & (sims >= peak - NEAR_BEST))
        if len(at):
            consider(_voted(ta[at], tb[to], (sims[at, to] - floor) ** 2, step, speeds))
    run = along(sims, ta, tb, *best, step, floor) if best is not None else None
    return None if run is None else _refined(run, sims, ta, tb, step, floor, whole)


def _likely(speed: float, whole: float) -> float:
    """The share of a line's gain that counts: most copies run at the speed of their source."""
    costs = UNUSUAL if abs(speed / whole - 1) < ODD else UNUSUAL_PART
    return 1 - costs * min(1.0, abs(math.log(speed)) / math.log(FASTEST))


def _voted(
    ta: Seconds, tb: Seconds, weight: Floats, step: float, speeds: Sequence[float]
) -> list[Line]:
    """The lines with most votes: PEAKS offsets of each speed; neighbours within a step are one.

    Args:
        ta, tb: seconds of two moments that vote for the lines they lie on, (votes,).
    """
    offsets = tb - np.outer(speeds, ta)  # (speeds, votes)
    low = offsets.min(axis=1, keepdims=True)
    bins = ((offsets - low) / (step / 2) + 0.5).astype(np.int64)
    width = int(bins.max()) + 3  # with an empty one at either end
    each = np.arange(len(speeds))
    flat = (bins + 1 + each[:, None] * width).ravel()

    def summed(values: Floats) -> Seconds:
        out = np.bincount(flat, values.ravel(), len(speeds) * width)
        return out.reshape(-1, width).astype(np.float64)

    count = summed(np.broadcast_to(weight, offsets.shape))
    place = summed(weight * (offsets - low))
    smooth = count.copy()
    smooth[:, 1:] += count[:, :-1] / 2
    smooth[:, :-1] += count[:, 1:] / 2
    smooth[:, [0, -1]] = 0
    found: list[list[Line]] = [[] for _ in speeds]
    for _ in range(PEAKS):
        top = smooth.argmax(axis=1)
        near = top[:, None] + np.arange(-1, 2)
        mass = count[each[:, None], near].sum(axis=1)
        middle = place[each[:, None], near].sum(axis=1) / np.maximum(mass, 1e-30)
        for k in np.nonzero((smooth[each, top] > 0) & (mass > 0))[0].tolist():
            found[k].append((speeds[k], float(low[k, 0] + middle[k])))
        for k in range(-2, 3):
            smooth[each, np.minimum(np.maximum(top + k, 0), width - 1)] = 0
    return [line for lines in found for line in lines]


def _beside(
    sims: Floats, ta: Seconds, tb: Seconds, lines: Sequence[Line], step: float
) -> tuple[Floats, Rows]:
    """Where lines lead: the similarity of each of a's moments to the more similar of the two of b's
    around its place, -2 where none is near, and which of b's that is; both (lines, n)."""
    speeds, offsets = (np.array(x)[:, None] for x in zip(*lines, strict=True))
    there = speeds * ta + offsets  # where a's moments should be in b
    reach = 0.55 * step * np.maximum(1.0, speeds)
    after = tb.searchsorted(there.ravel()).reshape(there.shape)
    rows = np.arange(len(ta))
    left, right = np.maximum(after - 1, 0), np.minimum(after, len(tb) - 1)
    of_left = np.where(np.abs(tb[left] - there) <= reach, sims[rows, left], np.float32(-2.0))
    of_right = np.where(np.abs(tb[right] - there) <= reach, sims[rows, right], np.float32(-2.0))
    return np.maximum(of_left, of_right), np.where(of_right > of_left, right, left)


@dataclass(frozen=True)
class _Gains:
    """Gains of lines: gains[i] is what `along` would give line i, most[i] never less than that."""

    each: Seconds  # (lines, n), what every moment gains
    total: Seconds  # (lines, n + 1), their sums so far
    ends: Rows  # (lines,), see _stretch
    most: list[float]

    @classmethod
    def of(
        cls,
        sims: Floats,
        ta: Seconds,
        tb: Seconds,
        lines: Sequence[Line],
        step: float,
        floor: float,
    ) -> _Gains:
        """All lines at once."""
        value = _beside(sims, ta, tb, lines, step)[0]
        each = np.where(value > -2, value.astype(np.float64) - floor, 0.0)
        total = np.zeros((len(lines), len(ta) + 1))
        np.cumsum(each, axis=1, out=total[:, 1:])
        above = total - np.minimum.accumulate(total, axis=1)
        ends = above.argmax(axis=1)
        return cls(each, total, ends, above[np.arange(len(lines)), ends].tolist())

    def __getitem__(self, i: int) -> float:
        return _stretch(self.each[i], self.total[i], int(self.ends[i]))[2]


def _stretch(gains: Seconds, total: Seconds, end: int) -> tuple[int, int, float]:
    """The best stretch start..end of a line and its gain; 0.0 where nothing speaks for it.

    Args:
        gains: what each moment gains, (n,). total: their sums so far, from 0.0 on, (n + 1,).
        end: where total is highest above what it was before.
    """
    if end == 0:
        return 0, 0, 0.0
    start = int(total[:end].argmin())
    # A moment a little below the floor at the very end costs nothing to include: the cut is there.
    while start and gains[start - 1] > -SLACK:
        start -= 1
    while end < len(gains) and gains[end] > -SLACK:
        end += 1
    return start, end, float(total[end] - total[start])


def along(
    sims: Floats,
    ta: Seconds,
    tb: Seconds,
    speed: float,
    offset: float,
    step: float,
    floor: float,
) -> Run | None:
    """The best stretch of one line: the contiguous moments with the largest sum above the floor."""
    values, places = _beside(sims, ta, tb, [(speed, offset)], step)
    value, near = values[0], places[0]
    used = np.nonzero(value > -2)[0]
    if not len(used):
        return None
    gains = value[used].astype(np.float64) - floor
    total = np.concatenate([[0.0], np.cumsum(gains)])
    end = int((total - np.minimum.accumulate(total)).argmax())
    start, end, gain = _stretch(gains, total, end)
    if start == end:
        return None
    picked = used[start:end]
    return Run(speed, offset, picked, near[picked], value[picked], gain)


def _refined(
    run: Run, sims: Floats, ta: Seconds, tb: Seconds, step: float, floor: float, whole: float
) -> Run:
    """The same run on a line fitted to where its moments really agree best.

    Votes come from a grid of speeds. A straight line through the best partner of each moment
    (searched two steps around) gives the speed to about step / duration; kept if it gains.
    """
    if len(run.rows_a) < 6:
        return run
    there = run.speed * ta[run.rows_a] + run.offset
    window = np.abs(tb[None, :] - there[:, None]) <= 2.2 * step
    beside = np.where(window, sims[run.rows_a], -2.0)
    pick = beside.argmax(axis=1)
    top = beside[np.arange(len(pick)), pick]
    # Only moments that tell one partner from another: a still shot fits anywhere.
    spread = top - np.where(window, beside, top[:, None]).min(axis=1)
    weight = np.clip(top - floor, 0, None) * spread
    if (weight > 1e-3).sum() < 6 or np.ptp(ta[run.rows_a][weight > 1e-3]) < 4 * step:
        return run
    speed, offset = np.polyfit(ta[run.rows_a], tb[pick], 1, w=np.sqrt(weight))
    if not SLOWEST < speed < FASTEST:
        return run
    # A few seconds tell a speed badly: the plain one stands unless the fitted one gains enough.
    shift = float(np.average(tb[pick] - ta[run.rows_a], weights=weight))
    lines = [(float(speed), float(offset)), (1.0, shift)]
    length = np.ptp(ta[run.rows_a])
    if abs(speed - 1.0) * length < 0.5 * step:
        lines = lines[1:]  # less than the moments can tell
    elif abs(speed - whole) * length < step:
        lines[0] = (whole, 0.0)  # so is this, and durations tell it to the frame
    found = [along(sims, ta, tb, *line, step, floor) for line in lines]
    best = max(
        (r for r in found if r is not None),
        key=lambda r: r.gain * _likely(r.speed, whole),
        default=None,
    )
    return best if best is not None and best.gain >= run.gain - 0.02 * len(run.sims) else run
