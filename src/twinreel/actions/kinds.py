"""What each action does to one file, and how it is taken back.

An action is prepared (names are chosen, nothing is changed), performed (the file leaves its place,
or a link takes it), finished once the kept file was checked again, or reverted. `revert` works
from any state in between, also after a kill or long afterwards: rollback, recovery and `undo` are
the same code. What was prepared is a plain dict, the record that stands in the journal.

    @action("shelve")
    class Shelve(Move): ...
"""

from __future__ import annotations

import base64
import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from twinreel.actions import places
from twinreel.actions.disk import NATIVE_TRASH, Disk, Look, words
from twinreel.actions.plan import QUARANTINE, ActOptions
from twinreel.errors import ActionRefused
from twinreel.types import Step

Record = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """What all steps of one run share. tag: unlike any other run's, part of temporary names."""

    disk: Disk
    options: ActOptions
    roots: tuple[str, ...]
    tag: str


class Action:
    """Base of all actions. `held`: key of the record that says where the file is meanwhile."""

    name: ClassVar[str] = ""
    held: ClassVar[str] = "dest"

    def prepare(self, step: Step, n: int, look: Look, keeper: Look | None, run: Run) -> Record:
        """Choose names. Raises ActionRefused when it cannot be done here; changes nothing."""
        raise NotImplementedError

    def perform(self, rec: Record, disk: Disk) -> None:
        raise NotImplementedError

    def finish(self, rec: Record, disk: Disk) -> None:
        """Give up what `perform` held back."""

    def revert(self, rec: Record, disk: Disk) -> None:
        """Bring the file back to its place. Raises ActionRefused when that is not possible."""
        raise NotImplementedError

    def complete(self, rec: Record, disk: Disk) -> bool:
        """Whether a step that a kill left without its end was done down to the last call."""
        return False


ACTIONS: dict[str, Action] = {}


def action(name: str) -> Callable[[type[Action]], type[Action]]:
    """Register an action under a name."""

    def register(cls: type[Action]) -> type[Action]:
        cls.name = name
        ACTIONS[name] = cls()
        return cls

    return register


def described(look: Look, key: str | None = None) -> Record:
    """What a record says about a file."""
    return {
        "size": look.size,
        "mtime_ns": look.mtime_ns,
        "inode": look.inode,
        "device": look.device,
        "mode": look.mode,
        "owner": list(look.owner),
        "key": key,
    }


def is_it(path: str, file: Record, disk: Disk) -> bool:
    """Whether a recorded file stands at `path`: by inode and time, else by its content key."""
    look = disk.look(path)
    if look is None or look.kind != "file" or look.size != file["size"]:
        return False
    if (look.inode, look.mtime_ns) == (file["inode"], file["mtime_ns"]):
        return True
    return bool(file["key"]) and disk.is_key(path, file["key"])


def _put_back(rec: Record, where: str, disk: Disk) -> None:
    """Rename the file from `where` to its old path, replacing nothing."""
    path, file = rec["path"], rec["file"]
    if disk.look(where) is None or not is_it(where, file, disk):
        if is_it(path, file, disk):
            return  # it never left, or is back already
        raise ActionRefused(f"{path}: it is no longer at {where}; look for it there by hand")
    here, there = disk.look(path), disk.look(where)
    if here is not None and there is not None and here.same_file(there) and there.links > 1:
        disk.unlink(where)  # killed between link and unlink: one file, two names
        return
    if here is not None:
        raise ActionRefused(f"{path}: something else stands there now; move it, then undo again")
    places.make_folders(places.missing_folders(os.path.dirname(path), disk), disk)
    disk.rename(where, path)
    disk.sync_folder(os.path.dirname(path))


def _keeper_stands(rec: Record, disk: Disk) -> bool:
    return rec["keeper"] is None or is_it(rec["keep"], rec["keeper"], disk)


