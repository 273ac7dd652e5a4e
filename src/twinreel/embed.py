"""Pictures of many videos -> Features, in full batches.

Batches are filled across videos: short clips do not leave the processor idle, and the rows of one
video do not depend on its neighbours beyond float noise.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from twinreel.types import Features, Floats, FrameBatch, Pixels, Seconds

Forward = Callable[[Pixels], Floats]


@dataclass
class _Open:
    """A video whose pictures have come in, wholly or partly, and not all rows are back."""

    times: list[Seconds] = field(default_factory=list)
    blank: list[Any] = field(default_factory=list)
    rows: list[Floats] = field(default_factory=list)
    sent: int = 0
    back: int = 0
    closed: Any = None


class Batcher:
    """Collects chunks of any number of videos and runs the network on full batches.

    `add(name, chunk, blank)` and `close(name, note)`; both yield (name, note, times, blank,
    vectors) of videos that are complete. `drop(name)` forgets a failed video. `flush()` at the end.
    """

    def __init__(self, forward: Forward, batch_size: int) -> None:
        self._forward = forward
        self._batch_size = batch_size
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._waiting: list[tuple[str, Pixels]] = []
        self._count = 0

    def add(self, name: str, chunk: FrameBatch, blank: Any) -> Iterator[tuple[Any, ...]]:
        video = self._open.setdefault(name, _Open())
        video.times.append(chunk.times_s)
        video.blank.append(blank)
        video.sent += len(chunk.pixels)
        self._waiting.append((name, chunk.pixels))
        self._count += len(chunk.pixels)
        while self._count >= self._batch_size:
            yield from self._run(self._batch_size)

    def close(self, name: str, note: Any) -> Iterator[tuple[Any, ...]]:
        self._open[name].closed = (note,)
        yield from self._finished([name])

    def drop(self, name: str) -> None:
        self._open.pop(name, None)
        self._waiting = [(n, p) for n, p in self._waiting if n != name]
        self._count = sum(len(p) for _, p in self._waiting)

    def flush(self) -> Iterator[tuple[Any, ...]]:
        while self._count:
            yield from self._run(min(self._count, self._batch_size))

    def _run(self, size: int) -> Iterator[tuple[Any, ...]]:
        parts: list[tuple[str, Pixels]] = []
        left = size
        while left:
            name, pixels = self._waiting.pop(0)
            parts.append((name, pixels[:left]))
            if len(pixels) > left:
                self._waiting.insert(0, (name, pixels[left:]))
            left -= len(parts[-1][1])
        self._count -= size
        vectors = self._forward(np.concatenate([p for _, p in parts]))
        at = 0
        for name, pixels in parts:
            self._open[name].rows.append(vectors[at : at + len(pixels)])
            self._open[name].back += len(pixels)
            at += len(pixels)
        yield from self._finished(list(OrderedDict.fromkeys(n for n, _ in parts)))

    def _finished(self, names: list[str]) -> Iterator[tuple[Any, ...]]:
        for name in names:
            video = self._open[name]
            if video.closed and video.back == video.sent:
                del self._open[name]
                yield (
                    name,
                    video.closed[0],
                    np.concatenate(video.times),
                    np.concatenate(video.blank),
                    np.concatenate(video.rows),
                )


def features(
    key: str,
    model: str,
    sampling: str,
    times_s: Seconds,
    blank: Any,
    vectors: Floats,
    duration_s: float,
) -> Features:
    """Put rows and times together; a span lasts until the next moment, the last to the end."""
    ends = np.append(times_s[1:], max(duration_s, float(times_s[-1])))
    return Features(
        key,
        model,
        sampling,
        np.ascontiguousarray(vectors, np.float32),
        np.stack([times_s, ends], axis=1),
        np.asarray(blank, bool),
        duration_s,
    )
