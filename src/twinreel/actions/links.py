"""Actions that put something in the file's place: hard link, symbolic link, shared blocks."""

from __future__ import annotations

import base64
import os
from abc import abstractmethod
from contextlib import suppress
from typing import ClassVar

from twinreel.actions import places
from twinreel.actions.disk import Disk, Look, words
from twinreel.actions.kinds import (
    Action,
    Record,
    Run,
    action,
    is_it,
    keeper_stands,
    tidy,
)
from twinreel.errors import ActionRefused, KeeperMissing
from twinreel.types import Step


class _Link(Action):
    """Something takes the file's place that leads to the kept file's content.

    The link is made under a temporary name and exchanged with the file in one call: there is no
    moment without a file, and whatever stood at the path is under a name of this run's own. Where
    the system cannot exchange, the file is set aside first. Nothing is ever replaced, and no other
    run can choose these names, so whatever lies under them came from the path and goes back there.
    The old file goes once all is checked if the bytes are the same; else it stays in the
    quarantine, for undo.

    tmp: the link before it takes its place; hold: the old file; old: the link after undo;
    copy: a file that undo makes anew.
    """

    held = "hold"
    made_in_pieces: ClassVar[bool] = False  # the link may be half made after a failure

    def prepare(self, step: Step, n: int, look: Look, keeper: Look | None, run: Run) -> Record:
        if keeper is None or keeper.device != look.device:
            raise ActionRefused(
                f"{step.path}: the kept file {step.keep} is on another file system and a link "
                "would break with it; use trash or move"
            )
        mark = f"{run.tag}-{n}"
        own = os.path.join(os.path.dirname(step.path), f".twinreel-{mark}")
        rec: Record = {
            "tmp": f"{own}-new",
            "hold": own,
            "old": f"{own}-old",
            "copy": f"{own}-copy",
            "made": [],
            "xattrs": {
                name: base64.b64encode(value).decode()
                for name, value in run.disk.xattrs(step.path).items()
            },
        }
        if step.expect["relation"] != "exact":
            mark = mark if run.tag else ""
            rec["hold"] = places.quarantine_of(step.path, look, run.roots, "", run.disk, mark)
            rec["made"] = places.missing_folders(os.path.dirname(rec["hold"]), run.disk)
        return rec

    @abstractmethod
    def make(self, rec: Record, disk: Disk) -> None:
        """Create the link under its temporary name."""

    @abstractmethod
    def is_ours(self, look: Look, rec: Record, disk: Disk) -> bool:
        """Whether what stands at the path is the link that was made."""

    def perform(self, rec: Record, disk: Disk) -> None:
        path, tmp, hold = rec["path"], rec["tmp"], rec["hold"]
        places.make_folders(rec["made"], disk)
        self.make(rec, disk)
        if disk.exchange(tmp, path):
            try:
                disk.rename(tmp, hold)
            except OSError:  # what came from the path must not stay under the name of the link
                with suppress(OSError):
                    disk.exchange(tmp, path)
                raise
        else:
            disk.rename(path, hold)
            disk.rename(tmp, path, back=True)
        disk.sync_folder(os.path.dirname(path))

    def finish(self, rec: Record, disk: Disk) -> None:
        if rec["relation"] == "exact":
            disk.unlink(rec["hold"])

    def revert(self, rec: Record, disk: Disk) -> None:
        path, hold = rec["path"], rec["hold"]
        if disk.look(rec["copy"]) is not None:
            disk.unlink(rec["copy"])  # never finished, else it would be under `hold`
        for name in (hold, rec["old"]):
            taken = disk.look(name)
            if taken is not None and taken.reserved:
                disk.unlink(name)  # killed when the name was taken but the file not yet there
        new, held = disk.look(rec["tmp"]), disk.look(hold)
        if new and held is None and (new.kind, new.inode) == ("file", rec["file"]["inode"]):
            disk.rename(rec["tmp"], hold)  # killed between the two calls: exchanged already
            held = disk.look(hold)
        here = disk.look(path)
        if held is not None and self._traded(here, held, rec, disk):
            disk.rename(hold, rec["old"])  # killed between the two calls of undo
            held = None
        elif held is not None and here is None:
            disk.rename(hold, path, back=True)
        elif held is not None and here is not None and here.same_file(held):
            if held.links > 1:
                disk.unlink(hold)  # killed on the way back: one file, two names
        elif here is not None and self.is_ours(here, rec, disk):
            if held is None:
                self.restore(rec, here, disk)
            self._keeper_there(rec, here, disk)
            self._trade(rec, here, disk)
        elif here is None or held is not None or not is_it(path, rec["file"], disk):
            raise ActionRefused(
                f"{path}: something else stands there now; move it, then undo again"
            )
        self._drop(rec, "old", disk)
        self._drop(rec, "tmp", disk)
        disk.sync_folder(os.path.dirname(path))
        tidy(rec, disk)

    def complete(self, rec: Record, disk: Disk) -> bool:
        here = disk.look(rec["path"])
        if here is None or disk.look(rec["tmp"]) is not None or not self.is_ours(here, rec, disk):
            return False
        if rec["relation"] == "exact":
            return disk.look(rec["hold"]) is None and keeper_stands(rec, disk)
        return is_it(rec["hold"], rec["file"], disk) and keeper_stands(rec, disk)

    def restore(self, rec: Record, here: Look, disk: Disk) -> None:
        """Make the old file anew from the kept one, which has the same bytes."""
        if rec["relation"] != "exact":
            raise ActionRefused(f"{rec['path']}: its own content is no longer at {rec['hold']}")
        self._keeper_there(rec, here, disk)
        disk.copy(rec["keep"], rec["copy"])
        if not disk.is_key(rec["copy"], rec["file"]["key"] or rec["keeper"]["key"]):
            disk.unlink(rec["copy"])
            raise ActionRefused(f"{rec['keep']}: changed since; {rec['path']} stays a link to it")
        try:
            refused = dress(rec["copy"], rec, disk)
        except OSError:
            with suppress(OSError):
                disk.unlink(rec["copy"])
            raise
        if refused:
            note = f"{rec['path']}: is back, but its owner is another ({words(refused)})"
            rec.setdefault("notes", []).append(note)
        disk.rename(rec["copy"], rec["hold"])

    def _trade(self, rec: Record, here: Look, disk: Disk) -> None:
        """The old file to its path, the link that stands there to a name of our own."""
        path, hold, old = rec["path"], rec["hold"], rec["old"]
        if disk.exchange(hold, path):
            disk.rename(hold, old)
        else:
            disk.rename(path, old)
            disk.rename(hold, path, back=True)
        got = disk.look(old)
        if got is None or (got.kind, got.inode) != (here.kind, here.inode):
            raise ActionRefused(
                f"{path}: is back; another file was put there meanwhile, it is at {old}"
            )

    def _traded(self, here: Look | None, held: Look, rec: Record, disk: Disk) -> bool:
        """Whether the old file is at its path already, and the link where the old file was."""
        file = rec["file"]
        if here is None or here.same_file(held):
            return False
        back = (here.kind, here.inode, here.mtime_ns) == ("file", file["inode"], file["mtime_ns"])
        return back or self.is_link(held, rec["hold"], rec, disk)

    def is_link(self, look: Look, path: str, rec: Record, disk: Disk) -> bool:
        """Whether this is the link that was made, beyond doubt."""
        return False

    def _drop(self, rec: Record, name: str, disk: Disk) -> None:
        """Remove the link under a name of our own, unless it may be the last of its content.

        Another act may have counted on it and have given up the kept file for it: so the kept
        file is looked at when nobody can count on this any more.
        """
        look = disk.look(rec[name])
        if look is None:
            return
        stays = rec["path"], rec["hold"], rec["keep"]
        # What was being made when a failure came may be half of a copy.
        half = name == "tmp" and self.made_in_pieces
        if not (
            look.kind == "link"
            or half
            and is_it(rec["keep"], rec["keeper"], disk)
            or any(self._same(rec[name], other, disk) for other in stays)
        ):
            raise ActionRefused(
                f"{rec['path']}: is back, but {rec['keep']} is gone or changed; "
                f"what may be its last content stays at {rec[name]}"
            )
        disk.unlink(rec[name])

    def _keeper_there(self, rec: Record, here: Look, disk: Disk) -> None:
        """What stands at the path may be the last name of the kept content: then it stays."""
        if here.kind == "link" or self._same(rec["hold"], rec["path"], disk):
            return
        if rec["keep"] == rec["path"] or not self._holds_the_same(rec, disk):
            raise ActionRefused(
                f"{rec['path']}: the kept file {rec['keep']} is gone or changed, this may be the "
                "last of its content; it stays"
            )

    def _holds_the_same(self, rec: Record, disk: Disk) -> bool:
        """Whether the kept file is there and has the very bytes of what stands at the path.

        A content key reads pieces of a file only: it may name a file, never clear one for removal.
        """
        there = is_it(rec["keep"], rec["keeper"], disk)
        return there and self._same(rec["keep"], rec["path"], disk)

    def _same(self, a: str, b: str, disk: Disk) -> bool:
        """Whether both names lead to real files with the same bytes, one file or two."""
        x, y = disk.look(a), disk.look(b)
        if x is None or y is None or (x.kind, y.kind) != ("file", "file"):
            return False
        if x.same_file(y):
            return x.links > 1
        return x.size == y.size and disk.same_bytes(a, b)


