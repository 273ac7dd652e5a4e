"""A doubtful pair, looked at again: kept pictures of one beside fresh ones of the other.

    closer = look_closer(CloserTask("b.mp4", strip_of_a, line))
    closer.agreement.correlation   # how well the two change together, pixel by pixel
    closer.place                   # cropped, inset, turned, mirrored: where b lies on a

The first comparison has descriptors, which do not see where things are, at moments up to half a
step apart. Here pictures are laid on each other (register.py) and the moments are found to a frame,
so that a copy and its source change together all but perfectly, and two takes of a scene do not.
A worker's job; one file is opened, some seconds of it decoded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from twinreel import picture
from twinreel.align import ODD
from twinreel.changes import Agreement, agree, agreement, same_all_over
from twinreel.compare import COPY_COVERAGE, Calibration, Span, stretches
from twinreel.frames import Beat, Tally, frames_at, rotation_of
from twinreel.picture import WHOLE, Rect
from twinreel.probe import describe, opened, video_stream
from twinreel.register import STRAIGHT, Canvas, Place, fit, normal, small
from twinreel.types import Floats

MOST_MOMENTS = 32  # that are compared in the end
_WINDOWS = 5  # moments around which the shift in time is looked for
_SHIFTS = 17
_DRIFT = 12  # shifts by which the last window may be off from the first, at most
_OFF_SPEED = 0.06  # by which a line's speed may be off: two of the speeds that are tried lie so far
_UNEVEN = 0.004  # fit that each of them costs: most copies run at the speed of their source
_FINER = (0.0, -1.0, -0.5, 0.5, 1.0)  # shifts by which a line may be off when it is found
_ROUGH = (8, 4, 12)  # shifts at which pictures are laid on each other
_GOOD = 0.9
PLAIN = 0.03  # fit that another speed than the source's costs, or a line of no length
_FLAT = 6.0  # grey levels: evener pictures lie everywhere
_UNLIKE = 0.25  # a moment that correlates so much less than usual shows something else
_STRANGE = 0.6  # fit of the better windows; below it no pair was a copy on the train split
_LEAST = 4  # moments; fewer prove nothing
_HALVES = ((0.0, 0.5), (0.25, 0.75), (0.5, 1.0))  # of a line: whether one of them alone shows it
_HALF = 1.0  # natural logarithm of the odds that a half costs: it is the best of several tries
_CORNER = 3.0  # the same for what changes alike in the places of an overlay alone, or nowhere
_SURE = 0.9  # score from which on no half is asked
LIKELY = 0.7  # score, at least, where little changes, alike, and pictures are the same all over
_EXACT = 0.995  # fit of such pictures, at least
_ALIKE = 0.85  # correlation of what changes in them
_HOPE = 0.3  # correlation; of 34 pieces that a half brought to light on the train split 31 had it
_SHORTEST_S = 2.0  # from the first to the last moment of a half that is asked
BENT = 0.985  # fit from which on pictures lie on each other as they should
_BENT_BY = 6  # moments that tell how a picture is bent


@dataclass(frozen=True)
class Line:
    """Time in b = speed * time in a + offset, for the seconds start..end of a."""

    speed: float
    offset: float
    start: float
    end: float


@dataclass(frozen=True)
class CloserTask:
    """Which file to open, and beside which pictures to lay it.

    strip: kept pictures of the other video, (seconds, JPEG). lines: where the moments may meet,
    each off by up to reach_s. picture: where this file's picture is inside its borders.
    calibration: what a look is weighed by; with one that weighs none, no half is looked at alone.
    """

    path: str
    strip: tuple[tuple[float, bytes], ...]
    lines: tuple[Line, ...]
    reach_s: float
    picture: Rect = WHOLE
    size: tuple[int, int] = (160, 160)
    name: str = ""
    calibration: Calibration = field(default_factory=Calibration)


@dataclass(frozen=True)
class Closer:
    """What a closer look showed.

    agreement: of the pictures laid on each other. fit: their median correlation. line: one of the
    task's, with the offset and speed that were seen. span: first and last moment of a, in seconds,
    for which they speak. half: it is one half of them; the others are still or change alike. alone:
    too much is left out of the span for a copy. likely: little changes, in too few places to prove
    anything, but alike, and the pictures are the same in every place, at most moments. cut: moments
    at an end were unlike. unlike: seconds of a, in the span or beside it, in which they are.
    """

    agreement: Agreement
    fit: float
    moments: int
    line: Line
    place: Place
    span: tuple[float, float]
    half: bool = False
    alone: bool = False
    likely: bool = False
    cut: bool = False
    unlike: tuple[Span, ...] = ()

    def score(self, calibration: Calibration) -> float:
        """Probability from what the pictures say, 0..1; 0.0 where nothing is known to weigh it by.

        What the descriptors say is left out: their alignment was chosen for it among many.
        """
        if not calibration.closer_weights:
            return 0.0
        seen = (self.agreement.correlation, self.agreement.detail)
        x = calibration.closer_bias - _HALF * self.half - _CORNER * (not self.agreement.detail)
        x += sum(w * v for w, v in zip(calibration.closer_weights, seen, strict=True))
        score = 1 / (1 + math.exp(-max(-60.0, min(60.0, x))))
        return max(score, LIKELY) if self.likely else score


def work(task: CloserTask, emit: Callable[[Any], None], beat: Beat) -> None:
    """A worker's job: emit the Closer, None where nothing can be said."""
    emit(look_closer(task, beat))


