"""At which speed one video lies on another, told between their moments.

    run = end_to_end(runs, a, b, tried)   # at the speed of their lengths; None: not likelier

Alignment (align.py) holds moments that were looked at against each other. Those of two videos lie
up to half a step apart, and so do the lines of two speeds over some seconds: a talking head that
runs 5 % faster fits as well at the plain speed, a little of it left out at either end. Here
descriptors are drawn from each moment to the next, so that both can be asked at the same time, and
what they have in common all along is left out: it fits along any line.
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

PROOF = 3.0  # natural logarithm of the odds that the lengths' speed must gain
_CLOSE = 0.005  # |log| of two speeds that no moments tell apart
_SHIFTS = np.linspace(-1.0, 1.0, 17)  # steps by which a line may lie beside where it was found
_FEWEST = 6  # moments of either
_MOST = 256  # moments of either that are asked
_MOST_OUT = 0.5  # share of the moments that may find none beside them


def end_to_end(
    runs: Sequence[Run], a: Features, b: Features, tried: Callable[[Line], Run | None]
) -> Run | None:
    """The run along which the videos begin and end together, where moments say that it is likelier
    than the runs that were found.

    Args:
        runs: rows of a and b that lie on each other, the strongest run first.
        tried: the run along a line, None where there is none.
    """
    whole = b.duration_s / a.duration_s if min(a.duration_s, b.duration_s) > 0 else 1.0
    if not (SLOWEST < whole < FASTEST and abs(math.log(whole)) > ODD):
        return None
    if abs(math.log(runs[0].speed / whole)) < _CLOSE:
        return None
    asked = [_Beside.of(run, a, b) for run in runs]
    if any(min(len(one.times_a), len(one.times_b)) < _FEWEST for one in asked):
        return None
    now = sum(len(one) * one.misfit(r.speed, r.offset) for one, r in zip(asked, runs, strict=True))
    instead = sum(len(one) * one.misfit(whole, 0.0) for one in asked)
    odds = sum(map(len, asked)) * math.log(max(now, 1e-9) / max(instead, 1e-9))
    return tried((whole, 0.0)) if odds > PROOF else None


@dataclass(frozen=True)
class _Beside:
    """Moments of two videos in a stretch that they share, in seconds, and what sets the descriptors
    there, (n, d) and (m, d), apart from their means. usual: the mean square of that."""

    times_a: Seconds
    a: Floats
    times_b: Seconds
    b: Floats
    usual: float
    step: float

    @classmethod
    def of(cls, run: Run, a: Features, b: Features) -> _Beside:
        """The moments from the first to the last of a run."""
        (ta, va), (tb, vb) = _inside(a, run.rows_a), _inside(b, run.rows_b)
        squares = np.concatenate([(va * va).sum(axis=1), (vb * vb).sum(axis=1)])
        steps = [float(np.median(np.diff(t))) for t in (ta, tb) if len(t) > 1]
        return cls(ta, va, tb, vb, max(float(np.median(squares)), 1e-9), max(steps, default=1.0))

    def __len__(self) -> int:
        return min(_MOST, len(self.times_a)) + min(_MOST, len(self.times_b))

    def misfit(self, speed: float, offset: float) -> float:
        """0 (the same all along) to 1, along a line or the one a little beside it that fits best.

        The mean over both videos' moments of what is left of each beside the other, squared, as a
        share of itself and what is usual: so a moment that is another one counts once, not more.
        """
        offsets = offset + _SHIFTS * self.step
        there = [
            _left(self.times_a, self.a, self.times_b, self.b, speed, offsets),
            _left(self.times_b, self.b, self.times_a, self.a, 1 / speed, -offsets / speed),
        ]
        left = np.concatenate([t[0] for t in there], axis=1)
        known = np.concatenate([t[1] for t in there], axis=1)
        share = np.where(known, left / (left + self.usual), 0.0).sum(axis=1)
        found = known.sum(axis=1)
        mean = share / np.maximum(found, 1)
        return float(np.where(found >= (1 - _MOST_OUT) * len(self), mean, 1.0).min())


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
    some = np.linspace(0, len(times) - 1, min(_MOST, len(times))).round().astype(int)
    times, v = times[some], v[some]
    at = speed * times + offsets[:, None]
    known = (at >= beside[0]) & (at <= beside[-1])
    low = np.clip(beside.searchsorted(at.ravel()).reshape(at.shape) - 1, 0, len(beside) - 2)
    x = np.clip((at - beside[low]) / np.maximum(beside[low + 1] - beside[low], 1e-9), 0.0, 1.0)
    both, rows = v @ w.T, np.arange(len(times))
    of_w, next_to = (w * w).sum(axis=1), (w[:-1] * w[1:]).sum(axis=1)
    drawn = (1 - x) ** 2 * of_w[low] + x**2 * of_w[low + 1] + 2 * x * (1 - x) * next_to[low]
    product = (1 - x) * both[rows, low] + x * both[rows, low + 1]
    return np.maximum((v * v).sum(axis=1) + drawn - 2 * product, 0.0), known
