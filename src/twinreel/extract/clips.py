"""One decode of a video -> the frames and clips that any number of networks want, in chunks.

`work` runs in a worker process. It reads the file once, whatever the number of networks:

    file -> frames -> Sampling (which moments) -> Take (which picture, how many to a row) -> Rows

    for item in unroll(ClipTask("a.mp4", (Sampling("fps", 24.0, takes=(Take(view, frames=16),)),))):
        item.pixels            # Rows: uint8 (n, 16, 112, 112, 3); at last one Ended

Memory does not grow with the length of the video.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from twinreel.decode import measure
from twinreel.errors import DecodeFailed
from twinreel.extract import hardware
from twinreel.extract.filters import Chain, Lens, View
from twinreel.extract.options import SAMPLERS, TAILS
from twinreel.extract.timed import timed
from twinreel.frames import Beat, Tally
from twinreel.probe import describe, opened, video_stream
from twinreel.types import Seconds, VideoInfo

# Rows are sent when they hold this much, or when the first of them has waited so long: the network
# has nothing to do meanwhile.
CHUNK_BYTES, CHUNK_S = 4 << 20, 0.2


@dataclass(frozen=True)
class Take:
    """What one network sees: its picture, `frames` to a row, a new row every `stride` frames.

    tail: what becomes of a last row that is not full: 'pad' with black, 'loop' its frames, or
    'drop'.
    """

    view: View
    frames: int = 1
    stride: int = 1
    tail: str = "pad"

    def __post_init__(self) -> None:
        if self.frames < 1 or self.stride < 1:
            raise ValueError(f"frames and stride must be at least 1, got {self}")
        if self.tail not in TAILS:
            raise ValueError(f"tail must be one of {TAILS}, got {self.tail!r}")


@dataclass(frozen=True)
class Sampling:
    """Which moments are looked at.

    sampler: 'fps' (at `fps` a second, by libavfilter), 'uniform' (`count` moments in the middle of
    as many equal parts), 'keyframes', or 'all'.
    """

    sampler: str = "fps"
    fps: float = 1.0
    count: int = 0
    seed_exact: bool = False
    takes: tuple[Take, ...] = ()

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS:
            raise ValueError(f"sampler must be one of {SAMPLERS}, got {self.sampler!r}")
        if self.sampler == "fps" and self.fps <= 0:
            raise ValueError(f"fps must be positive, got {self.fps}")
        if self.sampler == "uniform" and self.count < 1:
            raise ValueError(f"count must be at least 1, got {self.count}")


@dataclass(frozen=True)
class ClipTask:
    """One video, or its seconds `start` to `end`, and all that is wanted of it."""

    path: str
    samplings: tuple[Sampling, ...]
    start: float = 0.0
    end: float | None = None
    bad_packets: float = 0.05
    name: str = ""
    gpu: str = ""  # number of the GPU that decodes, '' for the CPU


@dataclass(frozen=True)
class Rows:
    """Rows for take `take` of sampling `sampling`.

    pixels: uint8 (n, h, w, 3), or (n, frames, h, w, 3) for clips. spans_s: float64 (n, 2).
    """

    sampling: int
    take: int
    pixels: npt.NDArray[np.uint8]
    spans_s: Seconds


@dataclass(frozen=True)
class Ended:
    """What was learnt of the video by its end.

    frames: frames taken by each sampling. expected: what the header promised, 0 where unknown.
    last_valid: for each sampling and take, real frames in the last row. damage: '' or in words.
    decoder: 'cpu' or 'cuda'. refused: why it is not the one asked for.
    """

    info: VideoInfo
    frames: tuple[int, ...]
    expected: tuple[int, ...]
    last_valid: tuple[tuple[int, ...], ...]
    seen_s: float
    damage: str
    busy_s: float
    decoder: str = hardware.CPU
    refused: str = ""


def work(task: ClipTask, emit: Callable[[Any], None], beat: Beat) -> None:
    """A worker's job: emit the Rows of a video, then its Ended."""
    for item in unroll(task, beat):
        emit(item)


