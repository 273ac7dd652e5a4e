"""Pictures of one video -> where another picture lies inside them all the while.

    rect = find_inset(pictures)     # uint8 (n, 160, 160, 3), at least EIGHT of them; or None

A film in the corner of a reaction, a clip laid over a game: what is around belongs to somebody
else. Two things give such a rectangle away. Its sides are sharp, straight and there at all moments,
sharper than anything a few pixels off. And nothing changes together across them, while it does on
either side: a window or a poster in a still scene has the first, a passer-by the second.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from twinreel.picture import Rect
from twinreel.types import Floats, Pixels

EIGHT = 8  # pictures; fewer prove nothing
MOMENTS = 16  # that are looked at
LEAST, MOST = 0.2, 0.9  # sides of the picture between which the rectangle's may lie
_EDGE = 8  # grey levels across a side ...
_OFTEN = 0.5  # ... in so many of the moments
_BESIDE = 3  # pixels off are edges that it is at least half as sharp again as
_FOUND, _SIDE, _SIDES = 0.6, 0.5, 0.75  # share of a side that is sharp: to ask, each, on average
_LINES = 12  # straight lines that are tried in either direction
_ACROSS = 2  # pixels on either side of a line that may change together
_STILL = 4.0  # grey levels of change below which nothing is said
_APART = 0.3  # how much less changes together across a side than beside it
Spans = list[tuple[int, int]]


def find_inset(pictures: Pixels) -> Rect | None:
    """The rectangle in which another picture lies, as fractions; None where there is none."""
    if len(pictures) < EIGHT:
        return None
    some = np.linspace(0, len(pictures) - 1, min(len(pictures), MOMENTS)).round().astype(int)
    grey = pictures[some, :, :, 1].astype(np.int16)  # green is nearly all of grey, and at hand
    upright = _Lines.of(grey)
    if len(upright.at) < 2:
        return None
    level = _Lines.of(np.ascontiguousarray(grey.swapaxes(1, 2)))
    h, w = grey.shape[1:]
    wide, tall = upright.spans(), level.spans()
    if not wide or not tall:
        return None
    # Of every rectangle: how sharp its left and right sides are, its top and its bottom.
    left, right = (upright.sharpness([s[k] for s in wide], tall) for k in (0, 1))
    top, bottom = (level.sharpness([s[k] for s in tall], wide).T for k in (0, 1))
    sides = np.stack([left, right, top, bottom])
    mean = np.where(sides.min(axis=0) >= _SIDE, sides.mean(axis=0), 0.0)
    for place in np.argsort(-mean, axis=None)[:_LINES]:
        i, j = np.unravel_index(place, mean.shape)
        if mean[i, j] < _SIDES:
            return None
        (x0, x1), (y0, y1) = wide[i], tall[j]
        apart = [upright.apart(x, y0, y1) for x in (x0, x1)]
        apart += [level.apart(y, x0, x1) for y in (y0, y1)]
        if np.mean(apart) >= _APART:
            return (x0 / w, y0 / h, x1 / w, y1 / h)
    return None


@dataclass(frozen=True)
class _Lines:
    """The upright lines of pictures, int16 (n, h, w)."""

    grey: npt.NDArray[np.int16]
    total: npt.NDArray[np.int64]  # (h + 1, w), pixels above that are sharp
    at: list[int]  # columns, increasing

    @classmethod
    def of(cls, grey: npt.NDArray[np.int16]) -> _Lines:
        h, w = grey.shape[1:]
        edge = np.zeros(grey.shape, np.int16)
        np.abs(grey[:, :, 2:] - grey[:, :, :-2], out=edge[:, :, 1:-1])
        inner = edge[:, :, _BESIDE:-_BESIDE]
        beside = np.maximum(edge[:, :, : -2 * _BESIDE], edge[:, :, 2 * _BESIDE :])
        often = ((inner > _EDGE) & (2 * inner > 3 * beside)).mean(axis=0) >= _OFTEN
        sharp = np.zeros((h, w), bool)
        sharp[:, _BESIDE:-_BESIDE] = often
        sharp[:, 1:] |= sharp[:, :-1].copy()  # an edge lies between two pixels, and on both
        total = np.zeros((h + 1, w), np.int64)
        np.cumsum(sharp, axis=0, out=total[1:])
        least = int(LEAST * h)
        longest = (total[least:] - total[:-least]).max(axis=0) / least
        at: list[int] = []
        while len(at) < _LINES and longest.max() >= _FOUND:
            at.append(int(longest.argmax()))
            longest[max(0, at[-1] - _BESIDE) : at[-1] + _BESIDE + 1] = 0
        return cls(grey, total, sorted(at))

    def spans(self) -> Spans:
        """Pairs of lines as far apart as the sides of an inset."""
        w = self.grey.shape[2]
        return [(a, b) for a, b in combinations(self.at, 2) if LEAST * w <= b - a <= MOST * w]

    def sharpness(self, columns: list[int], spans: Spans) -> npt.NDArray[np.float64]:
        """The share of each span that is sharp in each column, (columns, spans)."""
        start, end = np.array(spans).T
        near = [np.clip(np.array(columns) + k, 0, self.total.shape[1] - 1) for k in (-1, 0, 1)]
        best = np.max([self.total[end][:, c] - self.total[start][:, c] for c in near], axis=0)
        return np.asarray(best.T / (end - start), np.float64)

    def apart(self, x: int, start: int, end: int) -> float:
        """How much less pixels change together across a side than beside it."""
        step = 2 * _ACROSS + 1
        across = [self._together(c, start, end) for c in range(x - 2, x + 3)]
        beside = [self._together(c, start, end) for c in (x - step, x + step)]
        return float((np.mean(beside, axis=0) - np.min(across, axis=0)).mean())

    def _together(self, x: int, start: int, end: int) -> Floats:
        """Correlation of what changes left and right of column x, row by row: (end - start,)."""
        last = self.grey.shape[2] - 1 - _ACROSS
        x = min(max(x, _ACROSS), last)
        a, b = (self.grey[:, start:end, x + k].astype(np.float32) for k in (-_ACROSS, _ACROSS))
        a, b = a - a.mean(axis=0), b - b.mean(axis=0)
        sizes = np.sqrt((a * a).mean(axis=0)), np.sqrt((b * b).mean(axis=0))
        size = np.maximum(sizes[0] * sizes[1], (_STILL / 2) ** 2)
        still = np.maximum(*sizes) < _STILL
        out: Floats = np.where(still, 1.0, (a * b).mean(axis=0) / size).astype(np.float32)
        return out
