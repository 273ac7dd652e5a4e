"""What an index is built over: videos by number, in the order of their durations."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from twinreel.types import Features, Floats

KEPT = 2048  # Features kept in memory
Ints = npt.NDArray[np.int64]


class Source(Protocol):
    """Videos by number, in the order of their durations."""

    keys: Sequence[str]
    durations: npt.NDArray[np.float64]

    def get(self, number: int) -> Features: ...

    def laid(self, numbers: Sequence[int]) -> tuple[Floats, Ints]:
        """Rows that show something, end to end, and where each video's begin.

        A video without any has one row of zeros.
        """
        ...


class Kept:
    """The Features of a library, in the order of their durations, read when they are wanted.

    Args:
        lengths: key -> duration in seconds.
        read: key -> Features.
    """

    def __init__(self, lengths: dict[str, float], read: Callable[[str], Features]) -> None:
        self.keys: Sequence[str] = sorted(lengths, key=lambda key: (lengths[key], key))
        self.durations = np.array([lengths[key] for key in self.keys])
        self._read = read
        self._kept: OrderedDict[int, Features] = OrderedDict()

    def get(self, number: int) -> Features:
        """Features of one video."""
        if number in self._kept:
            self._kept.move_to_end(number)
            return self._kept[number]
        made = self._kept[number] = self._read(self.keys[number])
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return made

    def laid(self, numbers: Sequence[int]) -> tuple[Floats, Ints]:
        """Rows of several videos end to end, and where each begins."""
        return laid([self.get(i) for i in numbers])


def shown(video: Features) -> Floats:
    """The rows of a video that show something."""
    return video.vectors if not video.blank.any() else video.vectors[~video.blank]


def laid(videos: Sequence[Features]) -> tuple[Floats, Ints]:
    """See Source.laid."""
    parts = [shown(v) if len(shown(v)) else np.zeros((1, v.vectors.shape[1])) for v in videos]
    starts = np.cumsum([0, *map(len, parts[:-1])])
    return np.concatenate(parts).astype(np.float32, copy=False), starts
