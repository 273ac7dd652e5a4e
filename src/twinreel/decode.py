"""A video file -> the pictures at the planned moments, small, upright, borders cut.

`look` is what a worker process runs: probe, sample and decode in one opening of the file.

    looked = look(LookTask("film.mkv", (160, 160)))
    looked.batch.pixels            # uint8 (n, 160, 160, 3), RGB
    looked.batch.times_s           # float64 (n,), seconds from the first frame

Memory does not grow with the length of the video: pictures are scaled down as they come and sent
on in chunks. Bad packets are skipped and counted; what is too damaged raises DecodeFailed.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from twinreel import picture
from twinreel.errors import CannotRead, DecodeFailed
from twinreel.options import SampleOptions
from twinreel.probe import describe, opened, rational, video_stream
from twinreel.sample import plan
from twinreel.types import FrameBatch, Pixels, Seconds, VideoInfo

Beat = Callable[[], None]
CHUNK = 64  # moments sent at a time; borders are found on the first chunk
SEEK_GAIN = 12  # a seek costs about as much as decoding this many frames
UNKNOWN_GAIN_S = 12.0  # without an index, seek only over at least this many seconds
RAW_FPS = 25.0  # streams without timestamps are read at this rate unless they state one
# Decoders whose non-reference frames can be left out one by one.
_DROPPABLE = {"h264", "hevc", "mpeg4", "mpeg2video"}


@dataclass(frozen=True)
class LookTask:
    """What to look at: which file, at what size, which moments, how forgiving."""

    path: str
    size: tuple[int, int] = (160, 160)  # height, width
    sample: SampleOptions = field(default_factory=SampleOptions)
    bad_packets: float = 0.05
    thumbs: bool = True
    key: str = ""


@dataclass(frozen=True)
class Chunk:
    """Some moments of the video in work: pictures and which of them are blank."""

    batch: FrameBatch
    blank: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Looked:
    """All that was learnt beside the pictures, sent when a video is done."""

    info: VideoInfo
    step_s: float
    planned: int
    got: int
    picture: tuple[float, float, float, float]
    detail: float
    damage: str
    thumbs: tuple[tuple[float, bytes], ...]


@dataclass
class Tally:
    """What went wrong while reading, counted."""

    packets: int = 0
    bad: int = 0
    last_s: float = 0.0
    frames: int = 0
    rotation: int = 0
    words: str = ""


def work(task: LookTask, emit: Callable[[Any], None], beat: Beat) -> None:
    """A worker's job: emit the Chunks of a video, then its Looked."""
    for item in look(task, beat):
        emit(item)


def look(task: LookTask, beat: Beat = lambda: None) -> Iterator[Chunk | Looked]:
    """Probe, sample and decode one video: some Chunks, at last one Looked.

    Raises:
        CannotRead, CannotOpen, NoVideoStream, DecodeFailed.
    """
    tally = Tally()
    with opened(task.path) as container:
        stream = video_stream(container, task.path)
        info = describe(container, stream)
        moments = plan(info.duration_s or _long_enough(task.sample), task.sample)
        shrink = picture.Shrinker(task.size)
        chosen = _spread(len(moments.times_s), 3)
        held: list[Pixels] = []
        times: list[float] = []
        sharp: list[Pixels] = []
        thumbs: list[tuple[float, bytes]] = []
        rect = picture.WHOLE
        detail = 0.0
        got = 0

        def flush() -> Chunk:
            nonlocal rect, detail, got
            if got == 0:
                rect = picture.find_picture(held)
            if sharp:
                detail = picture.detail(sharp, rect, before=detail)
                sharp.clear()
            pixels = np.stack([picture.cut(p, rect, task.size) for p in held])
            blank = np.array([picture.is_blank(p) for p in pixels])
            if task.thumbs:
                for t, p in zip(times, pixels, strict=True):
                    picture.add_thumb(thumbs, t, p)
            got += len(held)
            chunk = Chunk(FrameBatch(pixels, np.array(times)), blank)
            held.clear()
            times.clear()
            return chunk

        nearest_key = task.sample.sampler == "keyframes"
        reader = frames_at(container, stream, moments.times_s, task.path, beat, tally, nearest_key)
        for index, time_s, frame in reader:
            turned = rotation_of(frame)
            if frame.rotation != tally.rotation and not got and not held:
                tally.rotation = frame.rotation
            held.append(np.rot90(shrink(frame), turned))
            times.append(time_s)
            if index in chosen:
                sharp.append(np.rot90(picture.luma(frame), turned))
            if len(held) == CHUNK:
                yield flush()
        if held:
            yield flush()
        if not got:
            raise DecodeFailed(task.path, tally.words or "no frame could be decoded")
        if tally.bad > 3 and tally.bad > task.bad_packets * tally.packets:
            share = f"{tally.bad} of {tally.packets} packets are undecodable"
            raise DecodeFailed(task.path, f"{share} (limit {task.bad_packets:.0%})")
        rotation = -tally.rotation % 360
        info = describe(container, stream, rotation)
        if not info.duration_s:
            info = replace(info, duration_s=tally.last_s)
        yield Looked(
            info,
            moments.step_s,
            len(moments.times_s),
            got,
            rect,
            detail,
            _damage(info, moments.times_s, got, tally),
            picture.fit_thumbs(thumbs),
        )


