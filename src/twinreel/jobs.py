"""Many videos through decoding processes and one network: files in, (Facts, Features) out.

Decoding runs in killable processes (workers.py); the network runs here, on batches filled across
videos, while the next videos decode.
"""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any, Protocol

import numpy as np

from twinreel import models
from twinreel.decode import Chunk, Looked, LookTask, work
from twinreel.discover import readers
from twinreel.embed import Batcher, features, unit
from twinreel.errors import VideoError
from twinreel.inset import find_inset
from twinreel.options import DupsOptions
from twinreel.picture import cut, from_jpeg, is_blank
from twinreel.progress import Progress
from twinreel.store import Facts, Library
from twinreel.types import Features, FrameBatch, VideoFile
from twinreel.workers import Idle, WorkerPool, yield_cores

Thumbs = tuple[tuple[float, bytes], ...]
# The last: of the picture inside the picture, where there is one (inset.py).
Result = tuple[Facts, Features, Thumbs, Features | None]


_INNER = "\0inner"  # no path ends so


class Wanted(Protocol):
    """What a run must tell: options, model, where results are kept."""

    options: DupsOptions
    spec: models.ModelSpec
    library: Library
    progress: Progress
    notes: list[str]
    model: str
    sampling: str

    @property
    def idle(self) -> Idle | None: ...


class Changed(VideoError):
    """The file was written to while it was read."""

    stage = "read"
    transient = True


def look_all(
    files: list[VideoFile], run: Wanted, forward: Lazy | None = None
) -> Iterator[Result | VideoError]:
    """Decode and embed files (with keys, all different); results as they come.

    A VideoError that is yielded carries `.key`. Contents whose small pictures are kept are
    embedded from those, without opening the file. forward: a network that is kept from call to
    call, as `lazy` makes it.
    """
    facts = run.library.facts({f.key or "" for f in files})
    kept, rest = pictured(files, facts, run)
    rest = _by_turns(rest)
    # The total a video may take grows with its length; unknown lengths get what size suggests.
    limit = {f.path: 600 + f.size / 200_000 for f in rest}
    decode = run.options.decode
    pool = WorkerPool(
        work,
        min(job_count(decode.jobs, rest), max(1, len(rest))),
        stall_s=decode.stall,
        total_s=lambda task: limit[task.path],
        idle=run.idle,
    )
    network = forward or lazy(run)
    batcher = Batcher(network, run.options.model.batch_size, network.load)
    results = _Results(run, batcher)
    with pool, batcher, run.progress.stage("look", len(files)) as tick:
        if rest:
            pool.start()  # they import while the network loads
        if kept:
            run.notes.append(f"{len(kept)} videos were embedded from kept pictures, not decoded")
        for file in kept:
            pictures = run.library.thumbs(file.key or "", run.sampling)
            pixels = np.stack([from_jpeg(data) for _, data in pictures])
            known = facts[file.key or ""]
            blank = np.array([is_blank(p) for p in pixels])
            batch = FrameBatch(pixels, np.array([t for t, _ in pictures]))
            inner = None
            if (rect := find_inset(pixels)) is not None:
                inner = np.stack([cut(p, rect, run.spec.size) for p in pixels])
            done = chain(
                results.add(file.path, Chunk(batch, blank, inner)),
                results.close(file.path, (file, known, ())),
            )
            for result in done:
                tick()
                yield result
        tasks = (
            LookTask(
                f.path,
                run.spec.size,
                run.options.sample,
                decode.bad_packets,
                decode.thumbs,
                f.key or "",
            )
            for f in rest
        )
        by_path = {f.path: f for f in rest}
        for event in pool.run(tasks):
            path = event.task.path
            if event.kind == "failed":
                results.drop(path)
                tick()
                yield _with_key(event.value, event.task.key)
            elif isinstance(event.value, Chunk):
                for result in results.add(path, event.value):
                    tick()
                    yield result
            elif isinstance(event.value, Looked):
                v = event.value
                if words := _changed(by_path[path]):
                    results.drop(path)
                    tick()
                    yield _with_key(Changed(path, words), event.task.key)
                    continue
                known = Facts(
                    v.info, v.step_s, v.planned, v.got, v.damage, v.detail, v.picture, v.noise
                )
                for result in results.close(path, (by_path[path], known, v.thumbs)):
                    tick()
                    yield result
        for result in results.flush():
            tick()
            yield result


