"""Steps in, changes on the disk out: checked again before, checked again after, journaled.

One step at a time, and each stands alone: a refused step does not stop the others.

1. look at both files, read them, compare them (Note [checks]);
2. write into the journal what is about to happen;
3. set the file aside by renaming it;
4. open the kept file again: gone or changed means it was the same file through another path, or
   another program is at work; then the rename is taken back;
5. finish, and write that into the journal.
"""

from __future__ import annotations

import base64
import dataclasses
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from twinreel.actions import journal as journals
from twinreel.actions.disk import Disk, Look, words
from twinreel.actions.journal import Journal, JournalLost
from twinreel.actions.kinds import ACTIONS, Action, Record, Run, described
from twinreel.actions.plan import Plan, Skip
from twinreel.actions.survey import survey
from twinreel.errors import (
    ActionRefused,
    FileChanged,
    KeeperMissing,
    TwinreelError,
    VideoError,
    WouldRemoveLastCopy,
)
from twinreel.types import Step

RECENT_S = 60.0  # a file younger than this is looked at twice,
MOMENT_S = 0.25  # this far apart: it may still be growing
TRIES = 3  # to take a step back


@dataclass(frozen=True)
class Outcome:
    """What was done, what was refused and why, and where the journal is."""

    done: tuple[Step, ...] = ()
    refused: tuple[Skip, ...] = ()
    journal: str = ""
    notes: tuple[str, ...] = ()

    @property
    def freed(self) -> int:
        return sum(s.size for s in self.done)


@dataclass
class _State:
    """What a run learns on its way."""

    removed: set[str]  # paths of all steps that take a file away
    done: set[str] = field(default_factory=set)
    # Kept files that were decoded in this run, as they stood then -> damage, '' where intact. Never
    # longer, nor by content key: that reads a part of a file, and bits rot between those parts.
    verdicts: dict[tuple[int, ...], str] = field(default_factory=dict)
    heritage: dict[str, list[tuple[int, dict[str, str]]]] = field(default_factory=dict)
    gone: set[tuple[int, int, int]] = field(default_factory=set)  # what was set aside, see _times
    dressed: set[str] = field(default_factory=set)  # kept files that got another time from us


def apply(
    plan: Plan,
    journal_path: str = "",
    *,
    disk: Disk | None = None,
    progress: Callable[[Step, str], None] = lambda step, words: None,
) -> Outcome:
    """Do what a plan says.

    Args:
        plan: of `plan`, perhaps surveyed already.
        journal_path: a new file; default: one in the user's data folder.
        disk: the system calls; tests put their own in.
        progress: called after each step with '' or the reason of the refusal.

    Raises:
        JournalLost: the journal cannot be written. What was done until then can be undone.
    """
    disk = disk or Disk()
    plan = plan if plan.surveyed else survey(plan, disk)
    path = journal_path or journals.new_path()
    run = Run(disk, plan.options, plan.roots, secrets.token_hex(8))
    state = _State({s.path for s in plan.steps if s.keep})
    done: list[Step] = []
    refused: list[Skip] = []
    notes: list[str] = []
    with journals.held(path, disk):
        book = Journal(path, disk)
        options = dataclasses.asdict(plan.options)
        book.write(journals.header(plan.action, plan.report, plan.library, options))
        for n, step in enumerate(plan.steps):
            try:
                take(step, n, run, state, book)
            except JournalLost as error:
                if error.done:
                    done.append(step)
                else:
                    refused.append(Skip(step.path, str(error)))
                rest = plan.steps[n + 1 :]
                refused += [Skip(s.path, "not reached: the journal is lost") for s in rest]
                notes.append(str(error))
                break
            except (TwinreelError, OSError) as error:
                reason = words(error).removeprefix(f"{step.path}: ")
                refused.append(Skip(step.path, reason))
                progress(step, reason)
                continue
            done.append(step)
            state.done.add(step.path)
            progress(step, "")
        else:
            try:
                book.write({"phase": "end"})
            except JournalLost as error:
                notes.append(str(error))
    return Outcome(tuple(done), tuple(refused), path, tuple(notes))


