"""Small pictures of two videos at the same moments -> what one of them shows and the other lacks.

    pairs = at_same_moments(strip_a, strip_b, segments)
    difference = compare_pictures(*pairs)
    difference.seen        # the part of a that b shows, e.g. (0.1, 0.1, 0.9, 0.9)
    difference.overlay     # 'b': b carries a logo or a text that a does not

Nothing is told that is not sure: pictures that do not fit on each other in any way give None.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from scipy import fft

from twinreel.overlay import find_overlay, fit_outside
from twinreel.types import Floats, Pixels, Segment

T = TypeVar("T")
Rect = tuple[float, float, float, float]  # left, top, right, bottom; fractions of a picture
Strip = Sequence[tuple[float, Pixels]]  # seconds, uint8 (160, 160, 3)
WHOLE: Rect = (0.0, 0.0, 1.0, 1.0)

PAIRS = 6  # moments that are looked at
APART_S = 0.05  # two pictures further apart in time may differ by movement
_COARSE, _FINE = 40, 80  # side of the pictures that are laid on each other
_SIZES = tuple(float(s) for s in np.geomspace(1.0, 0.42, 10))  # sides of a crop that are tried
SAME = 0.995  # correlation above which nothing was moved
FITS = 0.90  # correlation below which nothing is said about crops
HALF_FITS = 0.60  # and nothing at all, unless the misfit is all in one place
BETTER = 0.3  # a crop must explain this share of the misfit
LEAST_CUT = 0.04  # share of the picture's area that is worth a word


@dataclass(frozen=True)
class Difference:
    """How picture b differs from picture a, both taken as squares.

    seen: the part of a that b shows; shown: the part of b that a shows. overlay: '' none found,
    'a' or 'b' that has one, 'either' when it is not clear which. fit: correlation, 0..1.
    """

    seen: Rect = WHOLE
    shown: Rect = WHOLE
    overlay: str = ""
    fit: float = 1.0

    @property
    def cut_from_a(self) -> float:
        """Share of a's area that b does not show; 0.0 when too little to tell."""
        return _missing(self.seen)

    @property
    def cut_from_b(self) -> float:
        """Share of b's area that a does not show."""
        return _missing(self.shown)

    @property
    def height_in_a(self) -> float:
        """Share of a's height that b shows."""
        return self.seen[3] - self.seen[1] if self.cut_from_a else 1.0

    @property
    def height_in_b(self) -> float:
        """Share of b's height that a shows."""
        return self.shown[3] - self.shown[1] if self.cut_from_b else 1.0

    def swapped(self) -> Difference:
        """The same, read from the other video."""
        side = {"a": "b", "b": "a"}.get(self.overlay, self.overlay)
        return Difference(self.shown, self.seen, side, self.fit)


def _missing(part: Rect) -> float:
    area = max(0.0, part[2] - part[0]) * max(0.0, part[3] - part[1])
    return 1 - area if 1 - area >= LEAST_CUT else 0.0


def at_same_moments(
    a: Strip, b: Strip, segments: Sequence[Segment], apart_s: float = APART_S
) -> tuple[Pixels, Pixels]:
    """Pictures of a and of b that show the same moment, mirrored ones turned back.

    Returns:
        two uint8 arrays (n, h, w, 3), n at most PAIRS, spread over the matched segments;
        n = 0 where no two pictures lie within `apart_s` seconds.
    """
    times_b = np.array([t for t, _ in b])
    found: list[tuple[float, Pixels, Pixels]] = []
    for segment in segments:
        for t, picture in a:
            if not len(times_b) or not segment.a[0] - apart_s <= t <= segment.a[1] + apart_s:
                continue
            there = segment.b[0] + (t - segment.a[0]) * segment.speed
            i = int(np.abs(times_b - there).argmin())
            if abs(times_b[i] - there) <= apart_s and picture.std() > 6 and b[i][1].std() > 6:
                other = b[i][1][:, ::-1] if segment.mirrored else b[i][1]
                if other.shape == picture.shape:
                    found.append((t, picture, other))
    found.sort(key=lambda f: f[0])
    if len(found) > PAIRS:
        found = [found[i] for i in np.linspace(0, len(found) - 1, PAIRS).round().astype(int)]
    if not found:
        nothing = np.zeros((0, 1, 1, 3), np.uint8)
        return nothing, nothing
    return np.stack([f[1] for f in found]), np.stack([f[2] for f in found])


