"""A video as fragmented MP4 on standard output, for a browser that cannot read it as it is.

    python -m twinreel.review.stream transcode 12.500 film.mkv > part.mp4

`remux` copies the pictures as they are from the key frame at or before the given second on;
`transcode` makes H.264 of at most 720 lines from exactly that second on. Sound becomes AAC.

Note [where time starts]: time 0 of a transcoded stream is the second asked for. Of a copied one it
is the key frame's decoding time, a little before the frame is shown (reordering): MP4 in fragments
knows no earlier time. `start_of` tells it, so that the page can add it to the browser's time.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Protocol

import av
import numpy as np

from twinreel.errors import DecodeFailed, TwinreelError
from twinreel.frames import Clock, rotation_of
from twinreel.probe import opened, rational, video_stream

LINES = 720
BASE = Fraction(1, 90_000)
_OPTIONS = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "frag_duration": "500000"}
_ENCODER = {"preset": "ultrafast", "crf": "25", "tune": "zerolatency"}
_AUDIO_RATE = 48_000
MOST_REORDERED = 16  # packets, by H.264 and H.265


def convert(path: str, mode: str, from_s: float, out: str) -> None:
    """Write `path` from `from_s` on as fragmented MP4 to `out` (a file or 'pipe:1')."""
    with opened(path) as source, av.open(out, "w", format="mp4", options=_OPTIONS) as target:
        video = video_stream(source, path)
        sound = next(iter(source.streams.audio), None)
        clock = Clock(video)
        copies = mode == "remux"
        if copies:
            from_s, zero_s = _key_before(source, video, clock, from_s, path)
        else:
            zero_s = from_s
        picture: _Part = (
            _Copy(target, video, zero_s, clock) if copies else _Encode(target, from_s, clock)
        )
        hear = _Sound(target, sound, zero_s, clock) if sound and sound.codec_context else None
        _seek(source, video, clock, from_s)
        parts: dict[int, _Part] = {video.index: picture}
        if sound and hear:
            parts[sound.index] = hear
        waiting: list[Any] = []  # the header is written with the first packet: all streams by then
        for packet in source.demux([s for s in (video, sound if hear else None) if s]):
            try:
                waiting += parts[packet.stream.index].take(packet)
            except av.error.InvalidDataError:
                continue  # a damaged packet; the picture goes on after it
            if picture.out is not None:
                target.mux(waiting)
                waiting = []
        for part in parts.values():
            target.mux(list(part.end()))


def start_of(path: str, mode: str, from_s: float) -> float:
    """Which second of the video is time 0 of its stream (Note [where time starts])."""
    if mode != "remux":
        return from_s
    with opened(path) as source:
        video = video_stream(source, path)
        return _key_before(source, video, Clock(video), from_s, path)[1]


def _seek(source: Any, video: Any, clock: Clock, at_s: float) -> None:
    source.seek(clock.stamp(at_s), stream=video, backward=True)


def _key_before(
    source: Any, video: Any, clock: Clock, at_s: float, path: str
) -> tuple[float, float]:
    """(time of showing, time of decoding) of the key frame at or before `at_s`, in seconds."""
    _seek(source, video, clock, at_s)
    order = _Decoding(clock)
    for packet in source.demux(video):
        for timed in order.take(packet):
            base, first = float(timed.time_base), clock.start or 0.0
            return max(0.0, timed.pts * base - first), timed.dts * base - first
    raise DecodeFailed(path, f"no key frame before {at_s:.2f} s")


class _Decoding:
    """Packets of pictures from the first key frame on, each with a decoding time.

    Matroska stores none; FFmpeg works them out from the reordering, but not for the first few
    packets after a seek. Theirs are counted back from the first that is known.
    """

    def __init__(self, clock: Clock) -> None:
        self.frame_s = clock.frame_s
        self.held: list[Any] = []
        self.last: int | None = None

    def take(self, packet: Any) -> Iterator[Any]:
        if packet.pts is None or not packet.size:
            return
        if self.last is None:
            if not self.held and not packet.is_keyframe:
                return
            self.held.append(packet)
            if packet.dts is None and len(self.held) <= MOST_REORDERED:
                return
            yield from self.end()
        else:
            yield self._after(packet, packet.dts)

    def end(self) -> Iterator[Any]:
        """What is still held: all packets of a very short video."""
        if not self.held:
            return
        step = max(1, round(self.frame_s / float(self.held[0].time_base)))
        known = self.held[-1].dts
        last: int = min(p.pts for p in self.held) if known is None else known
        for n, packet in enumerate(self.held):
            yield self._after(packet, last - (len(self.held) - 1 - n) * step)
        self.held = []

    def _after(self, packet: Any, dts: int | None) -> Any:
        dts = packet.pts if dts is None else min(dts, packet.pts)
        packet.dts = self.last = dts if self.last is None else max(self.last + 1, dts)
        return packet


class _Part(Protocol):
    """One stream on its way; `out` is None until its shape is known."""

    out: Any

    def take(self, packet: Any) -> Iterator[Any]: ...

    def end(self) -> Iterator[Any]: ...


class _Copy:
    """Packets of pictures as they are, moved to `zero_s`."""

    def __init__(self, target: Any, stream: Any, zero_s: float, clock: Clock) -> None:
        self.out = target.add_stream_from_template(stream)
        self.base = rational(stream.time_base) or BASE
        self.shift = round((zero_s + (clock.start or 0.0)) / float(self.base))
        self.order = _Decoding(clock)

    def take(self, packet: Any) -> Iterator[Any]:
        return map(self._moved, self.order.take(packet))

    def end(self) -> Iterator[Any]:
        return map(self._moved, self.order.end())

    def _moved(self, packet: Any) -> Any:
        packet.pts -= self.shift
        packet.dts -= self.shift
        packet.stream = self.out
        return packet


class _Encode:
    """Pictures decoded, set upright, scaled and encoded as H.264."""

    def __init__(self, target: Any, from_s: float, clock: Clock) -> None:
        self.target, self.from_s, self.clock = target, from_s, clock
        self.out: Any = None
        self.last = -1

    def take(self, packet: Any) -> Iterator[Any]:
        for frame in packet.decode():
            at = self.clock.of(frame)[0] - self.from_s
            if at < -1e-3:
                continue
            yield from self._encode(frame, round(at / float(BASE)))

    def _encode(self, frame: Any, pts: int) -> Iterator[Any]:
        if pts <= self.last:
            return  # two pictures for one moment
        turns = rotation_of(frame)
        if turns:
            pixels = np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), turns))
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        if self.out is None:
            self._start(frame)
        self.last = pts
        frame = frame.reformat(width=self.out.width, height=self.out.height, format="yuv420p")
        frame.pts, frame.time_base, frame.pict_type = pts, BASE, 0
        yield from self.out.encode(frame)

    def _start(self, frame: Any) -> None:
        scale = min(1.0, LINES / frame.height)
        self.out = self.target.add_stream("libx264", rate=25, options=_ENCODER)
        self.out.width = max(2, round(frame.width * scale / 2) * 2)
        self.out.height = max(2, round(frame.height * scale / 2) * 2)
        self.out.pix_fmt = "yuv420p"
        self.out.codec_context.time_base = BASE
        self.out.codec_context.gop_size = 50

    def end(self) -> Iterator[Any]:
        if self.out is not None:
            yield from self.out.encode(None)


class _Sound:
    """Sound as stereo AAC."""

    def __init__(self, target: Any, stream: Any, from_s: float, clock: Clock) -> None:
        self.out = target.add_stream("aac", rate=_AUDIO_RATE)
        self.out.codec_context.layout = "stereo"
        self.resample = av.AudioResampler("fltp", "stereo", _AUDIO_RATE, frame_size=1024)
        self.start = from_s + (clock.start or 0.0)
        self.next: int | None = None

    def take(self, packet: Any) -> Iterator[Any]:
        for frame in packet.decode():
            if frame.time is None or frame.time < self.start:
                continue
            if self.next is None:
                self.next = round((frame.time - self.start) * _AUDIO_RATE)
            frame.pts = None
            yield from self._encode(self.resample.resample(frame))

    def _encode(self, frames: list[Any]) -> Iterator[Any]:
        for frame in frames:
            frame.pts, frame.time_base = self.next, Fraction(1, _AUDIO_RATE)
            self.next = (self.next or 0) + frame.samples
            yield from self.out.encode(frame)

    def end(self) -> Iterator[Any]:
        if self.next is not None:
            yield from self._encode(self.resample.resample(None))
            yield from self.out.encode(None)


def main(arguments: list[str]) -> int:
    mode, from_s, path = arguments
    if hasattr(os, "nice"):
        os.nice(5)
    try:
        convert(path, mode, float(from_s), "pipe:1")
    except (TwinreelError, av.error.FFmpegError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
