"""Pictures that lie on each other -> how well, and in how many places, the two change together.

    told = changes.agreement(va, vb)   # rows of mean 0 and length 1 of the same moments, (n, 1600)
    told.correlation                   # of all that changes
    told.detail                        # of what changes within small places
    agree(va[-4:], vb[-4:])            # still in both, or changing alike
    moves(va)                          # in more than a corner
    same_print(a, b)                   # grey pictures (n, 80, 80): the same words on both
    same_all_over(va, vb)              # the same in every place, and more than a clock moves

Two takes of one scene change alike in the large by chance: somebody leans over in both, light comes
and goes. What happens inside of a small place, less how bright it is and how strong its pattern,
they share only where they are the same pictures. And there must be places enough, for some time: a
clock or a ticker that two slides share changes alike to the last pixel, in its own corner, and so
does the title that both begin with.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from twinreel.compare import NOISE, hear
from twinreel.types import Floats

_CELL = 4  # pixels across a place
_LEAST = 1e-3  # change in a place, as a share of an even picture's: half of what counts as change
_FAINT = 1e-5  # less is rounding
_QUARTER = 0.25  # of what changes may change otherwise: a caption, a face that hides behind it
_OVERLAID = 0.22  # share of the places that a ticker touches, wherever it lies, or a clock
_ODD = 0.2  # share of the moments that may differ from the rest by more than what moves: titles
_FEWEST = 3  # moments
_CLOCK = 0.05  # share of the places that the figures of a clock take
_MOST = 0.97  # correlation of a place: finer is no more proof
_PRINT = 8  # pixels across a place in which words are told apart
_PLAIN = 25.0  # squared grey levels: a plainer place shows nothing
_SHOWN = 0.01  # strength of a place that shows something, as a share of the usual
_SAME = 0.9  # correlation of a place in two copies, at least
_SLIPS = 0.05  # share of the places that may have less
_COARSE = 8  # places across and down, as `agree` counts them
_ENOUGH = 0.2  # share of those: more change is no more proof
_AGREES = 0.8  # agreement from which on moments go with those beside them


@dataclass(frozen=True)
class Agreement:
    """How two videos change together.

    correlation: of their changes (each moment less its video's mean), -1..1. detail: correlation
    within small places, which three quarters of what changes in either have at least, as Fisher's z
    times the root of the share of places beyond those of an overlay: 0 (none, or in too few) to 2.
    """

    correlation: float
    detail: float


def agreement(va: Floats, vb: Floats) -> Agreement:
    """What rows of pictures tell that lie on each other, (n, 1600) each."""
    return Agreement(hear(va, vb).correlation, _detail(va, vb))


def moves(rows: Floats) -> bool:
    """Whether a video's pictures, (n, 1600), change in more places than an overlay takes."""
    return _moving(rows) > _OVERLAID


def same_print(a: Floats, b: Floats) -> bool:
    """Whether grey pictures of the same moments, (n, 80, 80) each, are alike in every place that
    shows something, as copies are; other words on the same slide are not."""
    strength, alike = _likeness(_cells(a, _PRINT), _cells(b, _PRINT), least=1e-6)
    shown = strength / _PRINT**2 > _PLAIN
    return bool(shown.any() and np.quantile(alike[shown], _SLIPS) >= _SAME)


def same_all_over(va: Floats, vb: Floats) -> bool:
    """Whether rows of pictures, (n, 1600) each, are alike in every place that shows something, at
    most moments, and change in more places than a clock takes, in no more than a ticker does."""
    side = math.isqrt(va.shape[1])
    x, y = (_cells(v.reshape(-1, side, side), _CELL) for v in (va, vb))
    # 1 for places as strong as the pictures are.
    strength, alike = _likeness(x, y, scale=len(x), least=1e-9)
    shown = strength > _SHOWN
    if not shown.any() or not _CLOCK <= min(_moving(va), _moving(vb)) <= _OVERLAID:
        return False
    return bool(alike[shown].min() >= _SAME)


def _likeness(x: Floats, y: Floats, least: float, scale: float = 1) -> tuple[Floats, Floats]:
    """Of places, (places, n, pixels) each: how strong the stronger of both is, times `scale`, and
    how they correlate, medians over the moments. least: product of strengths that is something."""
    both, of_x, of_y = (
        np.einsum("pns,pns->pn", *pair) * scale for pair in ((x, y), (x, x), (y, y))
    )
    alike = np.median(both / np.sqrt(np.maximum(of_x * of_y, least)), axis=1)
    return np.median(np.maximum(of_x, of_y), axis=1), alike


def _moving(rows: Floats) -> float:
    """Share of the places in which they change, without the moments that differ most."""
    kept = list(range(len(rows)))
    for _ in range(min(math.ceil(_ODD * len(rows)), len(rows) - _FEWEST)):
        changes = rows[kept] - rows[kept].mean(axis=0)
        del kept[int(np.argmax((changes * changes).sum(axis=1)))]
    changes = _within(rows[kept])
    return float(_weight(_products(changes, changes)).mean())


def _detail(va: Floats, vb: Floats) -> float:
    a, b = _within(va), _within(vb)
    both, of_a, of_b = (_products(x, y) for x, y in ((a, b), (a, a), (b, b)))
    weight = _weight(np.maximum(of_a, of_b))
    beyond = min(float(weight.mean()), _moving(va), _moving(vb)) - _OVERLAID
    if beyond <= 0:
        return 0.0
    alike = both / np.sqrt((of_a + _FAINT) * (of_b + _FAINT))
    order = np.argsort(alike)
    summed = np.cumsum(weight[order])
    quarter = float(alike[order][np.searchsorted(summed, _QUARTER * summed[-1])])
    return math.atanh(max(0.0, min(_MOST, quarter))) * math.sqrt(beyond)


def _weight(change: Floats) -> Floats:
    """0 (still) to 1, of what changes in a place."""
    return change / (change + _LEAST)


def _products(a: Floats, b: Floats) -> Floats:
    """Of changes in places, (places, n, 16) -> (places,): 1 everywhere for changes as large as the
    pictures are."""
    out: Floats = np.einsum("pns,pns->p", a, b) * (len(a) / a.shape[1])
    return out


def _within(rows: Floats) -> Floats:
    """Changes within each place, (places, n, 16): less how bright the place is at each moment, and
    less its pattern, which a fade makes stronger and weaker."""
    side = math.isqrt(rows.shape[1])
    cells = _cells(rows.reshape(-1, side, side), _CELL)
    pattern = cells.mean(axis=1, keepdims=True)
    changes = cells - pattern
    size = np.maximum((pattern * pattern).sum(axis=2, keepdims=True), 1e-12)
    out: Floats = changes - (changes * pattern).sum(axis=2, keepdims=True) / size * pattern
    return out


def _cells(pictures: Floats, side: int) -> Floats:
    """Pictures (n, h, w) in places of side x side pixels, less how bright each is: (places, n,
    pixels)."""
    n, h, w = pictures.shape
    cells = pictures.reshape(n, h // side, side, w // side, side).transpose(1, 3, 0, 2, 4)
    cells = cells.reshape(-1, n, side * side)
    out: Floats = cells - cells.mean(axis=2, keepdims=True)
    return out


def agree(va: Floats, vb: Floats) -> bool:
    """Whether a few of them are still in both, or change alike: what either changes counts."""
    n, across = len(va), math.isqrt(va.shape[1]) // _COARSE
    changes = [(v - v.mean(axis=0)).reshape(n, _COARSE, across, _COARSE, across) for v in (va, vb)]
    either = np.maximum(*((d * d).sum(axis=(0, 2, 4)) for d in changes))
    length = max(float((va * va).sum()), 1e-12)
    share = float(np.minimum(1.0, either * _COARSE**2 / (NOISE * length)).mean())
    told = replace(hear(va, vb), change=min(1.0, share / _ENOUGH))
    return told.vector()[1] >= _AGREES
