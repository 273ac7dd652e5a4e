"""An open container and some moments -> the frames shown at those moments.

    for index, time_s, frame in frames_at(container, stream, times_s, path, beat, tally): ...

The frame shown at t is the last one whose timestamp is not after t: exactly that one is given,
whether it was reached by reading on or by a seek. Memory does not grow with the video's length.

Note [why a landing is checked]: a seek promises a key frame at or before the moment and often
breaks the promise. Transport streams have no index and land between key frames; MP4 seeks by
decoding time, which lies before the time of showing; some indexes are wrong. So what a seek gives
is looked at, and where it is too late the next one aims earlier. What stays: after a seek in an
MPEG program stream FFmpeg may count its timestamps one frame off.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av

from twinreel.errors import CannotRead
from twinreel.probe import rational
from twinreel.types import Seconds

Beat = Callable[[], None]
SEEK_GAIN = 12  # a seek costs about as much as decoding this many frames
UNKNOWN_GAIN_S = 12.0  # without an index, seek only over at least this many seconds
RAW_FPS = 25  # streams without timestamps are read at this rate unless they state one
GRAIN_S = 1e-6  # times closer than this are one: sums of floats
NEAR_FRAMES = 4  # non-reference frames are left out until so many before the moment
# Decoders whose non-reference frames can be left out one by one.
DROPPABLE = frozenset({"h264", "hevc", "mpeg4", "mpeg2video"})
# Containers whose index lists the key frames; others fill theirs by guessing.
INDEXED = ("mov,", "matroska", "avi")


@dataclass
class Tally:
    """What came by and what went wrong while reading, counted."""

    packets: int = 0
    bad: int = 0
    last_s: float = 0.0  # end of the last frame seen, seconds from the first
    frames: int = 0
    rotation: int = 0
    words: str = ""


def rotation_of(frame: Any) -> int:
    """Quarter turns (counter-clockwise, for np.rot90) that set the frame upright."""
    return round((frame.rotation or 0) / 90) % 4


class Clock:
    """When the frames of a stream are shown, out of their timestamps: ticks of its time base.

    Note [which timestamp]: a frame has a time of showing and one of decoding. The first is
    believed until it has gone back more often than the second: the rule that FFmpeg's own programs
    follow. An AVI knows no times of showing; what its demuxer gives for them counts packets, so
    with B-frames they go back and forth. A frame without any is shown when the last one ends.
    """

    def __init__(self, stream: Any, as_ffmpeg: bool = False) -> None:
        """as_ffmpeg: believe an AVI's durations, which are guesses, as the ffmpeg command does."""
        base = rational(stream.time_base)
        rate = rational(stream.guessed_rate) or rational(stream.average_rate) or Fraction(RAW_FPS)
        self.base = base or Fraction(1, 90_000)
        self.frame_s = float(1 / rate)
        self.step = max(1, round(1 / (rate * self.base)))  # ticks of one frame
        self.knows_showing = stream.container.format.name != "avi"
        self.zero: int | None = stream.start_time if base else None
        self.timed = self.zero is not None  # whether moments can be looked for
        self._durations = self.knows_showing or as_ffmpeg
        self._joins: tuple[int, ...] = ()
        self._shift = 0
        self.jumped()

    def jumped(self, tick: int | None = None) -> None:
        """Reading goes on elsewhere: at `tick`, or where the stream begins."""
        self._coming = tick  # where the next frame is expected
        self._last_pts: int | None = None
        self._last_dts: int | None = None
        self._pts_faults = self._dts_faults = 0

    def _believed(self, frame: Any) -> int | None:
        """One of a frame's timestamps (Note [which timestamp]); None where it has none."""
        pts, dts = frame.pts if self.knows_showing else None, frame.dts
        if dts is not None:
            self._dts_faults += self._last_dts is not None and dts <= self._last_dts
        if pts is not None:
            self._pts_faults += self._last_pts is not None and pts <= self._last_pts
        self._last_dts = dts if dts is not None else pts if pts is not None else self._last_dts
        self._last_pts = pts if pts is not None else dts if dts is not None else self._last_pts
        if pts is not None and (dts is None or self._pts_faults <= self._dts_faults):
            return int(pts)
        return None if dts is None else int(dts)

    def joins(self, back_s: float, ahead_s: float) -> None:
        """Take steps by more than so many seconds for a clock that starts anew: no time passed."""
        self._joins = tuple(round(Fraction(s) / self.base) for s in (back_s, ahead_s))

    def ticks(self, frame: Any) -> tuple[int, int]:
        """(from zero to when a frame is shown, how long it is shown), asked once for each frame.

        Where nothing says how long, one frame of the stream's rate.
        """
        at = self._believed(frame)
        if at is None:
            at = self._coming if self._coming is not None else self.zero or 0
        elif self._joins and self._coming is not None:
            back, ahead = self._joins
            if not -back <= at + self._shift - self._coming <= ahead:
                self._shift = self._coming - at
            at += self._shift
        if self.zero is None:
            self.zero = at
        lasts = int((frame.duration if self._durations else 0) or self.step)
        self._coming = at + lasts
        return at - self.zero, lasts

    def of(self, frame: Any) -> tuple[float, float]:
        """`ticks` in seconds."""
        at, lasts = self.ticks(frame)
        return self.seconds(at), self.seconds(lasts)

    def of_packet(self, packet: Any) -> float | None:
        """Seconds from zero to a packet's picture, None where the packet does not say."""
        at = packet.pts if self.knows_showing else packet.dts
        return None if at is None or not self.timed else self.seconds(at - (self.zero or 0))

    def seconds(self, ticks: int) -> float:
        """As exact as a fraction, which would cost a tenth of the decoding of small pictures."""
        return ticks * self.base.numerator / self.base.denominator

    @property
    def start(self) -> float | None:
        """Zero, in seconds of the stream's own count."""
        return None if self.zero is None else self.seconds(self.zero)

    def stamp(self, seconds: float) -> int:
        """Seconds from zero -> a timestamp of the stream."""
        return int(seconds / self.base + 1e-3) + (self.zero or 0)  # 1e-3: a sum of floats


