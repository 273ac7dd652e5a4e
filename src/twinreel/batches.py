"""Rows of many videos -> full batches -> vectors back to the video they came from.

    batcher = Batcher(at_once(network), size=64, deliver=keep)
    batcher.add("a.mp4", 0, pixels)        # rows 0.. of a.mp4; runs when a batch is full
    batcher.flush()                        # runs what is left

Rows of one shape share batches, whichever videos they are from.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Hashable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np

from twinreel.types import Floats, Pixels

Deliver = Callable[[Any, int, Floats], None]  # video, index of its first row, vectors


@dataclass(frozen=True)
class Begun:
    """A batch in work. ready: whether its vectors are there. vectors: waits for them."""

    ready: Callable[[], bool]
    vectors: Callable[[], Floats]


Begin = Callable[[Pixels], Begun]


def at_once(run: Callable[[Pixels], Floats]) -> Begin:
    """A network that computes a batch when it gets it."""

    def begin(pixels: Pixels) -> Begun:
        vectors = run(pixels)
        return Begun(lambda: True, lambda: vectors)

    return begin


def aside(run: Callable[[Pixels], Floats], thread: Executor) -> Begin:
    """A network that computes in a thread of its own: who fills the batches goes on meanwhile."""

    def begin(pixels: Pixels) -> Begun:
        made = thread.submit(run, pixels)
        return Begun(made.done, made.result)

    return begin


class Batcher:
    """Collects rows and runs them `size` at a time.

    Args:
        begin: starts uint8 (n, ...) -> float32 (n, ...), for any n up to `size`.
        deliver: gets the vectors of each video's rows as they are made.
        ahead: batches that are begun before an earlier one has ended: no core waits for another.
    """

    def __init__(self, begin: Begin, size: int, deliver: Deliver, ahead: int = 0) -> None:
        self._begin, self._size, self._deliver, self._ahead = begin, size, deliver, ahead
        self._flying: deque[tuple[Begun, list[tuple[Hashable, int, int]]]] = deque()
        self._pending: dict[tuple[int, ...], list[tuple[Hashable, int, Pixels]]] = defaultdict(list)

    @property
    def nbytes(self) -> int:
        """Bytes of rows that wait."""
        return sum(p.nbytes for rows in self._pending.values() for _, _, p in rows)

    def add(self, video: Hashable, first: int, pixels: Pixels) -> None:
        """Rows `first`, `first` + 1, ... of a video."""
        shape = pixels.shape[1:]
        self._pending[shape].append((video, first, pixels))
        while sum(len(p) for _, _, p in self._pending[shape]) >= self._size:
            self._batch(shape)
        self.land()

    def land(self) -> None:
        """Deliver the batches that are ready."""
        while self._flying and self._flying[0][0].ready():
            self._land()

    def step(self) -> bool:
        """Run one batch of what waits, full or not, else deliver one that is ready.

        False if there was neither.
        """
        for shape, rows in self._pending.items():
            if rows:
                self._batch(shape)
                return True
        if self._flying and self._flying[0][0].ready():
            self._land()
            return True
        return False

    def drop(self, video: Hashable) -> None:
        """Forget the rows of a video that failed."""
        for shape, rows in self._pending.items():
            self._pending[shape] = [r for r in rows if r[0] != video]
        for _, flying in self._flying:
            flying[:] = [(None if v == video else v, first, n) for v, first, n in flying]

    def flush(self, video: Hashable | None = None) -> None:
        """Run all that waits, or only the shapes of one video."""
        for shape in list(self._pending):
            if video is None or any(v == video for v, _, _ in self._pending[shape]):
                while self._pending[shape]:
                    self._batch(shape)
                del self._pending[shape]
        while self._flying:
            self._land()

    def _batch(self, shape: tuple[int, ...]) -> None:
        waiting = self._pending[shape]
        taken: list[tuple[Hashable, int, Pixels]] = []
        room = self._size
        while waiting and room:
            video, first, pixels = waiting.pop(0)
            if len(pixels) > room:
                waiting.insert(0, (video, first + room, pixels[room:]))
                pixels = pixels[:room]
            taken.append((video, first, pixels))
            room -= len(pixels)
        if not taken:
            return
        whole = taken[0][2] if len(taken) == 1 else np.concatenate([p for _, _, p in taken])
        self._flying.append((self._begin(whole), [(v, first, len(p)) for v, first, p in taken]))
        while len(self._flying) > self._ahead:
            self._land()

    def _land(self) -> None:
        """Deliver the oldest batch that was begun."""
        begun, rows = self._flying.popleft()
        vectors = begun.vectors()
        at = 0
        for video, first, count in rows:
            if video is not None:
                self._deliver(video, first, vectors[at : at + count])
            at += count
