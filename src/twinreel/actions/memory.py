"""What acts leave in the report's library: what was removed, and which kept files were intact.

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
VERDICT = "intact"


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


def verdicts(report: Report) -> dict[str, str]:
    """What earlier acts learnt of kept files: 'verify:content key' -> damage, '' when intact."""
    if not os.path.isfile(report.library):
        return {}
    with Library.open(report.library) as library:
        return dict(library.recall_all(VERDICT))


def remember_verdicts(report: Report, learnt: dict[str, str]) -> None:
    """Keep the verdicts on contents (those of files without a key are not kept)."""
    keys = {video.file.key for video in report.videos}
    fresh = {name: words for name, words in learnt.items() if name.split(":", 1)[1] in keys}
    if not fresh or not os.path.isfile(report.library):
        return
    with Library.open(report.library) as library:
        for name, words in fresh.items():
            library.remember(VERDICT, name, words)