@dataclass(frozen=True)
class _Shown:
    """A decoded frame and when it appears."""

    at_s: float
    frame: Any


def frames_at(
    container: Any,
    stream: Any,
    times_s: Seconds,
    path: str,
    beat: Beat,
    tally: Tally,
    nearest_key: bool = False,
) -> Iterator[tuple[int, float, Any]]:
    """(index, time in seconds, frame) shown at each of the increasing `times_s`.

    Moments that cannot be read and those after the end are left out. With `nearest_key` only key
    frames are decoded: the last one not after each moment, each at most once, under its own time.

    Raises:
        CannotRead: the disk fails.
    """
    # One process per core decodes; threads would only fight.
    stream.codec_context.thread_count = 1
    last_s = float(times_s[-1])
    reader = _Reader(container, stream, path, beat, tally, nearest_key, last_s)
    if nearest_key and reader.shown_at(float(times_s[0])) is None:
        # An edit list has cut the only key frame away: the frames shown are all there is.
        nearest_key = False
        container.seek(0)
        reader = _Reader(container, stream, path, beat, tally, nearest_key, last_s)
    given_s = -1.0
    for index, t in enumerate(times_s.tolist()):
        shown = reader.shown_at(t)
        if shown is None:
            return
        # A stream may begin late, or miss what was shown at t.
        at = shown.at_s if nearest_key or shown.at_s > t + GRAIN_S else t
        if at > given_s:
            given_s = at
            yield index, at, shown.frame