def dress(path: str, rec: Record, disk: Disk) -> PermissionError | None:
    """Give a new file the attributes, time, owner and mode of the recorded one.

    The mode comes last: attributes of a read-only file cannot be set, and a new owner takes bits
    away from it.

    Returns:
        the error where only the owner could not be given.
    """
    file, look = rec["file"], disk.look(path)
    mode, refused = file["mode"], None
    for name, value in rec["xattrs"].items():
        disk.set_xattr(path, name, base64.b64decode(value))
    disk.set_mtime(path, file["mtime_ns"])
    if look is not None and list(look.owner) != file["owner"]:
        try:
            disk.set_owner(path, tuple(file["owner"]))
        except PermissionError as error:
            refused = error
            mode &= 0o1777  # what ran as its owner must not run as another
    disk.set_mode(path, mode)
    return refused


@action("hardlink")
class Hardlink(_Link):
    """A second name for the kept file."""

    def make(self, rec: Record, disk: Disk) -> None:
        disk.link(rec["keep"], rec["tmp"])
        if not is_it(rec["tmp"], rec["keeper"], disk):  # a link, or another file, since the look
            raise KeeperMissing(f"{rec['path']}: {rec['keep']} was exchanged a moment ago")

    def is_link(self, look: Look, path: str, rec: Record, disk: Disk) -> bool:
        return (look.kind, look.inode) == ("file", rec["keeper"]["inode"])

    def is_ours(self, look: Look, rec: Record, disk: Disk) -> bool:
        if look.kind != "file" or self.is_link(look, rec["path"], rec, disk):
            return look.kind == "file"
        # Unions of disks number files by their path; then the content tells. What an undo made anew
        # before it was killed has a number of its own, and no second name.
        file = rec["file"]
        alone = look.inode == file["inode"] or look.links == 1
        itself = alone and look.mtime_ns == file["mtime_ns"]
        return not itself and is_it(rec["path"], rec["keeper"], disk)


@action("symlink")
class Symlink(_Link):
    """A symbolic link to the kept file's full path."""

    def make(self, rec: Record, disk: Disk) -> None:
        disk.symlink(rec["keep"], rec["tmp"])

    def is_link(self, look: Look, path: str, rec: Record, disk: Disk) -> bool:
        return look.kind == "link" and disk.readlink(path) == rec["keep"]

    def is_ours(self, look: Look, rec: Record, disk: Disk) -> bool:
        return self.is_link(look, rec["path"], rec, disk)


@action("reflink")
class Reflink(_Link):
    """A file of its own that shares the kept file's blocks until one of them is written to."""

    made_in_pieces = True

    def make(self, rec: Record, disk: Disk) -> None:
        disk.clone(rec["keep"], rec["tmp"])
        if refused := dress(rec["tmp"], rec, disk):
            raise refused  # the file as it was is still there

    def is_ours(self, look: Look, rec: Record, disk: Disk) -> bool:
        same = look.kind == "file" and look.size == rec["keeper"]["size"]
        return (
            same and look.inode != rec["file"]["inode"] and look.mtime_ns == rec["file"]["mtime_ns"]
        )
