"""Pictures that lie on each other -> how well, and how much, the two change together.

    witness = heard(va, vb)      # rows of mean 0 and length 1 of the same moments, (n, 1600) each
    agree(va[-4:], vb[-4:])      # still in both, or changing alike

As compare.hear tells it of descriptors, but with the change told place by place.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from twinreel.compare import NOISE, Witness, hear
from twinreel.types import Floats

_PLACES = 8  # across and down: whether a picture changes is told for each
_ENOUGH = 0.2  # share of the places: more change is no more proof
_AGREES = 0.8  # agreement from which on moments go with those beside them


def heard(va: Floats, vb: Floats) -> Witness:
    """What pictures say that lie on each other: of what both change. A clock in a corner that two
    slides share changes much, in one place; where a still scene moves a little, it does so in many.
    """
    (a, b), length = _powers(va, vb)
    return replace(hear(va, vb), change=_share(np.sqrt(a * b), length))


def agree(va: Floats, vb: Floats) -> bool:
    """Whether a few of them are still in both, or change alike: what either changes counts."""
    (a, b), length = _powers(va, vb)
    either = replace(hear(va, vb), change=_share(np.maximum(a, b), length))
    return either.vector()[1] >= _AGREES


def _powers(va: Floats, vb: Floats) -> tuple[list[Floats], float]:
    """How much either changes in each place, (8, 8), and the length of the first's rows."""
    n, across = len(va), math.isqrt(va.shape[1]) // _PLACES
    changes = [(v - v.mean(axis=0)).reshape(n, _PLACES, across, _PLACES, across) for v in (va, vb)]
    return [(d * d).sum(axis=(0, 2, 4)) for d in changes], max(float((va * va).sum()), 1e-12)


def _share(power: Floats, length: float) -> float:
    """How much changes, 0..1, by the places that do."""
    share = np.minimum(1.0, power * _PLACES**2 / (NOISE * length)).mean()
    return min(1.0, float(share) / _ENOUGH)
