"""Where pictures lie on other pictures: cropped, inset, turned, mirrored.

    place = register(a, b)       # grey pictures of the same moments, (n, 80, 80) each
    place.fit                    # how well they agree there, -1..1
    a2, b2 = place.views(a, b)   # the shared part of both, upright, (n, 40, 40) each

A picture may show a part of the other (a crop) or hold it as a part of its own (an inset, bars of
blur, a stack of two). All parts of `_SIZES` in both directions are tried at once: each is reduced
to 8 x 8 cells, all eight ways of turning the other picture are compared with all parts by one
matrix product, and the best few are refined.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from twinreel.aligned import WHOLE, Rect, climbed, view
from twinreel.picture import cut
from twinreel.types import Floats

SIDE = 80  # of the pictures
_CELLS = 8
_SIZES = tuple(float(s) for s in np.geomspace(1.0, 0.3, 8))  # sides of the parts that are tried
_STRIDE = 0.05  # distance of the parts
_MOST_STRETCH = 3.4  # sides of a part to each other
_MOMENTS = 3  # that find the place; all measure it
_PLAIN = 0.9  # pictures that fit this well as they are need no search
_TRIED = 3  # places that are refined
_VIEW = 40
_SMOOTH = (1.5,) * 6 + (0.5,) * 5  # pixels, by which pictures are smoothed at each step of bending
_FARTHEST = 0.25  # that a corner may move for one reason, in halves of a side
_WORTH = 0.04  # of fit: less does not tell that a picture is bent
_FLATTEST = 0.985  # pictures that fit so well need no bending
Warp = tuple[float, float, float, float, float, float]
STRAIGHT: Warp = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Place:
    """How b lies on a.

    inside: `part` is the part of a that b shows; else the part of b that shows a. turns: quarter
    turns (np.rot90) that set b upright, then mirrored, left to right. warp: how far the places of
    b's view lie off then: right by w0 + w1 x + w2 y, down by w3 + w4 x + w5 y, x and y from -1 to 1
    over the view (a tilt, a slant, a part that is off by less than its search tells). fit: mean
    correlation.
    """

    part: Rect = WHOLE
    inside: bool = True
    turns: int = 0
    mirrored: bool = False
    fit: float = 0.0
    warp: Warp = STRAIGHT

    def views(self, a: Floats, b: Floats) -> tuple[Floats, Floats]:
        """The shared part of both, grey (n, 80, 80) -> float32 (n, 40, 40) each, as a has it."""
        upright, (of_a, of_b) = turned(b, self.turns, self.mirrored), self._parts
        return view(a, of_a, _VIEW), _seen_through(upright, of_b, self.warp)

    @property
    def _parts(self) -> tuple[Rect, Rect]:
        """The shared part of a, and of b as it stands after turning."""
        return (self.part, WHOLE) if self.inside else (WHOLE, self.part)

    def bent(self, a: Floats, b: Floats) -> Place:
        """The same place with the warp at which pictures fit best, (n, 80, 80) each.

        Steps of least squares on what a small warp changes (Lucas and Kanade, 1981; the pictures
        levelled as in Evangelidis and Psarakis, PAMI 2008), the same warp for all moments.
        """
        upright, (of_a, of_b) = turned(b, self.turns, self.mirrored), self._parts
        asked = view(a, of_a, _VIEW)
        shown = _seen_through(upright, of_b, self.warp)
        now = best = self.warp
        score = fit(asked, shown)
        for sigma in _SMOOTH:
            now = _stepped(now, _blurred(asked, sigma), _blurred(shown, sigma))
            if max(map(abs, now)) > _FARTHEST:
                break
            shown = _seen_through(upright, of_b, now)
            if (fits := fit(asked, shown)) > score:
                best, score = now, fits
        return replace(self, warp=best, fit=score)


def _seen_through(pictures: Floats, part: Rect, warp: Warp) -> Floats:
    """The `part` of pictures (n, h, w), its places off by the warp, at (n, 40, 40); held at the
    pictures' ends."""
    if warp == STRAIGHT:
        return view(pictures, part, _VIEW)
    h, w = pictures.shape[1:]
    x, y = _grid()
    across = x + warp[0] + warp[1] * x + warp[2] * y
    down = y + warp[3] + warp[4] * x + warp[5] * y
    left, top, right, bottom = part
    px = np.clip((left + (across + 1) / 2 * (right - left)) * w - 0.5, 0, w - 1)
    py = np.clip((top + (down + 1) / 2 * (bottom - top)) * h - 0.5, 0, h - 1)
    i, j = np.minimum(py.astype(int), h - 2), np.minimum(px.astype(int), w - 2)
    v, u = (py - i).astype(np.float32), (px - j).astype(np.float32)
    above = pictures[:, i, j] * (1 - u) + pictures[:, i, j + 1] * u
    below = pictures[:, i + 1, j] * (1 - u) + pictures[:, i + 1, j + 1] * u
    out: Floats = above * (1 - v) + below * v
    return out


