"""Doubtful matches -> the same matches, looked at again and scored anew.

What the descriptors leave open (heavy crops, turns, insets; two takes of one scene) is settled by
laying pictures on each other (closer.py) in killable processes. Verdicts are remembered, so no pair
is looked at twice, and how often one video is opened for this is bounded.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from twinreel.align import ODD
from twinreel.closer import Closer, CloserTask, Line, work
from twinreel.compare import (
    SHORT_AGREES,
    SHORT_SCORE,
    TRUSTED,
    Calibration,
    Span,
    covered,
    gaps,
    is_intro,
    is_short,
    relation_of,
    step_of,
    without,
)
from twinreel.picture import Rect, Twins
from twinreel.progress import Progress
from twinreel.store import Library, pack_match, unpack_match
from twinreel.types import COPIES, Features, Match, Segment
from twinreel.workers import Idle, WorkerPool

VERSION = 19  # part of the name under which a verdict is remembered
HUB = 0.8  # of the most sure copies in a family: who has that many stands for it
TRIES = 2  # looks for each video of the smaller of two families, where none shows them alike
UNSEEN_SCORE = 0.5  # at most, of a pair that shows too little to be laid on each other
MORE_S = 0.5  # that a look must show beyond the segments before it sets their ends
REACH_S = 0.75  # how far off a moment may be, at most
_ALL: Span = (0.0, 1e9)
_LIKE_LENGTH = 0.06  # |log of the lengths' ratio|: then they may be copies from end to end
_STALL_S, _TOTAL_S = 30.0, 120.0


@dataclass(frozen=True)
class Patience:
    """How much is looked at.

    least: a lower score is not looked into. looks: at the same seconds of a video, at most; the
    likeliest pairs come first. likely: from this score on twice as many.
    """

    least: float
    looks: int
    likely: float = 1.0

    def looks_at(self, score: float) -> int:
        """After how many looks at a video a pair with this score is left alone."""
        return self.looks * (2 if score >= self.likely else 1)


# Of whole videos none below 0.01 was a copy on the train split. Pieces have less to show, and of
# one piece there is more that looks like it: other pieces of its source. Of those that are hardly
# moving many looks find some (90 of 96 pieces of the train split instead of 87 with 8 looks).
WHOLES = Patience(0.005, 3, likely=0.05)
PIECES = Patience(0.0001, 20)


@dataclass(frozen=True)
class Look:
    """What every closer look of a run needs.

    reader: key -> Features. picture: key -> where the picture is inside its borders. path: key -> a
    path that can be opened, None where there is none.
    """

    library: Library
    calibration: Calibration
    sure: float  # score from which on nobody doubts
    made_by: str  # model, sampling, calibration: verdicts of others are not taken over
    reader: Callable[[str], Features]
    picture: Callable[[str], Rect]
    path: Mapping[str, str]
    size: tuple[int, int]
    jobs: int
    idle: Idle | None = None  # processes of the run that have nothing to do
    patience: Patience = WHOLES


def look_again(
    matches: Iterable[Match], look: Look, progress: Progress
) -> Iterator[tuple[Match, str]]:
    """(match with its new score, '') for each doubtful one; (match, why not) where that failed.

    Matches that are not doubtful, or were looked at before, are not among them.
    """
    yield from Doubts(look).settle(matches, progress)


def _looked(
    tasks: Sequence[tuple[CloserTask, Match]], look: Look, progress: Progress
) -> Iterator[tuple[Match, str]]:
    """Do the looks, in any order: (what was told, '') or (the match, why not)."""
    if not tasks:
        return
    by_name = {task.name: m for task, m in tasks}
    with (
        WorkerPool(
            work, min(look.jobs, len(tasks)), _STALL_S, total_s=lambda _: _TOTAL_S, idle=look.idle
        ) as pool,
        progress.stage("look closer", len(tasks)) as tick,
    ):
        # None that takes long is left to the end.
        for event in pool.run(sorted((task for task, _ in tasks), key=lambda t: -len(t.lines))):
            m = by_name[event.task.name]
            if event.kind == "item":
                if event.value is None:
                    told = replace(m, score=min(m.score, UNSEEN_SCORE))
                else:
                    told = _told(m, event.value, look)
                yield told.ordered(), ""
                continue
            if event.kind == "failed":
                yield m.ordered(), str(event.value.detail)
            tick()


def _parted(matches: Iterable[Match], look: Look) -> tuple[list[Match], list[tuple[str, str]]]:
    """The doubtful ones (a < b), the likeliest first, and the pairs of those that are sure."""
    doubtful, sure = [], []
    for m in matches:
        if m.a != m.b and look.patience.least <= m.score < look.sure:
            doubtful.append(m.ordered())
        elif m.score >= look.sure and m.relation in COPIES:
            sure.append((m.a, m.b))
    return sorted(doubtful, key=lambda m: (-m.score, m.a, m.b)), sure


class Doubts:
    """Which pairs are to be looked at, and what looks have said. One look serves all pairs of the
    same pictures: a copy in another container, or with other tags, shows nothing new."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._library = look.library
        self._ours = f"{VERSION} {look.made_by} "
        self._left: list[Match] = []  # nobody has looked at, the likeliest first
        self._sure: list[tuple[str, str]] = []  # without a look
        self._shown: list[tuple[str, str]] = []  # by a look
        self._have_copies: set[str] = set()
        self._twins = Twins(look.library.thumbs)
        # Looks of earlier runs count: else each run would go on where the last one stopped.
        self._verdicts: dict[frozenset[str], Match] = {}
        done = look.library.recall_all("closer")
        for name, known in sorted(done.items()):
            if name.startswith(self._ours):
                a, b = name.split()[-2:]
                self._verdicts[frozenset((a, b))] = unpack_match(a, b, *known)
        self._count()

    def _count(self) -> None:
        self._by_twins = {self._pair(m): m for m in self._verdicts.values()}
        self._looks: defaultdict[str, list[Span]] = defaultdict(list)
        for m in self._by_twins.values():
            self._looked_at(m)

    def _looked_at(self, m: Match) -> None:
        """Note which seconds of either video have had a look."""
        for key, span in _stretches(m):
            self._looks[self._twin(key)].append(span)

    def _is_due(self, m: Match) -> bool:
        """Whether what one of the videos shares has not been looked at often enough. A compilation
        has as many stretches as sources, and each may be looked at as often as a whole video."""
        most = self._look.patience.looks_at(m.score)
        return any(
            sum(_mostly(span, done) for done in self._looks[self._twin(key)]) < most
            for key, span in _stretches(m)
        )

    def settle(self, matches: Iterable[Match], progress: Progress) -> Iterator[tuple[Match, str]]:
        """See look_again."""
        if not self._look.calibration.closer_weights:
            return
        doubtful, sure = _parted(matches, self._look)
        self._have_copies = {key for pair in sure for key in pair}
        self._sure = [pair for pair in sure if frozenset(pair) not in self._verdicts]
        self._shown = [pair for pair in sure if frozenset(pair) in self._verdicts]
        self._count()
        yield from self._known(doubtful)
        # In rounds: what one has shown tells which pairs are worth the next.
        while chosen := self._choose():
            yield from self._look_at(chosen, progress)

    def settle_all(
        self, matches: Iterable[Match], progress: Progress
    ) -> Iterator[tuple[Match, str]]:
        """The same for each of a few doubtful matches, however often others were looked at."""
        if not self._look.calibration.closer_weights:
            return
        yield from self._known(_parted(matches, self._look)[0])
        while self._left:
            chosen: dict[frozenset[str], Match] = {}
            for m in self._left:
                chosen.setdefault(self._pair(m), m)
            yield from self._look_at(chosen, progress)

    def known(self, matches: Iterable[Match]) -> Iterator[Match]:
        """The doubtful ones that an earlier look settles, as it told them; nothing is opened."""
        for m, _ in self._known(_parted(matches, self._look)[0]):
            yield m

    def has_seen(self, m: Match) -> bool:
        """Whether m has the score that a look told, of this run or an earlier one."""
        known = self._verdict(m)
        return known is not None and known.score == m.score

    def _known(self, doubtful: Iterable[Match]) -> Iterator[tuple[Match, str]]:
        """What was seen before; the rest is left."""
        self._left = []
        for m in doubtful:
            if (known := self._verdict(m)) is None:
                self._left.append(m)
            elif known != m:  # the pair was scored again since, under other options
                yield known, ""

    def _look_at(
        self, chosen: Mapping[frozenset[str], Match], progress: Progress
    ) -> Iterator[tuple[Match, str]]:
        """Look at these, and tell it of all that is left of the same pictures."""
        same: dict[frozenset[str], list[Match]] = {pair: [] for pair in chosen}
        tasks = []
        for pair, m in chosen.items():
            if (task := _task(m, self._name(m), self._look)) is not None:
                self._looked_at(m)
                tasks.append(task)
            else:  # perhaps one of the same pictures can be opened
                del same[pair]
        left, self._left = self._left, []
        for m in left:
            if (pair := self._pair(m)) in same:
                same[pair].append(m)
            elif m is not chosen.get(pair):
                self._left.append(m)
        for told, why in _looked(tasks, self._look, progress):
            for m in same[self._pair(told)]:
                one = m if why else self._like(m, told)
                if not why:
                    self._remember(one)
                yield one, why

    def _twin(self, key: str) -> str:
        """The first of the videos met so far that show the very same pictures, to the last byte."""
        return self._twins(key) if key in self._have_copies else key

    def _pair(self, m: Match) -> frozenset[str]:
        return frozenset((self._twin(m.a), self._twin(m.b)))

    def _verdict(self, m: Match) -> Match | None:
        """What an earlier run saw of this pair or of one with the same pictures."""
        known = self._verdicts.get(frozenset((m.a, m.b)))
        if known is None and (of_twins := self._by_twins.get(self._pair(m))) is not None:
            known = self._like(m, of_twins)
        return known

    def _like(self, m: Match, told: Match) -> Match:
        """What was told of a pair, as told of m, which shows the same pictures."""
        way = told if self._twin(told.a) == self._twin(m.a) else told.swapped()
        return replace(way, a=m.a, b=m.b)

    def _choose(self) -> dict[frozenset[str], Match]:
        """What to look at next: of two families one pair, that of the videos with most copies, for
        they are likely to be kept; in one round no pair of which either has had its look.

        Copies that were sure without a look count: what many are plainly like is the least edited.
        """
        family = families([*self._sure, *self._shown])
        copies = Counter(key for pair in self._sure for key in pair)
        most: dict[str, int] = {}  # copies of one member, by family
        for key, count in copies.items():
            most[family(key)] = max(count, most.get(family(key), 0))
        members = {key for pair in (*self._sure, *self._shown) for key in pair}
        size = Counter(map(family, members | {k for m in self._left for k in (m.a, m.b)}))
        tried = Counter(_between(family, m) for m in self._by_twins.values())
        best: dict[tuple[str, ...], tuple[int, Match]] = {}
        for m in self._left:
            known = copies[m.a] + copies[m.b]
            between = _between(family, m)
            if between[0] == between[1]:
                if max(copies[m.a], copies[m.b]) < HUB * most.get(between[0], 0):
                    continue  # copies of one video, of which neither is likely to be kept
                between = (m.a, m.b, "")
            elif tried[between] >= TRIES * min(size[between[0]], size[between[1]]):
                continue
            # One that has had its looks is passed over: another pair may speak for its families.
            if (between not in best or known > best[between][0]) and self._is_due(m):
                best[between] = known, m
        looked: set[str] = set()
        chosen: dict[frozenset[str], Match] = {}
        for _, m in best.values():
            pair = self._pair(m)
            if not pair <= looked:
                looked |= pair
                chosen[pair] = m
        return chosen

    def _name(self, m: Match) -> str:
        """Under which a look at m is remembered."""
        return f"{self._ours}{m.a} {m.b}"

    def _remember(self, told: Match) -> None:
        """Keep what a look said."""
        self._library.remember("closer", self._name(told), [told.score, pack_match(told)])
        self._verdicts[frozenset((told.a, told.b))] = told
        self._by_twins[self._pair(told)] = told
        if told.score >= self._look.sure and told.relation in COPIES:
            self._shown.append((told.a, told.b))


