"""Features x Features -> Match: what two videos share, and how sure that is.

    match = compare(a, b, calibration)       # Match or None

A pair is aligned in time (align.py): which seconds of one are which seconds of the other; then the
evidence is weighed. Which pairs of a library are worth it is told in candidates.py.

Everything is symmetric: a pair is always worked on in the order of its keys. No torch, no files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from twinreel.align import Line, Run, align, along
from twinreel.tempo import end_to_end
from twinreel.types import Features, Floats, Match, Seconds, Segment

VERSION = 19  # part of every context: pairs scored by other rules are never mixed

COPY_COVERAGE = 0.85  # of both: then one is a copy of the other
NOISE = 0.02  # mean square of the changes of a unit vector that coding alone can make
SHORT_S = 2.5  # less than this shared: all changes must agree ...
SHORT_AGREES = 0.9  # ... so well, or the score ...
SHORT_SCORE = 0.5  # ... is at most this
TRUSTED = 0.9  # score from which on what is unlike in between is no weakness of the descriptors
UNLIKE_S = 1.0  # that two must show otherwise in one go before it is no slip of sampling
DARK_ALIKE = 0.9  # similarity of a blank picture and one that is not, of one dark moment
ALIKE_STEP = 1.1  # times as far apart as the other's moments that a video's may be to be as dense
ODD_SHARE = 0.05  # of the moments; where more are unlike, each counts
RETIMED = 0.01  # score from which on it is asked whether a pair begins and ends together
PAIR_CELLS = 4_000_000  # similarities of one pair; longer pairs are aligned on a coarser grid


Span = tuple[float, float]  # seconds


@dataclass(frozen=True)
class Calibration:
    """From evidence to score; fitted per model on the scoreboard's train split (the values here
    serve networks for which nobody has done that).

    The score is a logistic function of the evidence vector (see Evidence.vector). `floor` is the
    similarity below which two moments count as unlike, `candidate` the mean similarity of a pair's
    best moments from which on it is aligned at all. `parts`: widths of the descriptors that a
    vector is made of, each a witness of its own; () for one. `closer_weights` and `closer_bias`
    weigh what a closer look shows (see changes.py): correlation and detail of pictures laid on each
    other; () for models that nobody has fitted them for.
    """

    weights: tuple[float, ...] = (25.0, 12.0, 0.0, 0.0, 1.0, 0.0)
    bias: float = -30.5
    floor: float = 0.5
    candidate: float = 0.55
    parts: tuple[int, ...] = ()
    closer_weights: tuple[float, ...] = ()
    closer_bias: float = 0.0


@dataclass(frozen=True)
class Witness:
    """What one descriptor says of two aligned videos.

    similarity: mean cosine of aligned moments, -1..1. correlation: how well the changes agree (each
    moment less its video's mean, correlated over the aligned moments), -1..1; one room and camera
    at two times are similar, and change differently. change: how much there is, 0 (still) to 1.
    independent: how many different changes there are (the participation ratio of their spectrum).
    """

    similarity: float
    correlation: float
    change: float
    independent: float

    def vector(self) -> tuple[float, ...]:
        """(similarity, agreement, change, proof).

        agreement is the correlation, drawn to 1 where little changes: nothing can disagree there.
        proof is Fisher's z of the correlation times the root of the independent changes, drawn to
        0 where little changes: nothing is shown there. A gesture repeated is one change.
        """
        agreement = 1.0 - self.change * (1.0 - self.correlation)
        z = math.atanh(max(-0.99, min(0.99, self.correlation)))
        return (
            self.similarity,
            agreement,
            self.change,
            self.change * z * math.sqrt(self.independent),
        )


@dataclass(frozen=True)
class Evidence:
    """What speaks for two aligned videos showing the same: one or more witnesses, the smaller
    coverage, and how many distinct aligned moments show something."""

    witnesses: tuple[Witness, ...]
    covered: float
    moments: int

    def vector(self) -> tuple[float, ...]:
        """The numbers that the score is made of: each witness's four, coverage, moments."""
        heard = [x for witness in self.witnesses for x in witness.vector()]
        return (*heard, self.covered, math.log2(1 + min(self.moments, 32)) / 5)

    def score(self, calibration: Calibration) -> float:
        """0..1."""
        x = calibration.bias + sum(
            w * v for w, v in zip(calibration.weights, self.vector(), strict=True)
        )
        return 1 / (1 + math.exp(-max(-60.0, min(60.0, x))))


def compare(a: Features, b: Features, calibration: Calibration) -> Match | None:
    """Align two videos and weigh the evidence; None when nothing can be laid together.

    Raises:
        ValueError: the Features were made by unlike models or samplings.
    """
    if (a.model, a.sampling) != (b.model, b.sampling):
        raise ValueError(
            f"{a.model}/{a.sampling} and {b.model}/{b.sampling} never meet in one comparison"
        )
    if b.key < a.key:
        match = compare(b, a, calibration)
        return None if match is None else match.swapped()
    if a.key == b.key:
        whole = Segment((0.0, a.duration_s), (0.0, b.duration_s))
        return Match(a.key, b.key, 1.0, "exact", (whole,))
    found = _explain(a, b, calibration)
    if found is None:
        return None
    uncut, evidence, unlike = found
    score = evidence.score(calibration)
    if is_short(uncut) and min(w.vector()[1] for w in evidence.witnesses) < SHORT_AGREES:
        score = min(score, SHORT_SCORE)
    segments = without(uncut, unlike()) if score >= TRUSTED else uncut
    cover_a = covered([s.a for s in segments], a.duration_s)
    cover_b = covered([s.b for s in segments], b.duration_s)
    relation = relation_of(cover_a, cover_b)
    match = Match(a.key, b.key, score, relation, segments, cover_a, cover_b)
    # Whether it lies at an end, odd moments in between aside.
    closed = replace(match, segments=uncut)
    if relation == "overlap" and is_intro(closed, a.duration_s, b.duration_s):
        match = replace(match, relation="shared_intro")
    return match


def evidence(a: Features, b: Features, calibration: Calibration) -> Evidence | None:
    """What speaks for two videos sharing content; None when nothing can be laid together."""
    first, second = (a, b) if a.key <= b.key else (b, a)
    found = _explain(first, second, calibration)
    return None if found is None else found[1]


def _explain(
    a: Features, b: Features, calibration: Calibration
) -> tuple[tuple[Segment, ...], Evidence, Callable[[], list[list[Span]]]] | None:
    """What two videos share, in the order of a, what speaks for it, and how to find which seconds
    of each segment, as a's, are not shared all the same: most pairs are not worth it."""
    rows_a, rows_b = np.nonzero(~a.blank)[0], np.nonzero(~b.blank)[0]
    if not len(rows_a) or not len(rows_b):
        return None
    coarser = math.ceil(math.sqrt(max(1.0, len(rows_a) * len(rows_b) / PAIR_CELLS)))
    rows_a, rows_b = rows_a[::coarser], rows_b[::coarser]
    sims, floor = _telling(a.vectors[rows_a], b.vectors[rows_b], calibration.floor)
    step = max(step_of(a), step_of(b)) * coarser
    whole = b.duration_s / a.duration_s if min(a.duration_s, b.duration_s) > 0 else 1.0
    ta, tb = a.times_s[rows_a], b.times_s[rows_b]

    def in_rows(run: Run) -> Run:
        return replace(run, rows_a=rows_a[run.rows_a], rows_b=rows_b[run.rows_b])

    def tried(line: Line) -> Run | None:
        run = along(sims, ta, tb, *line, step, floor)
        return None if run is None else in_rows(run)

    runs = [in_rows(run) for run in align(sims, ta, tb, step, floor, whole)]
    if not runs:
        return None
    lines, evidence = _weighed(runs, a, b, step, calibration.parts)
    if evidence.score(calibration) > RETIMED:
        retimed = end_to_end(runs, a, b, whole, tried)
        if retimed is not None:
            told = _weighed([retimed], a, b, step, calibration.parts)
            if told[1].covered >= COPY_COVERAGE:
                lines, evidence = told

    # How alike black is to a dark picture is known of networks that were fitted alone.
    limits = floor, DARK_ALIKE if calibration.closer_weights else math.inf

    def unlike() -> list[list[Span]]:
        shown_a = _Shown.of(a, rows_a, (1.0, 0.0), step_of(a) * coarser)
        step_b = step_of(b) * coarser
        return [
            _unlike(s, sims, (shown_a, _Shown.of(b, rows_b, (r.speed, r.offset), step_b)), limits)
            for r, s in lines
        ]

    return tuple(s for _, s in lines), evidence, unlike


def _weighed(
    runs: Sequence[Run], a: Features, b: Features, step: float, parts: Sequence[int]
) -> tuple[list[tuple[Run, Segment]], Evidence]:
    """The runs with their segments, in the order of a, and what they say together."""
    lines = [(r, _segment(r, a, b, step)) for r in runs]
    lines.sort(key=lambda line: line[1].a)
    segments = [s for _, s in lines]
    shared = min(
        covered([s.a for s in segments], a.duration_s),
        covered([s.b for s in segments], b.duration_s),
    )
    return lines, weigh(runs, a, b, shared, parts)


@dataclass(frozen=True)
class _Shown:
    """Moments in seconds of a, `step` apart; which row of the similarities each is, -1: blank; and
    their vectors, (n, d)."""

    at: Seconds
    row: npt.NDArray[np.intp]
    vectors: Floats
    step: float

    @classmethod
    def of(cls, f: Features, rows: npt.NDArray[np.intp], line: Line, step: float) -> _Shown:
        """rows: of f, of which similarities are known. line: f's seconds by those of a."""
        row = np.full(len(f.times_s), -2, np.intp)
        row[f.blank] = -1
        row[rows] = np.arange(len(rows))
        known, (speed, offset) = row > -2, line
        at = (f.times_s[known] - offset) / speed
        return cls(at, row[known], f.vectors[known], step / speed)


def _unlike(
    segment: Segment, sims: Floats, shown: tuple[_Shown, _Shown], limits: tuple[float, float]
) -> list[Span]:
    """Stretches of a segment, in seconds of a, in which the two show other things.

    A run goes on over moments that are unlike, as long as enough of it is alike; what other
    pictures, or black, take the place of in one of them is not shared all the same. Asked are the
    moments of the sparser video: between them, the other's have no partner at their own time. Of
    two that are equally dense both are asked: what one of them lacks it cannot be asked about.

    Args:
        sims: of the moments that show something, (n, m).
        limits: similarities from which on two such moments are alike, and two of which one is
            blank.
    """
    a, b = shown
    out = _asked(segment, sims, a, b, limits) if a.step > b.step / ALIKE_STEP else []
    return out + (_asked(segment, sims.T, b, a, limits) if b.step > a.step / ALIKE_STEP else [])


def _asked(
    segment: Segment, sims: Floats, asked: _Shown, other: _Shown, limits: tuple[float, float]
) -> list[Span]:
    """`_unlike` of the moments of one of them, the rows of sims."""
    floor, dark = limits
    inside = (asked.at >= segment.a[0]) & (asked.at <= segment.a[1])
    at, row, vectors = asked.at[inside], asked.row[inside], asked.vectors[inside]
    after = other.at.searchsorted(at)
    alike, alone = np.full(len(at), -1.0), np.ones(len(at), bool)
    for near in (np.maximum(after - 1, 0), np.minimum(after, len(other.at) - 1)):
        there = other.row[near]
        # A dark picture is blank or not by a hair; black in place of one is unlike it.
        same = (vectors * other.vectors[near]).sum(axis=1) >= dark
        both = np.where(same | ((row < 0) & (there < 0)), 1.0, -1.0)
        told = np.where((row < 0) | (there < 0), both, sims[row, there])
        close = np.abs(other.at[near] - at) <= 0.55 * asked.step
        alike, alone = np.where(close, np.maximum(alike, told), alike), alone & ~close
    return stretches((alike < floor) & ~(alone & (row < 0)), at, asked.step)


def stretches(other: npt.NDArray[np.bool_], times: Seconds, step: float) -> list[Span]:
    """(start, end) in seconds of moments, `step` seconds apart, that are other ones, and no slip of
    sampling: several in a row, or too many of all."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], other, [False]]).astype(np.int8)))
    many = len(other) > 0 and float(other.mean()) > ODD_SHARE
    out = []
    for start, end in edges.reshape(-1, 2).tolist():
        span = float(times[start]) - step / 2, float(times[end - 1]) + step / 2
        if many or (end - start > 1 and span[1] - span[0] >= UNLIKE_S):
            out.append(span)
    return out


def without(segments: Sequence[Segment], spans: Sequence[Sequence[Span]]) -> tuple[Segment, ...]:
    """What is left of segments without some stretches of a of each; all where it is nothing."""
    out = []
    for segment, own in zip(segments, spans, strict=True):
        start, end = segment.a
        for lo, hi in [*sorted(own), (end, end)]:
            if min(lo, end) > start:
                out.append(_part(segment, start, min(lo, end)))
            start = max(start, hi)
    return tuple(out) or tuple(segments)


def gaps(segments: Sequence[Segment]) -> list[Span]:
    """Seconds of a between segments, in order."""
    spans = sorted(s.a for s in segments)
    reached = accumulate((end for _, end in spans), max)
    return [
        (end, start) for (start, _), end in zip(spans[1:], reached, strict=False) if start > end
    ]


def _part(segment: Segment, start: float, end: float) -> Segment:
    """The seconds start..end of a, and those of b that lie beside them."""
    long = segment.a[1] - segment.a[0]
    length = segment.b[1] - segment.b[0]
    lo, hi = ((t - segment.a[0]) / long if long else 0.0 for t in (start, end))
    there = (segment.b[0] + lo * length, segment.b[0] + hi * length)
    return replace(segment, a=(start, end), b=there)


LEAST_TOLD = 4  # moments with a partner; of fewer it is not asked what sets them apart
LOWER = 0.7  # the floor is that of similarities, which are higher
OF_USUAL = 0.55  # of the usual best partner's similarity: less speaks against a moment


def _telling(va: Floats, vb: Floats, floor: float) -> tuple[Floats, float]:
    """How alike moments are, (n, m), and from which similarity on that speaks for the same.

    Where a scene changes, moments are also asked what sets them apart from the rest of it: two
    moments of one slow shot are alike at any distance, and lie on each other only at the right one.
    The mean that they are set apart from is that of the moments with a partner in the other video.
    """
    sims = va @ vb.T
    in_a, in_b = sims.max(axis=1) > floor, sims.max(axis=0) > floor
    if min(in_a.sum(), in_b.sum()) < LEAST_TOLD:
        return sims, floor
    # Products of what is left without the means, made of those with them.
    mean_a, mean_b = va[in_a].mean(axis=0), vb[in_b].mean(axis=0)
    spread = [
        max(0.0, float(np.einsum("ij,ij->", v, v)) / len(v) - float(m @ m))
        for v, m in ((va[in_a], mean_a), (vb[in_b], mean_b))
    ]
    power = math.sqrt(spread[0] * spread[1])
    change = min(1.0, power / NOISE)
    left = sims - (va @ mean_b)[:, None] - (vb @ mean_a) + float(mean_a @ mean_b)
    apart = np.minimum(np.maximum(left / max(power, 1e-9), -1.0), 1.0)
    telling: Floats = (sims * (1.0 - change * (1.0 - apart) / 2)).astype(np.float32)
    usual = float(np.median(telling[in_a].max(axis=1)))
    return telling, max(floor * LOWER, OF_USUAL * usual)


def is_short(segments: Sequence[Segment]) -> bool:
    """Whether so few seconds are shared that a gesture made twice could look like a copy."""
    return sum(s.a[1] - s.a[0] for s in segments) < SHORT_S


def relation_of(cover_a: float, cover_b: float) -> str:
    """The relation that coverage both ways says; reads 'a RELATION b'."""
    if cover_a >= COPY_COVERAGE and cover_b >= COPY_COVERAGE:
        return "copy"
    if cover_b >= COPY_COVERAGE:
        return "contains"
    if cover_a >= COPY_COVERAGE:
        return "part_of"
    return "overlap"


INTRO_SHARE = 0.4  # a shared head or tail longer than this share of either video is no intro
INTRO_AT_S = 0.6  # how far from the very start or end it may lie; further in it is a clip


def is_intro(m: Match, length_a: float, length_b: float) -> bool:
    """Whether all that two videos share is a short stretch at the head, the tail, or both."""
    shorter = min(length_a, length_b)
    if not m.segments or max(s.a[1] - s.a[0] for s in m.segments) > INTRO_SHARE * shorter:
        return False

    def at_an_end(s: Segment) -> bool:
        head = s.a[0] <= INTRO_AT_S and s.b[0] <= INTRO_AT_S
        tail = length_a - s.a[1] <= INTRO_AT_S and length_b - s.b[1] <= INTRO_AT_S
        return head or tail

    return all(map(at_an_end, m.segments))


def covered(spans: Sequence[tuple[float, float]], duration_s: float) -> float:
    """Share of [0, duration] that the spans cover together, 0..1."""
    if duration_s <= 0:
        return 1.0
    total, reached = 0.0, 0.0
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return min(1.0, total / duration_s)


def step_of(f: Features) -> float:
    """Typical distance of a video's moments in seconds."""
    return float(np.median(np.diff(f.times_s))) if len(f.times_s) > 1 else max(f.duration_s, 0.125)


def _segment(run: Run, a: Features, b: Features, step: float) -> Segment:
    """A run as seconds: from half a step before its first moment to half a step after its last.

    Blank moments prove nothing and break nothing: where only they lie between the run and an end
    of a video, it reaches as far as both videos do.
    """
    ta = a.times_s[run.rows_a]
    first, last = run.rows_a[0], run.rows_a[-1]
    start, end = float(ta[0]) - step / 2, float(ta[-1]) + step / 2
    if a.blank[:first].all() or b.blank[: run.rows_b[0]].all():
        start = min(float(ta[0]), max(0.0, -run.offset / run.speed))
    if a.blank[last + 1 :].all() or b.blank[run.rows_b[-1] + 1 :].all():
        end = max(end, min(a.duration_s, (b.duration_s - run.offset) / run.speed))
    # Only what exists in both.
    start = max(start, 0.0, -run.offset / run.speed)
    end = max(start, min(end, a.duration_s, (b.duration_s - run.offset) / run.speed))
    there = (run.speed * start + run.offset, run.speed * end + run.offset)
    return Segment(
        (start, end), (max(0.0, there[0]), min(b.duration_s, max(there[1], 0.0))), run.speed
    )


def weigh(
    runs: Sequence[Run], a: Features, b: Features, shared: float, parts: Sequence[int] = ()
) -> Evidence:
    """Sum up an alignment.

    Args:
        runs: aligned moments, as rows of a and b.
        shared: the smaller coverage.
        parts: widths of the descriptors in a vector; () for one.
    """
    at = np.concatenate([r.rows_a for r in runs])
    to = np.concatenate([r.rows_b for r in runs])
    va, vb = a.vectors[at], b.vectors[to]
    ends = np.cumsum(parts or (va.shape[1],)).tolist()
    witnesses = tuple(
        hear(va[:, start:end], vb[:, start:end])
        for start, end in zip([0, *ends[:-1]], ends, strict=True)
    )
    return Evidence(witnesses, shared, min(len(at), len(np.unique(to))))


def hear(va: Floats, vb: Floats) -> Witness:
    """One descriptor's rows of aligned moments, (n, d) each, all of one length -> its word."""
    length = max(float((va * va).sum(axis=1).mean()), 1e-12)
    da, db = va - va.mean(axis=0), vb - vb.mean(axis=0)
    power = math.sqrt(float((da * da).sum()) * float((db * db).sum()))
    # Change below this share of a vector per moment is noise of coding.
    change = min(1.0, power / (NOISE * len(va) * length))
    correlation = max(-1.0, min(1.0, float((da * db).sum()) / power)) if power > 0 else 0.0
    gram = da @ da.T
    independent = float(np.trace(gram)) ** 2 / max(float((gram * gram).sum()), 1e-12)
    return Witness(float((va * vb).sum(axis=1).mean()) / length, correlation, change, independent)
