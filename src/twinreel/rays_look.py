"""`dups --runner ray`: videos are decoded and embedded on a Ray cluster, by jobs.look_all there.

The library stays with the caller, who alone writes to it. All nodes must see the videos under the
caller's paths.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from twinreel import models
from twinreel.errors import VideoError, WorkerDied
from twinreel.jobs import Result, Wanted, lazy, look_all, pictured
from twinreel.options import DupsOptions
from twinreel.progress import Progress
from twinreel.rays import connected, spread
from twinreel.types import VideoFile


def look_there(files: list[VideoFile], run: Wanted) -> Iterator[Result | VideoError]:
    """As jobs.look_all; contents whose small pictures are kept are embedded here."""
    here, there = pictured(files, run.library.facts({f.key or "" for f in files}), run)
    if here:
        yield from look_all(here, run)
    if not there:
        return
    decode = run.options.decode
    settings = _Settings(run.options, run.spec, run.model, run.sampling)
    with connected(decode.address), run.progress.stage("look", len(there)) as tick:
        items = [{"file": file} for file in there]
        seen: set[str] = set()
        for answer in spread(items, Looker, (settings,), decode.jobs or 1, _on_gpu(run.options)):
            value = answer["value"]
            if isinstance(value, VideoError):
                value.key = answer["key"]  # type: ignore[attr-defined]
            if answer["key"] not in seen:  # a block that was done again after a loss
                seen.add(answer["key"])
                tick()
                yield value


def _on_gpu(options: DupsOptions) -> bool:
    return options.model.device == "auto" or options.model.device.startswith("cuda")


@dataclass(frozen=True)
class _Settings:
    options: DupsOptions
    spec: models.ModelSpec
    model: str
    sampling: str


class _Nothing:
    """The library as an actor sees it: empty."""

    def facts(self, keys: Any = None) -> dict[str, Any]:
        return {}

    def pictured(self, sampling: str) -> dict[str, int]:
        return {}


@dataclass
class _There:
    """What look_all asks of a run, on an actor."""

    options: DupsOptions
    spec: models.ModelSpec
    model: str
    sampling: str
    library: Any = field(default_factory=_Nothing)
    progress: Progress = field(default_factory=lambda: Progress(show=False))
    notes: list[str] = field(default_factory=list)
    idle: None = None


class Looker:
    """An actor: files in, what look_all makes of each out. Keeps its network."""

    def __init__(self, settings: _Settings) -> None:
        decode = settings.options.decode
        options = replace(settings.options, decode=replace(decode, jobs=max(1, decode.jobs)))
        self._run = _There(options, settings.spec, settings.model, settings.sampling)
        self._forward = lazy(self._run)

    def __call__(self, items: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        files: list[VideoFile] = [item["file"] for item in items]
        left = {f.key or "": f for f in files}
        try:
            for value in look_all(files, self._run, self._forward):
                is_error = isinstance(value, VideoError)
                key: str = getattr(value, "key", "") if is_error else value[1].key  # type: ignore[index]
                left.pop(key, None)
                yield {"key": key, "value": value}
        except Exception:
            # Ours, not a video's: still a row for each, with the traceback to report.
            words = traceback.format_exc(limit=-4)
            for key, file in left.items():
                yield {"key": key, "value": WorkerDied(file.path, words)}
