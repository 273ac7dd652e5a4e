"""What laid pictures say: of the same film, of two takes of one scene, of what overlays share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinreel.changes import Agreement, agree, agreement, moves, same_print
from twinreel.register import normal

Pictures = Any  # float (n, 40, 40)
MOMENTS = 16


def _scene(seed: int = 0) -> Pictures:
    return np.random.default_rng(seed).uniform(40, 200, (1, 40, 40)).repeat(MOMENTS, 0)


def _moving(seed: int, size: float = 30.0, fine: bool = True) -> Pictures:
    """Changes everywhere: of every pixel by itself, or of places of ten pixels as they are."""
    rng = np.random.default_rng(seed)
    if fine:
        return rng.normal(0, size, (MOMENTS, 40, 40))
    return rng.normal(0, size, (MOMENTS, 4, 4)).repeat(10, 1).repeat(10, 2)


def _told(a: Pictures, b: Pictures) -> Agreement:
    noise = np.random.default_rng(9).normal(0, 0.2, (2, *a.shape))  # of coding
    return agreement(normal(a + noise[0]), normal(b + noise[1]))


def test_the_same_film_changes_alike_in_every_place() -> None:
    a = _scene() + _moving(1)
    told = _told(a, 0.8 * a + 20)
    assert told.correlation > 0.99 and 1.5 < told.detail <= 2.1


def test_a_little_movement_in_many_places_shows_as_much() -> None:
    still = _scene()
    assert _told(still + _moving(1, 4.0), still + _moving(1, 4.0)).detail > 1.0
    assert _told(still + _moving(1, 4.0), still + _moving(2, 4.0)).detail < 0.2


def test_what_changes_alike_in_the_large_alone_is_no_detail() -> None:
    """Light that wanders, and what happens in it: the same light, other happenings."""
    light = _scene() + _moving(1, 60.0, fine=False)
    told = _told(light + _moving(2, 12.0), light + _moving(3, 12.0))
    assert told.correlation > 0.9 and told.detail < 0.2


def test_a_fade_is_no_change() -> None:
    fading = np.linspace(0.4, 1.0, MOMENTS)[:, None, None]
    assert _told(_scene() * fading, _scene() * fading).detail == 0
    assert not moves(normal(_scene() * fading))


@pytest.mark.parametrize("top", [36, 35, 34, 33, 10, 1])
def test_a_ticker_shows_nothing_wherever_it_lies(top: int) -> None:
    band = _scene()
    band[:, top : top + 4] += _moving(1)[:, top : top + 4]
    told = _told(band, band)
    assert told.correlation > 0.9 and told.detail == 0 and not moves(normal(band))


def test_what_moves_in_half_of_the_picture_shows_something() -> None:
    band = _scene()
    band[:, :20] += _moving(1)[:, :20]
    assert _told(band, band).detail > 0.8 and moves(normal(band))


def test_the_title_that_two_slides_begin_with_shows_nothing() -> None:
    """Three moments of sixteen: of those the whole picture changes, and alike."""
    a, b = _scene(), _scene()
    b[:, 12:16, 4:20] = _scene(5)[:, 12:16, 4:20]  # other words
    for slide in (a, b):
        slide[:, -4:] += _moving(1)[:, -4:]
        slide[:3] = _scene(7)[:3] + _moving(8)[:3]
    told = _told(a, b)
    assert told.correlation > 0.9 and told.detail == 0
    assert not moves(normal(a)) and not moves(normal(b))


def test_what_only_one_of_them_shows_is_no_agreement() -> None:
    """They share two fifths of the picture; in the rest one moves and the other is still."""
    a, b = _scene() + _moving(1), _scene()
    b[:, :16] += _moving(1)[:, :16]
    va, vb = normal(a), normal(b)  # to the last bit still
    assert agreement(va, vb).detail < 0.1 and agreement(vb, va).detail < 0.1


@pytest.mark.parametrize(("rows", "hidden"), [(8, False), (16, True)])
def test_a_fifth_may_change_otherwise_and_two_fifths_may_not(rows: int, hidden: bool) -> None:
    a, b = _scene() + _moving(1), _scene() + _moving(1)
    b[:, -rows:] = _scene()[:, -rows:] + _moving(2)[:, -rows:]
    assert (_told(a, b).detail < 0.3) == hidden


def test_still_pictures_show_nothing_and_agree() -> None:
    told = _told(_scene(), _scene())
    assert told.detail == 0 and not moves(normal(_scene()))
    assert agree(normal(_scene()), normal(_scene()))


@pytest.mark.parametrize(("words", "same"), [(5, True), (6, False)])
def test_other_words_in_one_place_are_seen(words: int, same: bool) -> None:
    """A blank page, one line of it with other words; a place is an eighth of the line."""
    pages = [np.full((6, 80, 80), 240.0) for _ in range(2)]
    for page, seed in zip(pages, (5, words), strict=True):
        page[:, :8] = 60.0 + 100.0 * (np.random.default_rng(1).random((8, 80)) < 0.5)
        page[:, 24:28, 8:40] = 200.0 * (np.random.default_rng(seed).random((4, 32)) < 0.5)
        page += np.random.default_rng(seed + 10).normal(0, 4, page.shape)  # of coding
    assert same_print(*pages) == same
    blank = np.full((6, 80, 80), 240.0)
    assert not same_print(blank, blank)


@given(st.integers(0, 2**32 - 1), st.integers(4, 12), st.floats(0.0, 40.0))
def test_agreement_knows_no_order(seed: int, count: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    a = rng.uniform(0, 255, (1, 40, 40)) + rng.normal(0, size, (count, 40, 40))
    b = a + rng.normal(0, 5, a.shape)
    va, vb, order = normal(a), normal(b), rng.permutation(count)
    told = agreement(va, vb)
    assert 0 <= told.detail <= 2.1 and -1 <= told.correlation <= 1
    for other in (agreement(vb, va), agreement(va[order], vb[order])):
        assert other.detail == pytest.approx(told.detail, abs=1e-3)
        assert other.correlation == pytest.approx(told.correlation, abs=1e-3)
