"""What was done to which file, written before and after every step, so that it can be taken back.

JSON Lines in the user's data folder, each line on the disk before the next call:

    {"journal": 1, "created": ..., "action": "trash", "report": ..., "library": ..., "host": ...}
    {"n": 0, "phase": "begin", "action": "trash", "path": ..., "dest": ..., "file": {...}, ...}
    {"n": 0, "phase": "done"}                 or "reverted", later "undone" or "purged"
    {"phase": "end"}

A line that is torn (killed or disk full while writing) is always a step that had not begun or
whose end is to be found by looking at the files, so it is left out and counted.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twinreel.actions.disk import Disk, words
from twinreel.errors import ActionRefused, BadReport, OutputError

FORMAT = 1


class JournalLost(OutputError):
    """The journal cannot be written: nothing more is done. `done`: the last step itself was."""

    done = False


@dataclass
class Journal:
    """A journal being written."""

    path: str
    disk: Disk
    whole: bool = False  # the file is known to end with a whole line

    def write(self, record: dict[str, Any]) -> None:
        """Add a line and bring it to the disk. Raises JournalLost."""
        line = json.dumps(record) + "\n"
        try:
            if not self.whole and not self._ends_well():
                line = "\n" + line
            self.whole = False
            self.disk.append(self.path, line.encode("ascii"))
        except OSError as error:
            raise _lost(self.path, error) from None
        self.whole = True

    def _ends_well(self) -> bool:
        if self.disk.look(self.path) is None:
            return True
        return self.disk.read(self.path)[-1:] in (b"", b"\n")


@dataclass(frozen=True)
class Past:
    """A journal that was read. steps: the 'begin' records in order; phases: n -> last phase."""

    path: str
    header: dict[str, Any]
    steps: tuple[dict[str, Any], ...]
    phases: dict[int, str] = field(default_factory=dict)
    ended: bool = False
    torn: int = 0

    @property
    def open_steps(self) -> list[dict[str, Any]]:
        """Steps that can still be taken back, the last one first."""
        gone = ("reverted", "undone", "purged", "lost")
        return [s for s in reversed(self.steps) if self.phases.get(s["n"]) not in gone]

    @property
    def interrupted(self) -> list[dict[str, Any]]:
        """Steps that began and have no end: the run was killed or lost its journal."""
        return [s for s in self.open_steps if self.phases.get(s["n"]) is None]


def read(path: str, disk: Disk) -> Past:
    """Raises BadReport when it is no journal."""
    try:
        lines = disk.read(path).split(b"\n")
    except OSError as error:
        raise BadReport(
            f"{path}: {words(error)}; `twinreel undo --list` shows what there is"
        ) from None
    header: dict[str, Any] = {}
    steps: list[dict[str, Any]] = []
    phases: dict[int, str] = {}
    ended, torn = False, 0
    for line in filter(None, lines):
        try:
            record = json.loads(line)
            if "journal" in record:
                header = record
            elif record["phase"] == "begin":
                steps.append(record)
            elif record["phase"] == "end":
                ended = True
            else:
                phases[record["n"]] = record["phase"]
        except (ValueError, KeyError, TypeError):
            torn += 1
    if header.get("journal") != FORMAT and any(lines) and (steps or not torn):
        raise BadReport(
            f"{path}: not a journal of this twinreel; name one of `twinreel undo --list`"
        )
    return Past(path, header, tuple(steps), phases, ended, torn)


def folder() -> str:
    """Where journals live: in the user's data folder."""
    from platformdirs import user_data_dir

    return os.path.join(user_data_dir("twinreel"), "journals")


def new_path(where: str = "") -> str:
    """A name for a new journal: time and process, so that names sort by age."""
    where = where or folder()
    try:
        Path(where).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _lost(where, error) from None
    now = time.time_ns()
    stamp = time.strftime("%Y-%m-%dT%H-%M-%S", time.localtime(now // 10**9))
    return os.path.join(where, f"{stamp}.{now % 10**9:09d}-{os.getpid()}.jsonl")


def list_journals(where: str = "") -> list[str]:
    """All journals, the newest last."""
    where = where or folder()
    if not os.path.isdir(where):
        return []
    return [os.path.join(where, n) for n in sorted(os.listdir(where)) if n.endswith(".jsonl")]


@contextmanager
def held(path: str, disk: Disk) -> Iterator[None]:
    """Hold a journal against other processes. Raises ActionRefused when one holds it."""
    # Windows locks bytes against readers too, so there the lock is a file of its own.
    lock = f"{path}.lock" if sys.platform == "win32" else path
    with ExitStack() as stack:
        try:
            free = stack.enter_context(disk.locked(lock))
        except OSError as error:
            raise _lost(path, error) from None
        if not free:
            raise ActionRefused(f"{path}: another twinreel works with it; wait until it has ended")
        yield


def _lost(path: str, error: OSError) -> JournalLost:
    return JournalLost(
        f"{path}: {words(error)}; a journal must be written, so nothing more is done; free space "
        "there, then run `twinreel undo` or `act` again"
    )


def header(action: str, report: str, library: str, options: dict[str, Any]) -> dict[str, Any]:
    return {
        "journal": FORMAT,
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "action": action,
        "report": report,
        "library": library,
        "host": socket.gethostname(),
        "options": options,
    }
