"""A picture inside the picture: found where one is, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from tests.videos import paint, scale
from twinreel.inset import EIGHT, find_inset
from twinreel.picture import Rect
from twinreel.types import Pixels

SIDE = 160
MOMENTS = 16


def _film(seed: int, moments: int = MOMENTS, still: bool = False) -> Pixels:
    return np.stack([paint(seed, 0.0 if still else 0.4 * k, (SIDE, SIDE)) for k in range(moments)])


def _laid(inner: Pixels, around: Pixels, rect: Rect) -> Pixels:
    out = around.copy()
    x0, y0, x1, y1 = (round(SIDE * v) for v in rect)
    for picture, small in zip(out, inner, strict=True):
        picture[y0:y1, x0:x1] = scale(small, (x1 - x0, y1 - y0))
    return out


@pytest.mark.parametrize("rect", [(0.56, 0.54, 0.96, 0.94), (0.05, 0.1, 0.35, 0.45)])
@pytest.mark.parametrize("seed", [1, 5])
def test_a_film_in_a_film_is_found(rect: Rect, seed: int) -> None:
    found = find_inset(_laid(_film(seed), _film(seed + 1), rect))
    assert found == pytest.approx(rect, abs=0.02)


def test_a_film_alone_holds_none() -> None:
    assert [find_inset(_film(seed)) for seed in range(8)] == [None] * 8


def test_a_frame_on_the_wall_of_a_still_scene_is_none() -> None:
    rect = (0.5, 0.2, 0.9, 0.6)
    assert find_inset(_laid(_film(1, still=True), _film(2, still=True), rect)) is None


def test_a_few_pictures_prove_nothing() -> None:
    laid = _laid(_film(1), _film(2), (0.56, 0.54, 0.96, 0.94))
    assert find_inset(laid) is not None
    assert find_inset(laid[: EIGHT - 1]) is None
