"""How much of the exact search an index finds, measured on a sample of the library itself."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np

from twinreel.ann.index import PROBES, window
from twinreel.ann.search import NEAR, Search
from twinreel.ann.source import laid
from twinreel.candidates import best_moments
from twinreel.types import Features

GOOD = 0.98  # share of the exact candidates that is sought on the sample


def check(
    search: Search,
    work: float = 4e12,
    match: Callable[[Features, Features], bool] | None = None,
) -> str:
    """Choose the index's `probes` by comparing with the exact search on a sample; says its share.

    Args:
        work: multiplications to spend on the exact search.
        match: whether two videos match; asked of what was missed.
    """
    source, index = search.source, search.index
    count = len(source.keys)
    per_video = sum(len(source.get(i).vectors) for i in range(0, count, max(1, count // 64)))
    per_video = max(1, per_video // min(count, 64))
    width = source.get(0).vectors.shape[1]
    size = int(work / (per_video**2 * count * width))
    drawn = random.Random(1).sample(range(count), max(1, min(count, size, 200)))
    exact = _exact(search, drawn)
    total = sum(map(len, exact))
    missed: list[tuple[int, int]] = []
    share = 1.0
    for probes in PROBES if index.probes else (0,):
        index.probes = probes
        missed = []
        for i, others, near in zip(drawn, exact, search.near(drawn), strict=True):
            got = {j for j, _ in search.passing(i, near)}
            missed += [(i, j) for j in others if j not in got]
        share = 1 - len(missed) / max(1, total)
        if share >= GOOD:
            break
    words = (
        f"on {len(drawn)} videos it found {share:.1%} of the {total} candidates that the exact "
        f"search finds (the nearest {NEAR} of each)"
    )
    words += f", looking into {index.probes} lists" if index.probes else ""
    if missed and match is not None:
        asked = missed[:100]
        lost = sum(match(source.get(i), source.get(j)) for i, j in asked)
        words += f"; {lost} of {len(asked)} missed ones match"
    return words


def _exact(search: Search, numbers: Sequence[int]) -> list[list[int]]:
    """For each video its candidates by the exact rule, the best NEAR, in one pass over all."""
    source, least = search.source, search.calibration.candidate
    asked = [source.get(i) for i in numbers]
    rows, firsts = laid(asked)
    windows = [window(source.durations[i : i + 1], search.tolerance) for i in numbers]
    best: list[list[tuple[float, int]]] = [[] for _ in numbers]
    for block in range(0, len(source.keys), 256):
        others = range(block, min(block + 256, len(source.keys)))
        theirs, starts = source.laid(others)
        sims = np.maximum.reduceat(rows @ theirs.T, firsts, axis=0)  # (asked, rows of others)
        top = np.maximum.reduceat(sims, starts, axis=1)  # the best moment alone is above the mean
        for n, at in zip(*np.nonzero(top >= least), strict=True):
            i, j = numbers[n], block + int(at)
            if i == j or not windows[n][0] <= source.durations[j] <= windows[n][1]:
                continue
            score = best_moments(asked[n], source.get(j))
            if score >= least:
                best[n].append((score, j))
    return [[j for _, j in sorted(found, reverse=True)[:NEAR]] for found in best]