def look_closer(task: CloserTask, beat: Beat = lambda: None) -> Closer | None:
    """Lay the file on the pictures; None where too little of either shows anything.

    Raises:
        CannotRead, CannotOpen, NoVideoStream.
    """
    strip = [
        (t, data) for t, data in task.strip if any(ln.start <= t <= ln.end for ln in task.lines)
    ]
    pictures = [(t, small(picture.from_jpeg(data))) for t, data in _some(strip, MOST_MOMENTS)]
    pictures = [(t, p) for t, p in pictures if p.std() > _FLAT]
    shifts = np.linspace(-task.reach_s, task.reach_s, _SHIFTS)
    best = first = _told(task, task.lines, pictures, shifts, beat)
    if first is not None and first.cut:
        # Moments beyond the end of a piece had a say in when and where the others meet.
        inner = replace(first.line, start=first.span[0], end=first.span[1])
        best = _best(task, first, _told(task, (inner,), pictures, shifts, beat, first.line))
    if best is not None and best.agreement.correlation >= _HOPE and _is_open(best, task):
        # Where little is shared of a line, the rest had the say.
        line = best.line
        best = _best(task, best, _told(task, _halves(line), pictures, shifts, beat, line, True))
    return best


def _is_open(closer: Closer, task: CloserTask) -> bool:
    """Whether halves are to be asked; not where nothing is known to weigh them by."""
    return bool(task.calibration.closer_weights) and closer.score(task.calibration) < _SURE


def _best(task: CloserTask, *found: Closer | None) -> Closer | None:
    """The likeliest."""

    def likely(closer: Closer) -> tuple[float, float]:
        return closer.score(task.calibration), closer.agreement.correlation

    return max((c for c in found if c is not None), key=likely, default=None)


def _halves(line: Line) -> list[Line]:
    long = line.end - line.start
    return [
        replace(line, start=line.start + x * long, end=line.start + y * long) for x, y in _HALVES
    ]


def _told(
    task: CloserTask,
    lines: Sequence[Line],
    pictures: Sequence[tuple[float, Floats]],
    shifts: npt.NDArray[np.float64],
    beat: Beat,
    whole: Line | None = None,
    half: bool = False,
) -> Closer | None:
    """What the likeliest of some lines shows, or the `whole` of which they are parts (of which
    they are halves)."""
    within = [(line, _within(line, pictures)) for line in lines]
    asked = [(line, _some(_inner(at), _WINDOWS)) for line, at in within if len(at) >= _LEAST]
    times = [line.speed * t + line.offset for line, moments in asked for t, _ in moments]
    frames = iter(decoded(task, [t + s for t in times for s in shifts], beat))
    found = []
    for line, moments in asked:
        rows = [(t, p, [next(frames) for _ in shifts]) for t, p in moments]
        found.append(_align(line, rows, shifts, beat))
    longest = max((line.end - line.start for line in lines), default=1.0)
    laid = max((f for f in found if f is not None), key=lambda f: _likely(f, longest), default=None)
    if laid is None:
        return None
    if whole is not None:
        laid = replace(laid, line=replace(laid.line, start=whole.start, end=whole.end))
    seen: _Seen | None = laid.seen
    if laid.best >= _STRANGE or len(laid.seen.times) < _LEAST:
        seen = _seen(task, laid, [t for t, _ in _within(laid.line, pictures)], shifts, beat)
    if seen is None:
        return None
    # Where a piece ends, one of them goes on with something else: they tell nothing.
    first, last = _stretch(seen.each - (np.quantile(seen.each, 0.75) - _UNLIKE))
    if last - first < _LEAST:
        return None
    return _heard_in(task, seen, laid.place, first, last, half)