@functools.cache
def _grid() -> tuple[Floats, Floats]:
    """x and y of a view's pixels, -1..1, (40, 40) each."""
    at = ((np.arange(_VIEW) + 0.5) / _VIEW * 2 - 1).astype(np.float32)
    x, y = np.meshgrid(at, at)
    return x, y


def _blurred(pictures: Floats, sigma: float) -> Floats:
    out: Floats = ndimage.gaussian_filter(pictures, (0, sigma, sigma))
    return out


def _stepped(warp: Warp, asked: Floats, shown: Floats) -> Warp:
    """The warp after one step towards where `shown` (as it is under the warp) is like `asked`."""
    x, y = _grid()
    level = shown - shown.mean(axis=(1, 2), keepdims=True)
    size = level.std(axis=(1, 2), keepdims=True)
    like = asked - asked.mean(axis=(1, 2), keepdims=True)
    like = like * (size / np.maximum(like.std(axis=(1, 2), keepdims=True), 1e-3))
    per_pixel = 2 / _VIEW
    down, across = (g / per_pixel for g in np.gradient(level, axis=(1, 2)))
    slopes = np.stack([across, across * x, across * y, down, down * x, down * y], axis=-1)
    slopes /= np.maximum(size, 1e-3)[..., None]  # each moment counts alike
    rows = slopes.reshape(-1, 6)
    miss = ((like - level) / np.maximum(size, 1e-3)).reshape(-1)
    square = rows.T @ rows
    square += np.eye(6) * (1e-3 * np.trace(square) / 6 + 1e-6)  # of flat pictures, too
    step = np.linalg.solve(square, rows.T @ miss)
    w = [float(before + more) for before, more in zip(warp, step, strict=True)]
    return w[0], w[1], w[2], w[3], w[4], w[5]


def turned(pictures: Floats, turns: int, mirrored: bool) -> Floats:
    """Pictures (n, h, w) after quarter turns and mirroring."""
    out = np.rot90(pictures, turns, axes=(1, 2))
    return np.ascontiguousarray(out[:, :, ::-1] if mirrored else out)


_WAYS = tuple((turns, mirrored) for mirrored in (False, True) for turns in range(4))


def register(a: Floats, b: Floats) -> Place:
    """The best place of pictures b on pictures a, grey float32 (n, 80, 80) each, n at least 1."""
    return Canvas(a).place(b)


class Canvas:
    """Pictures a, on which one row of pictures b after the other may be laid."""

    def __init__(self, a: Floats) -> None:
        self._some = np.linspace(0, len(a) - 1, min(_MOMENTS, len(a))).round().astype(int)
        self._a = a[self._some]

    @functools.cached_property
    def _bank(self) -> Floats:
        return _bank(self._a)

    def place(self, b: Floats) -> Place:
        """See register."""
        a, b = self._a, b[self._some]
        plain = fit(a, b)
        if plain >= _PLAIN:
            return Place(fit=plain)
        found = _search(self._bank, b, inside=True) + _search(_bank(b), a, inside=False)
        found.sort(key=lambda p: -p.fit)
        best = Place(fit=plain)
        for place in found[:_TRIED]:
            place = _refined(place, a, b)
            if place.fit > best.fit:
                best = place
        if best.fit >= _FLATTEST:
            return best
        bent = best.bent(a, b)
        # Pictures of a moving camera can be bent to those of another moment, a little.
        return bent if bent.fit >= best.fit + _WORTH else best


def normal(pictures: Floats) -> Floats:
    """Pictures (n, h, w) as rows of mean 0 and length 1, (n, h * w)."""
    rows = pictures.reshape(len(pictures), -1)
    rows = rows - rows.mean(axis=1, keepdims=True)
    out: Floats = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-3)
    return out


def small(pixels: Any, part: Rect = WHOLE) -> Floats:
    """A part of a picture, uint8 (h, w, 3) -> grey float32 (80, 80)."""
    tones = np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).convert("L"))
    grey = cut(tones, part, (2 * SIDE, 2 * SIDE)).astype(np.float32)
    fours = grey[::2, ::2] + grey[1::2, ::2] + grey[::2, 1::2] + grey[1::2, 1::2]
    out: Floats = fours * np.float32(0.25)
    return out


def rows(pictures: Floats) -> Floats:
    """Whole pictures (n, 80, 80) as the normal rows of their views, (n, 1600)."""
    return normal(view(pictures, WHOLE, _VIEW))


def fit(a: Floats, b: Floats) -> float:
    """Mean correlation of pictures with pictures, (n, h, w) each, -1..1."""
    return float((normal(a) * normal(b)).sum(axis=1).mean())


@dataclass(frozen=True)
class _Parts:
    """All parts that are tried: rects, and which spans of height and of width they are made of."""

    rects: Floats  # (k, 4)
    upright: npt.NDArray[np.intp]  # (k,)
    across: npt.NDArray[np.intp]
    weights: Floats  # (spans * 8, 80): a line of pixels -> the sums of the cells of every span


