"""A video file -> the pictures at the planned moments, small, upright, borders cut.

`look` is what a worker process runs: probe, sample and decode in one opening of the file.

    looked = look(LookTask("film.mkv", (160, 160)))
    looked.batch.pixels            # uint8 (n, 160, 160, 3), RGB
    looked.batch.times_s           # float64 (n,), seconds from the first frame

Memory does not grow with the length of the video: pictures are scaled down as they come and sent
on in chunks. Bad packets are skipped and counted; what is too damaged raises DecodeFailed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from twinreel import picture
from twinreel.errors import DecodeFailed, VideoError
from twinreel.frames import Beat, Clock, Tally, all_frames, frames_at, rotation_of
from twinreel.inset import find_inset
from twinreel.options import SampleOptions
from twinreel.probe import describe, opened, video_stream
from twinreel.sample import plan
from twinreel.types import FrameBatch, Pixels, Seconds, VideoInfo

CHUNK = 64  # moments sent at a time; borders are found on the first chunk


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
    """Some moments of the video in work: pictures, which of them are blank, and what another
    picture inside them shows, where there is one (inset.py)."""

    batch: FrameBatch
    blank: npt.NDArray[np.bool_]
    inner: Pixels | None = None


@dataclass(frozen=True)
class Looked:
    """All that was learnt beside the pictures, sent when a video is done."""

    info: VideoInfo
    step_s: float
    planned: int
    got: int
    picture: tuple[float, float, float, float]
    detail: float
    noise: float
    damage: str
    thumbs: tuple[tuple[float, bytes], ...]


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
        length_s = info.duration_s or measure(task.path, beat)
        moments = plan(length_s, task.sample)
        shrink = picture.Shrinker(task.size)
        chosen = _spread(len(moments.times_s), 3)
        held: list[Pixels] = []
        times: list[float] = []
        sharp: list[Pixels] = []
        thumbs: list[tuple[float, Pixels]] = []
        rect = picture.WHOLE
        inset: picture.Rect | None = None
        detail = 0.0
        noise: list[float] = []
        got = 0

        def flush() -> Chunk:
            nonlocal rect, inset, detail, got
            if got == 0:
                rect = picture.find_picture(held)
            for grey in sharp:
                hiss = picture.noise(grey, rect)
                detail = picture.detail([grey], rect, detail, hiss)
                noise.append(float(hiss[len(hiss) // 2 :].mean()))
            sharp.clear()
            pixels = np.stack([picture.cut(p, rect, task.size) for p in held])
            if got == 0 and (found := find_inset(pixels)) is not None:
                inset = picture.within(rect, found)
            blank = np.array([picture.is_blank(p) for p in pixels])
            if task.thumbs:
                for t, p in zip(times, pixels, strict=True):
                    picture.add_thumb(thumbs, t, p)
            got += len(held)
            inner = None
            if inset is not None:
                inner = np.stack([picture.cut(p, inset, task.size) for p in held])
            chunk = Chunk(FrameBatch(pixels, np.array(times)), blank, inner)
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
        info = replace(describe(container, stream, rotation), duration_s=length_s)
        yield Looked(
            info,
            moments.step_s,
            len(moments.times_s),
            got,
            rect,
            detail,
            float(np.median(noise)) if noise else 0.0,
            _damage(info, moments.times_s, got, tally),
            picture.fit_thumbs(thumbs),
        )


def measure(path: str, beat: Beat = lambda: None) -> float:
    """Seconds of a video whose header does not tell, from its packets; nothing is decoded.

    Recordings of browsers and cut-off streams are such; without timestamps packets are counted.
    """
    with opened(path) as container:
        stream = video_stream(container, path)
        clock = Clock(stream)
        first = last = None
        count = 0
        try:
            for packet in container.demux(stream):
                beat()
                count += packet.size > 0
                if packet.pts is not None:
                    at = clock.seconds(packet.pts)
                    first = at if first is None else min(first, at)
                    last = at if last is None else max(last, at)
        except av.error.FFmpegError:
            pass  # up to here it can be read; decoding will say what is wrong
    if first is None or last is None:
        return count * clock.frame_s
    return last - first + clock.frame_s


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


def check_intact(path: str, full: bool = False, beat: Beat = lambda: None) -> str:
    """Whether a file can be read to its end: '' when intact, else what is wrong.

    Reads every packet and decodes from the last key frame on; `full` decodes everything.
    """
    try:
        with opened(path) as container:
            stream = video_stream(container, path)
            expected = describe(container, stream).duration_s
            clock = Clock(stream)
            tally = Tally()
            if full:
                for frame in all_frames(container, stream, path, beat, tally):
                    tally.last_s = max(tally.last_s, sum(clock.of(frame)))
            else:
                _read_tail(container, stream, clock, beat, tally)
    except VideoError as error:
        return error.detail
    if tally.bad:
        return f"{tally.bad} of {tally.packets} packets are undecodable"
    if expected and expected - tally.last_s > max(1.0, 0.02 * expected):
        return f"ends at {tally.last_s:.1f} s of {expected:.1f} s"
    return "" if tally.last_s or not expected else "no frame could be decoded"


def _read_tail(container: Any, stream: Any, clock: Clock, beat: Beat, tally: Tally) -> None:
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
                tally.last_s = max(tally.last_s, sum(clock.of(frame)))
    except av.error.FFmpegError:
        tally.bad += 1
