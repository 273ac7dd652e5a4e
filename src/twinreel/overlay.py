"""Two rows of pictures that lie on each other -> which of them carries a logo, and where.

found = find_overlay(a, b)         # None, or an Overlay
found.side                         # 'b': b carries a logo or a text that a does not
fit_outside(a, b, found.place)     # how alike they are elsewhere
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from twinreel.types import Floats

# Grey levels of lasting difference, times the usual difference, share of the area.
_STANDS_OUT, _TIMES_USUAL = 14.0, 5.0
_LEAST_SHARE, _MOST_SHARE = 0.0015, 0.25  # larger: another video beside this one
_EITHER_WAY = 1.3  # tones may be matched in the direction that fits worse by this much
_RIM = 5  # outermost pixels, where cut borders leave traces


@dataclass(frozen=True)
class Overlay:
    """Who carries it ('a', 'b', 'either'), how strong it stands out, where it is: bool (h, w)."""

    side: str
    strength: float
    place: npt.NDArray[np.bool_]


def find_overlay(a: Floats, b: Floats) -> Overlay | None:
    """Which of two aligned rows of pictures carries a logo, banner or caption; None: neither.

    An overlay is a compact place that differs in most moments, by far more than the rest does.
    Who carries it shows in three ways, which are weighed together: it changes less over time
    there, it has lines there that the other has nothing like (letters), and stronger edges.

    Args:
        a, b: grey float32 (n, h, w), the same moments; at least three.
    """
    if len(a) < 3:
        return None
    (matched, error), (other, back) = _toned(a, b), _toned(b, a)
    # A clipped picture can be made from a full one, not the reverse; and a logo can be toned away
    # where its grey is nowhere else: look both ways where both are possible.
    found = None
    if error <= back * _EITHER_WAY:
        found = _carrier(matched, b)
    if back <= error * _EITHER_WAY:
        turned = _carrier(other, a)
        if turned is not None and (found is None or turned.strength > found.strength):
            side = {"a": "b", "b": "a"}.get(turned.side, turned.side)
            found = Overlay(side, turned.strength, turned.place)
    return found


def fit_outside(a: Floats, b: Floats, place: npt.NDArray[np.bool_]) -> float:
    """Median correlation of pictures, (n, h, w) each, outside a place."""
    rest = ~ndimage.binary_dilation(place, iterations=3)
    if rest.mean() < 1 - 2 * _MOST_SHARE:
        return 0.0
    va, vb = (v[:, rest] - v[:, rest].mean(axis=1, keepdims=True) for v in (a, b))
    length = np.sqrt((va * va).sum(axis=1) * (vb * vb).sum(axis=1))
    return float(np.median((va * vb).sum(axis=1) / np.maximum(length, 1e-6)))


def _carrier(matched: Floats, b: Floats) -> Overlay | None:
    """`find_overlay` of pictures in the same tones; a is the first. strength: the sum of what
    differs, in grey levels per pixel of the whole."""
    # Cheap first: nothing lasting at half the size is nothing at all.
    half = np.abs(_halved(matched) - _halved(b))[:, _RIM // 2 : -_RIM // 2, _RIM // 2 : -_RIM // 2]
    if np.quantile(half, 0.4, axis=0).max() < _STANDS_OUT / 2:
        return None
    extra_a, extra_b = _beyond(matched, b), _beyond(b, matched)  # what one has, the other lacks
    both = np.maximum(extra_a, extra_b)
    both[:, :_RIM], both[:, -_RIM:] = 0, 0
    both[:, :, :_RIM], both[:, :, -_RIM:] = 0, 0
    lasting = np.quantile(both, 0.4, axis=0)  # there in 60 % of the moments
    usual = float(both[:, _RIM:-_RIM, _RIM:-_RIM].mean())
    strong = lasting > max(_STANDS_OUT, _TIMES_USUAL * min(usual, 6.0))
    labels, count = ndimage.label(ndimage.binary_closing(strong, iterations=4) | strong)
    if not count:
        return None
    sizes = ndimage.sum_labels(np.ones_like(lasting), labels, range(1, count + 1)) / lasting.size
    place = np.isin(labels, 1 + np.nonzero(sizes >= _LEAST_SHARE)[0])
    strong &= place
    # Spread over everything it is a graded or noisy copy, not a thing laid over.
    if not strong.any() or place.mean() > _MOST_SHARE:
        return None
    if both[:, ~place].mean() * 4 > both[:, place].mean():
        return None
    shown = both[:, strong].mean(axis=1)
    there = shown >= shown.max() / 2
    votes = [
        _log_ratio(extra_b[there][:, strong].mean(), extra_a[there][:, strong].mean(), 1.0),
        _log_ratio(_edges(b[there], place), _edges(matched[there], place), 1.0) / 2,
    ]
    changes = [float(np.median(p[there].std(axis=0)[strong])) for p in (matched, b)]
    if there.sum() > 2 and max(changes) > 4:  # in a static shot nothing changes anyway
        votes.append(_log_ratio(changes[0], changes[1], 1.0))
    vote = sum(votes)
    strength = float(lasting[strong].sum()) / lasting.size
    if abs(vote) < 0.35:
        return Overlay("either", strength, place)
    return Overlay("b" if vote > 0 else "a", strength, place)


def _log_ratio(x: float, y: float, spare: float) -> float:
    return float(np.clip(np.log((x + spare) / (y + spare)), -1, 1))


def _halved(pictures: Floats) -> Floats:
    n, h, w = pictures.shape
    even = pictures[:, : h - h % 2, : w - w % 2]
    out: Floats = even.reshape(n, h // 2, 2, w // 2, 2).mean(axis=(2, 4))
    return out


def _toned(a: Floats, b: Floats) -> tuple[Floats, float]:
    """a in the tones of b (brightness, contrast, gamma, clipping), and how far off it still is.

    Every level of grey in a becomes the median of what b shows in its place, picture by picture.
    """
    out = np.empty_like(a)
    left = []
    for n in range(len(a)):
        x, y = a[n, 1::2, 1::2].ravel(), b[n, 1::2, 1::2].ravel()
        order = x.argsort()
        # Bins of as many pixels each, so that none is empty.
        size, more = divmod(len(order), 24)
        cut = more * (size + 1)
        bins = [order[:cut].reshape(more, size + 1), order[cut:].reshape(24 - more, size)]
        at = np.concatenate([x[i].mean(axis=1) for i in bins])
        to = np.concatenate([np.median(y[i], axis=1) for i in bins])
        # Beyond the outermost bins go on as steep as before them; 0 where a picture is clipped.
        ends = np.array([a[n].min() - 1, a[n].max() + 1])
        steep = [(to[i] - to[j]) / max(at[i] - at[j], 1.0) for i, j in ((4, 0), (-1, -5))]
        rest = [to[0] + steep[0] * (ends[0] - at[0]), to[-1] + steep[1] * (ends[1] - at[-1])]
        at, to = np.r_[ends[0], at, ends[1]], np.r_[rest[0], to, rest[1]]
        out[n] = np.interp(a[n], at, to)
        left.append(float(np.median(np.abs(np.interp(x, at, to) - y))) / (float(y.std()) + 1))
    return out, float(np.mean(left))


def _beyond(values: Floats, around: Floats) -> Floats:
    """How far `values` lie outside what `around` has within two pixels: so far edges may be off."""
    size = (1, 5, 5)
    low = ndimage.minimum_filter(around, size)
    high = ndimage.maximum_filter(around, size)
    out: Floats = np.maximum(np.maximum(values - high, low - values), 0)
    return out


def _edges(pictures: Floats, place: npt.NDArray[np.bool_]) -> float:
    """How strong the lasting edges at a place are, in grey levels per pixel."""
    steady = np.median(pictures, axis=0)
    return float(np.hypot(*np.gradient(steady))[place].mean())
