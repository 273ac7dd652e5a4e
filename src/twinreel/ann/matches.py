"""Candidates -> matches, in crowds only as many as DBSCAN needs."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass

from twinreel.ann.families import LEADERS, Families
from twinreel.ann.search import Search
from twinreel.ann.source import Ints, Source
from twinreel.candidates import compare_some, ignore_interrupt
from twinreel.compare import Calibration, compare
from twinreel.types import Match


@dataclass
class Counts:
    """What a run cost: queries, pairs that passed the exact rule and were aligned, matches."""

    asked: int = 0
    again: int = 0
    aligned: int = 0
    matches: int = 0


def scored(
    search: Search,
    new: Sequence[int],
    families: Families,
    belongs: Callable[[Match], bool],
    pool: Executor | None = None,
    counts: Counts | None = None,
    finish: Callable[[Match], Match] = lambda m: m,
) -> Iterator[Match]:
    """Matches of new videos with the known ones and among themselves.

    Args:
        new: numbers of videos.
        belongs: whether a match makes its two one family.
        finish: last touch to a match, before that is asked.
    """
    counts = counts or Counts()
    source = search.source

    def told(pairs: list[tuple[int, int]], pool: Executor | None) -> Iterator[tuple[Match, bool]]:
        """Their matches, and whether each brought two families together."""
        counts.aligned += len(pairs)
        place = {source.keys[i]: i for pair in pairs for i in pair}
        for match in map(finish, _aligned(source, pairs, search.calibration, pool)):
            counts.matches += 1
            joined = belongs(match) and families.join(place[match.a], place[match.b])
            yield match, joined

    for batch in search.ask(new):
        counts.asked += len(batch)
        done: set[tuple[int, int]] = set()
        waiting = {i: [j for j, _ in search.passing(i, found)] for i, found in batch}
        while waiting:
            pairs = [
                pair for i, others in waiting.items() for pair in _next(i, others, families, done)
            ]
            for match, _ in told(pairs, pool):
                yield match
            waiting = {i: others for i, others in waiting.items() if others}
        # What filled the answer of a crowd's member was the crowd: what else is near?
        for i, found in batch:
            if not families.is_crowd(i) or _same(families, i, found) <= len(found) // 2:
                continue
            more = True
            while more:
                without = ~search.known | (families.family == families.family[i])
                others = [j for j, _ in search.passing(i, search.near([i], without)[0])]
                counts.again += 1
                more, done = False, set()
                while pairs := _next(i, others, families, done):
                    for match, joined in told(pairs, None):
                        more |= joined
                        yield match


def _same(families: Families, i: int, others: Ints) -> int:
    return int((families.family[others] == families.family[i]).sum())


def _next(
    i: int,
    others: list[int],
    families: Families,
    done: set[tuple[int, int]],
) -> list[tuple[int, int]]:
    """The next few of a video's pairs worth aligning; takes them off `others`."""
    pairs: list[tuple[int, int]] = []
    while others and len(pairs) < LEADERS:
        j = others.pop(0)
        if families.is_crowd(j):
            if families.family[i] == families.family[j]:
                continue  # they belong together already
            led = [k for k in families.first(j) if _pair(i, k) not in done]
            if led:
                others.insert(0, j)  # only if its leaders are unlike
                j = led[0]
        if _pair(i, j) in done:
            continue
        done.add(_pair(i, j))
        pairs.append((i, j))
        if families.is_crowd(j):
            break  # see what comes of it
    return pairs


def _pair(a: int, b: int) -> tuple[int, int]:
    return (a, b) if a < b else (b, a)


def _aligned(
    source: Source,
    pairs: Iterable[tuple[int, int]],
    calibration: Calibration,
    pool: Executor | None,
) -> Iterator[Match]:
    """A Match of every pair that shares something."""
    videos = [(source.get(a), source.get(b)) for a, b in pairs]
    if pool is None or len(videos) < 32:
        for a, b in videos:
            if (match := compare(a, b, calibration)) is not None:
                yield match
        return
    parts = [videos[n : n + 16] for n in range(0, len(videos), 16)]
    for found in pool.map(compare_some, parts, [calibration] * len(parts)):
        yield from found


def workers(jobs: int) -> ProcessPoolExecutor | None:
    """Processes that align pairs; None for one job."""
    if jobs < 2:
        return None
    return ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), ignore_interrupt)
