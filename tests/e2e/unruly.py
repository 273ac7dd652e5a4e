"""Ill-behaved decoders for the tests of `extract`; no torch, so that their processes start fast."""

from __future__ import annotations

import os
import time
from typing import Any

from twinreel.extract import clips


def unruly(task: clips.ClipTask, emit: Any, beat: Any) -> None:
    """Decodes, but for names that say otherwise."""
    name = os.path.basename(task.path)
    if "hang" in name:
        time.sleep(3600)
    if "crash" in name:
        os._exit(11)
    clips.work(task, emit, beat)


def grow(task: clips.ClipTask, emit: Any, beat: Any) -> None:
    """Somebody still writes to the file while it is read."""
    if "grows" in os.path.basename(task.path):
        with open(task.path, "ab") as file:
            file.write(b"more")
    clips.work(task, emit, beat)


def vanish(task: clips.ClipTask, emit: Any, beat: Any) -> None:
    """The file is removed as soon as it is to be read."""
    if "gone" in os.path.basename(task.path):
        os.unlink(task.path)
    clips.work(task, emit, beat)
