"""Which videos are known to belong together, while a library is searched."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from twinreel.ann.source import Ints

LEADERS = 3


@dataclass
class Families:
    """Which videos are known to belong together: union of what matches.

    A family of `crowd` videos is a crowd: its first `leaders` stand for it.
    """

    count: int
    crowd: int
    leaders: int = LEADERS
    family: Ints = field(init=False)
    members: dict[int, list[int]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.family = np.arange(self.count)

    def join(self, a: int, b: int) -> bool:
        """Say that two videos match; whether that was news."""
        x, y = int(self.family[a]), int(self.family[b])
        if x == y:
            return False
        ours, theirs = self.members.get(x, [x]), self.members.get(y, [y])
        if len(ours) < len(theirs):
            x, y, ours, theirs = y, x, theirs, ours
        self.family[theirs] = x
        self.members[x] = ours + theirs if len(ours) < 2 else ours
        if len(ours) >= 2:
            ours.extend(theirs)
        self.members.pop(y, None)
        return True

    def is_crowd(self, video: int) -> bool:
        """Whether a video belongs to a crowd."""
        return len(self.members.get(int(self.family[video]), ())) >= self.crowd

    def first(self, video: int) -> list[int]:
        """The leaders of a video's crowd."""
        return self.members[int(self.family[video])][: self.leaders]

    def crowds(self) -> list[list[int]]:
        """The members of every crowd."""
        return [m for m in self.members.values() if len(m) >= self.crowd]
