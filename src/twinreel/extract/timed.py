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

from twinreel.frames import Beat, Clock, Tally, all_frames
from twinreel.types import VideoInfo

# Broadcast formats may start their clock anew: a step back by BACK_S or ahead by AHEAD_S is no time
# that passed. FFmpeg's programs use the same numbers.
BACK_S, AHEAD_S = 0.1, 10.0
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
    clock = Clock(stream, as_ffmpeg=seed_exact)
    base, origin = clock.base, container.start_time
    # Inside a span nothing is known of the steps before it.
    restarts = bool(container.format.flags & Flags.ts_discont.value) and not span.start
    if not (seed_exact and restarts):
        clock.zero = round(Fraction(origin, 1_000_000) / base) if origin is not None else None
    if span.start:
        clock.zero = (clock.zero or 0) + round(Fraction(span.start) / base)
        # Without a usable index everything before the start is decoded and left out.
        try:
            container.seek(clock.zero, stream=stream, backward=True)
        except av.error.FFmpegError:
            container.seek(0)
    limit = None if span.end is None else round(Fraction(span.end - span.start) / base)
    known = info.duration_s and not restarts
    beyond = (info.duration_s * 2 + BEYOND_S) / float(base) if known else float("inf")
    held: tuple[Any, int] | None = None
    if restarts:
        clock.joins(BACK_S, AHEAD_S)
    for frame in all_frames(container, stream, span.path, beat, tally):
        at, lasts = clock.ticks(frame)
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
            yield _stamped(held[0], clock, 0, at, tally)
        held = None
        if limit is not None:
            lasts = min(lasts, limit - at)
        yield _stamped(frame, clock, at, lasts, tally)
    if held is not None and held[1] >= 0:  # the last frame of all, shown at the start
        tally.frames += 1
        yield _stamped(held[0], clock, 0, 1, tally)


def _stamped(
    frame: Any, clock: Clock, at: int, lasts: int, tally: Tally
) -> tuple[Any, float, float]:
    frame.pts, frame.duration = at, lasts
    frame.time_base = clock.base
    start, end = clock.seconds(at), clock.seconds(at + lasts)
    tally.last_s = max(tally.last_s, end)
    return frame, start, end