def _heard_in(
    task: CloserTask, seen: _Seen, place: Place, first: int, last: int, half: bool = False
) -> Closer:
    """What the moments first..last say together, or one half of them.

    Args:
        half: they were chosen as a half themselves.
    """
    count = len(seen.times)
    step = (seen.times[-1] - seen.times[0]) / max(1, count - 1)
    other = seen.each < np.quantile(seen.each, 0.75) - _UNLIKE
    dark = [(t, True) for t in seen.dark]
    moments = sorted([*zip(seen.times, other.tolist(), strict=True), *dark])
    times, flags = (np.array(x) for x in zip(*moments, strict=True))
    unlike = tuple(stretches(flags, times, step))

    def closer(lo: int, hi: int, start: int, end: int, half: bool) -> Closer:
        """lo..hi speak for start..end."""
        usual = float(np.median(seen.each[lo:hi]))
        span = (seen.times[start], seen.times[end - 1])
        rows = seen.a[lo:hi], seen.b[lo:hi]
        told = agreement(*rows)
        left = 1 - (end - start) / count
        likely = not half and usual >= _EXACT and told.correlation >= _ALIKE
        return Closer(
            told, usual, hi - lo, seen.line, place, span, half,
            alone=left > 1 - COPY_COVERAGE, likely=likely and same_all_over(*rows),
            cut=last - first < count, unlike=unlike,
        )  # fmt: skip

    found = [closer(first, last, first, last, half)]
    if _is_open(found[0], task) and last - first >= 2 * _LEAST:
        for x, y in _HALVES:
            lo, hi = (first + round(at * (last - first)) for at in (x, y))
            if seen.times[hi - 1] - seen.times[lo] >= _SHORTEST_S:
                found.append(closer(lo, hi, *_reach(seen, (lo, hi), first, last), half=True))
    return max(found, key=lambda c: c.score(task.calibration))


def _reach(seen: _Seen, half: tuple[int, int], first: int, last: int) -> tuple[int, int]:
    """For which of the moments first..last a half speaks: on to where they change otherwise."""
    start, end = half
    while start > first:
        lo = max(first, start - _LEAST)
        if not agree(seen.a[lo : lo + _LEAST], seen.b[lo : lo + _LEAST]):
            break
        start = lo
    while end < last:
        hi = min(last, end + _LEAST)
        if not agree(seen.a[hi - _LEAST : hi], seen.b[hi - _LEAST : hi]):
            break
        end = hi
    return start, end


@dataclass(frozen=True)
class _Seen:
    """Moments of a, in seconds, and the rows of both pictures there; each: their correlations.
    dark: moments at which b alone shows nothing."""

    line: Line
    times: list[float]
    a: Floats
    b: Floats
    each: Floats
    dark: tuple[float, ...] = ()

    @classmethod
    def of(cls, line: Line, times: Sequence[float], place: Place, a: Floats, b: Floats) -> _Seen:
        """The shared part of pictures, grey (n, 80, 80) each."""
        va, vb = (normal(v) for v in place.views(a, b))
        return cls(line, list(times), va, vb, (va * vb).sum(axis=1))


