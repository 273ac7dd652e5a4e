"""Sampling is arithmetic: equalities."""

from __future__ import annotations

import numpy as np
import pytest

from twinreel.errors import BadConfig
from twinreel.options import SampleOptions
from twinreel.sample import grid_step, plan, sampling_id
from twinreel.types import SamplePlan


def uniform(moments: int) -> SampleOptions:
    return SampleOptions(sampler="uniform", moments=moments)


def test_uniform_is_a_grid_of_a_power_of_two() -> None:
    p = plan(10.0, uniform(8))
    assert p.times_s.tolist() == [0.0, 2.0, 4.0, 6.0, 8.0]
    assert p.step_s == 2.0


@pytest.mark.parametrize(
    ("duration", "moments", "step"),
    [(8.0, 8, 1.0), (8.01, 8, 2.0), (0.2, 32, 0.125), (4.0, 32, 0.125), (4.01, 32, 0.25),
     (7200.0, 32, 256.0), (10800.0, 32, 512.0), (1.0, 1, 1.0)],
)  # fmt: skip
def test_steps(duration: float, moments: int, step: float) -> None:
    assert grid_step(duration, moments) == step
    times = plan(duration, uniform(moments)).times_s
    assert len(times) <= moments
    assert len(times) == np.ceil(duration / step)


def test_unlike_lengths_share_moments() -> None:
    """Two cuts of one film, 5 % apart in length, look at the same seconds."""
    a = plan(95.0, uniform(32)).times_s
    b = plan(100.0, uniform(32)).times_s
    assert set(a) <= set(b)


def test_the_cost_of_a_long_film_is_bounded() -> None:
    assert len(plan(3 * 3600.0, uniform(32)).times_s) <= 32
    assert len(plan(1e9, uniform(32)).times_s) <= 32


@pytest.mark.parametrize("duration", [0.0, -1.0, 1e-9, 0.04])
def test_what_is_very_short_has_one_moment(duration: float) -> None:
    assert plan(duration, uniform(32)).times_s.tolist() == [0.0]


def test_per_second() -> None:
    p = plan(2.0, SampleOptions(sampler="fps", fps=2.5))
    assert p.times_s == pytest.approx([0.0, 0.4, 0.8, 1.2, 1.6])
    assert p.step_s == 0.4
    assert len(plan(3600.0, SampleOptions(sampler="fps", fps=1.0)).times_s) == 3600


def test_dense_looks_at_short_videos_twice_as_often() -> None:
    usual, dense = (plan(10.0, SampleOptions(sampler=s)) for s in ("uniform", "dense"))
    assert usual.step_s == 2 * dense.step_s == 0.5
    assert set(usual.times_s) <= set(dense.times_s)


def test_dense_looks_at_least_so_often_on_the_same_grid() -> None:
    p = plan(3600.0, SampleOptions(sampler="dense", moments=32, fps=0.6))
    assert p.step_s == 1.0  # the power of two at or below 1 / 0.6
    assert set(plan(3600.0, uniform(32)).times_s) <= set(p.times_s)
    short = plan(4.0, SampleOptions(sampler="dense", moments=32, fps=0.6))
    assert short.times_s.tolist() == plan(4.0, uniform(32)).times_s.tolist()


def test_keyframes_asks_for_the_same_grid() -> None:
    a = plan(77.0, SampleOptions(sampler="keyframes", moments=16))
    assert a.times_s.tolist() == plan(77.0, uniform(16)).times_s.tolist()


def test_the_sampling_id_tells_what_changes_the_rows_and_nothing_else() -> None:
    ids = {
        sampling_id(SampleOptions(), (160, 160)),
        sampling_id(SampleOptions(), (224, 224)),
        sampling_id(SampleOptions(moments=16), (160, 160)),
        sampling_id(SampleOptions(sampler="keyframes"), (160, 160)),
        sampling_id(SampleOptions(sampler="fps"), (160, 160)),
        sampling_id(SampleOptions(sampler="fps", fps=2.0), (160, 160)),
        sampling_id(SampleOptions(sampler="dense"), (160, 160)),
        sampling_id(SampleOptions(sampler="dense", fps=2.0), (160, 160)),
    }
    assert len(ids) == 8
    # A dial that the sampler does not read makes no difference.
    assert sampling_id(SampleOptions(fps=3.0), (160, 160)) == sampling_id(
        SampleOptions(), (160, 160)
    )


def test_bad_dials_are_refused() -> None:
    with pytest.raises(ValueError, match="fps must be positive, got 0.0"):
        SampleOptions(fps=0.0)
    with pytest.raises(ValueError, match="moments must be at least 1, got 0"):
        SampleOptions(moments=0)


def thirds(duration_s: float, options: SampleOptions) -> SamplePlan:
    """A sampler that lives outside of twinreel."""
    return SamplePlan(np.array([0.0, duration_s / 3]), duration_s / 3)


def test_a_sampler_of_ones_own_is_named_by_its_module() -> None:
    own = SampleOptions(sampler=f"{__name__}:thirds", moments=4)
    assert plan(9.0, own).times_s.tolist() == [0.0, 3.0]
    assert sampling_id(own, (8, 8)) != sampling_id(uniform(4), (8, 8))
    assert sampling_id(own, (8, 8)) == sampling_id(own, (8, 8))
    with pytest.raises(ValueError, match="uniform, dense, keyframes, fps or module:function"):
        SampleOptions(sampler="thirds")
    with pytest.raises(BadConfig, match="PYTHONPATH"):
        sampling_id(SampleOptions(sampler="nowhere_at_all:thirds"), (8, 8))
