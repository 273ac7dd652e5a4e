"""Work in processes that may hang or crash, and are then killed and replaced.

    pool = WorkerPool(work, jobs=2, stall_s=30)
    for event in pool.run(tasks):     # event.kind: 'item', 'done' or 'failed'
        ...

`work(task, emit, beat)` is an importable function. It calls `beat()` at every packet or frame and
`emit(value)` for each result; a VideoError it raises becomes a 'failed' event. Nothing that a video
does to its process reaches the caller: a process without a beat for `stall_s` seconds, past its
total limit, or dead, is replaced, and its task fails with Stalled or WorkerDied.

Memory is bounded: each process holds one task and sends through a pipe, which blocks when the
caller does not read.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from twinreel.errors import Stalled, VideoError, WorkerDied

Work = Callable[[Any, Callable[[Any], None], Callable[[], None]], None]

# A process that allocates without end is replaced after this many tasks: decoders leak.
TASKS_PER_PROCESS = 500
START_LIMIT_S = 120.0
TOTAL_LIMIT_S = 3600.0


@dataclass(frozen=True)
class Event:
    """What a worker said: an 'item' (value: what was emitted), 'done', or 'failed' (VideoError)."""

    task: Any
    kind: str
    value: Any = None


def yield_cores() -> None:
    """Let torch's idle threads sleep: they spin else, on cores that the decoders need.

    To be called before torch is loaded, which reads this once.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    os.environ.setdefault("KMP_BLOCKTIME", "0")


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Processes started inside compute with one thread each: one per core is enough, more of them
    wait for each other. numpy reads this when it is loaded, so it cannot be told later."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def held_interrupts() -> Iterator[None]:
    """Ctrl-C waits: processes started inside hear none before they say what to do with it, and
    die of none with a traceback while Python loads. It reaches this process afterwards."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def task_path(task: Any) -> str:
    """The path a task is about, for messages."""
    return str(getattr(task, "path", task))


def _serve(pipe: Connection, pulse: Any, nice: int) -> None:
    """The life of a worker process: take a task, work, say how it ended, until told to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    if nice and hasattr(os, "nice"):
        with contextlib.suppress(OSError):
            os.nice(nice)

    def beat() -> None:
        pulse.value += 1

    def emit(value: Any) -> None:
        pipe.send(("item", value))
        beat()

    while True:
        try:
            given = pipe.recv()
        except (EOFError, OSError):
            return
        if given is None:
            return
        work, task = given
        beat()
        try:
            work(task, emit, beat)
            pipe.send(("done", None))
        except VideoError as error:
            pipe.send(("failed", error))
        except MemoryError:
            pipe.send(("failed", WorkerDied(task_path(task), "out of memory while decoding")))
        except (BrokenPipeError, KeyboardInterrupt):
            return
        except Exception:
            # Not the video's fault but ours: still one row, with the traceback to report.
            pipe.send(("failed", WorkerDied(task_path(task), traceback.format_exc(limit=-4))))


