"""A journal in, the files back in their places: the last step first, replacing nothing.

outcome = undo("journal.jsonl")
for skip in outcome.refused: print(skip.path, skip.reason)
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any

from twinreel.actions import journal as journals
from twinreel.actions.apply import Outcome, apply
from twinreel.actions.disk import Disk, words
from twinreel.actions.journal import Journal, JournalLost, Past
from twinreel.actions.kinds import ACTIONS
from twinreel.actions.plan import QUARANTINE, ActOptions, Plan, Skip
from twinreel.errors import ActionRefused, BadReport, InputError, TwinreelError
from twinreel.types import Step

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def undo(journal: str, *, disk: Disk | None = None, only_interrupted: bool = False) -> Outcome:
    """Take back what a journal tells of.

    Args:
        journal: its path.
        disk: the system calls; tests put their own in.
        only_interrupted: just the step that a kill cut in two, if any.

    Raises:
        BadReport: not a journal.
        ActionRefused: the run that writes it is still going on.
    """
    disk = disk or Disk()
    done: list[Step] = []
    refused: list[Skip] = []
    notes: list[str] = []
    with journals.held(journal, disk):
        past = journals.read(journal, disk)
        book = Journal(journal, disk)
        for rec in past.interrupted if only_interrupted else past.open_steps:
            step = Step(
                rec["action"], rec["path"], rec["keep"], rec.get("dest"), rec["file"]["size"]
            )
            kind = ACTIONS[rec["action"]]
            try:
                if only_interrupted and kind.complete(rec, disk):
                    book.write({"n": rec["n"], "phase": "done"})
                    continue
                kind.revert(rec, disk)
                notes += rec.get("notes", [])
                phase = "reverted" if only_interrupted else "undone"
                book.write({"n": rec["n"], "phase": phase})
            except JournalLost:
                raise
            except (TwinreelError, OSError) as error:
                refused.append(Skip(rec["path"], words(error).removeprefix(f"{rec['path']}: ")))
                continue
            done.append(step)
    notes += [f"{past.torn} torn lines were left out"] if past.torn else []
    if not only_interrupted:
        purged = [s for s in past.steps if past.phases.get(s["n"]) == "purged"]
        refused += [Skip(s["path"], f"purged; its content is kept in {s['keep']}") for s in purged]
    return Outcome(tuple(done), tuple(refused), journal, tuple(notes))


def settle(where: str = "", disk: Disk | None = None) -> list[Outcome]:
    """Take back the half-done step of every run that was killed. `act` begins with this."""
    disk = disk or Disk()
    out: list[Outcome] = []
    for path in journals.list_journals(where):
        try:
            if journals.read(path, disk).interrupted:
                out.append(undo(path, disk=disk, only_interrupted=True))
        except (BadReport, ActionRefused):
            continue  # not ours, or its run is still going on
    return out


@dataclass(frozen=True)
class Entry:
    """One line of `undo --list`."""

    path: str
    created: str
    action: str
    report: str
    steps: int
    can_undo: int
    interrupted: bool


def history(where: str = "", disk: Disk | None = None) -> list[Entry]:
    """What was done, the newest last."""
    disk = disk or Disk()
    out: list[Entry] = []
    for path in journals.list_journals(where):
        try:
            past = journals.read(path, disk)
        except BadReport:
            continue
        h = past.header
        able = [s for s in past.open_steps if s["action"] != "delete" or _hidden(s, past, disk)]
        out.append(
            Entry(
                path,
                h.get("created", ""),
                h.get("action", ""),
                h.get("report", ""),
                len(past.steps),
                len(able),
                bool(past.interrupted),
            )
        )
    return out


def _hidden(rec: dict[str, Any], past: Past, disk: Disk) -> bool:
    """Whether a deletion was cut in two: its file still lies under the hidden name."""
    return past.phases.get(rec["n"]) is None and disk.look(rec["aside"]) is not None


def newest(where: str = "", disk: Disk | None = None) -> str:
    """The newest journal with something to take back. Raises InputError when there is none."""
    able = [e.path for e in history(where, disk) if e.can_undo]
    if not able:
        raise InputError("nothing to undo: no journal tells of a step that can be taken back")
    return able[-1]


def seconds(age: str) -> float:
    """'30d' -> 2592000.0; units s, m, h, d, w. Raises ValueError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw])", age.strip())
    if not found:
        raise ValueError(f"an age is a number and s, m, h, d or w, like 30d; got {age!r}")
    return float(found[1]) * _UNITS[found[2]]


def purge_plan(older_than_s: float, where: str = "", disk: Disk | None = None) -> Plan:
    """What emptying the quarantine would delete: files that `move` and links set aside there.

    Only files of our own quarantine folders whose kept file the journal names; `apply` then
    checks each kept file again, like for any deletion.
    """
    disk = disk or Disk()
    steps: list[Step] = []
    skipped: list[Skip] = []
    for path in journals.list_journals(where):
        try:
            past = journals.read(path, disk)
        except BadReport:
            continue
        look = disk.look(path)
        if look is None or disk.now() - _born(past, look.mtime_ns) < older_than_s:
            continue
        moved = {s["path"]: s["dest"] for s in past.open_steps if s["action"] == "place"}
        for rec in past.open_steps:
            held = rec.get(ACTIONS[rec["action"]].held, "")
            if past.phases.get(rec["n"]) != "done" or QUARANTINE not in held.split(os.sep):
                continue
            if rec["action"] == "delete":  # an earlier purge: its file is gone
                continue
            if rec["keeper"] is None:
                skipped.append(Skip(held, "a sidecar: nothing else holds its content"))
                continue
            keep = moved.get(rec["keep"], rec["keep"])
            loose = {"mtime_ns": 0, "inode": 0}  # undo, inherit and place may have touched it
            expect: dict[str, Any] = {
                "file": rec["file"],
                "keep": {**rec["keeper"], **loose},
                "relation": rec["relation"],
                "source": [path, rec["n"]],
            }
            why = f"was at {rec['path']}"
            steps.append(Step("delete", held, keep, None, rec["file"]["size"], why, (), expect))
    return Plan("delete", tuple(steps), tuple(skipped), ActOptions(structured=True), surveyed=True)


def _born(past: Past, mtime_ns: int) -> float:
    from datetime import datetime

    try:
        return datetime.strptime(past.header["created"], "%Y-%m-%dT%H:%M:%S%z").timestamp()
    except (KeyError, ValueError):
        return mtime_ns / 1e9


def purge(plan: Plan, journal_path: str = "", disk: Disk | None = None) -> Outcome:
    """Delete what `purge_plan` lists, each after its kept file was checked again."""
    disk = disk or Disk()
    outcome = apply(plan, journal_path, disk=disk)
    books: dict[str, Journal] = {}
    for step in outcome.done:
        source, n = step.expect["source"]
        book = books.setdefault(source, Journal(source, disk))
        book.write({"n": n, "phase": "purged"})
    return outcome
