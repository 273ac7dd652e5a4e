"""Rate and remaining time per stage, on a terminal; silence elsewhere.

with Progress(show=True) as progress:
    with progress.stage("decode", total=120) as tick:
        tick()
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

Tick = Callable[..., None]


class Progress:
    """Bars of stages on stderr when `show` is true and stderr is a terminal."""

    def __init__(self, show: bool = True) -> None:
        self._show = show and sys.stderr.isatty()
        self._bars: Any = None

    def __enter__(self) -> Progress:
        if self._show:
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )
            from rich.progress import Progress as Bars

            self._bars = Bars(
                TextColumn("{task.description:<9}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    @contextlib.contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Tick]:
        """A bar for one stage; the yielded function advances it."""
        if self._bars is None:
            yield lambda steps=1: None
            return
        task = self._bars.add_task(name, total=total, rate="")

        def tick(steps: int = 1) -> None:
            self._bars.advance(task, steps)
            speed = self._bars.tasks[self._bars.task_ids.index(task)].speed
            if speed:
                self._bars.update(task, rate=f"{speed:.1f}/s" if speed < 100 else f"{speed:.0f}/s")

        yield tick
        self._bars.remove_task(task)