def _stretches(m: Match) -> tuple[tuple[str, Span], ...]:
    """(key, the longest shared stretch of it in seconds) of both videos."""
    if not m.segments:
        return (m.a, _ALL), (m.b, _ALL)
    s = max(m.segments, key=lambda s: s.a[1] - s.a[0])
    return (m.a, s.a), (m.b, s.b)


def _mostly(span: Span, other: Span) -> bool:
    """Whether half of the shorter of two stretches lies in the other."""
    shared = min(span[1], other[1]) - max(span[0], other[0])
    return shared > 0.5 * min(span[1] - span[0], other[1] - other[0])


def _between(family: Callable[[str], str], m: Match) -> tuple[str, ...]:
    """The families of a match's videos."""
    return tuple(sorted((family(m.a), family(m.b))))


def families(pairs: Iterable[tuple[str, str]]) -> Callable[[str], str]:
    """key -> one name for all that these pairs connect."""
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        while (above := parent.get(key, key)) != key:
            parent[key] = parent.get(above, above)
            key = above
        return key

    for a, b in pairs:
        parent[root(a)] = root(b)
    return root


def _task(m: Match, name: str, look: Look) -> tuple[CloserTask, Match] | None:
    """What to open for a match, and the match with that video as b; None where nothing can be."""
    ways = []
    for way in (m, m.swapped()):
        strip = look.library.thumbs(way.a)
        if way.b in look.path and strip:
            start, end = _stretches(way)[0][1]
            ways.append((sum(start <= t <= end for t, _ in strip), way, strip))
    if not ways:
        return None
    # The more pictures are kept of the shared stretch, the more moments can be looked at.
    _, way, strip = max(ways, key=lambda w: w[0])
    a, b = look.reader(way.a), look.reader(way.b)
    reach = min(0.6 * max(step_of(a), step_of(b)), REACH_S)
    lines, picture = possible_lines(way, a, b), look.picture(way.b)
    task = CloserTask(
        look.path[way.b], tuple(strip), lines, reach, picture, look.size, name, look.calibration
    )
    return task, way


