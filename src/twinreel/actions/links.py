"""Actions that put something in the file's place: hard link, symbolic link, shared blocks."""

from __future__ import annotations

import base64
import os
from abc import abstractmethod

from twinreel.actions import places
from twinreel.actions.disk import Disk, Look
from twinreel.actions.kinds import (
    Action,
    Record,
    Run,
    action,
    is_it,
    keeper_stands,
    put_back,
    tidy,
)
from twinreel.errors import ActionRefused
from twinreel.types import Step


class _Link(Action):
    """Something takes the file's place that leads to the kept file's content.

    The old file gets a second name first, then the link is renamed over the path: there is no
    moment without a file. That second name goes once all is checked if the bytes are the same;
    else it stays in the quarantine, for undo.
    """

    held = "hold"

    def prepare(self, step: Step, n: int, look: Look, keeper: Look | None, run: Run) -> Record:
        if keeper is None or keeper.device != look.device:
            raise ActionRefused(
                f"{step.path}: the kept file {step.keep} is on another file system and a link "
                "would break with it; use trash or move"
            )
        folder = os.path.dirname(step.path)
        rec: Record = {
            "tmp": os.path.join(folder, f".twinreel-{run.tag}-{n}-new"),
            "hold": os.path.join(folder, f".twinreel-{run.tag}-{n}"),
            "made": [],
            "xattrs": {
                name: base64.b64encode(value).decode()
                for name, value in run.disk.xattrs(step.path).items()
            },
        }
        if step.expect["relation"] != "exact":
            rec["hold"] = places.quarantine_of(step.path, look, run.roots, "", run.disk)
            rec["made"] = places.missing_folders(os.path.dirname(rec["hold"]), run.disk)
        return rec

    @abstractmethod
    def make(self, rec: Record, disk: Disk) -> None:
        """Create the link under its temporary name."""

    @abstractmethod
    def is_ours(self, look: Look, rec: Record, disk: Disk) -> bool:
        """Whether what stands at the path is the link that was made."""

    def perform(self, rec: Record, disk: Disk) -> None:
        places.make_folders(rec["made"], disk)
        disk.link(rec["path"], rec["hold"])
        self.make(rec, disk)
        disk.replace(rec["tmp"], rec["path"])
        disk.sync_folder(os.path.dirname(rec["path"]))

    def finish(self, rec: Record, disk: Disk) -> None:
        if rec["relation"] == "exact":
            disk.unlink(rec["hold"])

    def revert(self, rec: Record, disk: Disk) -> None:
        path, hold = rec["path"], rec["hold"]
        here, held = disk.look(path), disk.look(hold)
        if here is not None and held is not None and here.same_file(held) and held.links > 1:
            self._drop(rec, disk)
            disk.unlink(hold)
        elif held is not None and here is None:
            self._drop(rec, disk)
            put_back(rec, hold, disk)
        elif (
            here is not None
            and not self.is_ours(here, rec, disk)
            and is_it(path, rec["file"], disk)
        ):
            self._drop(rec, disk)  # never replaced, or taken back already
        elif here is None or not self.is_ours(here, rec, disk):
            raise ActionRefused(
                f"{path}: something else stands there now; move it, then undo again"
            )
        elif held is not None:
            self._keeper_there(rec, here, disk)
            self._drop(rec, disk)
            disk.replace(hold, path)
        elif rec["relation"] == "exact":
            self.restore(rec, here, disk)
        else:
            raise ActionRefused(f"{path}: its own content is no longer at {hold}")
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
        """Make the file anew from the kept one, which has the same bytes."""
        self._keeper_there(rec, here, disk)
        self._drop(rec, disk)
        disk.copy(rec["keep"], rec["tmp"])
        if not disk.is_key(rec["tmp"], rec["file"]["key"] or rec["keeper"]["key"]):
            disk.unlink(rec["tmp"])
            raise ActionRefused(f"{rec['keep']}: changed since; {rec['path']} stays a link to it")
        dress(rec["tmp"], rec, disk)
        disk.replace(rec["tmp"], rec["path"])

    def _keeper_there(self, rec: Record, here: Look, disk: Disk) -> None:
        """What stands at the path may be the last name of the kept content: then it stays."""
        if here.kind == "link":
            return
        if rec["keep"] == rec["path"] or not self._holds_the_same(rec, rec["path"], disk):
            raise ActionRefused(
                f"{rec['path']}: the kept file {rec['keep']} is gone or changed, this may be the "
                "last of its content; it stays"
            )

    def _holds_the_same(self, rec: Record, path: str, disk: Disk) -> bool:
        """Whether the kept file is there and has the very bytes of `path`.

        A content key reads pieces of a file only: it may name a file, never clear one for removal.
        """
        kept, here = disk.look(rec["keep"]), disk.look(path)
        if kept is None or here is None or not is_it(rec["keep"], rec["keeper"], disk):
            return False
        return kept.same_file(here) or disk.same_bytes(rec["keep"], path)

    def _drop(self, rec: Record, disk: Disk) -> None:
        """Remove the temporary name, if it is there and not the last of the kept content."""
        look = disk.look(rec["tmp"])
        if look is not None:
            if look.kind != "link":
                # A second name of the kept file needs the very bytes elsewhere; a copy of our own
                # making may be half written.
                named = look.inode == rec["keeper"]["inode"]
                stands = (
                    self._holds_the_same(rec, rec["tmp"], disk)
                    if named
                    else is_it(rec["keep"], rec["keeper"], disk)
                )
                if not stands:
                    raise ActionRefused(f"{rec['tmp']}: may be the last of {rec['keep']}; it stays")
            disk.unlink(rec["tmp"])


