"""What the small pictures of members look like beside each other."""

from __future__ import annotations

from collections.abc import Callable

from twinreel import picture
from twinreel.aligned import (
    APART_S,
    PAIRS,
    Difference,
    at_same_moments,
    beside,
    compare_pictures,
    gap,
)
from twinreel.keep.holds import Matching
from twinreel.still import Strip, decoded, moves
from twinreel.types import Video

GREY, COLOURFUL = 0.5, 2.0  # see picture.colour; what lies between says nothing

Strips = Callable[[str], Strip]


class Views:
    """What pairs of members look like beside each other, found once per pair."""

    def __init__(self, match: Matching, strips: Strips) -> None:
        self._match, self._strips = match, strips
        self._known: dict[tuple[str, str], Difference | None] = {}
        self._misfits: set[frozenset[str]] = set()
        self._grey: dict[str, bool | None] = {}
        self._moving: dict[str, bool] = {}
        # By the members' paths: what is seen of one is seen of all that hold the same packets.
        self._twin = picture.Twins(strips)

    def difference(self, a: Video, b: Video) -> Difference | None:
        """How b's picture differs from a's; None where that cannot be told."""
        pair = self._pair(a, b)
        if pair[0] == pair[1]:
            return Difference()
        if pair[::-1] in self._known:
            back = self._known[pair[::-1]]
            return back.swapped() if back else None
        if pair not in self._known:
            self._known[pair] = self._compare(a, b)
        return self._known[pair]

    def _pair(self, a: Video, b: Video) -> tuple[str, str]:
        if a.file.key is not None and a.file.key == b.file.key:
            return (a.path, a.path)
        return (self._twin(a.path), self._twin(b.path))

    def _compare(self, a: Video, b: Video) -> Difference | None:
        strip_a, strip_b = self._strips(a.path), self._strips(b.path)
        found = self._match(a.path, b.path)
        segments = found.segments if found else ()
        # Pictures of two copies lie up to half a step apart where one begins earlier or is faster.
        for apart in (APART_S, 0.55 * gap(strip_a), 0.55 * gap(strip_b)):
            few_a, few_b = beside(strip_a, strip_b, segments, 2 * PAIRS, apart)
            pictures = at_same_moments(decoded(few_a), decoded(few_b), segments, apart)
            if len(pictures[0]):
                break
        seen = compare_pictures(*pictures)
        if seen is None and len(pictures[0]):
            self._misfits.add(frozenset(self._pair(a, b)))
        return seen

    def forget(self, path: str) -> None:
        """Its pairs, of which other matches are known by now."""
        twin = self._twin(path)
        self._known = {pair: seen for pair, seen in self._known.items() if twin not in pair}
        self._misfits = {pair for pair in self._misfits if twin not in pair}

    def misfit(self, a: Video, b: Video) -> bool:
        """Whether there are pictures of the same moments, and they do not fit on each other."""
        return self.difference(a, b) is None and frozenset(self._pair(a, b)) in self._misfits

    def is_still(self, a: Video, b: Video) -> bool:
        """Whether hardly anything moves in one of two that do not hold the same packets."""
        one, other = self._pair(a, b)
        return one != other and not all(map(self._moves, (one, other)))

    def _moves(self, twin: str) -> bool:
        if twin not in self._moving:
            self._moving[twin] = moves(self._strips(twin))
        return self._moving[twin]

    def grey(self, video: Video) -> bool | None:
        """Whether a video is without colour; None where that cannot be told."""
        twin = self._twin(video.path)
        if twin not in self._grey:
            strip = self._strips(twin)
            some = decoded(strip[:: max(1, -(-len(strip) // PAIRS))])
            found = picture.colour([p for _, p in some]) if some else (GREY + COLOURFUL) / 2
            self._grey[twin] = True if found < GREY else False if found > COLOURFUL else None
        return self._grey[twin]
