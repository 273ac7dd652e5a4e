"""Small pictures of two videos at the same moments -> what one of them shows and the other lacks.

    pairs = at_same_moments(strip_a, strip_b, segments)
    difference = compare_pictures(*pairs)
    difference.seen        # the part of a that b shows, e.g. (0.1, 0.1, 0.9, 0.9)
    difference.overlay     # 'b': b carries a logo or a text that a does not

Nothing is told that is not sure: pictures that do not fit on each other in any way give None.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

from twinreel.types import Floats, Pixels, Segment

Rect = tuple[float, float, float, float]  # left, top, right, bottom; fractions of a picture
Strip = Sequence[tuple[float, Pixels]]  # seconds, uint8 (160, 160, 3)
WHOLE: Rect = (0.0, 0.0, 1.0, 1.0)

PAIRS = 8  # moments that are looked at
APART_S = 0.1  # two pictures further apart in time may differ by movement
_COARSE, _FINE = 40, 80  # side of the pictures that are laid on each other
_SIZES = tuple(float(s) for s in np.geomspace(1.0, 0.42, 14))  # sides of a crop that are tried
MIRRORED_BY = 0.03  # the mirror image must fit this much better
SAME = 0.995  # correlation above which nothing was moved
FITS = 0.90  # correlation below which nothing is said
BETTER = 0.02  # a crop must explain this much more than no crop
LEAST_CUT = 0.04  # share of the picture's area that is worth a word
# An overlay: grey levels of lasting difference, times the usual difference, share of the area.
_STANDS_OUT, _TIMES_USUAL = 18.0, 5.0
_LEAST_OVERLAY, _MOST_OVERLAY = 0.002, 0.35


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


def is_mirrored(a: Pixels, b: Pixels) -> bool:
    """Whether b's pictures, uint8 (n, h, w, 3), are rather mirror images of a's.

    By correlation of coarse grey pictures, their brightness and contrast levelled; False where
    there are none, or where left and right cannot be told apart.
    """
    if not len(a):
        return False
    grey_a, grey_b = _shrunk(a, 20).reshape(len(a), -1), _shrunk(b, 20)
    turned = grey_b[:, :, ::-1].reshape(len(b), -1)
    grey_a = grey_a - grey_a.mean(axis=1, keepdims=True)
    plain, other = (
        float(np.mean([np.corrcoef(x, y)[0, 1] for x, y in zip(grey_a, g, strict=True)]))
        for g in (grey_b.reshape(len(b), -1), turned)
    )
    return other > plain + MIRRORED_BY


def compare_pictures(a: Pixels, b: Pixels) -> Difference | None:
    """What differs between pictures of the same moments, uint8 (n, h, w, 3) each.

    None where they do not fit on each other under any crop, or there are none.
    """
    if not len(a):
        return None
    # A single moment that fits by chance proves little: every pair votes, the median counts.
    grey_a, grey_b = _shrunk(a, _FINE), _shrunk(b, _FINE)
    plain = _fit(grey_a, grey_b, WHOLE)
    seen, shown, fit = WHOLE, WHOLE, plain
    if plain < SAME:
        inside, fit_in = find_crop(grey_a, grey_b)
        outside, fit_out = find_crop(grey_b, grey_a)
        if max(fit_in, fit_out) > plain + BETTER * (1 - FITS) / (1 - min(plain, FITS)):
            if fit_in >= fit_out:
                seen, fit = inside, fit_in
            else:
                shown, fit = outside, fit_out
    if fit < FITS:
        # An overlay spoils the fit of the whole: it may still fit beside it.
        return None
    view_a = _view(a.astype(np.float32), seen, a.shape[1])
    view_b = _view(b.astype(np.float32), shown, b.shape[1])
    return Difference(seen, shown, find_overlay(view_a, view_b), fit)


def _shrunk(pictures: Pixels, side: int) -> Floats:
    """Grey (n, side, side) by block means, float32."""
    n, h, w = pictures.shape[:3]
    grey = pictures.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    if h % side or w % side:
        return _view(grey[..., None], WHOLE, side)[..., 0]
    out: Floats = grey.reshape(n, side, h // side, side, w // side).mean(axis=(2, 4))
    return out


def _view(pictures: Floats, part: Rect, side: int) -> Floats:
    """The `part` of pictures (n, h, w, c) at (n, side, side, c), bilinear."""
    h, w = pictures.shape[1:3]
    if part == WHOLE and h == w == side:
        return pictures
    y = (part[1] + (np.arange(side) + 0.5) / side * (part[3] - part[1])) * h - 0.5
    x = (part[0] + (np.arange(side) + 0.5) / side * (part[2] - part[0])) * w - 0.5
    y0 = np.clip(np.floor(y).astype(int), 0, h - 2)
    x0 = np.clip(np.floor(x).astype(int), 0, w - 2)
    fy = np.clip(y - y0, 0, 1).astype(np.float32)[None, :, None, None]
    fx = np.clip(x - x0, 0, 1).astype(np.float32)[None, None, :, None]
    rows = pictures[:, y0] * (1 - fy) + pictures[:, y0 + 1] * fy
    out: Floats = rows[:, :, x0] * (1 - fx) + rows[:, :, x0 + 1] * fx
    return out


def _normal(pictures: Floats) -> Floats:
    """Each picture with mean 0 and length 1."""
    centred = pictures - pictures.mean(axis=(1, 2), keepdims=True)
    length = np.sqrt((centred**2).sum(axis=(1, 2), keepdims=True))
    out: Floats = centred / np.maximum(length, 1e-6)
    return out


def _fit(a: Floats, b: Floats, part: Rect) -> float:
    """Median correlation of the `part` of a with b, grey (n, side, side)."""
    view = _view(a[..., None], part, b.shape[1])[..., 0]
    return float(np.median((_normal(view) * _normal(b)).sum(axis=(1, 2))))


def find_crop(whole: Floats, part: Floats) -> tuple[Rect, float]:
    """Where the pictures `part` lie inside the pictures `whole`, grey (n, 80, 80) each.

    Every size of `_SIZES` in both directions is laid on every place (normalised
    cross-correlation, by FFT), then the best place is refined to half a per cent.

    Returns:
        the rectangle in `whole`, and the median correlation there.
    """
    step = whole.shape[1] // _COARSE
    chosen = np.linspace(0, len(whole) - 1, min(4, len(whole))).round().astype(int)
    coarse = whole[chosen].reshape(len(chosen), _COARSE, step, _COARSE, step).mean(axis=(2, 4))
    coarse -= coarse.mean(axis=(1, 2), keepdims=True)
    room = (2 * _COARSE, 2 * _COARSE)
    spectrum = fft.rfft2(coarse, room)
    squares = fft.rfft2(coarse**2, room)
    small = part[chosen][..., None]
    best, place = -1.0, WHOLE
    for high in _SIZES:
        for wide in _SIZES:
            h, w = round(high * _COARSE), round(wide * _COARSE)
            template = np.zeros((len(chosen), h, w), np.float32)
            template[:] = _resized(small, h, w)
            template = _normal(template)
            ones = np.conj(fft.rfft2(np.ones((h, w), np.float32), room))
            hits = fft.irfft2(spectrum * np.conj(fft.rfft2(template, room)), room)
            total = fft.irfft2(spectrum * ones, room)
            energy = fft.irfft2(squares * ones, room) - total**2 / (h * w)
            inside = (slice(None), slice(0, _COARSE - h + 1), slice(0, _COARSE - w + 1))
            score = hits[inside] / np.sqrt(np.maximum(energy[inside], 1.0))
            agreed = np.median(score, axis=0)
            top, left = np.unravel_index(int(agreed.argmax()), agreed.shape)
            if agreed[top, left] > best:
                best = float(agreed[top, left])
                place = (
                    float(left) / _COARSE,
                    float(top) / _COARSE,
                    float(left + w) / _COARSE,
                    float(top + h) / _COARSE,
                )
    return _refined(whole, part, place)


def _resized(pictures: Floats, h: int, w: int) -> Floats:
    """(n, s, s, 1) -> (n, h, w) by area: mean of what falls into each cell."""
    n, s = pictures.shape[:2]
    ys = np.linspace(0, s, h + 1)
    xs = np.linspace(0, s, w + 1)
    total = np.zeros((n, s + 1, s + 1), np.float32)
    total[:, 1:, 1:] = pictures[..., 0].cumsum(axis=1).cumsum(axis=2)
    # The integral between whole pixels is bilinear in its corners.
    grid = _between(_between(total, ys, 1), xs, 2)
    cells = np.diff(np.diff(grid, axis=1), axis=2)
    out: Floats = cells * np.float32(h * w / (s * s))
    return out


def _between(values: Floats, at: npt.NDArray[np.float64], axis: int) -> Floats:
    low = np.minimum(at.astype(int), values.shape[axis] - 2)
    share = (at - low).astype(np.float32)
    share = share[None, :, None] if axis == 1 else share[None, None, :]
    out: Floats = values.take(low, axis) * (1 - share) + values.take(low + 1, axis) * share
    return out


def _refined(whole: Floats, part: Floats, place: Rect) -> tuple[Rect, float]:
    """Move the four sides one at a time as long as the fit grows."""
    best, score = place, _fit(whole, part, place)
    for step in (0.02, 0.01, 0.005):
        grew = True
        while grew:
            grew = False
            for side in range(4):
                for move in (-step, step):
                    tried = list(best)
                    tried[side] = min(1.0, max(0.0, tried[side] + move))
                    if tried[2] - tried[0] < 0.3 or tried[3] - tried[1] < 0.3:
                        continue
                    rect: Rect = (tried[0], tried[1], tried[2], tried[3])
                    if rect != best and (fit := _fit(whole, part, rect)) > score + 1e-5:
                        best, score, grew = rect, fit, True
    return best, score


def find_overlay(a: Floats, b: Floats) -> str:
    """Which of two aligned rows of pictures carries a logo, banner or caption: '', a, b, either.

    Where the same compact place differs in most moments, the one that changes less there over
    time carries it; in a static shot, the one with more edges there.

    Args:
        a, b: float32 (n, h, w, 3), the same moments; at least three.
    """
    if len(a) < 3:
        return ""
    lasting = np.quantile(_residue(a, b), 0.4, axis=0)  # there in 60 % of the moments
    usual = float(np.median(lasting))
    raw = lasting > max(_STANDS_OUT, _TIMES_USUAL * usual)
    labels, count = ndimage.label(ndimage.binary_closing(raw, iterations=3) | raw)
    if not count:
        return ""
    sizes = ndimage.sum_labels(np.ones_like(lasting), labels, range(1, count + 1)) / lasting.size
    place = np.isin(labels, 1 + np.nonzero(sizes >= _LEAST_OVERLAY)[0])
    if not place.any() or place.mean() > _MOST_OVERLAY:
        return ""
    # Spread over everything it is a graded or noisy copy, not a thing laid over.
    if lasting[~place].mean() * 3 > lasting[place].mean():
        return ""
    changes = [_change(p, place) for p in (a, b)]
    if min(changes) > 0 and max(changes) > 4:
        ratio = changes[1] / changes[0]
        if not 0.75 < ratio < 1.33:
            return "b" if ratio < 1 else "a"
    edges = [_edges(p, place) for p in (a, b)]
    ratio = (edges[1] + 1) / (edges[0] + 1)
    if not 0.6 < ratio < 1.6:
        return "b" if ratio > 1 else "a"
    return "either"


def _residue(a: Floats, b: Floats) -> Floats:
    """|a - b| after matching brightness and contrast per picture and channel: (n, h, w)."""
    out = np.zeros(a.shape[:3], np.float32)
    for n in range(len(a)):
        for channel in range(3):
            x, y = a[n, ..., channel].ravel(), b[n, ..., channel].ravel()
            keep = np.ones(x.shape, bool)
            error = np.abs(x - y)
            for _ in range(3):
                spread = float(x[keep].var())
                gain = float(np.cov(x[keep], y[keep])[0, 1]) / spread if spread > 1 else 1.0
                error = np.abs(y - (y[keep].mean() + gain * (x - x[keep].mean())))
                keep = error <= np.quantile(error, 0.7)
            out[n] = np.maximum(out[n], error.reshape(a.shape[1:3]))
    return out


def _change(pictures: Floats, place: npt.NDArray[np.bool_]) -> float:
    """How much the pictures change over time at a place, in grey levels."""
    return float(np.median(pictures.mean(axis=3).std(axis=0)[place]))


def _edges(pictures: Floats, place: npt.NDArray[np.bool_]) -> float:
    """How strong the edges at a place are, in grey levels per pixel."""
    steady = np.median(pictures.mean(axis=3), axis=0)
    return float(np.hypot(*np.gradient(steady))[place].mean())
