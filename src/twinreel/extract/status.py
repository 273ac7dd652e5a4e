"""How an extraction run stands, from the records that its processes leave in the output folder.

    rows = read_status(Path("features"))
    print(table(rows))

Every process appends to a file of its own; here they are read together.
"""

from __future__ import annotations

import csv
import io
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from twinreel.errors import NothingFound
from twinreel.extract.outputs import HIDDEN
from twinreel.extract.whole import Meta, Notes, write_whole

FILE = "extract-status.csv"
STATES = ("done", "partial", "failed", "missing")
COLUMNS = ("video", "output", "state", "rows", "stage", "reason", "seconds")


@dataclass
class Summary:
    """How a run ended.

    records: one per job, by name. seconds: wall time by what was waited for. not_reached: names
    of jobs that the run never came to.
    """

    folder: Path
    records: dict[str, Meta] = field(default_factory=dict)
    not_reached: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    frames: int = 0
    computed: int = 0
    stopped: str = ""

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


def read_status(folder: Path) -> list[Meta]:
    """The latest record of every video, by name. Raises NothingFound."""
    if not (folder / HIDDEN).is_dir():
        raise NothingFound(
            f"{folder}: no extraction has run there; name the folder that holds the outputs"
        )
    records = Notes(folder / HIDDEN, "status", uuid.uuid4().hex).refresh()
    return [records[name] for name in sorted(records)]


def write_status(folder: Path, owner: str) -> Path:
    """Write extract-status.csv, one line per video, whole."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", restval="")
    writer.writeheader()
    writer.writerows(read_status(folder))
    path = folder / FILE
    data = text.getvalue().encode("utf-8", "surrogateescape")
    write_whole(path, lambda file: (file.write(data), None)[1], owner)
    return path


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