class _Cutter:
    """Frames of one sampling -> rows of one Take."""

    def __init__(self, take: Take, aspect: float, index: tuple[int, int]) -> None:
        self._take, self._index = take, index
        self._lens = Lens(take.view, aspect)
        self._window: list[tuple[npt.NDArray[np.uint8], float, float]] = []
        self._skip = 0
        self._rows: list[npt.NDArray[np.uint8]] = []
        self._spans: list[tuple[float, float]] = []
        self._bytes = 0
        self._since = 0.0  # when the first of the rows was made
        self._pending = 0  # frames since the last row was made
        self.valid = 0

    def add(self, frame: Any, start: float, end: float) -> Iterator[Rows]:
        """A frame that stands for the seconds start..end."""
        if self._skip:
            self._skip -= 1
            return
        self._window.append((self._lens(frame), start, end))
        self._pending += 1
        if len(self._window) == self._take.frames:
            yield from self._make()
            keep = max(0, self._take.frames - self._take.stride)
            self._skip = max(0, self._take.stride - self._take.frames)
            self._window = self._window[-keep:] if keep else []

    def _make(self) -> Iterator[Rows]:
        shapes = {w[0].shape for w in self._window}
        if len(shapes) > 1:
            raise _Changed(f"the picture changes its shape inside a clip: {sorted(shapes)}")
        valid = min(len(self._window), self._take.frames)
        if self._take.frames == 1:
            row = self._window[0][0]
        else:
            pictures = [w[0] for w in self._window]
            if self._take.tail == "loop":
                pictures = [pictures[i % valid] for i in range(self._take.frames)]
            else:
                pictures += [np.zeros_like(pictures[0])] * (self._take.frames - valid)
            row = np.stack(pictures)
        if self._rows and self._rows[0].shape != row.shape:
            yield self._flush()
        if not self._rows:
            self._since = time.monotonic()
        self._rows.append(row)
        self._spans.append((self._window[0][1], self._window[valid - 1][2]))
        self._bytes += row.nbytes
        self._pending = 0
        self.valid = valid
        if self._bytes >= CHUNK_BYTES or time.monotonic() - self._since > CHUNK_S:
            yield self._flush()

    def _flush(self) -> Rows:
        rows = Rows(*self._index, np.stack(self._rows), np.array(self._spans, np.float64))
        self._rows, self._spans, self._bytes = [], [], 0
        return rows

    def end(self) -> Iterator[Rows]:
        """The last row, if frames are left that no row has shown."""
        if self._window and self._pending and self._take.tail != "drop":
            yield from self._make()
        if self._rows:
            yield self._flush()


class _Changed(Exception):
    """The stream changes its picture size where a clip needs one."""


class _Sampler:
    """Frames with their seconds -> those that one Sampling takes, handed to its cutters."""

    def __init__(self, index: int, sampling: Sampling, aspect: float, length_s: float) -> None:
        self._sampling = sampling
        self.cutters = [_Cutter(t, aspect, (index, i)) for i, t in enumerate(sampling.takes)]
        self.frames = 0
        self._last: tuple[Any, float, float] | None = None
        args = f"fps={Fraction(sampling.fps).limit_denominator(100_000)}"
        self._chain = Chain([("fps", args)])
        self._times: list[float] = []
        if sampling.sampler == "uniform":
            n = sampling.count
            self._times = [(i + 0.5) * length_s / n for i in range(n)][::-1]

    def expected(self, length_s: float) -> int:
        """How many frames a video of this length should give; 0 where that is not known."""
        if self._sampling.sampler == "uniform":
            return self._sampling.count
        if self._sampling.sampler == "fps":
            return int(length_s * self._sampling.fps + 0.5)
        return 0

    def add(self, frame: Any, start: float, end: float) -> Iterator[Rows]:
        kind = self._sampling.sampler
        if kind == "fps":
            for out in self._chain.push(frame):
                yield from self._steady(out)
            if not self.frames and self._last is None:
                self._last = (frame, start, end)
        elif kind == "all" or (kind == "keyframes" and frame.key_frame):
            yield from self._take(frame, start, end)
        elif kind == "uniform":
            # The frame shown at t is the last one that begins at or before t.
            while self._last is not None and self._times and self._times[-1] < start:
                yield from self._shown(self._times.pop())
            self._last = (frame, start, end)

    def _steady(self, frame: Any) -> Iterator[Rows]:
        self._last = None
        at = frame.pts / self._sampling.fps
        if self._sampling.seed_exact:
            # The command line of ffmpeg fills the time before the first picture with it.
            for early in range(0 if self.frames else frame.pts):
                yield from self._take(frame, early / self._sampling.fps, at)
        yield from self._take(frame, at, at + 1 / self._sampling.fps)

    def _shown(self, at: float) -> Iterator[Rows]:
        assert self._last is not None
        frame, start, end = self._last
        yield from self._take(frame, max(at, start), max(end, at))

    def _take(self, frame: Any, start: float, end: float) -> Iterator[Rows]:
        self.frames += 1
        for cutter in self.cutters:
            yield from cutter.add(frame, start, end)

    def end(self) -> Iterator[Rows]:
        """What the filter held back; at least one frame of any video that has one."""
        if self._sampling.sampler == "fps":
            for out in self._chain.end():
                yield from self._steady(out)
            if not self.frames and self._last is not None and not self._sampling.seed_exact:
                yield from self._take(*self._last)
        elif self._sampling.sampler == "uniform" and self._last is not None:
            # A moment past the last frame's end was promised by the header and never came.
            while self._times and (self._times[-1] <= self._last[2] or not self.frames):
                yield from self._shown(self._times.pop())
        for cutter in self.cutters:
            yield from cutter.end()


