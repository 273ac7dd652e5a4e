"""The members of a group that are still in the running, and what sent the others out."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from twinreel.types import Video

Say = Callable[[Video, Video], str]  # (winner, loser) -> words


class Race:
    """The members still in it, and what sent the others out."""

    def __init__(self, videos: list[Video]) -> None:
        self.all = videos
        self.left = list(videos)
        self._told: list[tuple[Say, Video]] = []

    def keep(self, better: Sequence[Video], say: Say) -> None:
        """Only `better` stay, unless that is nobody."""
        names = {v.path for v in better}
        out = [v for v in self.left if v.path not in names]
        if out and len(out) < len(self.left):
            self.left = [v for v in self.left if v.path in names]
            self._told.append((say, out[0]))

    def best(self, value: Callable[[Video], object], tolerance: float | None, say: Say) -> None:
        """Stay: the highest values, to within `tolerance` (None: only the highest)."""
        if len(self.left) < 2:
            return
        values = {v.path: value(v) for v in self.left}
        top = max(values.values())  # type: ignore[type-var]
        if tolerance is None:
            self.keep([v for v in self.left if values[v.path] == top], say)
        else:
            self.keep([v for v in self.left if values[v.path] >= top - tolerance], say)  # type: ignore[operator]

    def share(self, value: Callable[[Video], float], tolerance: float, say: Say) -> None:
        """Stay: within a share of the highest value; skipped where a value is unknown (0)."""
        values = {v.path: value(v) for v in self.left}
        if all(values.values()):
            least = max(values.values()) * (1 - tolerance) - 1e-9
            self.keep([v for v in self.left if values[v.path] >= least], say)

    def words(self, winner: Video) -> list[str]:
        """What decided: the first and the last criterion that sent somebody out."""
        told = [self._told[0], self._told[-1]] if len(self._told) > 1 else self._told
        return list(dict.fromkeys(say(winner, loser) for say, loser in told))


def size_of(v: Video) -> str:
    return f"{v.info.width}x{v.info.height}"


def name_of(video: Video, other: Video) -> str:
    """The file's name, or its path where both are called the same; fit for any terminal."""
    name = os.path.basename(video.path)
    name = video.path if name == os.path.basename(other.path) else name
    return "".join(c if c.isprintable() else "?" for c in name)
