"""At which speed one video lies on another, told between their moments.

    run = end_to_end(runs, a, b, whole, tried)   # at the speed of their lengths; None: not likelier

Alignment (align.py) holds moments that were looked at against each other. Those of two videos lie
up to half a step apart, and so do the lines of two speeds over some seconds: a talking head that
runs 5 % faster fits as well at the plain speed, a little of it left out at either end. Here
descriptors are drawn from each moment to the next, so that both can be asked at the same time, and
what they have in common all along is left out: it fits along any line.

The line from end to end is never off by more than half of what was cut from the middle of a shot,
and may fit that better than one plain line does; so it must not fit clearly worse than such a cut.
Moments often cannot tell, and align.py calls some cuts a speed itself: whoever removes a file asks
what frame rates say of it (keep/holds.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from twinreel.align import FASTEST, ODD, SLOWEST, Line, Run
from twinreel.types import Features, Floats, Seconds

PROOF = 3.0  # natural logarithm of the odds from which on one explanation is likelier
_CLOSE = 0.005  # |log| of two speeds that no moments tell apart
_SHIFTS = np.linspace(-1.0, 1.0, 17)  # steps by which a line may lie beside where it was found
_NEAR = np.linspace(-0.25, 0.25, 5)  # the same where lengths say where it lies, to a frame or two
_CUTS = np.linspace(0.0, 1.0, 65)  # where a piece may be left out, as a share of the shorter video
_FEWEST = 6  # moments of either
_MOST = 256  # moments of either that are asked
_LEAST_SEEN = 0.5  # share of the moments that must find some beside them


def end_to_end(
    runs: Sequence[Run],
    a: Features,
    b: Features,
    whole: float,
    tried: Callable[[Line], Run | None],
) -> Run | None:
    """The run along which the videos begin and end together, where moments say that it is likelier
    than the runs that were found, and not that a piece was left out of the longer video.

    Args:
        runs: rows of a and b that lie on each other, the strongest run first.
        whole: length of b by length of a: the speed at which they begin and end together.
        tried: the run along a line, None where there is none.
    """
    if not (SLOWEST < whole < FASTEST and abs(math.log(whole)) > ODD):
        return None
    if abs(math.log(runs[0].speed / whole)) < _CLOSE:
        return None
    beside = _Beside.of(runs, a, b)
    if min(len(beside.times_a), len(beside.times_b)) < _FEWEST:
        return None
    instead = max(beside.misfit([(whole, 0.0)], _NEAR), 1e-9)
    now = beside.misfit([(r.speed, r.offset) for r in runs], _SHIFTS)
    cut = beside.misfit_of_a_cut(a.duration_s, b.duration_s)
    odds = [beside.asked * math.log(max(one, 1e-9) / instead) for one in (now, cut)]
    return tried((whole, 0.0)) if odds[0] > PROOF and odds[1] > -PROOF else None


@dataclass(frozen=True)
class _Beside:
    """Moments of two videos in what they share, in seconds, and what sets the descriptors there,
    (n, d) and (m, d), apart from their means. usual: the mean square of that. step: the larger
    distance of moments."""

    times_a: Seconds
    a: Floats
    times_b: Seconds
    b: Floats
    usual: float
    step: float

    @classmethod
    def of(cls, runs: Sequence[Run], a: Features, b: Features) -> _Beside:
        """The moments from the first to the last of the runs."""
        ta, va = _inside(a, np.concatenate([r.rows_a for r in runs]))
        tb, vb = _inside(b, np.concatenate([r.rows_b for r in runs]))
        squares = np.concatenate([(va * va).sum(axis=1), (vb * vb).sum(axis=1)])
        steps = [float(np.median(np.diff(t))) for t in (ta, tb) if len(t) > 1]
        return cls(ta, va, tb, vb, max(float(np.median(squares)), 1e-9), max(steps, default=1.0))

    @property
    def asked(self) -> int:
        """How many moments of both."""
        return min(_MOST, len(self.times_a)) + min(_MOST, len(self.times_b))

    def misfit(self, lines: Sequence[Line], shifts: Seconds) -> float:
        """0 (the same all along) to 1, along lines, or beside each where it fits best; each moment
        on the one of them that it fits.

        The mean over both videos' moments of what is left of each beside the other, squared, as a
        share of itself and what is usual: so a moment that is another one counts once, not more.
        """
        each = []
        for line in lines:
            share, known = self._shares(line, shifts)
            best = int(_summed(share, known, np.ones((1, self.asked)))[2][0])
            each.append(np.where(known[best], share[best], 2.0))
        nearest = np.min(each, axis=0)
        seen = nearest <= 1.0
        return float(nearest[seen].mean()) if seen.sum() >= _LEAST_SEEN * self.asked else 1.0

    def misfit_of_a_cut(self, length_a: float, length_b: float) -> float:
        """The same where both run at the plain speed, and one piece is left out of the longer one,
        wherever that fits best."""
        cuts = _CUTS[:, None] * min(length_a, length_b)
        of_a, of_b = _some(self.times_a), _some(self.times_b)
        # The tail of the longer one begins behind the piece.
        longer = length_a - length_b
        behind_a, behind_b = of_a - max(0.0, longer), of_b - max(0.0, -longer)
        head = np.concatenate([of_a, of_b]) < cuts
        tail = np.concatenate([behind_a, behind_b]) >= cuts
        left, count = np.zeros(len(cuts)), np.zeros(len(cuts))
        for offset, on in ((0.0, head), (-longer, tail)):
            total, found, best = _summed(*self._shares((1.0, offset), _NEAR), on)
            rows = np.arange(len(cuts))
            left, count = left + total[rows, best], count + found[rows, best]
        seen = count >= _LEAST_SEEN * self.asked
        return float(np.where(seen, left / np.maximum(count, 1), 1.0).min())

    def _shares(self, line: Line, shifts: Seconds) -> tuple[Any, Any]:
        """What is left of each moment of both, 0 to 1, at each shift beside a line: (shifts,
        asked), and whether there is anything beside it."""
        speed, offset = line
        offsets = offset + shifts * self.step
        there = [
            _left(self.times_a, self.a, self.times_b, self.b, speed, offsets),
            _left(self.times_b, self.b, self.times_a, self.a, 1 / speed, -offsets / speed),
        ]
        left = np.concatenate([t[0] for t in there], axis=1)
        return left / (left + self.usual), np.concatenate([t[1] for t in there], axis=1)


def _summed(share: Any, known: Any, on: Any) -> tuple[Any, Any, Any]:
    """Of some sets of moments, `on` (sets, asked): what is left of them at each shift, of how many
    there is something beside them, both (sets, shifts), and at which shift the mean is least."""
    total, found = on @ np.where(known, share, 0.0).T, on @ known.T.astype(float)
    enough = found >= _LEAST_SEEN * found.max(axis=1, keepdims=True)
    return total, found, np.where(enough, total / np.maximum(found, 1), 2.0).argmin(axis=1)


def _some(times: Seconds) -> Seconds:
    """The moments that are asked."""
    out: Seconds = times[_places(len(times))]
    return out


def _places(count: int) -> npt.NDArray[np.int64]:
    return np.linspace(0, count - 1, min(_MOST, count)).round().astype(np.int64)


def _inside(f: Features, rows: npt.NDArray[np.int64]) -> tuple[Seconds, Floats]:
    """The moments that show something, from the first to the last row: seconds, descriptors."""
    kept = rows.min() + np.flatnonzero(~f.blank[rows.min() : rows.max() + 1])
    vectors = f.vectors[kept].astype(np.float32)
    return f.times_s[kept], vectors - vectors.mean(axis=0)


def _left(
    times: Seconds, v: Floats, beside: Seconds, w: Floats, speed: float, offsets: Seconds
) -> tuple[Any, Any]:
    """Of moments, what the other video leaves unexplained at each offset: squares, (k, n), and
    whether it goes on there at all."""
    v, times = v[_places(len(times))], _some(times)
    at = speed * times + offsets[:, None]
    known = (at >= beside[0]) & (at <= beside[-1])
    low = np.clip(beside.searchsorted(at.ravel()).reshape(at.shape) - 1, 0, len(beside) - 2)
    x = np.clip((at - beside[low]) / np.maximum(beside[low + 1] - beside[low], 1e-9), 0.0, 1.0)
    both, rows = v @ w.T, np.arange(len(times))
    of_w, next_to = (w * w).sum(axis=1), (w[:-1] * w[1:]).sum(axis=1)
    drawn = (1 - x) ** 2 * of_w[low] + x**2 * of_w[low + 1] + 2 * x * (1 - x) * next_to[low]
    product = (1 - x) * both[rows, low] + x * both[rows, low + 1]
    return np.maximum((v * v).sum(axis=1) + drawn - 2 * product, 0.0), known