def unroll(task: ClipTask, beat: Beat = lambda: None) -> Iterator[Rows | Ended]:
    """Decode one video once and cut it for every network.

    Raises:
        CannotRead, CannotOpen, NoVideoStream, DecodeFailed.
    """
    tally = Tally()
    begun, waited = time.monotonic(), 0.0
    with contextlib.ExitStack() as stack:
        container = stack.enter_context(opened(task.path))
        stream = video_stream(container, task.path)
        info = describe(container, stream)
        length_s = _length(task, info, beat)
        samplers = [
            _Sampler(i, s, info.sample_aspect, length_s) for i, s in enumerate(task.samplings)
        ]
        use = stack.enter_context(hardware.decoder(task.path, container, stream, task.gpu))
        if all(s.sampler == "keyframes" for s in task.samplings):
            use.stream.codec_context.skip_frame = "NONKEY"
        rotation, exact = 0, any(s.seed_exact for s in task.samplings)
        try:
            frames = timed(use.container, use.stream, task, info, tally, beat, exact)
            for frame, start, end in frames:
                use.saw(frame)
                rotation = frame.rotation
                for sampler in samplers:
                    for rows in sampler.add(frame, start, end):
                        since = time.monotonic()
                        yield _shift(rows, task.start)
                        waited += time.monotonic() - since
            for sampler in samplers:
                for rows in sampler.end():
                    since = time.monotonic()
                    yield _shift(rows, task.start)
                    waited += time.monotonic() - since
        except (_Changed, av.error.FFmpegError) as error:
            words = getattr(error, "strerror", None) or str(error)
            raise DecodeFailed(task.path, f"while filtering: {words}") from None
        if not tally.frames:
            raise DecodeFailed(task.path, tally.words or "no frame could be decoded")
        if tally.bad > 3 and tally.bad > task.bad_packets * tally.packets:
            share = f"{tally.bad} of {tally.packets} packets are undecodable"
            raise DecodeFailed(task.path, f"{share} (limit {task.bad_packets:.0%})")
        yield Ended(
            info=describe(container, stream, -rotation % 360),
            frames=tuple(s.frames for s in samplers),
            expected=tuple(s.expected(length_s) for s in samplers),
            last_valid=tuple(tuple(c.valid for c in s.cutters) for s in samplers),
            seen_s=tally.last_s,
            damage=_damage(length_s, tally),
            busy_s=time.monotonic() - begun - waited,
            decoder=use.where,
            refused=use.refused,
        )


def _shift(rows: Rows, start: float) -> Rows:
    return Rows(rows.sampling, rows.take, rows.pixels, rows.spans_s + start) if start else rows


def _length(task: ClipTask, info: VideoInfo, beat: Beat) -> float:
    """Seconds that are to be looked at; 0.0 where neither header nor packets tell."""
    whole = info.duration_s
    if not whole and any(s.sampler == "uniform" for s in task.samplings):
        whole = measure(task.path, beat)
        if not whole:
            raise DecodeFailed(task.path, "its length is not known, so it cannot be divided")
    end = whole if task.end is None else min(task.end, whole or task.end)
    return max(0.0, end - task.start) if end else 0.0


def _damage(length_s: float, tally: Tally) -> str:
    """'' for a video that came whole, else what is missing."""
    words = []
    if tally.bad:
        words.append(f"{tally.bad} of {tally.packets} packets undecodable")
    if length_s - tally.last_s > max(1.0, 0.02 * length_s):
        words.append(f"decoded {tally.last_s:.1f} s of {length_s:.1f} s")
    return "; ".join(words)