def dress(path: str, rec: Record, disk: Disk) -> None:
    """Give a new file the owner, mode, attributes and time of the recorded one."""
    file, look = rec["file"], disk.look(path)
    if look is not None and list(look.owner) != file["owner"]:
        disk.set_owner(path, tuple(file["owner"]))
    disk.set_mode(path, file["mode"])
    for name, value in rec["xattrs"].items():
        disk.set_xattr(path, name, base64.b64decode(value))
    disk.set_mtime(path, file["mtime_ns"])


@action("hardlink")
class Hardlink(_Link):
    """A second name for the kept file."""

    def make(self, rec: Record, disk: Disk) -> None:
        disk.link(rec["keep"], rec["tmp"])

    def is_ours(self, look: Look, rec: Record, disk: Disk) -> bool:
        if look.kind != "file" or look.inode == rec["keeper"]["inode"]:
            return look.kind == "file"
        # Unions of disks number files by their path; then the content tells.
        file = rec["file"]
        itself = (look.inode, look.mtime_ns) == (file["inode"], file["mtime_ns"])
        return not itself and is_it(rec["path"], rec["keeper"], disk)


@action("symlink")
class Symlink(_Link):
    """A symbolic link to the kept file's full path."""

    def make(self, rec: Record, disk: Disk) -> None:
        disk.symlink(rec["keep"], rec["tmp"])

    def is_ours(self, look: Look, rec: Record, disk: Disk) -> bool:
        return look.kind == "link" and disk.readlink(rec["path"]) == rec["keep"]


@action("reflink")
class Reflink(_Link):
    """A file of its own that shares the kept file's blocks until one of them is written to."""

    def make(self, rec: Record, disk: Disk) -> None:
        disk.clone(rec["keep"], rec["tmp"])
        dress(rec["tmp"], rec, disk)

    def is_ours(self, look: Look, rec: Record, disk: Disk) -> bool:
        same = look.kind == "file" and look.size == rec["keeper"]["size"]
        return (
            same and look.inode != rec["file"]["inode"] and look.mtime_ns == rec["file"]["mtime_ns"]
        )
