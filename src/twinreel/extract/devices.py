"""One command, several devices: a process for each, sharing the work by claims.

    summary = spread(jobs, ExtractOptions(devices="0,1"), folder)

A process per device rather than a thread: nothing is shared, and a device that fails takes only
its own process with it.
"""

from __future__ import annotations

import glob
import multiprocessing
import os
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from twinreel.extract.journey import extract
from twinreel.extract.manifest import Job
from twinreel.extract.options import ExtractOptions
from twinreel.extract.status import Listener, Summary
from twinreel.workers import yield_cores


def chosen(options: ExtractOptions) -> list[str]:
    """The devices of a run: those named, else all GPUs, else what 'auto' finds."""
    if options.devices:
        names = [n.strip() for n in options.devices.split(",") if n.strip()]
        return [f"cuda:{n}" if n.isdigit() else n for n in names]
    if options.device != "auto":
        return [options.device]
    if sys.platform == "linux" and not _gpu_files():
        return ["auto"]  # without loading torch: a run with nothing left to do ends at once
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return [f"cuda:{i}" for i in range(count)] if count > 1 else ["auto"]


def _gpu_files() -> bool:
    """Whether Linux shows a GPU's device file (dxg: inside Windows; kfd: AMD)."""
    return bool(glob.glob("/dev/nvidia[0-9]*") or glob.glob("/dev/dxg") or glob.glob("/dev/kfd"))


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
    context = multiprocessing.get_context("spawn")
    each = max(1, options.jobs // len(names))
    processes, pipes = [], []
    for name in names:
        mine, theirs = context.Pipe()
        part = replace(options, device=name, devices="", jobs=each)
        process = context.Process(target=_work, args=(jobs, part, folder, theirs, os.getpid()))
        process.start()
        theirs.close()
        processes.append(process)
        pipes.append(mine)
    return _collect(jobs, folder, names, processes, pipes, listener)


def _work(jobs: list[Job], options: ExtractOptions, folder: Path, pipe: Any, parent: int) -> None:
    """One device's process. Ends with its parent, however that ends."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    try:
        tell = Listener(
            on_record=lambda record, summary: pipe.send(("record", record)),
            on_words=lambda words: pipe.send(("say", words)),
        )
        summary = extract(jobs, options, folder, tell)
    except Exception as error:
        pipe.send(("error", error))
        raise SystemExit(1) from None
    pipe.send(("summary", summary))


def _collect(
    jobs: list[Job],
    folder: Path,
    names: list[str],
    processes: list[Any],
    pipes: list[Any],
    listener: Listener,
) -> Summary:
    from multiprocessing.connection import wait

    whole = Summary(folder)
    failed: set[str] = set()  # devices whose process has said why
    errors: list[Exception] = []
    open_pipes: dict[Any, str] = dict(zip(pipes, names, strict=True))
    try:
        while open_pipes:
            ready: list[Any] = wait(list(open_pipes))
            for pipe in ready:
                try:
                    kind, value = pipe.recv()
                except EOFError:
                    name = open_pipes.pop(pipe)
                    if name not in failed:
                        listener.say(f"device {name}: its process ended early")
                        whole.stopped = whole.stopped or f"device {name} was lost"
                    continue
                if kind == "record":
                    whole.records.setdefault(value["name"], value)
                    listener.on_record(value, whole)
                elif kind == "say":
                    listener.say(value)
                elif kind == "error":
                    errors.append(value)
                    failed.add(open_pipes.pop(pipe))
                elif kind == "summary":
                    open_pipes.pop(pipe)
                    whole.frames += value.frames
                    whole.computed += value.computed
                    whole.stopped = whole.stopped or value.stopped
                    for part, seconds in value.seconds.items():
                        whole.seconds[part] = whole.seconds.get(part, 0.0) + seconds
    finally:
        for process in processes:
            process.join(10)
            if process.is_alive():
                process.kill()
    if errors and not whole.records:
        raise errors[0]
    if errors:
        whole.stopped = whole.stopped or str(errors[0])
    whole.not_reached = [j.name for j in jobs if j.name not in whole.records]
    return whole
