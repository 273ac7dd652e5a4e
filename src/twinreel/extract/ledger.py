"""What is known of every video: which outputs fit already, which failures stand, how each ended.

wanted = ledger.settled(job)      # None: nothing is to be computed, and that is noted
ledger.record(job, "done", note_it=True, rows=12)
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twinreel.errors import VideoError
from twinreel.extract.manifest import Job
from twinreel.extract.options import ExtractOptions
from twinreel.extract.outputs import FORMATS, NameTooLong, OtherOutput, Shelf
from twinreel.extract.plan import Entry
from twinreel.extract.sources import changed, stat_of
from twinreel.extract.whole import Meta, Notes


@dataclass
class Ledger:
    """One run's view of its folder.

    owner: of the claims. begun: when the run began, on the clock that all share. entries: the
    networks. tell: is given each record, one at a time.
    """

    folder: Path
    options: ExtractOptions
    shelf: Shelf
    notes: Notes
    owner: str
    begun: float
    entries: list[Entry]
    tell: Callable[[Meta], None]
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def name(self, job: Job, entry: Entry) -> str:
        ending = FORMATS[self.options.format]
        return job.name.removesuffix(ending) + entry.suffix + ending

    def settled(self, job: Job) -> list[int] | None:
        """None if nothing is to be computed (a record is then made), else the networks wanted."""
        wanted, metas = [], []
        for i, entry in enumerate(self.entries):
            name = self.name(job, entry)
            try:
                meta = self.shelf.find(name, {**entry.request, "start": job.start, "end": job.end})
            except NameTooLong as error:
                self.record(job, "failed", stage="output", reason=str(error))
                return None
            except OtherOutput as other:
                if not self.options.overwrite:
                    self.record(job, "failed", stage="output", reason=(
                        f"{self.folder / name} is there and is something else: {other}; "
                        "move it away, or pass --overwrite"))  # fmt: skip
                    return None
                meta = None
            if meta is None or changed(job.video, meta):
                wanted.append(i)
            else:
                metas.append(meta)
        if not wanted:
            meta = metas[0]
            state = "partial" if meta.get("damage") else "done"
            self.record(job, state, reason=meta.get("damage", ""), rows=meta["shape"][0])
            return None
        if not os.path.exists(job.video):
            self.record(job, "missing", stage="read", reason="no such file")
            return None
        if not os.path.isfile(job.video):  # a FIFO would keep its reader waiting for ever
            self.record(job, "failed", stage="read", reason="not a regular file")
            return None
        old = self.notes.get(job.name)
        if old and old["state"] == "failed" and self._still_failed(job, old):
            self.record(job, "failed", stage=old["stage"], reason=old["reason"])
            return None
        return wanted

    def _still_failed(self, job: Job, old: Meta) -> bool:
        """Whether an earlier failure stands: same file, same wish, not worth another try."""
        if old.get("asked") != self._asked(job):
            return False
        if old["when"] >= self.begun:
            return True  # somebody tried during this run
        if self.options.retry_failed or old.get("transient"):
            return False
        return stat_of(job.video) == {k: old.get("source", {}).get(k) for k in ("size", "mtime_ns")}

    def _asked(self, job: Job) -> str:
        """A digest of all that decides how a video ends."""
        requests = [entry.request for entry in self.entries]
        asked = json.dumps([requests, job.start, job.end, self.options.bad_packets])
        return hashlib.blake2b(asked.encode(), digest_size=16).hexdigest()

    def failure(self, job: Job, error: VideoError) -> Meta:
        """What a record says of a video that failed."""
        gone = not os.path.exists(job.video)
        return {
            "state": "missing" if gone else "failed", "stage": error.stage, "reason": error.detail,
            "error": type(error).__name__, "transient": error.transient or gone, "computed": True,
            "asked": self._asked(job),
        }  # fmt: skip

    def record(self, job: Job, state: str, note_it: bool = False, **words: Any) -> None:
        """A video's fate: in this run's summary, and on the disk where it is news."""
        record = {"name": job.name, "video": job.shown, "output": job.output, "state": state,
                  "by": self.owner, **words}  # fmt: skip
        with self._lock:  # jobs are looked at in the feed's thread, results in the run's
            known = self.notes.get(job.name)
            if note_it or not known or known["state"] != state:
                self.notes.add(record)
            self.tell(record)