def beside(
    a: Sequence[tuple[float, T]],
    b: Sequence[tuple[float, T]],
    segments: Sequence[Segment],
    most: int,
    apart_s: float = APART_S,
) -> tuple[list[tuple[float, T]], list[tuple[float, T]]]:
    """About `most` pictures of a, spread over the segments, and those of b within `apart_s` of
    them: what is worth decoding of two strips before `at_same_moments`."""
    moments = [
        (picture, s.b[0] + (picture[0] - s.a[0]) * s.speed)
        for s in segments
        for picture in a
        if s.a[0] - apart_s <= picture[0] <= s.a[1] + apart_s
    ]
    times_b = np.array([t for t, _ in b])
    if not moments or not len(times_b):
        return [], []
    met = [(p, t) for p, t in moments if np.abs(times_b - t).min() <= apart_s]
    met = met[:: max(1, -(-len(met) // most))]
    wanted = np.array([t for _, t in met])
    return [p for p, _ in met], [
        p for p in b if len(met) and np.abs(wanted - p[0]).min() <= apart_s
    ]


def gap(strip: Sequence[tuple[float, object]]) -> float:
    """Seconds between the pictures of a strip; 0.0 where there are none."""
    return (strip[-1][0] - strip[0][0]) / max(1, len(strip) - 1) if strip else 0.0


MIRRORED_BY = 0.03  # the mirror image must fit this much better


def is_mirrored(a: Pixels, b: Pixels) -> bool:
    """Whether b's pictures, uint8 (n, h, w, 3), are rather mirror images of a's, left to right.

    By correlation of coarse grey pictures, their brightness and contrast levelled; False where
    there are none, where left and right cannot be told apart, or where some turn fits better: the
    mirror image of a picture that stands on its head fits as well as it does itself, badly.
    """
    if not len(a):
        return False
    grey_a, grey_b = _shrunk(a, 20).reshape(len(a), -1), _shrunk(b, 20)
    grey_a = grey_a - grey_a.mean(axis=1, keepdims=True)

    def fit(turns: int, mirrored: bool) -> float:
        other = np.rot90(grey_b, turns, axes=(1, 2))
        rows = (other[:, :, ::-1] if mirrored else other).reshape(len(b), -1)
        return float(np.mean([np.corrcoef(x, y)[0, 1] for x, y in zip(grey_a, rows, strict=True)]))

    mirror = fit(0, True)
    if mirror <= fit(0, False) + MIRRORED_BY:
        return False
    return mirror > max(fit(turns, flipped) for turns in (1, 2, 3) for flipped in (False, True))


def compare_pictures(a: Pixels, b: Pixels) -> Difference | None:
    """What differs between pictures of the same moments, uint8 (n, h, w, 3) each.

    None where they do not fit on each other under any crop, or there are none.
    """
    if not len(a):
        return None
    grey_a, grey_b = _shrunk(a, _FINE), _shrunk(b, _FINE)
    plain = _fit(grey_a, grey_b, WHOLE)
    seen, shown, fit = WHOLE, WHOLE, plain
    if plain < SAME:
        inside, fit_in = find_crop(grey_a, grey_b)
        outside, fit_out = find_crop(grey_b, grey_a) if fit_in < 0.98 else (WHOLE, 0.0)
        if max(fit_in, fit_out) > max(FITS, plain + BETTER * (1 - plain)):
            if fit_in >= fit_out:
                seen, fit = inside, fit_in
            else:
                shown, fit = outside, fit_out
    if fit < HALF_FITS:
        return None
    side = a.shape[1]
    left, right = view(_grey(a), seen, side), view(_grey(b), shown, side)
    found = find_overlay(left, right)
    # Where pictures do not fit, what is laid over must be all of it: the other half of a stack of
    # two is a lasting difference in one place, too.
    if fit < FITS and (found is None or fit_outside(left, right, found.place) < FITS):
        return None
    return Difference(seen, shown, found.side if found else "", fit)


def _grey(pictures: Pixels) -> Floats:
    """uint8 (n, h, w, 3) -> float32 (n, h, w)."""
    out: Floats = pictures.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    return out


def _shrunk(pictures: Pixels, side: int) -> Floats:
    """Grey (n, side, side) by block means, float32."""
    n, h, w = pictures.shape[:3]
    grey = _grey(pictures)
    if h % side or w % side:
        return view(grey, WHOLE, side)
    out: Floats = grey.reshape(n, side, h // side, side, w // side).mean(axis=(2, 4))
    return out


def view(pictures: Floats, part: Rect, side: int) -> Floats:
    """The `part` of pictures (n, h, w) at (n, side, side), bilinear."""
    h, w = pictures.shape[1:]
    if part == WHOLE and h == w == side:
        return pictures
    y, x = _linear(part[1], part[3], h, side), _linear(part[0], part[2], w, side)
    out: Floats = y @ pictures.astype(np.float32) @ x.T  # cheaper than picking rows and columns
    return out


@functools.lru_cache(maxsize=4096)
def _linear(start: float, end: float, pixels: int, side: int) -> Floats:
    """(side, pixels): a line of pixels -> its stretch start..end at `side` places, linear."""
    at = (start + (np.arange(side) + 0.5) / side * (end - start)) * pixels - 0.5
    line: Floats = _between(np.eye(pixels, dtype=np.float32)[None], at, 1)[0]
    return line


def _normal(pictures: Floats) -> Floats:
    """Each picture with mean 0 and length 1."""
    centred = pictures - pictures.mean(axis=(1, 2), keepdims=True)
    length = np.sqrt((centred**2).sum(axis=(1, 2), keepdims=True))
    out: Floats = centred / np.maximum(length, 1e-6)
    return out


def _fit(a: Floats, b: Floats, part: Rect) -> float:
    """Median correlation of the `part` of a with b, grey (n, side, side)."""
    return _normal_fit(a, _normal(b), part)


def _normal_fit(a: Floats, b: Floats, part: Rect) -> float:
    """`_fit` with a b that is `_normal` already."""
    seen = view(a, part, b.shape[1])
    return float(np.median((_normal(seen) * b).sum(axis=(1, 2))))


def find_crop(whole: Floats, part: Floats) -> tuple[Rect, float]:
    """Where the pictures `part` lie inside the pictures `whole`, grey (n, 80, 80) each.

    Every size of `_SIZES` in both directions is laid on every place (normalised
    cross-correlation, by FFT), then the best place is refined to half a per cent.

    Returns:
        the rectangle in `whole`, and the median correlation there.
    """
    step = whole.shape[1] // _COARSE
    # Three moments find the place, more of them only measure it.
    chosen = np.linspace(0, len(whole) - 1, min(3, len(whole))).round().astype(int)
    coarse = whole[chosen].reshape(len(chosen), _COARSE, step, _COARSE, step).mean(axis=(2, 4))
    coarse -= coarse.mean(axis=(1, 2), keepdims=True)
    spectrum = np.conj(fft.rfft2(coarse))
    sums, squares = _integral(coarse), _integral(coarse**2)
    small = _integral(part[chosen])
    best, place = -1.0, WHOLE
    for h in dict.fromkeys(round(s * _COARSE) for s in _SIZES):
        for w in dict.fromkeys(round(s * _COARSE) for s in _SIZES):
            template = np.zeros_like(coarse)
            template[:, :h, :w] = _normal(_resized(small, h, w))
            # The picture is periodic to the FFT, but a place inside it never wraps.
            hits = fft.irfft2(np.conj(fft.rfft2(template) * spectrum), (_COARSE, _COARSE))
            inside = (slice(None), slice(0, _COARSE - h + 1), slice(0, _COARSE - w + 1))
            energy = _boxes(squares, h, w) - _boxes(sums, h, w) ** 2 / (h * w)
            score = np.median(hits[inside] / np.sqrt(np.maximum(energy, 1.0)), axis=0)
            top, left = np.unravel_index(int(score.argmax()), score.shape)
            if score[top, left] > best:
                best = float(score[top, left])
                at = (float(left), float(top), float(left + w), float(top + h))
                place = (at[0] / _COARSE, at[1] / _COARSE, at[2] / _COARSE, at[3] / _COARSE)
    place = _refined(whole[chosen], part[chosen], place)
    return place, _fit(whole, part, place)


def _integral(pictures: Floats) -> Floats:
    """Sums over everything above and left: (n, h, w) -> (n, h + 1, w + 1)."""
    out = np.zeros((len(pictures), pictures.shape[1] + 1, pictures.shape[2] + 1), np.float32)
    out[:, 1:, 1:] = pictures.cumsum(axis=1).cumsum(axis=2)
    return out


def _boxes(integral: Floats, h: int, w: int) -> Floats:
    """Sums over every box of h x w pixels."""
    tall = integral[:, h:] - integral[:, :-h]
    out: Floats = tall[:, :, w:] - tall[:, :, :-w]
    return out


def _resized(integral: Floats, h: int, w: int) -> Floats:
    """Pictures given by their integral at (n, h, w), by area."""
    s = integral.shape[1] - 1
    ys, xs = np.linspace(0, s, h + 1), np.linspace(0, s, w + 1)
    cells = np.diff(np.diff(_between(_between(integral, ys, 1), xs, 2), axis=1), axis=2)
    out: Floats = cells * np.float32(h * w / (s * s))
    return out


def _between(values: Floats, at: npt.NDArray[np.float64], axis: int) -> Floats:
    """Values at fractional places along an axis of (n, h, w), linear; held at the ends."""
    low = np.clip(np.floor(at).astype(int), 0, values.shape[axis] - 2)
    share = np.clip(at - low, 0, 1).astype(np.float32)
    share = share[None, :, None] if axis == 1 else share[None, None, :]
    out: Floats = values.take(low, axis) * (1 - share) + values.take(low + 1, axis) * share
    return out


def _refined(whole: Floats, part: Floats, place: Rect) -> Rect:
    """The place moved to where the part fits best."""
    level = _normal(part)
    return climbed(place, lambda r: _normal_fit(whole, level, r), (0.02, 0.01, 0.005), 0.3, 1e-5)[0]


def climbed(
    place: Rect, fit: Callable[[Rect], float], steps: Sequence[float], least: float, gain: float
) -> tuple[Rect, float]:
    """Move the four sides of a rectangle one at a time as long as the fit grows.

    Args:
        steps: how far, one after the other, as fractions. least: shortest side.
        gain: a move must raise the fit by more than this.

    Returns:
        the rectangle and its fit.
    """
    best, score = place, fit(place)
    known = {place}  # none but the best of them fits better than it
    for step in steps:
        grew = True
        while grew:
            grew = False
            for side in range(4):
                for move in (-step, step):
                    tried = list(best)
                    tried[side] = min(1.0, max(0.0, tried[side] + move))
                    if tried[2] - tried[0] < least or tried[3] - tried[1] < least:
                        continue
                    tried[side] = round(tried[side], 9)  # there and back is where it was
                    rect: Rect = (tried[0], tried[1], tried[2], tried[3])
                    if rect in known:
                        continue
                    known.add(rect)
                    if (now := fit(rect)) > score + gain:
                        best, score, grew = rect, now, True
    return best, score
