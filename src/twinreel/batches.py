"""Rows of many videos -> full batches -> vectors back to the video they came from.

    batcher = Batcher(network, size=64, deliver=keep)
    batcher.add("a.mp4", 0, pixels)        # rows 0.. of a.mp4; runs when a batch is full
    batcher.flush()                        # runs what is left

Rows of one shape share batches, whichever videos they are from.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np

from twinreel.types import Floats, Pixels

Deliver = Callable[[Any, int, Floats], None]  # video, index of its first row, vectors


class Batcher:
    """Collects rows and runs them `size` at a time.

    Args:
        run: uint8 (n, ...) -> float32 (n, ...), for any n up to `size`.
        deliver: gets the vectors of each video's rows as they are made.
    """

    def __init__(self, run: Callable[[Pixels], Floats], size: int, deliver: Deliver) -> None:
        self._run, self._size, self._deliver = run, size, deliver
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

    def step(self) -> bool:
        """Run one batch of what waits, full or not; False if nothing waits."""
        for shape, rows in self._pending.items():
            if rows:
                self._batch(shape)
                return True
        return False

    def drop(self, video: Hashable) -> None:
        """Forget the rows of a video that failed."""
        for shape, rows in self._pending.items():
            self._pending[shape] = [r for r in rows if r[0] != video]

    def flush(self, video: Hashable | None = None) -> None:
        """Run all that waits, or only the shapes of one video."""
        for shape in list(self._pending):
            if video is None or any(v == video for v, _, _ in self._pending[shape]):
                while self._pending[shape]:
                    self._batch(shape)
                del self._pending[shape]

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
        vectors = self._run(whole)
        at = 0
        for video, first, pixels in taken:
            self._deliver(video, first, vectors[at : at + len(pixels)])
            at += len(pixels)