def pictured(
    files: list[VideoFile], facts: dict[str, Facts], run: Wanted
) -> tuple[list[VideoFile], list[VideoFile]]:
    """Files of which every moment of this sampling is kept as a small picture, and the others."""
    held = run.library.pictured(run.sampling)
    kept = [f for f in files if f.key in facts and f.key in held]
    keys = {f.key for f in kept}
    return kept, [f for f in files if f.key not in keys]


def load_beside(load: Callable[[], None]) -> threading.Thread:
    """Import something in a thread while decoders work. Torch comes first, which another thread may
    be loading: where SciPy meets one that is half loaded it fails (it asks whether arrays are its).
    """

    def both() -> None:
        yield_cores()
        import torch  # noqa: F401

        load()

    thread = threading.Thread(target=both, daemon=True)
    thread.start()
    return thread


def lazy(run: Wanted) -> Lazy:
    """The run's network, loaded when it is first called."""
    return Lazy(run)


@dataclass
class Lazy:
    """The network, loaded when the first pictures are there: decoding is under way by then."""

    run: Wanted
    network: Any = None

    def __call__(self, pixels: Any) -> Any:
        self.load()
        return unit(self.network(pixels))

    def load(self) -> None:
        """Make it ready, once."""
        if self.network is None:
            _leave_cores_to_decoding()
            o = self.run.options.model
            self.network = models.load(
                self.run.spec, o.weights, o.device, o.precision, o.embedding_size
            )


def _leave_cores_to_decoding() -> None:
    """Half of the cores for the network, and no busy waiting."""
    yield_cores()
    import torch

    torch.set_num_threads(max(1, (os.cpu_count() or 2) // 2))


class _Results:
    """What the batcher gives, put together: a picture in the picture is a video of its own to it,
    whose rows are back before the last of the one around."""

    def __init__(self, run: Wanted, batcher: Batcher) -> None:
        self._run, self._batcher = run, batcher
        self._inner: dict[str, Any] = {}  # by path, None until its rows are back

    def add(self, path: str, chunk: Chunk) -> Iterator[Result]:
        if chunk.inner is not None:
            self._inner.setdefault(path, None)
            blank = np.array([is_blank(p) for p in chunk.inner])
            batch = FrameBatch(chunk.inner, chunk.batch.times_s)
            yield from self._told(self._batcher.add(path + _INNER, batch, blank))
        yield from self._told(self._batcher.add(path, chunk.batch, chunk.blank))

    def close(self, path: str, note: Any) -> Iterator[Result]:
        if path in self._inner:
            yield from self._told(self._batcher.close(path + _INNER, note))
        yield from self._told(self._batcher.close(path, note))

    def drop(self, path: str) -> None:
        self._batcher.drop(path)
        if path in self._inner:
            self._batcher.drop(path + _INNER)
            del self._inner[path]

    def flush(self) -> Iterator[Result]:
        yield from self._told(self._batcher.flush())

    def _told(self, items: Iterator[tuple[Any, ...]]) -> Iterator[Result]:
        for name, (file, facts, thumbs), times, blank, vectors in items:
            made = features(
                file.key or "", self._run.model, self._run.sampling, times, blank, vectors,
                facts.info.duration_s,
            )  # fmt: skip
            if name.endswith(_INNER):
                self._inner[file.path] = made
            else:
                yield facts, made, thumbs, self._inner.pop(file.path, None)


def _with_key(error: VideoError, key: str) -> VideoError:
    error.key = key  # type: ignore[attr-defined]
    return error


def _changed(file: VideoFile) -> str:
    """'' while the file is the one that was discovered, else what happened to it."""
    try:
        now = os.stat(file.path)
    except OSError as error:
        return f"it went away while it was read: {error.strerror}"
    if (now.st_size, now.st_mtime_ns) != (file.size, file.mtime_ns):
        return "it changed while it was read; look again when it is finished"
    return ""


def job_count(jobs: int, files: list[VideoFile]) -> int:
    """Decoding processes: as told, else what the cores and the disks bear."""
    if jobs:
        return jobs
    one_per_volume = {f.volume: f for f in files}.values()
    bear = sum(readers(f.path) for f in one_per_volume)
    return max(1, min(os.cpu_count() or 1, bear))


def _by_turns(files: list[VideoFile]) -> list[VideoFile]:
    """One from each disk in turn, so that a slow one does not keep all processes waiting."""
    disks: dict[str, list[VideoFile]] = defaultdict(list)
    for file in files:
        disks[file.volume].append(file)
    return [f for turn in zip_longest(*disks.values()) for f in turn if f is not None]
