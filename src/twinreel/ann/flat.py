"""Every row against every row, in blocks: for libraries of one or a few rows a video.

    found, at = Flat(rows).search(asked, 96, 0.3, first, stop, allowed)

Whole videos in one row each have little in common that lists could sort them by: an inverted file
had to look into a fifth of them to find what a plain product finds. The product is quadratic, but
so cheap a pair that it is the shorter way up to some millions of rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from twinreel.ann.source import Ints
from twinreel.types import Floats

BLOCK = 8192  # rows that are met at a time
HELD = 512  # hits a query, on the mean, that are held before the best are sorted out


@dataclass(frozen=True)
class Flat:
    """rows: float32 (n, d), each of length 1."""

    rows: Floats

    def search(
        self,
        asked: Floats,
        count: int,
        least: float,
        first: int,
        stop: int,
        allowed: npt.NDArray[np.bool_] | None,
    ) -> tuple[Floats, Ints]:
        """The most similar rows of [first, stop) for each asked one, in no order.

        Args:
            asked: float32 (m, d). count: rows wanted for each. least: similarity of a hit.
            allowed: rows (n,) that may be found; None for all.

        Returns:
            similarities (m, count) and rows (m, count), -1 where there are no more.
        """
        floor = np.full(len(asked), least, np.float32)
        hits = _Hits(len(asked), count)
        for begin in range(first, stop, BLOCK):
            end = min(begin + BLOCK, stop)
            at = np.arange(begin, end)
            if allowed is not None and not allowed[begin:end].all():
                at = at[allowed[begin:end]]
            if not len(at):
                continue
            rows = self.rows[begin:end] if len(at) == end - begin else self.rows[at]
            sims = asked @ rows.T
            if len(at) > 4 * count and begin == first:
                # What is not among the best of these few is not among the best of all.
                best = np.partition(sims, len(at) - count, axis=1)[:, len(at) - count]
                floor = np.maximum(floor, np.nextafter(best, np.float32(-1)))
            who, where = np.nonzero(sims > floor[:, None])
            hits.add(who, at[where], sims[who, where])
            if hits.held > HELD * len(asked):
                floor = np.maximum(floor, hits.prune())
        return hits.table()


class _Hits:
    """(query, row, similarity) of what was found so far."""

    def __init__(self, queries: int, count: int) -> None:
        self._queries, self._count = queries, count
        self._parts: list[tuple[Ints, Ints, Floats]] = []
        self.held = 0

    def add(self, who: Ints, at: Ints, sims: Floats) -> None:
        self._parts.append((who, at, sims))
        self.held += len(who)

    def _sorted(self) -> tuple[Ints, Ints, Floats, Ints]:
        """All, by query and the best first, and which place each has among its query's."""
        who, at, sims = (
            np.concatenate([p[n] for p in self._parts]) if self._parts else np.zeros(0, kind)
            for n, kind in enumerate((np.int64, np.int64, np.float32))
        )
        order = np.lexsort((-sims, who))
        who, at, sims = who[order], at[order], sims[order]
        place = np.arange(len(who)) - np.searchsorted(who, who)
        return who, at, sims, place

    def prune(self) -> Floats:
        """Keep the best of each query; the similarity that a better one must pass, (queries,)."""
        who, at, sims, place = self._sorted()
        good = place < self._count
        self._parts, self.held = [], 0
        self.add(who[good], at[good], sims[good])
        floor = np.full(self._queries, -1, np.float32)
        last = place == self._count - 1
        floor[who[last]] = sims[last]
        return floor

    def table(self) -> tuple[Floats, Ints]:
        """See Flat.search."""
        who, at, sims, place = self._sorted()
        good = place < self._count
        found = np.full((self._queries, self._count), -1, np.float32)
        rows = np.full((self._queries, self._count), -1, np.int64)
        found[who[good], place[good]] = sims[good]
        rows[who[good], place[good]] = at[good]
        return found, rows