def take(step: Step, n: int, run: Run, state: _State, book: Journal) -> None:
    """One step, whole or not at all. Raises the reason when it was not taken."""
    disk, kind = run.disk, ACTIONS[step.action]
    for path in step.expect.get("after", ()):
        if step.action != "inherit" and path not in state.done:
            raise ActionRefused(f"{step.path}: waits for {path}, which stayed")
    look, keeper = _check(step, run, state)
    if step.action == "inherit":
        step = _with_heritage(step, state)
    rec: Record = {
        "n": n,
        "phase": "begin",
        "action": step.action,
        "path": step.path,
        "keep": step.keep,
        "relation": step.expect.get("relation", ""),
        "why": step.why,
        "file": described(look, step.expect.get("file", {}).get("key") or disk.key(step.path)),
        "keeper": described(keeper, step.expect["keep"]["key"] or disk.key(step.keep))
        if keeper
        else None,
    }
    rec |= kind.prepare(step, n, look, keeper, run)
    heirloom = _heirloom(step, look, run) if step.keep and run.options.inherit else None
    book.write(rec)
    try:
        kind.perform(rec, disk)
        aside = _check_after(rec, kind.held, look, keeper, disk)
        kind.finish(rec, disk)
    except BaseException as error:  # also Ctrl-C: the step is whole or not at all
        if second := _taken_back(kind, rec, disk):
            first = words(error).removeprefix(f"{step.path}: ")
            raise ActionRefused(
                f"{step.path}: {first}; taking it back failed too ({words(second)}): "
                f"run `twinreel undo {book.path}`"
            ) from None
        book.write({"n": n, "phase": "reverted", "reason": words(error)})
        raise
    if step.keep:
        state.gone.add(_times(aside))
    if step.action == "inherit":
        state.dressed.add(step.path)
    if heirloom:
        state.heritage.setdefault(step.keep, []).append(heirloom)
    try:
        book.write({"n": n, "phase": "done"})
    except JournalLost as error:
        error.done = True
        raise


def _taken_back(kind: Action, rec: Record, disk: Disk) -> Exception | None:
    """None, or why not. Another run may be in the way for a moment, so it is tried again."""
    failed: Exception | None = None
    for _ in range(TRIES):
        try:
            kind.revert(rec, disk)
            return None
        except (TwinreelError, OSError) as error:
            failed = error
    return failed


# Note [checks]
# A victim must be the very file of the report (size, time, inode, content key), and the same at
# two looks a moment apart. The kept file too; it must be another file, a real one, sound, and not
# itself in the plan. Bytes are compared where the report says they are the same; else the kept
# file's packets are read to the end. All this is read from the disk now, not from the report.


def _check(step: Step, run: Run, state: _State) -> tuple[Look, Look | None]:
    disk, expect = run.disk, step.expect
    file = expect.get("file")
    if step.path in state.dressed:
        file = {**expect["file"], "mtime_ns": 0}
    look = _seen(step.path, file, disk, FileChanged)
    if not step.keep:
        return look, None
    if step.keep in state.removed:
        raise WouldRemoveLastCopy(f"{step.path}: the kept file {step.keep} is in the plan itself")
    keeper = _seen(step.keep, expect["keep"], disk, KeeperMissing)
    # Two disks may number two files alike, but not with one ctime to the nanosecond.
    twice = keeper.inode == look.inode and keeper.ctime_ns == look.ctime_ns
    if keeper.same_file(look) or (twice and keeper.unchanged(look)):
        raise WouldRemoveLastCopy(
            f"{step.path}: the very same file as {step.keep}; nothing would be freed"
        )
    _key(step.keep, expect["keep"]["key"], disk, KeeperMissing)
    _key(step.path, expect["file"]["key"], disk, FileChanged)
    if expect["relation"] == "exact":
        if not disk.same_bytes(step.path, step.keep):
            raise FileChanged(f"{step.path}: not the same bytes as {step.keep}; run `dups` again")
    else:
        _sound(step.keep, keeper, run, state)
    if abs(disk.now() - look.mtime_ns / 1e9) < RECENT_S:
        disk.sleep(MOMENT_S)
    for path, before in ((step.path, look), (step.keep, keeper)):
        if not disk.open_look(path).unchanged(before):
            raise FileChanged(f"{path}: is changing right now; try again when it is finished")
    keeper = disk.open_look(step.keep)
    if _times(keeper) in state.gone:
        raise WouldRemoveLastCopy(
            f"{step.path}: {step.keep} is a file that this run removed under another path"
        )
    return look, keeper