def _seen(
    task: CloserTask,
    laid: _Laid,
    times: Sequence[float],
    shifts: npt.NDArray[np.float64],
    beat: Beat,
) -> _Seen | None:
    """The shared part of both at moments of a, at the finest; None where too few show anything.

    A line was found to a shift: half of one more and less is tried, the same for all moments.
    """
    tries = [float(shifts[1] - shifts[0]) * k for k in _FINER]
    near_a, near_b, place = _zoomed(laid.place, task.picture)
    there = [laid.line.speed * t + laid.line.offset for t in times]
    frames = decoded(replace(task, picture=near_b), [t + s for t in there for s in tries], beat)
    jpegs = dict(task.strip)
    cuts = [small(picture.from_jpeg(jpegs[t]), near_a) for t in times]
    best: _Seen | None = None
    for k, by in enumerate(tries):
        shown = [
            (t, p, q)
            for t, p, q in zip(times, cuts, frames[k :: len(tries)], strict=True)
            if q is not None and q.std() > _FLAT
        ]
        if len(shown) < _LEAST:
            continue
        at, p, q = zip(*shown, strict=True)
        line = replace(laid.line, offset=laid.line.offset + by)
        for way in dict.fromkeys((place, replace(place, warp=STRAIGHT))):
            seen = _Seen.of(line, at, way, np.stack(p), np.stack(q))
            if best is None or _level(seen.each) > _level(best.each) + 1e-4:
                best, chosen, near = seen, way, (np.stack(p), np.stack(q))
    if best is None:
        return None
    told = zip(times, frames[:: len(tries)], strict=True)
    best = replace(best, dark=tuple(t for t, q in told if q is not None and q.std() <= _FLAT))
    if np.median(best.each) > BENT:
        return best
    some = _some(range(len(best.times)), _BENT_BY)
    bent = _Seen.of(best.line, best.times, chosen.bent(near[0][some], near[1][some]), *near)
    return replace(bent, dark=best.dark) if _level(bent.each) > _level(best.each) else best


def _stretch(values: Floats) -> tuple[int, int]:
    """Where the run of values with the largest sum begins and ends (Kadane's algorithm)."""
    best, found, total, start = -np.inf, (0, 0), 0.0, 0
    for i, value in enumerate(values.tolist()):
        if total <= 0:
            total, start = 0.0, i
        total += value
        if total > best:
            best, found = total, (start, i + 1)
    return found


def _level(each: Floats) -> float:
    """Of some correlations: neither a few bad ones nor the many good ones alone."""
    return float(np.median(each) + each.mean())


def _zoomed(place: Place, inside: Rect) -> tuple[Rect, Rect, Place]:
    """What to cut out of a and of b so that a small part of one fills its pictures, and how b lies
    on a then: shrunk pictures would be compared at a fraction of the little that is left of them.

    Args:
        inside: where b's picture is in its frame.
    """
    if place.turns or place.part == WHOLE:
        return WHOLE, inside, place
    rest = replace(place, part=WHOLE)
    if place.inside:
        return place.part, inside, rest
    left, top, right, bottom = place.part
    if place.mirrored:
        left, right = 1 - right, 1 - left
    return WHOLE, picture.within(inside, (left, top, right, bottom)), rest


@dataclass(frozen=True)
class _Laid:
    line: Line
    place: Place
    fit: float
    best: float  # of the better half of windows: the others may lie beyond the end of a piece
    seen: _Seen  # at the windows alone


def _likely(laid: _Laid, longest_s: float) -> float:
    """The fit, and a little for the plain speed and for a long line, which are likelier."""
    plain = abs(laid.line.speed - 1) < ODD
    return laid.fit + PLAIN * (plain + (laid.line.end - laid.line.start) / max(longest_s, 1e-3))