def _long_enough(options: SampleOptions) -> float:
    """Seconds to plan for when the header knows no duration: what the dials can reach."""
    return options.moments / 4 if options.sampler != "fps" else 24 * 3600.0


def _spread(n: int, k: int) -> set[int]:
    """k places spread inside range(n)."""
    return {int((i + 1) * n / (k + 1)) for i in range(k)}


def _damage(info: VideoInfo, times_s: Seconds, got: int, tally: Tally) -> str:
    """'' for an intact video, else what is wrong in words."""
    words = []
    if tally.bad:
        words.append(f"{tally.bad} of {tally.packets} packets undecodable")
    if info.duration_s and got < len(times_s):
        step = times_s[1] - times_s[0] if len(times_s) > 1 else 0.0
        if times_s[-1] - tally.last_s > max(0.5, 0.5 * step):
            words.append(f"ends at {tally.last_s:.1f} s of {info.duration_s:.1f} s")
    return "; ".join(words)


def rotation_of(frame: Any) -> int:
    """Quarter turns (counter-clockwise, for np.rot90) that set the frame upright."""
    return round((frame.rotation or 0) / 90) % 4


class _Clock:
    """Seconds from the first frame, out of a stream's timestamps."""

    def __init__(self, stream: Any) -> None:
        self.base = rational(stream.time_base)
        self.start: float | None = None
        if self.base is not None and stream.start_time is not None:
            self.start = float(stream.start_time * self.base)
        rate = rational(stream.guessed_rate) or rational(stream.average_rate)
        self.frame_s = 1.0 / (float(rate) if rate else RAW_FPS)
        self._count = 0

    def of(self, frame: Any) -> float:
        """A frame's time; counted at the stream's rate where it has no timestamp."""
        at = frame.time
        if at is None:
            at = self._count * self.frame_s + (self.start or 0.0)
        self._count += 1
        if self.start is None:
            self.start = at
        return float(at - self.start)

    def lasts(self, frame: Any) -> float:
        """How long a frame is shown, as far as the container tells; 0.0 when it does not."""
        return float(frame.duration * self.base) if frame.duration and self.base else 0.0

    def stamp(self, seconds: float) -> int:
        """Seconds from the first frame -> a timestamp of the stream."""
        assert self.base is not None
        return int((seconds + (self.start or 0.0)) / self.base)


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

    The frame shown at t is the last one whose timestamp is not after t. Seeks where the index
    shows that this saves decoding; moments that cannot be read are left out. With `nearest_key`
    only key frames are decoded and their own times are given, each at most once.
    """
    context = stream.codec_context
    context.thread_count = 1  # one process per core decodes; threads would only fight
    clock = _Clock(stream)
    if nearest_key:
        context.skip_frame = "NONKEY"
    keys = _key_times(container, stream, clock, float(times_s[-1]))
    droppable = context.name in _DROPPABLE and not nearest_key
    seekable = clock.base is not None and clock.start is not None
    source = _frames(container, stream, path, beat, tally)
    shown: Any = None  # the frame on the screen, at shown_s
    shown_s = -1.0
    coming: Any = None  # the one after it, already decoded
    coming_s = -1.0
    given_s = -1.0
    ended = False
    for index, t in enumerate(times_s.tolist()):
        now = max(shown_s, coming_s)
        if seekable and not ended and _worth_a_seek(keys, now, t, clock.frame_s, nearest_key):
            try:
                container.seek(clock.stamp(t), stream=stream, backward=True)
            except (av.error.FFmpegError, OverflowError):
                seekable = False
            else:
                source = _frames(container, stream, path, beat, tally)
                before, shown, coming = now, None, None
                shown_s = coming_s = -1.0
        else:
            before = -1.0
        while not ended:
            if shown is not None:
                if coming is not None:
                    if coming_s > t:
                        break
                    shown, shown_s, coming = coming, coming_s, None
                if shown_s <= t < shown_s + clock.lasts(shown) or shown_s > t or nearest_key:
                    break
            if droppable:
                far = t - max(shown_s, 0.0) > 1.0 if shown is not None else False
                context.skip_frame = "NONREF" if far else "DEFAULT"
            frame = next(source, None)
            if frame is None:
                ended = True
                break
            frame_s = clock.of(frame)
            tally.frames += 1
            tally.last_s = max(tally.last_s, frame_s + clock.lasts(frame))
            if before >= 0 and frame_s < before - 1.0 and keys:
                seekable = False  # the index lies; go on without seeking
            before = -1.0
            if shown is None or frame_s <= t:
                shown, shown_s, coming = frame, frame_s, None
            else:
                coming, coming_s = frame, frame_s
        if shown is None:
            if ended:
                return
            continue
        if ended and t > tally.last_s + clock.frame_s:
            return
        at = shown_s if nearest_key or shown_s > t else t
        if at > given_s:
            given_s = at
            yield index, at, shown


def _key_times(container: Any, stream: Any, clock: _Clock, last_s: float) -> list[float]:
    """Times of the key frames that the container's index lists, sorted; [] when it has none."""
    if clock.base is None or clock.start is None:
        return []
    entries = stream.index_entries
    if not len(entries) and last_s > 30:
        # Matroska reads its index at the first seek.
        try:
            container.seek(clock.stamp(0.0), stream=stream, backward=True)
        except av.error.FFmpegError:
            return []
        entries = stream.index_entries
    base, start = float(clock.base), clock.start
    return sorted({e.timestamp * base - start for e in entries if e.is_keyframe})


