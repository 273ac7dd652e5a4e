"""Pictures of many videos -> Features, in full batches.

Batches are filled across videos: short clips do not leave the processor idle, and the rows of one
video do not depend on its neighbours beyond float noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from twinreel import batches
from twinreel.types import Features, Floats, FrameBatch, Pixels, Seconds

Forward = Callable[[Pixels], Floats]
AHEAD = 2  # batches that wait for the network, beside the one it has


def unit(rows: Floats) -> Floats:
    """float32 (n, dim) -> rows of length 1, as cosines want them; such rows as they are."""
    length = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    if np.allclose(length, 1.0, rtol=0, atol=1e-5):
        return rows
    out: Floats = rows / np.maximum(length, 1e-12)[:, None]
    return out


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
    """Chunks of any number of videos -> the vectors of whole videos; full batches, batches.py.

    `add(name, chunk, blank)` and `close(name, note)`; both yield (name, note, times, blank,
    vectors) of videos that are complete. `drop(name)` forgets a failed video. `flush()` at the end.
    The network runs in a thread beside: who reads what decoders send does not keep them waiting.
    """

    def __init__(
        self, forward: Forward, batch_size: int, load: Callable[[], None] | None = None
    ) -> None:
        """load: makes the network ready; called when the first pictures come."""
        self._open: dict[str, _Open] = {}
        self._complete: list[str] = []
        self._load = load
        self._thread = ThreadPoolExecutor(1, "network")
        begin = batches.aside(forward, self._thread)
        self._batches = batches.Batcher(begin, batch_size, self._keep, AHEAD)

    def __enter__(self) -> Batcher:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def add(self, name: str, chunk: FrameBatch, blank: Any) -> Iterator[tuple[Any, ...]]:
        if self._load is not None:
            self._thread.submit(self._load)  # what it may raise, the first batch raises again
            self._load = None
        video = self._open.setdefault(name, _Open())
        video.times.append(chunk.times_s)
        video.blank.append(blank)
        first = video.sent
        video.sent += len(chunk.pixels)
        self._batches.add(name, first, chunk.pixels)
        yield from self._finished()

    def close(self, name: str, note: Any) -> Iterator[tuple[Any, ...]]:
        self._open[name].closed = (note,)
        self._look(name)
        self._batches.land()  # what is known is kept as soon as it can be
        yield from self._finished()

    def drop(self, name: str) -> None:
        self._open.pop(name, None)
        self._batches.drop(name)

    def flush(self) -> Iterator[tuple[Any, ...]]:
        self._batches.flush()
        yield from self._finished()

    def _keep(self, name: str, first: int, vectors: Floats) -> None:
        self._open[name].rows.append(vectors)
        self._open[name].back += len(vectors)
        self._look(name)

    def _look(self, name: str) -> None:
        video = self._open[name]
        if video.closed and video.back == video.sent:
            self._complete.append(name)

    def _finished(self) -> Iterator[tuple[Any, ...]]:
        complete, self._complete = self._complete, []
        for name in complete:
            video = self._open.pop(name)
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
