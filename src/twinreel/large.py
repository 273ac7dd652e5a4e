"""Scoring a large library through the index of ann/, in pieces that survive a kill.

score(library, held, new, ...) keeps scored pairs in the library, as the exact way does. In crowds
(families of hundreds) only enough pairs are scored for DBSCAN to find them; `complete` and `one`
score what a later question needs of the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from twinreel import ann
from twinreel.candidates import best_moments
from twinreel.compare import Calibration, compare
from twinreel.store import Library
from twinreel.types import COPIES, Features, Floats, Match

CROWD = 256  # members of a family from which on it is a crowd
CHUNK = 2048  # new videos between two commits


@dataclass
class Held:
    """The videos of a library under one model and sampling, and what their pairs are kept under.

    finish: last touch to a match before it is kept.
    """

    library: Library
    model: str
    sampling: str
    context: str
    calibration: Calibration
    min_score: float
    finish: Callable[[Match], Match] = lambda m: m
    crowd_of: dict[str, int] = field(default_factory=dict)  # key -> crowd, where it is in one

    def read(self, key: str) -> Features:
        """Features of a key that is known to have them."""
        found = self.library.features(key, self.model, self.sampling)
        assert found is not None, key
        return found

    def belongs(self, m: Match) -> bool:
        """Whether a match makes its two one family."""
        return m.score >= self.min_score and m.relation in COPIES


class Beside(ann.Kept):
    """The videos of a library whose vectors stand in shards, read many videos at a time."""

    def __init__(self, held: Held, wanted: set[str]) -> None:
        found = held.library.packed(held.model, held.sampling)
        packed = {p.key: p for p in found if p.key in wanted}
        super().__init__({key: p.duration_s for key, p in packed.items()}, held.read)
        self._library = held.library
        self._packed = [packed[key] for key in self.keys]

    def laid(self, numbers: Sequence[int]) -> tuple[Floats, ann.Ints]:
        """Rows of several videos end to end, and where each begins."""
        videos = [self._packed[i] for i in numbers]
        rows = [
            np.arange(p.place, p.place + p.rows) if p.shown is None else p.place + p.shown
            for p in videos
        ]
        counts = np.array([len(r) for r in rows])
        found = self._library.vectors_at(np.concatenate(rows), videos[0].dim)
        if counts.all():
            return found, np.cumsum(counts) - counts
        # A video that shows nothing has one row of zeros.
        filled = np.maximum(counts, 1)
        out = np.zeros((int(filled.sum()), videos[0].dim), np.float32)
        out[np.repeat(counts > 0, filled)] = found
        return out, np.cumsum(filled) - filled


def score(
    held: Held,
    keys: Iterable[str],
    new: set[str],
    tolerance: tuple[float, float],
    min_samples: int,
    jobs: int,
    say: Callable[[str], None],
) -> None:
    """Score new videos against all of `keys`; what is scored is committed every CHUNK videos.

    Args:
        say: told what the index is and what share of the exact search it finds.
    """
    library = held.library
    library.pack(held.model, held.sampling)
    source = Beside(held, set(keys))
    index = ann.Index.build(source, jobs)
    known = np.array([key not in new for key in source.keys])
    search = ann.Search(source, index, known, tolerance, held.calibration)
    match = lambda a, b: (m := compare(a, b, held.calibration)) is not None and held.belongs(m)  # noqa: E731
    checked = ann.check(search, match=match)
    say(f"compared through an index, {index.words}: {checked}")
    place = {key: i for i, key in enumerate(source.keys)}
    # Up to min_samples 2 only connection counts; where neighbours are counted, none is left out.
    crowd = CROWD if min_samples <= 2 else len(place) + 1
    families = ann.Families(len(place), crowd)
    for m in library.pairs(held.context, held.min_score):
        if m.a in place and m.b in place and held.belongs(m):
            families.join(place[m.a], place[m.b])
    todo = iter([i for i, key in enumerate(source.keys) if key in new])
    pool = ann.workers(jobs)
    try:
        while chunk := list(islice(todo, CHUNK)):
            belongs, finish = held.belongs, held.finish
            found = ann.scored(search, chunk, families, belongs, pool, finish=finish)
            told = (m if m.a <= m.b else m.swapped() for m in found)
            library.put_pairs(held.context, [source.keys[i] for i in chunk], told)
            crowds = [[source.keys[i] for i in members] for members in families.crowds()]
            library.remember("crowds", held.context, crowds)
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)


def complete(held: Held, active: set[str]) -> None:
    """Score what makes the active part of every crowd hang together by itself.

    The members that stood for a crowd may be away in this run, or match less than it asks for: its
    first active members then stand for it.
    """
    crowds: Sequence[Sequence[str]] = held.library.recall("crowds", held.context) or []
    if not crowds:
        return
    for number, members in enumerate(crowds):
        held.crowd_of.update(dict.fromkeys(members, number))
    there = {(m.a, m.b) for m in held.library.pairs(held.context, held.min_score)}
    for members in crowds:
        here = [key for key in members if key in active]
        made = []
        for n, leader in enumerate(here[: ann.LEADERS]):
            for key in here[n + 1 :]:
                pair = (min(leader, key), max(leader, key))
                if pair not in there and (m := _pair(held, *pair)) is not None:
                    made.append(m)
        held.library.put_pairs(held.context, (), made)


def one(held: Held, a: str, b: str) -> Match | None:
    """The match of two members of one crowd whose pair was left out; None elsewhere."""
    crowd = held.crowd_of.get(a)
    if crowd is None or crowd != held.crowd_of.get(b):
        return None
    m = _pair(held, min(a, b), max(a, b))
    if m is not None:
        held.library.put_pairs(held.context, (), [m])
    return m


def _pair(held: Held, a: str, b: str) -> Match | None:
    """None where the two do not match, or what they do is known: looks may have said so since."""
    if held.library.pair(held.context, a, b) is not None:
        return None
    fa, fb = held.read(a), held.read(b)
    if best_moments(fa, fb) < held.calibration.candidate:
        return None
    m = compare(fa, fb, held.calibration)
    return m and held.finish(m)
