"""Each video with those it is worth aligning with: the index proposes, the full vectors decide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from twinreel.ann.index import Index
from twinreel.ann.source import Ints, Source
from twinreel.candidates import QUERY_ROWS, best_count, best_moments
from twinreel.compare import Calibration

NEAR = 48  # other videos that a video is compared with at most
SLACK = 0.15  # what cutting to the index's numbers can take off a similarity
BATCH = 128  # new videos that ask together


@dataclass(frozen=True)
class Search:
    """What is searched, and by what rule.

    known: (n,) bool, the videos that new ones meet; new ones are added as they are done.
    tolerance: of durations, as in compare.length_alike.
    """

    source: Source
    index: Index
    known: npt.NDArray[np.bool_]
    tolerance: tuple[float, float]
    calibration: Calibration

    def near(
        self, numbers: Sequence[int], without: npt.NDArray[np.bool_] | None = None
    ) -> list[Ints]:
        """For each video those that the index holds for the nearest, best first; see Index.near."""
        least = self.calibration.candidate - SLACK
        return self.index.near(self.source, numbers, least, self.tolerance, without)

    def ask(self, new: Sequence[int]) -> Iterator[list[tuple[int, Ints]]]:
        """New videos, BATCH at a time, each with the nearest that are known by then."""
        for first in range(0, len(new), BATCH):
            todo = list(new[first : first + BATCH])
            self.known[todo] = True
            near = self.near(todo, None if self.known.all() else ~self.known)
            yield list(zip(todo, near, strict=True))

    def passing(self, i: int, others: Ints) -> list[tuple[int, float]]:
        """Those of a video's neighbours that pass the exact rule, as (number, similarity)."""
        return passing(self.source, i, others, self.calibration.candidate)


def neighbours(search: Search, new: Sequence[int]) -> Iterator[tuple[int, list[tuple[int, float]]]]:
    """Each new video with those it is worth aligning with: (number, mean of the best moments)."""
    for batch in search.ask(new):
        for i, found in batch:
            yield i, search.passing(i, found)


def passing(source: Source, i: int, others: Ints, least: float) -> list[tuple[int, float]]:
    """Those of a video's neighbours whose best moments are alike: the most alike, at most NEAR."""
    if not len(others):
        return []
    mine, (theirs, starts) = source.laid([i])[0], source.laid(others.tolist())
    counts = np.diff(np.append(starts, len(theirs)))
    scores = np.empty(len(others))
    if max(len(mine), int(counts.max())) > QUERY_ROWS:
        scores[:] = [best_moments(source.get(i), source.get(int(j))) for j in others]
    else:
        sims = mine @ theirs.T
        k = best_count(len(mine))
        best = np.maximum.reduceat(sims, starts, axis=1)  # (mine, others): for longer ones
        scores[:] = np.partition(best, len(mine) - k, axis=0)[len(mine) - k :].mean(axis=0)
        # The shorter video asks; the numbers are in the order of durations.
        back = sims.max(axis=0)
        one = (others < i) & (counts == 1)
        scores[one] = back[starts[one]]
        for n in np.nonzero((others < i) & (counts > 1))[0].tolist():
            part = back[starts[n] : starts[n] + counts[n]]
            k = best_count(len(part))
            scores[n] = np.partition(part, len(part) - k)[len(part) - k :].mean()
    order = np.argsort(-scores, kind="stable")
    return [(int(others[n]), float(scores[n])) for n in order[:NEAR].tolist() if scores[n] >= least]