def _seen(path: str, expect: Record | None, disk: Disk, kind: type[ActionRefused]) -> Look:
    """The real file at `path`, as the report describes it."""
    look = disk.look(path)
    if look is None:
        raise kind(f"{path}: not there any more")
    if look.kind != "file":
        nouns = {"dir": "a folder", "link": "a symbolic link", "other": "not a regular file"}
        raise kind(f"{path}: is {nouns[look.kind]} now, not a real file; run `dups` again")
    for name in ("size", "mtime_ns", "inode") if expect else ():
        known = (expect or {}).get(name)
        if known and known != getattr(look, name):
            raise kind(
                f"{path}: {name} is {getattr(look, name)}, the report says {known}; "
                "the file is another now: run `dups` again"
            )
    return look


def _key(path: str, key: str | None, disk: Disk, kind: type[ActionRefused]) -> None:
    try:
        if key is not None and not disk.is_key(path, key):
            raise kind(f"{path}: its content changed since the report; run `dups` again")
    except (VideoError, OSError) as error:
        raise kind(f"{path}: cannot be read ({words(error)}); check the disk") from None


def _sound(path: str, look: Look, run: Run, state: _State) -> None:
    """The kept file plays to its end. Files that several steps keep are decoded once a run."""
    known = (look.device, look.inode, *_times(look))
    if known not in state.verdicts:
        try:
            state.verdicts[known] = run.disk.damage(path, run.options.verify == "full")
        except (VideoError, OSError) as error:
            raise KeeperMissing(f"{path}: does not decode ({words(error)}); keep another") from None
    if state.verdicts[known]:
        raise KeeperMissing(f"{path}: damaged ({state.verdicts[known]}); keep another file")


def _check_after(rec: Record, held: str, look: Look, keeper: Look | None, disk: Disk) -> Look:
    """The file that was set aside is the checked one, and the kept file still stands, untouched."""
    aside = disk.look(rec[held])
    if aside is None or not (aside.inode == look.inode and aside.size == look.size):
        if aside is not None and held != "path":
            rec["file"] = described(aside)  # whatever it is, it goes back
        raise FileChanged(f"{rec['path']}: exchanged for another file a moment ago; taken back")
    if held != "path" and aside.mtime_ns != look.mtime_ns:
        raise FileChanged(f"{rec['path']}: written to a moment ago; taken back")
    if keeper is None:
        return aside
    try:
        still = disk.open_look(rec["keep"])
    except OSError:
        still = None
    # A rename changes the ctime of what it renames. If the kept file's changed with it, the two
    # paths lead to one file, even if a stale network cache still shows the old name. (A new hard
    # link changes it too, and is one more link, as it should be.)
    if still and rec["action"] == "hardlink":
        touched = still.links > keeper.links + 1
    else:
        touched = still is not None and still.ctime_ns != keeper.ctime_ns
    if still is None or not still.unchanged(keeper) or touched:
        raise WouldRemoveLastCopy(
            f"{rec['path']}: {rec['keep']} went or changed with it, so they are one file seen "
            "through two paths, or another program is at work; taken back"
        )
    _key(rec["keep"], rec["keeper"]["key"], disk, KeeperMissing)
    return aside


def _times(look: Look) -> tuple[int, int, int]:
    """Size, time and ctime: a file that was renamed a moment ago is known by them anywhere."""
    return look.size, look.mtime_ns, look.ctime_ns


def _heirloom(step: Step, look: Look, run: Run) -> tuple[int, dict[str, str]]:
    """What the kept file may inherit from this one: (time, attributes)."""
    wanted = run.options.inherit
    found = run.disk.xattrs(step.path) if "xattr" in wanted else {}
    kept = {k: base64.b64encode(v).decode() for k, v in found.items()}
    return (look.mtime_ns if "mtime" in wanted else 2**63 - 1), kept


def _with_heritage(step: Step, state: _State) -> Step:
    removed = state.heritage.get(step.path)
    if not removed:
        raise ActionRefused(f"{step.path}: nothing to inherit, no file was removed for it")
    xattrs: dict[str, str] = {}
    for _, found in removed:
        xattrs = {**found, **xattrs}
    more = {"mtimes": [t for t, _ in removed], "xattrs": xattrs}
    return dataclasses.replace(step, expect={**step.expect, **more})