@functools.cache
def _parts() -> _Parts:
    spans = [(at, size) for size in _SIZES for at in np.linspace(0, 1 - size, _places(size))]
    pairs = [
        (i, j)
        for h in _SIZES
        for w in _SIZES
        if max(h / w, w / h) <= _MOST_STRETCH
        for i, (_, tall) in enumerate(spans)
        if tall == h
        for j, (_, wide) in enumerate(spans)
        if wide == w
    ]
    upright, across = np.array(pairs, np.intp).T
    at, size = np.array(spans, np.float32).T
    rects = np.stack([at[across], at[upright], (at + size)[across], (at + size)[upright]], axis=1)
    edges = (at[:, None] + size[:, None] * np.arange(_CELLS + 1, dtype=np.float32) / _CELLS) * SIDE
    pixels = np.arange(SIDE, dtype=np.float32)
    lower, upper = edges[:, :-1, None], edges[:, 1:, None]
    weights = np.clip(np.minimum(upper, pixels + 1) - np.maximum(lower, pixels), 0, 1)
    return _Parts(rects, upright, across, weights.reshape(-1, SIDE).astype(np.float32))


def _places(size: float) -> int:
    return 1 if size >= 1 else int(np.ceil((1 - size) / _STRIDE)) + 1


def _bank(whole: Floats) -> Floats:
    """All parts of pictures (n, 80, 80) that are tried, as rows of length 1, (k, n * 64)."""
    cells = np.stack([_cells(picture) for picture in whole], axis=1)  # (k, n, 8, 8)
    rows: Floats = _levelled(cells).reshape(len(cells), -1) / np.sqrt(len(whole))
    return rows


def _search(bank: Floats, part: Floats, inside: bool) -> list[Place]:
    """The best part of the whole (see _bank) for each way of turning; `part` turns."""
    n = len(part)
    step = SIDE // _CELLS
    small = part.reshape(n, _CELLS, step, _CELLS, step).mean(axis=(2, 4))
    small = _levelled(small) / np.sqrt(n)
    asked = np.stack([turned(small, *_back(way, inside)).reshape(-1) for way in _WAYS], axis=1)
    scores = bank @ asked  # (k, 8)
    out = []
    for at, (turns, mirrored) in enumerate(_WAYS):
        top = int(scores[:, at].argmax())
        left, up, right, down = (float(v) for v in _parts().rects[top])
        rect = (left, up, right, down)
        out.append(Place(rect, inside, turns, mirrored, float(scores[top, at])))
    return out


def _back(way: tuple[int, bool], inside: bool) -> tuple[int, bool]:
    """How the part has to turn for b to turn by `way`: with b as the whole, a turns against it."""
    turns, mirrored = way
    # Turning back undoes; mirrored after a turn is its own undoing.
    return (turns, mirrored) if inside or mirrored else (-turns % 4, mirrored)


def _cells(picture: Floats) -> Floats:
    """Sums of the 8 x 8 cells of every part of a picture less its mean, (k, 8, 8)."""
    parts = _parts()
    # Spans of height and of width make all parts: two products instead of thousands of small sums.
    sums = parts.weights @ (picture - picture.mean()) @ parts.weights.T
    spans = len(sums) // _CELLS
    cells: Floats = sums.reshape(spans, _CELLS, spans, _CELLS).swapaxes(1, 2)
    return cells[parts.upright, parts.across]


def _levelled(cells: Floats) -> Floats:
    """(..., 8, 8) with mean 0 and length 1."""
    cells = cells - cells.mean(axis=(-2, -1), keepdims=True)
    length = np.sqrt((cells**2).sum(axis=(-2, -1), keepdims=True))
    out: Floats = cells / np.maximum(length, 1e-3)
    return out


def _refined(place: Place, a: Floats, b: Floats) -> Place:
    """Move the four sides of the part one at a time as long as the fit grows."""
    whole, part = (a, turned(b, place.turns, place.mirrored)) if place.inside else (b, a)
    if not place.inside:
        whole = turned(b, place.turns, place.mirrored)
        place = Place(
            _turned_rect(place.part, place.turns, place.mirrored), False, place.turns,
            place.mirrored,
        )  # fmt: skip
    small = rows(part)  # once: `fit` would level it at every step

    def fit_of(rect: Rect) -> float:
        return float((normal(view(whole, rect, _VIEW)) * small).sum(axis=1).mean())

    best, score = climbed(place.part, fit_of, (0.03, 0.015, 0.0075), 0.2, 1e-4)
    return Place(best, place.inside, place.turns, place.mirrored, score)


def _turned_rect(rect: Rect, turns: int, mirrored: bool) -> Rect:
    """A part of a picture, after the picture was turned."""
    left, top, right, bottom = rect
    for _ in range(turns % 4):  # counter-clockwise: (x, y) -> (y, 1 - x)
        left, top, right, bottom = top, 1 - right, bottom, 1 - left
    return (1 - right, top, 1 - left, bottom) if mirrored else (left, top, right, bottom)
