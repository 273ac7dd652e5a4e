"""How an extraction run stands, from the records that its processes leave in the output folder.

    rows = read_status(Path("features"))
    print(table(rows))

Every process appends to a file of its own; here they are read together.
"""

from __future__ import annotations

import contextlib
import csv
import io
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from twinreel.errors import NothingFound, OutputError
from twinreel.extract.claims import Claims
from twinreel.extract.manifest import Job
from twinreel.extract.outputs import HIDDEN
from twinreel.extract.whole import Meta, Notes, disk, write_whole

FILE = "extract-status.csv"
STOPPED = "stopped by the user; the same command goes on from here"
STATES = ("done", "partial", "failed", "missing")
COLUMNS = ("video", "output", "state", "rows", "stage", "reason", "seconds")


@dataclass
class Summary:
    """How a run ended.

    records: one per job, by name. seconds: wall time by what was waited for (of several devices:
    their mean). not_reached: names of jobs that the run never came to, or not to the end of.
    table: the status file, where one was written.
    """

    folder: Path
    records: dict[str, Meta] = field(default_factory=dict)
    not_reached: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    frames: int = 0
    computed: int = 0
    stopped: str = ""
    table: Path | None = None

    @property
    def counts(self) -> Counter[str]:
        return Counter(r["state"] for r in self.records.values())

    @property
    def exit_code(self) -> int:
        """1 if a video failed or is missing, or the run did not come to its end."""
        counts = self.counts
        return int(bool(counts["failed"] or counts["missing"] or self.not_reached or self.stopped))

    def pace(self) -> str:
        """'31.5 frames/s, decode 12 %, model 80 %': so far."""
        total = sum(self.seconds.values())
        if not total or not self.frames:
            return ""
        shares = ", ".join(f"{k} {v / total:.0%}" for k, v in self.seconds.items())
        return f"{self.frames / total:.1f} frames/s, {shares}"

    def line(self) -> str:
        """'60 videos: 58 done, 1 partial, 1 failed; ...'"""
        counts = self.counts
        parts = [f"{counts[s]} {s}" for s in STATES if counts[s] or s == "done"]
        if self.not_reached:
            parts.append(f"{len(self.not_reached)} not reached")
        pace = f"; {self.frames} frames, {self.pace()}" if self.frames else ""
        count = len(self.records) + len(self.not_reached)
        return f"{count} videos: {', '.join(parts)}{pace}"


@dataclass
class Listener:
    """Who hears of a run while it goes on.

    on_record: called with each video's status record as it is known. on_words: with what is worth
    knowing; `say` gives it the same words once.
    """

    on_record: Callable[[Meta, Summary], None] = lambda record, summary: None
    on_words: Callable[[str], None] = lambda words: None
    _said: set[str] = field(default_factory=set)

    def say(self, words: str) -> None:
        if words not in self._said:
            self._said.add(words)
            self.on_words(words)


def read_status(folder: Path, ended: str = "") -> list[Meta]:
    """The latest record of every video, by name.

    Args:
        ended: an owner who has nothing in work any more.

    Raises:
        NothingFound, OutputError.
    """
    with disk(folder):
        there = (folder / HIDDEN).is_dir()
    if not there:
        raise NothingFound(
            f"{folder}: no extraction has run there; name the folder that holds the outputs"
        )
    records = Notes(folder / HIDDEN, "status", uuid.uuid4().hex).refresh()
    begun = [r for r in records.values() if r["state"] == "started"]
    if begun:
        # Who may not write there cannot tell the living from the dead.
        with contextlib.suppress(OutputError), Claims(folder / HIDDEN / "claims") as claims:
            for record in begun:
                if record["by"] == ended or claims.ended(record["by"]):
                    record["state"] = "not reached"
    return [records[name] for name in sorted(records)]


def unreached(job: Job) -> Meta:
    """The record of a video that a run never came to."""
    return {"name": job.name, "video": job.shown, "output": job.output, "state": "not reached"}


def conclude(summary: Summary, jobs: Sequence[Job], owner: str = "") -> None:
    """However a run has ended: name what it did not reach, and write extract-status.csv, one line
    per video, whole. A disk that does not take it is told in `summary.stopped`.

    Args:
        owner: who writes; '' for a part of a run, whose table comes later.
    """
    missed = [unreached(j) for j in jobs if j.name not in summary.records]
    summary.not_reached = [r["name"] for r in missed]
    if not owner:
        return
    try:
        # What an earlier run or another process knows of a video stays.
        lines = {r["name"]: r for r in [*missed, *read_status(summary.folder, ended=owner)]}
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", restval="")
        writer.writeheader()
        writer.writerows(lines[name] for name in sorted(lines))
        data = text.getvalue().encode("utf-8", "surrogateescape")
        path = summary.folder / FILE
        write_whole(path, lambda file: (file.write(data), None)[1], owner)
        summary.table = path
    except NothingFound:
        return  # it ended before there was a record
    except OutputError as error:
        summary.stopped = summary.stopped or str(error)


def table(records: list[Meta]) -> str:
    """Counts, then what went wrong, one line each."""
    counts = Counter("in progress" if r["state"] == "started" else r["state"] for r in records)
    first = ", ".join(f"{n} {state}" for state, n in sorted(counts.items())) or "nothing yet"
    return "\n".join([first, *faults(records)])


def faults(records: list[Meta]) -> list[str]:
    """One line for each video that is not done: state, stage, path, reason."""
    lines = []
    for record in records:
        if record["state"] in ("failed", "missing", "partial"):
            stage = f" at {record['stage']}" if record.get("stage") else ""
            # A name may hold a newline; a line is a video.
            name = record["video"].replace("\n", "\\n")
            lines.append(f"{record['state']}{stage}: {name}: {record.get('reason', '')}")
    return lines
