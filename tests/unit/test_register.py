"""Pictures laid on pictures: every crop, turn and mirroring is found again."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from twinreel.aligned import WHOLE
from twinreel.register import STRAIGHT, Place, fit, normal, register, turned

WAYS = [(turns, mirrored) for turns in range(4) for mirrored in (False, True)]


def _scenes(seed: int, side: int = 200) -> np.ndarray:
    """Three smooth random pictures, (3, side, side)."""
    dice = np.random.default_rng(seed)
    noise = dice.normal(size=(3, side, side))
    return (ndimage.gaussian_filter(noise, (0, 10, 10)) * 1000).astype(np.float32)


def _at(pictures: np.ndarray, side: int = 80) -> np.ndarray:
    zoom = (1, side / pictures.shape[1], side / pictures.shape[2])
    return ndimage.zoom(pictures, zoom, order=1).astype(np.float32)


@pytest.mark.parametrize(("turns", "mirrored"), WAYS)
def test_a_turned_crop_is_found_from_both_sides(turns: int, mirrored: bool) -> None:
    big = _scenes(1)
    whole, part = _at(big), _at(big[:, 60:160, 40:110])
    # What `turns` and `mirrored` set upright.
    back = (turns, mirrored) if mirrored else (-turns % 4, False)
    other = turned(part, *back)
    place = register(whole, other)
    assert (place.inside, place.turns, place.mirrored) == (True, turns, mirrored)
    assert place.fit > 0.98
    assert place.part == pytest.approx((0.2, 0.3, 0.55, 0.8), abs=0.03)
    converse = register(other, whole)
    assert not converse.inside and converse.fit > 0.98
    a, b = converse.views(other, whole)
    assert fit(a, b) > 0.97


def test_equal_pictures_lie_as_they_are() -> None:
    pictures = _at(_scenes(2))
    assert register(pictures, pictures) == Place(WHOLE, True, 0, False, pytest.approx(1.0))


def test_brighter_and_flatter_pictures_fit_as_well() -> None:
    pictures = _at(_scenes(3))
    assert register(pictures, 0.4 * pictures + 60).fit == pytest.approx(1.0, abs=1e-3)


def test_other_pictures_fit_nowhere_well() -> None:
    fits = [register(_at(_scenes(s)), _at(_scenes(s + 100))).fit for s in range(10, 16)]
    assert max(fits) < 0.75


def test_normal_rows_have_length_one_and_blank_ones_stay_finite() -> None:
    rows = normal(np.stack([_at(_scenes(4))[0], np.full((80, 80), 7, np.float32)]))
    assert np.linalg.norm(rows[0]) == pytest.approx(1.0, abs=1e-5)
    assert not rows[1].any()


@pytest.mark.parametrize("degrees", [-6.0, 5.0, 8.0])
@pytest.mark.parametrize(("turns", "mirrored"), WAYS[::3])
def test_a_tilted_picture_is_bent_back(degrees: float, turns: int, mirrored: bool) -> None:
    whole = _at(_scenes(5))
    tilted = ndimage.rotate(whole, degrees, axes=(2, 1), reshape=False, order=1, mode="nearest")
    other = turned(tilted, *((turns, mirrored) if mirrored else (-turns % 4, False)))
    place = register(whole, other)
    assert place.warp != STRAIGHT
    shown, found = place.views(whole, other)
    assert fit(shown, found) == pytest.approx(place.fit, abs=1e-4)
    assert place.fit > 0.97 > 0.9 > fit(whole, other)


def test_bending_never_makes_it_worse() -> None:
    a, b = _at(_scenes(6)), _at(_scenes(106))
    parts = (WHOLE, (0.1, 0.2, 0.8, 0.9), (0.3, 0.0, 0.7, 1.0))
    for place in (Place(part, inside) for part in parts for inside in (True, False)):
        bent = place.bent(a, b)
        assert bent.fit >= fit(*place.views(a, b)) - 1e-6
        assert fit(*bent.views(a, b)) == pytest.approx(bent.fit, abs=1e-4)
        assert max(map(abs, bent.warp)) <= 0.25


def test_flat_pictures_are_not_bent() -> None:
    flat = np.full((3, 80, 80), 9, np.float32)
    assert Place().bent(_at(_scenes(7)), flat).warp == STRAIGHT
