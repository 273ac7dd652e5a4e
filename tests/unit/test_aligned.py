"""aligned: what small pictures of the same moments say about crops, logos and mirrors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from twinreel.aligned import (
    FITS,
    PAIRS,
    WHOLE,
    Difference,
    at_same_moments,
    compare_pictures,
    find_crop,
    is_mirrored,
)
from twinreel.demo import Picture, cut, paint
from twinreel.overlay import find_overlay, fit_outside
from twinreel.types import Pixels, Segment

SIDE = (160, 160)


def film(seed: int, change: Callable[[Picture], Picture] = lambda p: p, n: int = 6) -> Pixels:
    """n moments of a film, one second apart, each changed."""
    return np.stack([change(paint(seed, 0.4 + t, SIDE).copy()) for t in range(n)])


def logo(picture: Picture) -> Picture:
    picture[12:34, 118:150] = (235, 235, 235)
    picture[18:26, 124:144] = (200, 30, 30)
    return picture


def caption(picture: Picture) -> Picture:
    picture[134:146, 30:130:5] = 255
    picture[134:146, 31:131:5] = 255
    picture[139:141, 30:130] = 255
    return picture


def darker(picture: Picture) -> Picture:
    return (255 * (picture / 255) ** 1.3 * 0.8).astype(np.uint8)


def noisy(picture: Picture) -> Picture:
    noise = np.random.default_rng(1).normal(0, 5, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("seed", [1, 4])
@pytest.mark.parametrize("change", [lambda p: p, darker, noisy], ids=["same", "darker", "noisy"])
def test_a_plain_copy_differs_in_nothing(seed: int, change: Callable[[Picture], Picture]) -> None:
    found = compare_pictures(film(seed), film(seed, change))
    assert found is not None
    assert (found.cut_from_a, found.cut_from_b, found.overlay) == (0.0, 0.0, "")
    assert found.fit > 0.9


@pytest.mark.parametrize("seed", [2, 3])
@pytest.mark.parametrize(
    "box",
    [(0.1, 0.1, 0.9, 0.9), (0.0, 0.0, 0.8, 0.8), (0.15, 0.0, 0.85, 1.0), (0.05, 0.05, 0.95, 0.95)],
)
def test_a_crop_is_found_where_it_is(seed: int, box: tuple[float, float, float, float]) -> None:
    whole, part = film(seed), film(seed, lambda p: darker(cut(p, box)))
    found = compare_pictures(whole, part)
    assert found is not None
    assert np.allclose(found.seen, box, atol=0.03)
    assert found.shown == WHOLE
    area = (box[2] - box[0]) * (box[3] - box[1])
    assert found.cut_from_a == pytest.approx(1 - area, abs=0.05)
    assert found.cut_from_b == 0.0
    back = compare_pictures(part, whole)
    assert back is not None
    assert np.allclose(back.shown, box, atol=0.03)
    assert back.cut_from_a == 0.0


def test_a_thin_cut_is_not_worth_a_word() -> None:
    part = film(1, lambda p: cut(p, (0.01, 0.0, 1.0, 0.99)))
    found = compare_pictures(film(1), part)
    assert found is not None
    assert found.cut_from_a == 0.0


@pytest.mark.parametrize("seed", [1, 4])
@pytest.mark.parametrize("mark", [logo, caption], ids=["logo", "caption"])
def test_who_carries_a_logo_or_caption(seed: int, mark: Callable[[Picture], Picture]) -> None:
    clean, marked = film(seed), film(seed, lambda p: mark(noisy(p)))
    found, back = compare_pictures(clean, marked), compare_pictures(marked, clean)
    assert found is not None and back is not None
    assert (found.overlay, back.overlay) == ("b", "a")


def test_a_logo_on_both_is_no_difference() -> None:
    found = compare_pictures(film(1, logo), film(1, lambda p: noisy(logo(p))))
    assert found is not None
    assert found.overlay == ""


def test_an_overlay_needs_more_than_two_moments() -> None:
    grey = film(1, n=2).mean(axis=3).astype(np.float32)
    marked = film(1, logo, n=2).mean(axis=3).astype(np.float32)
    assert find_overlay(grey, marked) is None


@pytest.mark.parametrize("seed", [1, 4])
def test_a_thing_laid_over_does_not_excuse_the_rest(seed: int) -> None:
    """Half of another video beside this one differs in one place for good, as a logo does."""

    def grained(picture: Picture) -> Picture:
        grain = np.random.default_rng(int(picture[80, 80, 0])).normal(0, 55, picture.shape[:2])
        return np.clip(logo(picture) + grain[:, :, None], 0, 255).astype(np.uint8)

    a, b = film(seed), film(seed, grained)
    grey = [p.mean(axis=3).astype(np.float32) for p in (a, b)]
    place = np.zeros(SIDE, bool)
    place[12:34, 118:150] = True
    assert fit_outside(*grey, place) < FITS
    assert fit_outside(grey[0], film(seed, logo).mean(axis=3), place) > 0.99
    assert fit_outside(*grey, np.ones(SIDE, bool)) == 0.0


def test_other_pictures_say_nothing() -> None:
    assert compare_pictures(film(1), film(2)) is None
    assert compare_pictures(film(3), film(3)[::-1]) is None
    nothing = np.zeros((0, 1, 1, 3), np.uint8)
    assert compare_pictures(nothing, nothing) is None


def test_find_crop_of_one_picture() -> None:
    rng = np.random.default_rng(0)
    small = rng.normal(size=(1, 10, 10)).astype(np.float32)
    whole = np.kron(small, np.ones((1, 8, 8), np.float32)) * 40 + 100
    part = np.repeat(np.repeat(whole[:, 16:64, 8:56], 5, axis=1), 5, axis=2)[:, ::3, ::3]
    place, fit = find_crop(whole, part)
    assert fit > 0.95
    assert np.allclose(place, (0.1, 0.2, 0.7, 0.8), atol=0.02)


def test_mirrors() -> None:
    assert is_mirrored(film(1), film(1)[:, :, ::-1])
    assert not is_mirrored(film(1), film(1, noisy))


def test_what_is_turned_is_not_mirrored() -> None:
    y, x = np.mgrid[0:40, 0:40]
    slope = np.repeat(2 * (2 * x + y)[None, :, :, None], 3, axis=3).astype(np.uint8)
    assert is_mirrored(slope, slope[:, :, ::-1])
    # On its head its mirror image is more like it than it is; the right turn is most.
    assert not is_mirrored(slope, slope[:, ::-1, ::-1])
    assert not is_mirrored(slope, np.rot90(slope, 1, axes=(1, 2)))


def test_a_difference_reads_both_ways() -> None:
    d = Difference(seen=(0.1, 0.1, 0.9, 0.9), overlay="b", fit=0.97)
    assert d.swapped().shown == d.seen
    assert d.swapped().overlay == "a"
    assert d.swapped().swapped() == d


def strip(seed: int, start: float, n: int, step: float = 0.5) -> list[tuple[float, Picture]]:
    return [(i * step, paint(seed, start + i * step, SIDE)) for i in range(n)]


def test_same_moments_follow_offset_and_speed() -> None:
    a, b = strip(1, 0.0, 12), strip(1, 2.0, 8)
    pa, pb = at_same_moments(a, b, [Segment((2.0, 6.0), (0.0, 4.0))])
    assert len(pa) == PAIRS
    assert np.array_equal(pa, pb)
    fast = [(t / 2, p) for t, p in strip(1, 0.0, 12)]
    pa, pb = at_same_moments(a, fast, [Segment((0.0, 6.0), (0.0, 3.0), 0.5)])
    assert len(pa) == PAIRS
    assert np.array_equal(pa, pb)


def test_moments_apart_in_time_are_not_laid_together() -> None:
    a = strip(1, 0.0, 8)
    b = [(t + 0.2, p) for t, p in a]
    pa, pb = at_same_moments(a, b, [Segment((0.0, 4.0), (0.0, 4.0))])
    assert len(pa) == len(pb) == 0
    assert len(at_same_moments(a, [], [Segment((0.0, 4.0), (0.0, 4.0))])[0]) == 0


def test_mirrored_segments_are_turned_back() -> None:
    a = strip(1, 0.0, 6)
    b = [(t, np.ascontiguousarray(p[:, ::-1])) for t, p in a]
    pa, pb = at_same_moments(a, b, [Segment((0.0, 3.0), (0.0, 3.0), mirrored=True)])
    assert np.array_equal(pa, pb)


def test_blank_pictures_prove_nothing() -> None:
    black = [(t, np.zeros((160, 160, 3), np.uint8)) for t in range(4)]
    assert len(at_same_moments(black, black, [Segment((0.0, 4.0), (0.0, 4.0))])[0]) == 0