def _tidy(rec: Record, disk: Disk) -> None:
    """Remove the folders that were made for a step, or that are our quarantine, while empty."""
    folders = list(reversed(rec["made"]))
    folder = os.path.dirname(rec.get("dest") or rec.get("hold") or "")
    while QUARANTINE in folder.split(os.sep):
        folders += [folder] if folder not in folders else []
        folder = os.path.dirname(folder)
    for folder in sorted(folders, key=len, reverse=True):
        try:
            disk.rmdir(folder)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return  # other steps' files lie in it
            if error.errno != errno.ENOENT:
                raise ActionRefused(
                    f"{rec['path']}: is back, but the empty folder {folder} stays ({words(error)})"
                ) from None


@action("move")
class Move(Action):
    """To the quarantine on the same file system."""

    def prepare(self, step: Step, n: int, look: Look, keeper: Look | None, run: Run) -> Record:
        dest = step.target or places.quarantine_of(
            step.path, look, run.roots, run.options.to, run.disk
        )
        folder = places.nearest(os.path.dirname(dest), run.disk)
        if folder.device != look.device:
            raise ActionRefused(f"{step.path}: {dest} is on another file system; choose one on it")
        return {"dest": dest, "made": places.missing_folders(os.path.dirname(dest), run.disk)}

    def perform(self, rec: Record, disk: Disk) -> None:
        places.make_folders(rec["made"], disk)
        disk.rename(rec["path"], rec["dest"])
        disk.sync_folder(os.path.dirname(rec["dest"]))
        disk.sync_folder(os.path.dirname(rec["path"]))

    def revert(self, rec: Record, disk: Disk) -> None:
        _put_back(rec, rec["dest"], disk)
        _tidy(rec, disk)

    def complete(self, rec: Record, disk: Disk) -> bool:
        away = disk.look(rec["path"]) is None and is_it(rec["dest"], rec["file"], disk)
        return away and _keeper_stands(rec, disk)


@action("carry")
class Carry(Move):
    """A sidecar to the kept file's side and name."""


@action("place")
class Place(Move):
    """The kept file to the preferred path."""


@action("trash")
class Trash(Move):
    """To the trash of the file's own file system."""

    def prepare(self, step: Step, n: int, look: Look, keeper: Look | None, run: Run) -> Record:
        disk = run.disk
        folder, top = places.trash_of(step.path, look, disk)
        files, info = os.path.join(folder, "files"), os.path.join(folder, "info")
        name = places.free_name(files, os.path.basename(step.path), disk, (info, ".trashinfo"))
        made = places.missing_folders(files, disk)
        made += [f for f in places.missing_folders(info, disk) if f not in made]
        text = places.trash_info(disk.real(step.path), top, disk.now())
        return {
            "dest": os.path.join(files, name),
            "info": os.path.join(info, f"{name}.trashinfo"),
            "text": text.decode("ascii"),
            "made": made,
        }

    def perform(self, rec: Record, disk: Disk) -> None:
        places.make_folders(rec["made"], disk)
        try:
            disk.create(rec["info"], rec["text"].encode())
        except FileExistsError:
            info, rec["info"] = rec["info"], ""  # another program's: not ours to remove
            raise ActionRefused(f"{info}: taken a moment ago; run `act` again") from None
        disk.rename(rec["path"], rec["dest"])
        disk.sync_folder(os.path.dirname(rec["info"]))
        disk.sync_folder(os.path.dirname(rec["dest"]))
        disk.sync_folder(os.path.dirname(rec["path"]))

    def revert(self, rec: Record, disk: Disk) -> None:
        _put_back(rec, rec["dest"], disk)
        if rec["info"] and disk.look(rec["info"]) is not None:
            ours = disk.read(rec["info"]) in (rec["text"].encode(), b"")  # b'': killed in between
            if ours and disk.look(rec["dest"]) is None:
                disk.unlink(rec["info"])
        _tidy(rec, disk)


