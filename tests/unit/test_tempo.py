"""A slow shot at another speed: what its moments alone cannot tell, told between them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from twinreel.align import Run
from twinreel.compare import Calibration, compare
from twinreel.tempo import end_to_end
from twinreel.types import Features

CAL = Calibration()
STEP = 0.5
SEEDS = range(6)


def shot(seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """Seconds -> unit rows of somebody who talks: much that stays, a little that wanders."""
    rng = np.random.default_rng(seed)
    stays, ways = rng.normal(size=64), rng.normal(size=(6, 64)) * 0.15
    pace, phase = rng.uniform(0.05, 0.35, 6), rng.uniform(0, 6, 6)

    def rows(times: np.ndarray) -> np.ndarray:
        wander = np.sin(2 * np.pi * times[:, None] * pace + phase) @ ways
        out = stays + wander + rng.normal(size=(len(times), 64)) * 0.02  # coding
        return out / np.linalg.norm(out, axis=1, keepdims=True)

    return rows


def film(key: str, length: float, rows: Callable[[np.ndarray], np.ndarray]) -> Features:
    times = np.arange(0.0, length - 1e-6, STEP)
    spans = np.stack([times, times + STEP], axis=1)
    blank = np.zeros(len(times), bool)
    return Features(key, "m", "s", rows(times).astype(np.float32), spans, blank, length)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("speed", [1.05, 0.95, 1.04])
def test_a_shot_from_end_to_end_at_another_speed(seed: int, speed: float) -> None:
    talk = shot(seed)
    a, b = film("a", 12.0, talk), film("b", 12.0 / speed, lambda t: talk(t * speed))
    (segment,) = compare(a, b, CAL).segments  # type: ignore[union-attr]
    assert segment.speed == pytest.approx(1 / speed, rel=0.01)
    assert segment.a == pytest.approx((0.0, 12.0), abs=0.3)
    (back,) = compare(b, a, CAL).segments  # type: ignore[union-attr]
    assert (back.a, back.b) == (segment.b, segment.a)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("cut", [0.5, 0.7, 3.0])
def test_a_shot_that_was_cut_runs_at_its_own_speed(seed: int, cut: float) -> None:
    talk = shot(seed)
    a, b = film("a", 12.0, talk), film("b", 12.0 - cut, lambda t: talk(t + cut))
    (segment,) = compare(a, b, CAL).segments  # type: ignore[union-attr]
    assert segment.speed == pytest.approx(1.0, rel=0.01)
    assert segment.a[0] == pytest.approx(cut, abs=0.3)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("at", [3.0, 6.0, 8.0])
@pytest.mark.parametrize("cut", [0.5, 0.7])
def test_a_piece_cut_from_the_middle_is_not_told_as_a_speed_by_its_moments(
    seed: int, at: float, cut: float
) -> None:
    """Along the line from end to end, every moment is off by half the cut at most."""
    talk = shot(seed)

    def shorter(times: np.ndarray) -> np.ndarray:
        return talk(np.where(times < at, times, times + cut))

    a, b = film("a", 12.0, talk), film("b", 12.0 - cut, shorter)
    rows_a, rows_b = np.arange(len(a.blank)), np.arange(len(b.blank))
    run = Run(1.0, -cut / 2, rows_a, rows_b, np.ones(len(rows_a), np.float32), 1.0)
    assert end_to_end([run], a, b, (12.0 - cut) / 12.0, lambda line: run) is None


def test_where_nothing_wanders_the_plain_speed_stands() -> None:
    rng = np.random.default_rng(0)
    still = rng.normal(size=64)
    still /= np.linalg.norm(still)

    def nothing(times: np.ndarray) -> np.ndarray:
        return np.tile(still, (len(times), 1))

    a, b = film("a", 12.0, nothing), film("b", 11.4, nothing)
    match = compare(a, b, CAL)
    assert match is not None and [s.speed for s in match.segments] == [1.0]
