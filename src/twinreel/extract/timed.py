"""An open video and a stretch of it -> its frames, each with the seconds it is on the screen.

    for frame, start_s, end_s in timed(container, stream, span, info, tally, beat): ...

Zero is the stretch's start. Frames come as the decoder gives them, none left out but those outside.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Protocol

import av
from av.format import Flags

from twinreel.frames import Beat, Tally, all_frames
from twinreel.probe import rational
from twinreel.types import VideoInfo

# Broadcast formats may start their clock anew: a step back by BACK_S or ahead by AHEAD_S is no time
# that passed. FFmpeg's programs use the same numbers.
BACK_S, AHEAD_S = 0.1, 10.0
RAW_FPS = 25  # streams that state no rate and carry no timestamps
# A timestamp this far past the stated end is a broken one; at a steady rate it would be filled
# with copies of the frame before.
BEYOND_S = 60.0


class Span(Protocol):
    """Seconds `start` to `end` (None: to its end) of the file at `path`."""

    @property
    def path(self) -> str: ...
    @property
    def start(self) -> float: ...
    @property
    def end(self) -> float | None: ...


class _Stamps:
    """Which of a frame's two timestamps to believe.

    The time of showing, until it has gone back more often than the time of decoding has: the rule
    that FFmpeg's own programs follow. An AVI knows no times of showing; what its demuxer gives for
    them counts packets, so with B-frames they go back and forth.
    """

    def __init__(self, container: Any) -> None:
        self.showing = container.format.name != "avi"
        self._last_pts: int | None = None
        self._last_dts: int | None = None
        self._pts_faults = self._dts_faults = 0

    def of(self, frame: Any) -> int | None:
        """In the stream's time base; None where the frame has none."""
        pts, dts = frame.pts if self.showing else None, frame.dts
        if dts is not None:
            self._dts_faults += self._last_dts is not None and dts <= self._last_dts
        if pts is not None:
            self._pts_faults += self._last_pts is not None and pts <= self._last_pts
        self._last_dts = dts if dts is not None else pts if pts is not None else self._last_dts
        self._last_pts = pts if pts is not None else dts if dts is not None else self._last_pts
        if pts is not None and (dts is None or self._pts_faults <= self._dts_faults):
            return int(pts)
        return None if dts is None else int(dts)


def timed(
    container: Any,
    stream: Any,
    span: Span,
    info: VideoInfo,
    tally: Tally,
    beat: Beat,
    seed_exact: bool = False,
) -> Iterator[tuple[Any, float, float]]:
    """(frame, start, end), in seconds from the span's start.

    Zero is the container's start, which may lie before its first picture. A frame that is on the
    screen when the span starts is moved to that moment. seed_exact: in broadcast formats zero is
    the picture's own start, as for the ffmpeg command.
    """
    stream.codec_context.thread_count = 1  # one process per core decodes
    base = rational(stream.time_base) or Fraction(1, 1000)
    rate = rational(stream.guessed_rate) or rational(stream.average_rate) or Fraction(RAW_FPS)
    usual = max(1, round(1 / (rate * base)))
    origin = container.start_time
    zero = round(Fraction(origin, 1_000_000) / base) if origin is not None else None
    # Inside a span nothing is known of the steps before it.
    restarts = bool(container.format.flags & Flags.ts_discont.value) and not span.start
    if seed_exact and restarts:
        zero = stream.start_time
    if span.start:
        zero = (zero or 0) + round(Fraction(span.start) / base)
        # Without a usable index everything before the start is decoded and left out.
        try:
            container.seek(zero, stream=stream, backward=True)
        except av.error.FFmpegError:
            container.seek(0)
    limit = None if span.end is None else round(Fraction(span.end - span.start) / base)
    known = info.duration_s and not restarts
    beyond = (info.duration_s * 2 + BEYOND_S) / float(base) if known else float("inf")
    stamps = _Stamps(container)
    back, ahead = (round(Fraction(s) / base) for s in (BACK_S, AHEAD_S))
    coming: int | None = None
    held: tuple[Any, int] | None = None
    shift = 0
    for frame in all_frames(container, stream, span.path, beat, tally):
        at = stamps.of(frame)
        if at is None:
            at = coming
        elif restarts and coming is not None:
            if not coming - back <= at + shift <= coming + ahead:
                shift = coming - at
            at += shift
        zero = zero if zero is not None else (at or 0)
        at = zero if at is None else at
        # An AVI's durations are guesses too.
        lasts = ((stamps.showing or seed_exact) and frame.duration) or usual
        coming = at + lasts
        at -= zero
        if abs(at) > beyond:
            tally.bad += 1
            tally.words = tally.words or "timestamps far outside the stated length"
            continue
        if limit is not None and at >= limit:
            break
        tally.frames += 1
        if span.start and at < 0:
            held = (frame, min(0, at + lasts))
            tally.frames -= 1
            continue
        if held is not None and at > 0:
            yield _stamped(held[0], base, 0, at, tally)
        held = None
        if limit is not None:
            lasts = min(lasts, limit - at)
        yield _stamped(frame, base, at, lasts, tally)
    if held is not None and held[1] >= 0:  # the last frame of all, shown at the start
        tally.frames += 1
        yield _stamped(held[0], base, 0, 1, tally)


def _stamped(
    frame: Any, base: Fraction, at: int, lasts: int, tally: Tally
) -> tuple[Any, float, float]:
    frame.pts, frame.duration = at, lasts
    frame.time_base = base
    # As exact as fractions, and much faster.
    start = at * base.numerator / base.denominator
    end = (at + lasts) * base.numerator / base.denominator
    tally.last_s = max(tally.last_s, end)
    return frame, start, end