def possible_lines(m: Match, a: Features, b: Features) -> tuple[Line, ...]:
    """Where the moments may meet: the longest segment; from end to end, where lengths are alike.

    At an odd speed a segment may be one at the plain speed all the same, which few moments tell
    badly, or pieces at it, with something put in between or left out: then its first half may go on
    as it begins, its second may end as it does.
    """
    lines = []
    if m.segments:
        s = max(m.segments, key=lambda s: s.a[1] - s.a[0])
        lines.append(Line(s.speed, s.b[0] - s.speed * s.a[0], *s.a))
        if abs(math.log(s.speed)) > ODD:
            middle = (s.a[0] + s.a[1]) / 2
            lines.append(Line(1.0, (s.b[0] + s.b[1]) / 2 - middle, *s.a))
            lines.append(Line(1.0, s.b[0] - s.a[0], s.a[0], middle))
            lines.append(Line(1.0, s.b[1] - s.a[1], middle, s.a[1]))
    like = abs(math.log(max(b.duration_s, 1e-3) / max(a.duration_s, 1e-3))) < _LIKE_LENGTH
    plain = any(
        abs(x.speed - 1) < 0.01 and abs(x.offset) < 0.1 and x.end - x.start > 0.9 * a.duration_s
        for x in lines
    )
    if like and not plain:
        lines.append(Line(1.0, 0.0, 0.0, a.duration_s))
    return tuple(lines)


