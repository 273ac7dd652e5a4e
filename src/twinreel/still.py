"""Videos in which hardly anything moves, by their kept pictures: slides, a window with some text.

    moves(strip)                            # in more than a corner
    same_print(strip_a, strip_b, segments)  # the same words on both

The network sees that such videos are alike, not what is written in them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from twinreel import changes
from twinreel.aligned import at_same_moments, beside, gap
from twinreel.picture import from_jpeg
from twinreel.register import rows, small
from twinreel.types import Floats, Pixels, Segment

MOMENTS = 16  # that tell whether anything moves
TOLD_BY = 8  # moments that tell whether they show the same
Strip = Sequence[tuple[float, Pixels | bytes]]  # seconds, uint8 (160, 160, 3) or JPEG


def moves(strip: Strip) -> bool:
    """Whether the pictures change in more than a corner; where there are none, nothing says that
    they do not."""
    if not strip:
        return True
    few = np.linspace(0, len(strip) - 1, min(MOMENTS, len(strip))).round().astype(int)
    return changes.moves(rows(_small([p for _, p in decoded([strip[i] for i in few])])))


def same_print(a: Strip, b: Strip, segments: Sequence[Segment]) -> bool:
    """Whether two strips show the same in every place, as their segments lay them on each other."""
    apart = 0.6 * max(gap(a), gap(b))
    few_a, few_b = map(decoded, beside(a, b, segments, TOLD_BY, apart))
    shown = at_same_moments(few_a, few_b, segments, apart)
    return len(shown[0]) > 0 and changes.same_print(*map(_small, shown))


def decoded(strip: Strip) -> list[tuple[float, Pixels]]:
    """The same strip, pictures as pixels."""
    return [(t, from_jpeg(p) if isinstance(p, bytes) else p) for t, p in strip]


def _small(pictures: Iterable[Pixels]) -> Floats:
    return np.stack([small(p) for p in pictures])