def _inner(moments: Sequence[Any]) -> Sequence[Any]:
    """Without the outermost, which may lie outside of what is shared, where enough are left."""
    out = max(1, len(moments) // 10)
    return moments[out:-out] if len(moments) >= _LEAST + 2 * out else moments


def _within(line: Line, pictures: Sequence[tuple[float, Floats]]) -> list[tuple[float, Floats]]:
    return [p for p in pictures if line.start - 1e-6 <= p[0] <= line.end + 1e-6]


def _align(
    line: Line,
    rows: Sequence[tuple[float, Floats, Sequence[Floats | None]]],
    shifts: npt.NDArray[np.float64],
    beat: Beat,
) -> _Laid | None:
    """Where b lies on a near one line, and the line on which the moments really meet.

    Args:
        rows: moments of a: seconds, picture, and b's pictures at each of the shifts, in seconds,
            from where the line says.
    """
    whole = [
        (t, p, np.stack([f for f in row if f is not None]))
        for t, p, row in rows
        if all(f is not None and f.std() > _FLAT for f in row)
    ]
    if len(whole) < 2:
        return None
    times = np.array([t for t, _, _ in whole])
    a, b = np.stack([p for _, p, _ in whole]), np.stack([row for _, _, row in whole])
    each = np.arange(len(a))
    place, canvas = Place(), Canvas(a)
    fits = _fits(place, a, b)
    drift = min(_DRIFT, 1 + int(_OFF_SPEED * np.ptp(times) / (shifts[1] - shifts[0])))
    path = _path(fits, drift)
    plain = place.views(a, b[each, path])
    if fit(*plain) < _GOOD:  # not as it is: look for other ways
        for at in (path, *(np.full(len(a), s) for s in _ROUGH)):
            beat()
            tried = canvas.place(b[each, at])
            if tried.fit > place.fit:
                place = tried
            if place.fit >= _GOOD:
                break
        path = _path(_fits(place, a, b), drift)
        place = canvas.place(b[each, path])
        fits = _fits(place, a, b)
        path = _path(fits, drift)
    slope, shift = np.polyfit(times, shifts[path], 1) if np.ptp(path) else (0.0, shifts[path[0]])
    line = replace(line, speed=line.speed + float(slope), offset=line.offset + float(shift))
    seen = _Seen.of(line, times.tolist(), place, a, b[each, path])
    at_path = np.sort(fits[each, path])
    best = float(at_path[len(at_path) // 2 :].mean())
    return _Laid(line, place, float(at_path.mean()), best, seen)


def _fits(place: Place, a: Floats, b: Floats) -> Floats:
    """How well each picture of a (k, h, w) fits its row of b (k, s, h, w): (k, s), -1..1.

    The mean of two correlations: of the pictures, and of what sets each apart from the others,
    without which a still scene fits at any time.
    """
    k, s = b.shape[:2]
    seen_a, seen_b = place.views(a, b.reshape(k * s, *b.shape[2:]))
    va, vb = normal(seen_a)[:, None], normal(seen_b).reshape(k, s, -1)
    da, db = va - va.mean(axis=0), vb - vb.mean(axis=0)
    size = np.sqrt((da * da).sum(axis=2).mean(axis=0) * (db * db).sum(axis=2).mean(axis=0))
    apart = (da * db).sum(axis=2) / np.maximum(size, 1e-6)
    out: Floats = ((va * vb).sum(axis=2) + apart) / 2
    return out


def _path(fits: Floats, drift: int) -> Any:
    """The straight path through (k, s) with the best mean: int (k,) places. Speeds drift, from the
    first to the last by at most so many places."""
    k, s = fits.shape
    along = np.linspace(-0.5, 0.5, k) if k > 1 else np.zeros(1)
    drifts = np.array(sorted(range(-drift, drift + 1), key=abs))
    at = np.rint(np.arange(s)[:, None] + drifts[:, None, None] * along).astype(int)
    at = at.reshape(-1, k)  # every path, the straighter ones first
    inside = (at.min(axis=1) >= 0) & (at.max(axis=1) < s)
    at, cost = at[inside], _UNEVEN * np.abs(drifts).repeat(s)[inside]
    means = fits[np.arange(k), at].mean(axis=1) - cost
    best, path = -2.0, np.zeros(k, int)
    for mean, tried in zip(means.tolist(), at, strict=True):
        if mean > best + 1e-3:  # a straighter path at equal fit
            best, path = mean, tried
    return path


def decoded(task: CloserTask, times_s: Sequence[float], beat: Beat) -> list[Floats | None]:
    """Grey pictures (80, 80) shown at `times_s`, in any order; None where there is none."""
    order = sorted(set(times_s))
    order = [t for t in order if t >= 0]
    out: dict[float, Floats] = {}
    if order:
        with opened(task.path) as container:
            stream = video_stream(container, task.path)
            length = describe(container, stream).duration_s
            order = [t for t in order if not length or t < length]
            shrink = picture.Shrinker(task.size)
            if order:
                times = np.array(order)
                last: Any = None
                grey = np.zeros((0, 0), np.float32)
                for i, at, frame in frames_at(container, stream, times, task.path, beat, Tally()):
                    if abs(at - order[i]) < 1e-3:
                        if frame is not last:  # one frame is shown at several close moments
                            upright = np.rot90(shrink(frame), rotation_of(frame))
                            last, grey = frame, small(upright, task.picture)
                        out[order[i]] = grey
    return [out.get(t) for t in times_s]


def _some(items: Sequence[Any], most: int) -> list[Any]:
    """At most `most` of the items, spread evenly."""
    if len(items) <= most:
        return list(items)
    return [items[i] for i in np.linspace(0, len(items) - 1, most).round().astype(int)]