class _Reader:
    """Walks through one stream, forwards, by reading or by seeking."""

    def __init__(
        self, container: Any, stream: Any, path: str, beat: Beat, tally: Tally,
        keys_only: bool, last_s: float,
    ) -> None:  # fmt: skip
        self._container, self._stream, self._path = container, stream, path
        self._beat, self._tally, self._keys_only = beat, tally, keys_only
        self._context = stream.codec_context
        self._clock = Clock(stream)
        self._seeks = timed = self._clock.timed
        self._drops = timed and not keys_only and self._context.name in DROPPABLE
        self._keys = _key_times(container, stream, self._clock, last_s) if timed else []
        self._lead_s = 0.0  # how much earlier than the moment a seek has to aim
        self._screen: _Shown | None = None
        self._coming: _Shown | None = None  # the one after it, already decoded
        self._near_s = NEAR_FRAMES * self._clock.frame_s
        self._dropped_s = -1.0  # time of the last picture that may have been left out
        self._skip = "NONKEY" if keys_only else "DEFAULT"
        self._context.skip_frame = self._skip
        self._source = self._read(0.0)
        self._target = 0.0
        if timed and not self._clock.knows_showing:
            self._begin_late()

    def _begin_late(self) -> None:
        """Zero is the first picture, which an AVI gives later by what reordering takes."""
        first = self._next()
        if first is not None:
            self._clock.zero = self._clock.stamp(first.at_s)
            self._tally.last_s -= first.at_s
            self._screen = _Shown(0.0, first.frame)

    def shown_at(self, t: float) -> _Shown | None:
        """What is on the screen at t (not before an earlier t); None after the end."""
        now = self._coming or self._screen
        if self._seeks and self._pays(now.at_s if now else 0.0, t):
            self._land(t, now.at_s if now else 0.0)
        self._advance(t)
        if self._screen and self._screen.at_s + GRAIN_S < self._dropped_s <= t + GRAIN_S:
            # Uneven gaps: the picture before this moment is one that was left out.
            self._drops = False
            self._land(t, 0.0)
            self._advance(t)
        if self._coming is None and t + GRAIN_S > self._tally.last_s and not self._keys_only:
            return None
        return self._screen

    def _advance(self, t: float) -> None:
        """Read on until the frame shown at t is on the screen."""
        self._target = t
        while True:
            if self._coming:
                if self._coming.at_s > t + GRAIN_S:
                    return
                self._screen, self._coming = self._coming, None
            elif self._screen and (self._screen.at_s > t + GRAIN_S or self._is_last_key(t)):
                return
            found = self._next()
            if found is None:
                return
            if self._screen is None:
                self._screen = found
            elif found.at_s > self._screen.at_s:  # what goes back in time was shown already
                self._coming = found

    def _is_last_key(self, t: float) -> bool:
        """Whether the index says that no key frame lies between the screen's and t."""
        if not (self._keys_only and self._keys and self._screen):
            return False
        half = self._clock.frame_s / 2
        after = bisect.bisect_right(self._keys, self._screen.at_s + half)
        return after == len(self._keys) or self._keys[after] > t + half

    def _pays(self, now: float, t: float) -> bool:
        """Whether seeking to t skips frames that would else be decoded."""
        if not self._keys:
            return t - self._lead_s - now > UNKNOWN_GAIN_S
        at = bisect.bisect_right(self._keys, t) - 1
        gain = 2 if self._keys_only else SEEK_GAIN
        return at >= 0 and self._keys[at] - now > gain * self._clock.frame_s

    def _land(self, t: float, now: float) -> None:
        """Seek until the screen shows a frame not after t (Note [why a landing is checked])."""
        while True:
            aim = max(0.0, t - self._lead_s)
            # The first packet's decoding time lies before the first frame's time.
            stamp = self._clock.stamp(aim if aim or self._keys else -10.0)
            try:
                self._container.seek(stamp, stream=self._stream, backward=True)
            except (av.error.FFmpegError, OverflowError):
                self._seeks = False
                return
            self._source = self._read(t, after_key=aim > 0)
            self._clock.jumped(stamp if aim else None)
            self._screen = self._coming = None
            self._dropped_s = -1.0
            self._target = t
            if not aim:
                return
            self._screen = self._next()
            if self._screen and self._screen.at_s <= t + GRAIN_S:
                if self._keys and self._screen.at_s < now - 1.0:
                    self._seeks = False  # the index lies; go on without it
                return
            self._lead_s = max(2 * self._lead_s, 1.0)

    def _next(self) -> _Shown | None:
        frame = next(self._source, None)
        if frame is None:
            return None
        at_s, lasts_s = self._clock.of(frame)
        self._tally.frames += 1
        self._tally.last_s = max(self._tally.last_s, at_s + lasts_s)
        return _Shown(at_s, frame)

    def _read(self, t: float, after_key: bool = False) -> Iterator[Any]:
        """Frames from where the container stands, from the next key frame on with `after_key`."""

        def wanted(packet: Any) -> bool:
            nonlocal after_key
            after_key = after_key and not packet.is_keyframe
            if self._drops or self._skip == "NONREF":
                self._drop_until(self._clock.of_packet(packet))
            return not after_key

        return all_frames(
            self._container, self._stream, self._path, self._beat, self._tally, wanted
        )

    def _drop_until(self, packet_s: float | None) -> None:
        """Let the decoder leave out non-reference frames well before the moment looked for."""
        skip = self._drops and packet_s is not None and packet_s < self._target - self._near_s
        if skip:
            self._dropped_s = max(self._dropped_s, packet_s or 0.0)
        name = "NONREF" if skip else "DEFAULT"
        if name != self._skip:
            self._skip = name
            self._context.skip_frame = name


def _key_times(container: Any, stream: Any, clock: Clock, last_s: float) -> list[float]:
    """Times of the key frames that the container's index lists, sorted; [] when it has none."""
    if not container.format.name.startswith(INDEXED):
        return []
    entries = stream.index_entries
    if not len(entries) and last_s > 30:
        # Matroska reads its index at the first seek.
        try:
            container.seek(clock.stamp(0.0), stream=stream, backward=True)
        except av.error.FFmpegError:
            return []
        entries = stream.index_entries
    ticks = sorted({e.timestamp for e in entries if e.is_keyframe})
    # Decoding times: earlier than the times of showing by what reordering takes.
    return [clock.seconds(t - ticks[0]) for t in ticks]


def all_frames(
    container: Any,
    stream: Any,
    path: str,
    beat: Beat,
    tally: Tally,
    wanted: Callable[[Any], bool] = lambda packet: True,
) -> Iterator[Any]:
    """Frames in order from where the container stands; bad packets are skipped and counted.

    Only packets that are `wanted` are decoded (asked before each one).
    """
    packets = container.demux(stream)
    misses = 0
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.error.FFmpegError as error:
            # The demuxer's own trouble: skip ahead a few times, then take it as the end.
            tally.bad += 1
            tally.packets += 1
            tally.words = tally.words or str(error.strerror or error)
            misses += 1
            if misses > 16:
                return
            continue
        except OSError as error:
            raise CannotRead(path, error.strerror or str(error)) from None
        beat()
        if packet.size:
            tally.packets += 1
            if not wanted(packet):
                continue
        try:
            frames = packet.decode()
        except av.error.EOFError:
            return
        except (av.error.FFmpegError, ValueError) as error:
            if not packet.size:
                continue  # Theora's word for "the same picture again"
            tally.bad += 1
            tally.words = tally.words or str(getattr(error, "strerror", None) or error)
            continue
        if packet.is_corrupt or any(f.is_corrupt for f in frames):
            tally.bad += 1
        yield from frames
