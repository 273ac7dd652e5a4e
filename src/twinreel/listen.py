"""Some seconds of a file's first audio track, as samples. Times count from the first picture.

waves, tracks = listen("film.mkv", [(10.0, 5.0)])    # one float32 (40000,), mono, 8 kHz
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import av
import numpy as np

from twinreel.errors import CannotRead, DecodeFailed
from twinreel.probe import opened, rational, video_stream
from twinreel.types import Floats

Beat = Callable[[], None]

RATE = 8000  # Hz; all that is compared lies below half of it under every pitch
LEAD_S = 0.5  # decoded ahead of a window: decoders need some packets before they sound right
PATIENCE_S = 30.0  # of pictures after a window's end that may come by before its sound


def listen(
    path: str, places: Sequence[tuple[float, float]], beat: Beat = lambda: None
) -> tuple[list[Floats], int]:
    """Some (start, seconds) of a file's first audio track, and how many tracks it has.

    Times count from the first picture. What lies outside the track is 0.

    Returns:
        one float32 (round(seconds * 8000),) per place, mono, full scale 1; the number of tracks.

    Raises:
        CannotRead, CannotOpen, NoVideoStream, DecodeFailed.
    """
    waves = [np.zeros(max(0, round(seconds * RATE)), np.float32) for _, seconds in places]
    with opened(path) as container:
        tracks = len(container.streams.audio)
        if tracks:
            reader = _Ear(container, video_stream(container, path), path, beat)
            for (start_s, _), wave in zip(places, waves, strict=True):
                reader.fill(wave, start_s)
            if reader.bad and not reader.good:
                raise DecodeFailed(path, f"all {reader.bad} audio packets read are undecodable")
    return waves, tracks


def same_packets(
    a_path: str,
    b_path: str,
    places: Sequence[tuple[float, float, float]],
    apart_s: float,
    beat: Beat = lambda: None,
) -> tuple[int, int] | None:
    """The numbers of tracks of two files whose first tracks hold the very same coded sound, copied
    when one was made from the other; None where they do not.

    Nothing is decoded, and the first second tells most files apart.

    Args:
        places: (start in a, start in b, seconds) of what must be the same.
        apart_s: how much earlier or later b's packets may come.

    Raises:
        CannotRead, CannotOpen, NoVideoStream, DecodeFailed.
    """
    with opened(a_path) as a, opened(b_path) as b:
        if not a.streams.audio or not b.streams.audio:
            return None
        coded = [_coding(c.streams.audio[0].codec_context) for c in (a, b)]
        if coded[0] != coded[1] or coded[0] is None:
            return None
        ears = [
            _Ear(c, video_stream(c, path), path, beat) for c, path in ((a, a_path), (b, b_path))
        ]
        first = [(at, there, min(1.0, seconds)) for at, there, seconds in places[:1]]
        for at, there, seconds in [*first, *places]:
            mine = ears[0].packets(at, at + seconds)
            its = ears[1].packets(there - apart_s, there + seconds + apart_s)
            if len(mine) < 3 or not _within(mine, its):
                return None
        return len(a.streams.audio), len(b.streams.audio)


def _coding(context: Any) -> Any:
    """What must agree before packets can mean the same; None where there is no decoder."""
    if context is None:
        return None
    return context.name, context.sample_rate, context.channels, bytes(context.extradata or b"")


def _within(row: Sequence[bytes], of: Sequence[bytes]) -> bool:
    """Whether `row` stands in `of`, unbroken."""
    n = len(row)
    return any(of[i : i + n] == row for i in range(len(of) - n + 1) if of[i] == row[0])


class _Ear:
    """Reads stretches of the first audio track."""

    def __init__(self, container: Any, picture: Any, path: str, beat: Beat) -> None:
        self._container, self._picture, self._path, self._beat = container, picture, path, beat
        self._track = container.streams.audio[0]
        if self._track.codec_context is None:
            raise DecodeFailed(path, "no decoder for its audio codec")
        self._track.codec_context.thread_count = 1
        base = rational(picture.time_base)
        begin = picture.start_time
        self._zero_s = float(begin * base) if begin is not None and base else 0.0
        self._lead_s = LEAD_S
        self._first_s: float | None = None  # of the packets read since the last seek
        self._over_s = float("inf")  # where the track is known to have ended
        self.good = self.bad = 0  # packets

    def fill(self, wave: Floats, start_s: float) -> None:
        """Write what is heard from `start_s` on into `wave`; what is not there stays as it is."""
        end_s = start_s + len(wave) / RATE
        while start_s < self._over_s:
            aim_s = max(0.0, start_s - self._lead_s)
            self._seek(aim_s)
            for at_s, sound in self._runs(start_s, end_s, aim_s == 0):
                _place(wave, sound, round((at_s - start_s) * RATE))
            if aim_s == 0 or (self._first_s is not None and self._first_s <= start_s):
                return
            # Landed too late, or behind all the sound: the packets may lie far from the pictures.
            self._lead_s = 4 * self._lead_s + 1.0
            if self._first_s is None and self._lead_s > PATIENCE_S:
                self._lead_s = float("inf")

    def packets(self, start_s: float, end_s: float) -> list[bytes]:
        """The track's packets that begin in a stretch, as they are coded."""
        self._seek(max(0.0, start_s - self._lead_s))
        return [bytes(p) for p, at in self._packets(start_s, end_s, True) if start_s <= at]

    def _seek(self, at_s: float) -> None:
        """To `at_s` after the first picture, or a little before; 0 is the track's beginning."""
        base = rational(self._track.time_base)
        stamp = self._track.start_time or 0  # sound may begin before the picture
        if at_s > 0 and base:
            stamp = int((at_s + self._zero_s) / base)
        try:
            # By the track's own packets: pictures may lie far from the sound that goes with them.
            self._container.seek(stamp, stream=self._track, backward=True)
        except av.error.FFmpegError as error:
            raise DecodeFailed(self._path, f"no way to {at_s:.1f} s: {error.strerror}") from None

    def _runs(
        self, start_s: float, end_s: float, from_first: bool
    ) -> Iterator[tuple[float, Floats]]:
        """(time, samples at 8 kHz): unbroken stretches from where the container stands."""
        run: list[Floats] = []
        begun = expected = 0.0
        kind: Any = None
        resampler: Any = None
        fifo: Any = None  # a second of sound at a time is resampled: a packet has a few ms
        for frame in self._frames(start_s, end_s, from_first):
            at_s = expected if frame.time is None else frame.time - self._zero_s
            this = (frame.format.name, frame.layout.name, frame.sample_rate)
            # Millisecond timestamps jitter; what is further off is a gap.
            if this != kind or abs(at_s - expected) > 0.04:
                if resampler:
                    yield begun, np.concatenate([*run, *_rest(fifo, resampler)])
                resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
                fifo = av.AudioFifo()
                run, begun, kind, expected = [np.zeros(0, np.float32)], at_s, this, at_s
            expected += frame.samples / frame.sample_rate
            frame.pts = None
            fifo.write(frame)
            if fifo.samples >= frame.sample_rate:
                run += _samples(resampler.resample(fifo.read()))
        if resampler:
            yield begun, np.concatenate([*run, *_rest(fifo, resampler)])

    def _frames(self, start_s: float, end_s: float, from_first: bool) -> Iterator[Any]:
        """Decoded audio frames for start_s..end_s; broken packets are left out.

        Nothing is decoded where the first packet is too late already and an earlier one can be
        had, i.e. not with `from_first`.
        """
        for packet, _ in self._packets(start_s, end_s, from_first):
            try:
                frames = packet.decode()
            except (av.error.FFmpegError, ValueError):
                self.bad += 1
                continue
            self.good += bool(frames)
            yield from frames

    def _packets(
        self, start_s: float, end_s: float, from_first: bool
    ) -> Iterator[tuple[Any, float]]:
        """(packet of the track, when it sounds) from LEAD_S before start_s to end_s."""
        packets = self._container.demux(self._track, self._picture)
        # A float each: a fraction a packet costs more than reading it.
        bases = {s.index: float(rational(s.time_base) or 0) for s in (self._track, self._picture)}
        misses = 0
        self._first_s = None
        while misses <= 16:
            try:
                packet = next(packets)
            except StopIteration:
                break
            except av.error.FFmpegError:
                misses += 1
                continue
            except OSError as error:
                raise CannotRead(self._path, error.strerror or str(error)) from None
            self._beat()
            base = bases[packet.stream.index]
            stamp = packet.pts if packet.pts is not None else packet.dts
            at_s = stamp * base - self._zero_s if stamp is not None and base else None
            if packet.stream.index != self._track.index:
                behind = at_s is not None and at_s > end_s + PATIENCE_S
                if behind and (self._first_s is not None or not from_first):
                    break  # the track has ended or pauses: the rest of a film is not read for it
                continue
            if at_s is not None:
                if self._first_s is None:
                    self._first_s = at_s
                if self._first_s > start_s and not from_first:
                    return
                if at_s > end_s:
                    return
                if at_s < start_s - LEAD_S:
                    continue
            yield packet, start_s if at_s is None else at_s
        if from_first:
            self._over_s = end_s


def _rest(fifo: Any, resampler: Any) -> list[Floats]:
    """What is still held back of a stretch."""
    left = _samples(resampler.resample(fifo.read())) if fifo.samples else []
    return [*left, *_samples(resampler.resample(None))]


def _samples(frames: Sequence[Any]) -> list[Floats]:
    """Mono frames -> their samples, each (n,)."""
    return [f.to_ndarray().reshape(-1).astype(np.float32) for f in frames]


def _place(wave: Floats, sound: Floats, at: int) -> None:
    """Copy `sound` into `wave` from index `at` on, as far as they overlap."""
    start, stop = max(at, 0), min(at + len(sound), len(wave))
    if stop > start:
        wave[start:stop] = sound[start - at : stop - at]
