"""What acts leave in the report's library: what was removed, when, and what was kept instead.

The descriptors of removed files stay in the library; these notes say what became of the files. A
library that is not there is no obstacle: the act itself is done and journalled.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from twinreel.report import Report
from twinreel.store import Library, now
from twinreel.types import Step

REMOVING = frozenset({"trash", "move", "delete"})
KIND = "removed"


def remember(report: Report, done: Iterable[Step]) -> None:
    """Keep which contents were removed by these steps, when, and what was kept instead."""
    gone = [s for s in done if s.action in REMOVING and s.keep]
    if not gone or not os.path.isfile(report.library):
        return
    with Library.open(report.library) as library:
        for step in gone:
            key = report.video(step.path).file.key
            if key and key != report.video(step.keep).file.key:
                note = {"path": step.path, "at": now(), "keep": step.keep}
                library.remember(KIND, key, note)


def take_back(library_path: str, done: Iterable[Step]) -> None:
    """Drop the notes of files that are back."""
    back = {s.path for s in done}
    if not back or not os.path.isfile(library_path):
        return
    with Library.open(library_path) as library:
        for key, note in library.recall_all(KIND).items():
            if note["path"] in back:
                library.forget(KIND, key)
