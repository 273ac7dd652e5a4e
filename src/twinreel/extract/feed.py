"""Worker processes -> a bounded queue -> the thread that runs the network.

    feed = Feed(work, jobs=4, stall_s=30, most=len(videos))
    for event in feed.events(tasks): ...

A thread of its own reads the processes, so that decoding goes on while the network computes.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from twinreel.workers import Event, Work, WorkerPool

DEEP = 8  # chunks that wait for the network, beside one in each process
LOOK_S = 0.05
# How long a video takes is up to the network that it waits for; a stall is what gives a hung
# decoder away.
_TOTAL_S = 30 * 24 * 3600.0


class Feed:
    """A pool of decoders that run ahead of their reader, by a bounded amount."""

    def __init__(self, work: Work, jobs: int, stall_s: float, most: int) -> None:
        """most: no more processes than this are of use."""
        self._pool = WorkerPool(
            work, max(1, min(jobs, most)), stall_s, total_s=lambda task: _TOTAL_S
        )
        self._stop = threading.Event()
        self.waited_s = 0.0

    def events(
        self,
        tasks: Iterable[Any],
        meanwhile: Callable[[], object] = lambda: None,
        idle: Callable[[], bool] = lambda: False,
    ) -> Iterator[Event]:
        """What the pool's `run` gives. Tasks are taken in the reading thread.

        No process is started where there is no task. meanwhile: called here once the first task
        is found, while the processes start and decode. idle: called here while nothing has come,
        until it says that it had nothing to do; then again every LOOK_S.
        """
        begun, over = threading.Event(), threading.Event()
        out: queue.Queue[Event | BaseException | None] = queue.Queue(DEEP)

        def put(item: Event | BaseException | None) -> None:
            while not self._stop.is_set():
                with contextlib.suppress(queue.Full):
                    out.put(item, timeout=0.2)
                    return

        def read() -> None:
            try:
                rest = iter(tasks)
                for first in rest:
                    self._pool.start()
                    begun.set()
                    for event in self._pool.run(itertools.chain([first], rest)):
                        put(event)
                        if self._stop.is_set():
                            return
                put(None)
            except BaseException as error:  # handed to the caller, who raises it
                put(error)
            finally:
                over.set()
                begun.set()

        threading.Thread(target=read, daemon=True, name="feed").start()
        begun.wait()
        if not over.is_set():
            meanwhile()
        while True:
            while out.empty() and idle():
                pass
            since = time.monotonic()
            try:
                item = out.get(timeout=LOOK_S)
            except queue.Empty:
                continue
            finally:
                self.waited_s += time.monotonic() - since
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item

    def close(self) -> None:
        """End the processes, whatever they do."""
        self._stop.set()
        self._pool.close(kill=True)