def _told(m: Match, closer: Closer, look: Look) -> Match:
    """The match with the score that the closer look gives it, and what it saw."""
    a, b = look.reader(m.a), look.reader(m.b)
    score = closer.score(look.calibration)
    segments, cover_a, cover_b, relation = m.segments, m.coverage_a, m.coverage_b, m.relation
    line = closer.line
    seen_s = closer.span[1] - closer.span[0]
    near = [s for s in segments if _near(s, line)]
    # What sure descriptors saw to be other in between, few pictures may pass over.
    holes = gaps(near) if m.score >= TRUSTED else []
    known_s = sum(s.a[1] - s.a[0] for s in segments) + sum(end - start for start, end in holes)
    more = seen_s > known_s + MORE_S and not closer.half
    if score > 0.5 and (closer.alone or more or not near):
        # The descriptors had laid them on each other at other times, or seen less of it, or more.
        half = step_of(a) / 2
        start = max(0.0, closer.span[0] - half, -line.offset / line.speed)
        end = min(a.duration_s, closer.span[1] + half, (b.duration_s - line.offset) / line.speed)
        there = (line.speed * start + line.offset, line.speed * end + line.offset)
        segments = (Segment((start, end), there, line.speed),)
        cover_a, cover_b = covered([(start, end)], a.duration_s), covered([there], b.duration_s)
        relation = relation_of(cover_a, cover_b)
        near = list(segments)
    uncut = segments
    unlike = [*closer.unlike, *holes]
    if score > 0.5 and (unlike or len(near) < len(segments)):
        # Nobody has looked at the others: they are told, and do not count.
        others = [s for s in segments if s not in near]
        counted = without(near, [unlike] * len(near))
        segments = tuple(sorted([*counted, *others], key=lambda s: s.a))
        cover_a = covered([s.a for s in counted], a.duration_s)
        cover_b = covered([s.b for s in counted], b.duration_s)
        relation = relation_of(cover_a, cover_b)
    short = is_short(m.segments) or is_short(uncut)
    if short and closer.agreement.correlation < SHORT_AGREES:
        score = min(score, SHORT_SCORE)
    if closer.place.mirrored and not closer.place.turns and score > 0.5:
        segments = tuple(replace(s, mirrored=True) for s in segments)
    told = Match(m.a, m.b, score, relation, segments, cover_a, cover_b)
    whole = replace(told, segments=uncut)
    if relation == "overlap" and is_intro(whole, a.duration_s, b.duration_s):
        return replace(told, relation="shared_intro")
    return told


def _near(s: Segment, line: Line) -> bool:
    """Whether a segment lies about where the line does."""
    middle = (s.a[0] + s.a[1]) / 2
    there = s.b[0] + (middle - s.a[0]) * s.speed
    return abs(line.speed * middle + line.offset - there) <= max(1.0, 2 * REACH_S)