class _Worker:
    """One process, the task it holds, and when it last gave a sign of life."""

    def __init__(self, context: Any, nice: int) -> None:
        self.pulse = context.Value("Q", 0, lock=False)
        self.pipe, child = context.Pipe()
        self.process = context.Process(target=_serve, args=(child, self.pulse, nice), daemon=True)
        with one_thread(), held_interrupts():
            self.process.start()
        child.close()
        self.task: Any = None
        self.busy = False
        self.tasks = 0
        self.seen = 0
        self.since = self.begun = time.monotonic()

    def give(self, work: Work, task: Any) -> None:
        self.task, self.busy = task, True
        self.tasks += 1
        self.since = self.begun = time.monotonic()
        # A worker that has died shows it on the next read.
        with contextlib.suppress(BrokenPipeError, OSError):
            self.pipe.send((work, task))

    def overdue(self, stall_s: float, total_s: float) -> str:
        """'' while there are signs of life, else what limit was broken."""
        now = time.monotonic()
        if self.pulse.value != self.seen:
            if not self.seen:
                self.begun = now  # its imports are not the video's time
            self.seen = self.pulse.value
            self.since = now
        limit = stall_s if self.seen else max(stall_s, START_LIMIT_S)
        if now - self.since > limit:
            return f"no packet or frame for {limit:g} s; killed"
        if self.seen and now - self.begun > total_s:
            return f"not finished after {total_s:g} s; killed"
        return ""

    def end(self, kill: bool) -> None:
        if kill:
            self.process.kill()
        else:
            with contextlib.suppress(BrokenPipeError, OSError):
                self.pipe.send(None)
        self.pipe.close()
        self.process.join(0.5 if kill else 5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join(1)


class Idle:
    """Processes that have done their work, for the next pool of the same run: to start one costs
    as much as to look at a short video."""

    def __init__(self) -> None:
        self.workers: list[_Worker] = []

    def __enter__(self) -> Idle:
        return self

    def __exit__(self, *_: object) -> None:
        workers, self.workers = self.workers, []
        for worker in workers:
            worker.end(kill=False)

    def take(self) -> _Worker | None:
        """One that is alive; None where there is none."""
        while self.workers:
            worker = self.workers.pop()
            if worker.process.is_alive():
                return worker
            worker.end(kill=True)
        return None


class WorkerPool:
    """`jobs` spawned processes that run `work` on tasks and are never trusted.

    Args:
        work: importable function (task, emit, beat) -> None.
        jobs: number of processes.
        stall_s: seconds without a beat after which a process is killed.
        total_s: task -> seconds after which it is killed however alive it looks.
        nice: added to the processes' niceness.
        idle: where processes come from and go to, where one run has several pools.
    """

    def __init__(
        self,
        work: Work,
        jobs: int,
        stall_s: float = 30.0,
        nice: int = 0,
        total_s: Callable[[Any], float] | None = None,
        idle: Idle | None = None,
    ) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._work = work
        self._jobs = max(1, jobs)
        self._stall_s = stall_s
        self._total_s = total_s or (lambda task: TOTAL_LIMIT_S)
        self._nice = nice
        self._idle = idle
        self._workers: list[_Worker] = []

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the processes ahead of the first task (they import while the caller goes on)."""
        while len(self._workers) < self._jobs:
            worker = self._idle.take() if self._idle else None
            self._workers.append(worker or _Worker(self._context, self._nice))

    def run(self, tasks: Iterable[Any]) -> Iterator[Event]:
        """Do every task; events of one task come in order, tasks interleave.

        Tasks are taken from the iterable only when a process is free. Closing the generator
        kills what is in flight.
        """
        queue = iter(tasks)
        finished = False
        try:
            self.start()
            exhausted = False
            while True:
                for worker in self._workers:
                    if not exhausted and not worker.busy:
                        try:
                            worker.give(self._work, next(queue))
                        except StopIteration:
                            exhausted = True
                busy = [w for w in self._workers if w.busy]
                if not busy:
                    finished = True
                    return
                ready = wait([w.pipe for w in busy], timeout=min(0.5, self._stall_s / 4))
                for worker in busy:
                    if worker.pipe in ready:
                        yield self._read(worker)
                    elif late := worker.overdue(self._stall_s, self._total_s(worker.task)):
                        yield self._lost(worker, Stalled(task_path(worker.task), late))
        finally:
            if not finished:
                self.close(kill=True)

    def _read(self, worker: _Worker) -> Event:
        try:
            kind, value = worker.pipe.recv()
        except (EOFError, OSError):
            worker.process.join(1)
            code = worker.process.exitcode
            return self._lost(
                worker,
                WorkerDied(task_path(worker.task), f"the decoder crashed (exit code {code})"),
            )
        worker.since = time.monotonic()  # time spent waiting for the caller is not a stall
        task = worker.task
        if kind != "item":
            worker.busy = False
            worker.task = None
            if worker.tasks >= TASKS_PER_PROCESS:
                self._replace(worker, kill=False)
        return Event(task, kind, value)

    def _lost(self, worker: _Worker, error: VideoError) -> Event:
        self._replace(worker, kill=True)
        return Event(worker.task, "failed", error)

    def _replace(self, worker: _Worker, kill: bool) -> None:
        worker.end(kill)
        at = self._workers.index(worker)
        self._workers[at] = _Worker(self._context, self._nice)

    def close(self, kill: bool = False) -> None:
        """End the processes; `kill` without waiting for what they do."""
        workers, self._workers = self._workers, []
        for worker in workers:
            if self._idle and not (kill or worker.busy):
                self._idle.workers.append(worker)
            else:
                worker.end(kill or worker.busy)