class _Aside(Action):
    """First to a hidden name in the same folder, from where it can come back."""

    held = "aside"

    def prepare(self, step: Step, n: int, look: Look, keeper: Look | None, run: Run) -> Record:
        folder = os.path.dirname(step.path)
        return {"aside": os.path.join(folder, f".twinreel-{run.tag}-{n}")}

    def perform(self, rec: Record, disk: Disk) -> None:
        disk.rename(rec["path"], rec["aside"])
        disk.sync_folder(os.path.dirname(rec["path"]))

    def revert(self, rec: Record, disk: Disk) -> None:
        if disk.look(rec["aside"]) is None and disk.look(rec["path"]) is None:
            raise ActionRefused(f"{rec['path']}: {self.gone}; its content is kept in {rec['keep']}")
        _put_back(rec, rec["aside"], disk)

    def complete(self, rec: Record, disk: Disk) -> bool:
        gone = disk.look(rec["path"]) is None and disk.look(rec["aside"]) is None
        return gone and _keeper_stands(rec, disk)

    gone: ClassVar[str] = "deleted for good, cannot be taken back"


@action("delete")
class Delete(_Aside):
    """For good."""

    def finish(self, rec: Record, disk: Disk) -> None:
        disk.unlink(rec["aside"])
        disk.sync_folder(os.path.dirname(rec["path"]))


class NativeTrash(_Aside):
    """macOS and Windows: aside and back again for the check, then the system takes it."""

    gone = "in the system's trash, put it back from there"

    def finish(self, rec: Record, disk: Disk) -> None:
        disk.rename(rec["aside"], rec["path"])
        disk.trash_native(rec["path"])


if NATIVE_TRASH:
    action("trash")(NativeTrash)


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

    def make(self, rec: Record, disk: Disk) -> None:
        """Create the link under its temporary name."""
        raise NotImplementedError

    def is_ours(self, look: Look, rec: Record, disk: Disk) -> bool:
        """Whether what stands at the path is the link that was made."""
        raise NotImplementedError

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
            _put_back(rec, hold, disk)
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
        _tidy(rec, disk)

    def complete(self, rec: Record, disk: Disk) -> bool:
        here = disk.look(rec["path"])
        if here is None or disk.look(rec["tmp"]) is not None or not self.is_ours(here, rec, disk):
            return False
        if rec["relation"] == "exact":
            return disk.look(rec["hold"]) is None and _keeper_stands(rec, disk)
        return is_it(rec["hold"], rec["file"], disk) and _keeper_stands(rec, disk)

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
        keeper = rec["keeper"]
        if not is_it(rec["keep"], keeper, disk) or rec["keep"] == rec["path"]:
            raise ActionRefused(
                f"{rec['path']}: the kept file {rec['keep']} is gone or changed, this may be the "
                "last of its content; it stays"
            )

    def _drop(self, rec: Record, disk: Disk) -> None:
        """Remove the temporary name, if it is there and not the last of the kept content."""
        look = disk.look(rec["tmp"])
        if look is not None:
            if look.kind != "link" and not is_it(rec["keep"], rec["keeper"], disk):
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


@action("inherit")
class Inherit(Action):
    """Time and attributes of the removed files for the kept one."""

    held = "path"

    def prepare(self, step: Step, n: int, look: Look, keeper: Look | None, run: Run) -> Record:
        oldest = min([look.mtime_ns, *step.expect["mtimes"]])
        has = run.disk.xattrs(step.path)
        new = {k: v for k, v in step.expect["xattrs"].items() if k not in has}
        return {"mtime_ns": oldest, "xattrs": new, "made": []}

    def perform(self, rec: Record, disk: Disk) -> None:
        for name, value in rec["xattrs"].items():
            disk.set_xattr(rec["path"], name, base64.b64decode(value))
        if rec["mtime_ns"] != rec["file"]["mtime_ns"]:
            disk.set_mtime(rec["path"], rec["mtime_ns"])

    def revert(self, rec: Record, disk: Disk) -> None:
        path, file = rec["path"], rec["file"]
        look = disk.look(path)
        if look is None or look.inode != file["inode"] or look.size != file["size"]:
            raise ActionRefused(f"{path}: no longer the file that got new attributes")
        if look.mtime_ns not in (file["mtime_ns"], rec["mtime_ns"]):
            raise ActionRefused(f"{path}: changed since; its time and attributes stay")
        has = disk.xattrs(path)
        for name, value in rec["xattrs"].items():
            if has.get(name) == base64.b64decode(value):
                disk.del_xattr(path, name)
        if look.mtime_ns != file["mtime_ns"]:
            disk.set_mtime(path, file["mtime_ns"])