def _worth_a_seek(
    keys: list[float], now: float, t: float, frame_s: float, nearest_key: bool
) -> bool:
    """Whether seeking to t from `now` skips frames that would else be decoded."""
    if not keys:
        return t - max(now, 0.0) > UNKNOWN_GAIN_S
    at = bisect.bisect_right(keys, t) - 1
    if at < 0 or keys[at] <= now:
        return False
    gain = 2 if nearest_key else SEEK_GAIN
    return keys[at] - max(now, 0.0) > gain * frame_s


def _frames(container: Any, stream: Any, path: str, beat: Beat, tally: Tally) -> Iterator[Any]:
    """Frames in order from where the container stands; bad packets are skipped and counted."""
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
        try:
            frames = packet.decode()
        except av.error.EOFError:
            return
        except (av.error.FFmpegError, ValueError) as error:
            tally.bad += 1
            tally.words = tally.words or str(getattr(error, "strerror", None) or error)
            continue
        if packet.is_corrupt or any(f.is_corrupt for f in frames):
            tally.bad += 1
        for frame in frames:
            yield frame


def check_intact(path: str, full: bool = False, beat: Beat = lambda: None) -> str:
    """Whether a file can be read to its end: '' when intact, else what is wrong.

    Reads every packet and decodes from the last key frame on; `full` decodes everything.
    """
    from twinreel.errors import VideoError

    try:
        with opened(path) as container:
            stream = video_stream(container, path)
            expected = describe(container, stream).duration_s
            clock = _Clock(stream)
            tally = Tally()
            if full:
                for frame in _frames(container, stream, path, beat, tally):
                    tally.last_s = max(tally.last_s, clock.of(frame) + clock.lasts(frame))
            else:
                _read_tail(container, stream, clock, beat, tally)
    except VideoError as error:
        return error.detail
    if tally.bad:
        return f"{tally.bad} of {tally.packets} packets are undecodable"
    if expected and expected - tally.last_s > max(1.0, 0.02 * expected):
        return f"ends at {tally.last_s:.1f} s of {expected:.1f} s"
    return "" if tally.last_s or not expected else "no frame could be decoded"


def _read_tail(container: Any, stream: Any, clock: _Clock, beat: Beat, tally: Tally) -> None:
    """Demux all packets, decoding only those from the last key frame on."""
    tail: list[Any] = []
    try:
        for packet in container.demux(stream):
            beat()
            if not packet.size:
                continue
            tally.packets += 1
            tally.bad += packet.is_corrupt
            if packet.is_keyframe:
                tail.clear()
            tail.append(packet)
    except av.error.FFmpegError:
        tally.bad += 1
    try:
        for packet in [*tail, None]:
            for frame in stream.codec_context.decode(packet):
                tally.last_s = max(tally.last_s, clock.of(frame) + clock.lasts(frame))
    except av.error.FFmpegError:
        tally.bad += 1
