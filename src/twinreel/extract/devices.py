"""One command, several devices: a process for each, sharing the work by claims.

    summary = spread(jobs, ExtractOptions(devices="0,1"), folder)

A process per device rather than a thread: nothing is shared, and a device that fails takes only
its own process with it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from twinreel.extract.hardware import gpu_files
from twinreel.extract.journey import extract
from twinreel.extract.manifest import Job
from twinreel.extract.options import ExtractOptions
from twinreel.extract.status import STOPPED, Listener, Summary, conclude
from twinreel.workers import held_interrupts, yield_cores


def chosen(options: ExtractOptions) -> list[str]:
    """The devices of a run: those named, else all GPUs, else what 'auto' finds."""
    if options.devices:
        names = [n.strip() for n in options.devices.split(",") if n.strip()]
        return [f"cuda:{n}" if n.isdigit() else n for n in names]
    if options.device != "auto":
        return [options.device]
    if sys.platform == "linux" and not gpu_files():
        return ["auto"]  # without loading torch: a run with nothing left to do ends at once
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return [f"cuda:{i}" for i in range(count)] if count > 1 else ["auto"]


def spread(
    jobs: list[Job],
    options: ExtractOptions,
    folder: Path,
    listener: Listener | None = None,
) -> Summary:
    """`extract` on every chosen device; the summary is of all of them."""
    listener = listener or Listener()
    yield_cores()
    names = chosen(options)
    if len(names) == 1:
        one = replace(options, device=names[0], devices="")
        return extract(jobs, one, folder, listener)
    k, n = options.part()
    jobs = jobs[k::n]
    context = multiprocessing.get_context("spawn")
    each = max(1, options.jobs // len(names))
    processes: list[Any] = []
    pipes: dict[Any, str] = {}
    try:
        with held_interrupts():
            for name in names:
                mine, theirs = context.Pipe()
                # The shard is divided here: inside it the devices claim, as in any run.
                part = replace(options, device=name, devices="", jobs=each, shard="")
                given = (jobs, part, folder, theirs, os.getpid())
                process = context.Process(target=_work, args=given)
                process.start()
                theirs.close()
                processes.append(process)
                pipes[mine] = name
        summary = _collect(folder, pipes, processes, listener)
    except BaseException:
        _stop(processes)  # nobody listens any more
        raise
    finally:
        for process in processes:
            process.join(10)
            if process.is_alive():
                process.kill()
                process.join(1)  # else it would pass for one at work
    conclude(summary, jobs, f"all-{uuid.uuid4().hex}")
    return summary


def _stop(processes: Iterable[Any]) -> None:
    for process in processes:
        process.terminate()


def _work(jobs: list[Job], options: ExtractOptions, folder: Path, pipe: Any, parent: int) -> None:
    """One device's process. Ends with its parent, however that ends."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    # A terminal sends Ctrl-C to all; the parent alone heeds it, and stops each of us once.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    threading.Thread(target=watch, daemon=True).start()
    try:
        tell = Listener(
            on_record=lambda record, so_far: pipe.send(("record", (record, _bare(so_far)))),
            on_words=lambda words: pipe.send(("say", words)),
        )
        summary = extract(jobs, options, folder, tell)
        pipe.send(("summary", _bare(summary)))
    except KeyboardInterrupt:
        raise SystemExit(1) from None
    except Exception as error:
        pipe.send(("error", error))
        raise SystemExit(1) from None


def _bare(summary: Summary) -> Summary:
    """Its numbers: records are told one by one."""
    return replace(summary, records={}, not_reached=[])


def _collect(
    folder: Path, pipes: dict[Any, str], processes: list[Any], listener: Listener
) -> Summary:
    """What the devices' processes say, until the last has ended. pipes: to the device's name."""
    from multiprocessing.connection import wait

    whole = Summary(folder)
    parts: dict[Any, Summary] = {}  # of each process, the latest
    errors: list[Exception] = []
    interrupted = False

    def hear(pipe: Any) -> None:
        try:
            kind, value = pipe.recv()
        except EOFError:
            name = pipes.pop(pipe)
            if not interrupted:
                listener.say(f"device {name}: its process ended early")
                whole.stopped = whole.stopped or f"device {name} was lost"
            return
        if kind == "record":
            record, parts[pipe] = value
            _add_up(whole, parts.values())
            whole.records.setdefault(record["name"], record)
            listener.on_record(record, whole)
        elif kind == "say":
            listener.say(value)
        elif kind == "error":
            errors.append(value)
            pipes.pop(pipe)
        elif kind == "summary":
            pipes.pop(pipe)
            parts[pipe] = value
            _add_up(whole, parts.values())
            whole.stopped = whole.stopped or value.stopped

    while pipes:
        try:
            for pipe in wait(list(pipes)):
                hear(pipe)
        except KeyboardInterrupt:
            if interrupted:
                raise
            # They close what they have open, and say how far they came.
            interrupted, whole.stopped = True, STOPPED
            _stop(processes)
    if errors and not whole.records:
        raise errors[0]
    if errors:
        whole.stopped = whole.stopped or str(errors[0])
    return whole


def _add_up(whole: Summary, parts: Iterable[Summary]) -> None:
    """Frames of all; seconds of one, on average: they ran side by side."""
    each = list(parts)
    whole.frames = sum(part.frames for part in each)
    whole.computed = sum(part.computed for part in each)
    names = dict.fromkeys(name for part in each for name in part.seconds)
    whole.seconds = {
        name: sum(part.seconds.get(name, 0.0) for part in each) / len(each) for name in names
    }
