"""Which moments of a video are looked at. Pure arithmetic on seconds; no file is opened.

    >>> plan(10.0, SampleOptions(moments=8)).times_s
    array([0., 2., 4., 6., 8.])

Note [one grid for all]: steps are powers of two and moments are multiples of the step, so videos
of unlike length (an intro cut off at the end, a slower copy) still share moments.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable

import numpy as np

from twinreel.errors import BadConfig
from twinreel.options import SampleOptions, fingerprint
from twinreel.types import SamplePlan, Seconds

SHORTEST_STEP_S = 1 / 8
DENSER = 2  # a clip of a few seconds is told by its changes: at twice the moments they are seen
Sampler = Callable[[float, SampleOptions], SamplePlan]
_SAMPLERS: dict[str, Sampler] = {}


def sampler(name: str) -> Callable[[Sampler], Sampler]:
    """Register a function (duration_s, options) -> SamplePlan under `name`."""

    def keep(function: Sampler) -> Sampler:
        _SAMPLERS[name] = function
        return function

    return keep


def plan(duration_s: float, options: SampleOptions) -> SamplePlan:
    """The moments for a video of `duration_s` seconds, all within [0, duration), at least one."""
    return _find(options.sampler)(max(duration_s, 0.0), options)


def _find(name: str) -> Sampler:
    """A sampler of ours, or one named as 'module:function': decoding processes import it, too."""
    if name in _SAMPLERS:
        return _SAMPLERS[name]
    module, _, function = name.partition(":")
    try:
        found: Sampler = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise BadConfig(
            f"sampler {name!r} cannot be imported ({error}); install its module or put it on "
            "PYTHONPATH"
        ) from None
    return found


def grid_step(duration_s: float, moments: int) -> float:
    """The smallest power of two (seconds, at least 1/8) that gives at most `moments` moments."""
    wanted = max(duration_s / moments, SHORTEST_STEP_S)
    return float(2.0 ** math.ceil(math.log2(wanted) - 1e-9))


def _grid(duration_s: float, step_s: float) -> Seconds:
    count = max(1, math.ceil(duration_s / step_s - 1e-9))
    return np.arange(count, dtype=np.float64) * step_s


@sampler("uniform")
def uniform(duration_s: float, options: SampleOptions) -> SamplePlan:
    """Multiples of a power of two, at most `moments` of them (Note [one grid for all])."""
    step = grid_step(duration_s, options.moments)
    return SamplePlan(_grid(duration_s, step), step)


@sampler("keyframes")
def keyframes(duration_s: float, options: SampleOptions) -> SamplePlan:
    """The grid of `uniform`; the decoder takes the key frame at or before each moment.

    About eight times cheaper than exact moments, but two encodes have their key frames in
    different places: measured in docs/accuracy.md.
    """
    return uniform(duration_s, options)


@sampler("dense")
def dense(duration_s: float, options: SampleOptions) -> SamplePlan:
    """Twice the moments of `uniform`, and at least `fps` a second: for clips in other videos."""
    most = 2.0 ** math.floor(math.log2(1 / options.fps) + 1e-9)
    step = min(grid_step(duration_s, DENSER * options.moments), max(most, SHORTEST_STEP_S))
    return SamplePlan(_grid(duration_s, step), step)


@sampler("fps")
def per_second(duration_s: float, options: SampleOptions) -> SamplePlan:
    """`fps` moments per second, as many as that makes."""
    step = 1.0 / options.fps
    return SamplePlan(_grid(duration_s, step), step)


def sampling_id(options: SampleOptions, size: tuple[int, int]) -> str:
    """What tells features of one sampling from those of another: sampler, dials, picture size."""
    dials: dict[str, list[float]] = {
        "uniform": [options.moments],
        "keyframes": [options.moments],
        "dense": [DENSER * options.moments, options.fps],
        "fps": [options.fps],
    }
    _find(options.sampler)  # a name that cannot be imported is said before any work
    used = dials.get(options.sampler, [options.moments, options.fps])
    return f"{options.sampler}-{used[0]:g}-{fingerprint(options.sampler, used, size, 'v1')}"
