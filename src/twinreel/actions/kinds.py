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
from abc import ABC, abstractmethod
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
    """What all steps of one run share.

    tag: unlike any other run's, part of temporary names; '' when nothing will be done.
    """

    disk: Disk
    options: ActOptions
    roots: tuple[str, ...]
    tag: str


class Action(ABC):
    """Base of all actions. `held`: key of the record that says where the file is meanwhile."""

    name: ClassVar[str] = ""
    held: ClassVar[str] = "dest"

    @abstractmethod
    def prepare(self, step: Step, n: int, look: Look, keeper: Look | None, run: Run) -> Record:
        """Choose names. Raises ActionRefused when it cannot be done here; changes nothing."""

    @abstractmethod
    def perform(self, rec: Record, disk: Disk) -> None:
        """Do it, call by call; each state in between is one that `revert` takes back."""

    def finish(self, rec: Record, disk: Disk) -> None:  # noqa: B027 (most actions hold nothing back)
        """Give up what `perform` held back."""

    @abstractmethod
    def revert(self, rec: Record, disk: Disk) -> None:
        """Bring the file back to its place. Raises ActionRefused when that is not possible."""

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
        "kind": look.kind,
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
    if look is None or look.size != file["size"]:
        return False
    kind = file.get("kind", "file")
    if (look.kind, look.inode, look.mtime_ns) == (kind, file["inode"], file["mtime_ns"]):
        return True
    return look.kind == "file" and bool(file["key"]) and disk.is_key(path, file["key"])


def put_back(rec: Record, where: str, disk: Disk) -> None:
    """Rename the file from `where` to its old path, replacing nothing."""
    path, file = rec["path"], rec["file"]
    here, there = disk.look(path), disk.look(where) if where else None
    stands = here is not None and (
        (here.kind, here.inode, here.mtime_ns)
        == (file.get("kind", "file"), file["inode"], file["mtime_ns"])
    )
    if there is not None and is_it(where, file, disk):
        if here is not None and here.same_file(there) and there.links > 1:
            disk.unlink(where)  # killed on the way back: one file, two names
            return
        if not stands:  # else another run's file of the same content lies there
            if here is not None:
                raise ActionRefused(
                    f"{path}: something else stands there now; move it, then undo again"
                )
            places.make_folders(places.missing_folders(os.path.dirname(path), disk), disk)
            disk.rename(where, path, back=True)
            disk.sync_folder(os.path.dirname(path))
            return
    elif not stands and not is_it(path, file, disk):
        raise ActionRefused(f"{path}: it is no longer at {where}; look for it there by hand")
    if there is not None and there.reserved:
        disk.unlink(where)  # killed when the name was taken but the file not yet there


def set_aside(rec: Record, disk: Disk) -> None:
    """Rename the file to its `dest`. Raises ActionRefused when that name was taken meanwhile."""
    try:
        disk.rename(rec["path"], rec["dest"])
    except FileExistsError:
        taken, rec["dest"] = rec["dest"], ""  # another run's: not ours to look at, or to remove
        raise ActionRefused(f"{rec['path']}: {taken} was taken a moment ago; try again") from None


def keeper_stands(rec: Record, disk: Disk) -> bool:
    return rec["keeper"] is None or is_it(rec["keep"], rec["keeper"], disk)


def tidy(rec: Record, disk: Disk) -> None:
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
        set_aside(rec, disk)
        disk.sync_folder(os.path.dirname(rec["dest"]))
        disk.sync_folder(os.path.dirname(rec["path"]))

    def revert(self, rec: Record, disk: Disk) -> None:
        put_back(rec, rec["dest"], disk)
        tidy(rec, disk)

    def complete(self, rec: Record, disk: Disk) -> bool:
        away = disk.look(rec["path"]) is None and is_it(rec["dest"], rec["file"], disk)
        return away and keeper_stands(rec, disk)


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
            rec["dest"] = ""  # nor is the name that goes with it
            raise ActionRefused(f"{info}: taken a moment ago; run `act` again") from None
        set_aside(rec, disk)
        disk.sync_folder(os.path.dirname(rec["info"]))
        disk.sync_folder(os.path.dirname(rec["dest"]))
        disk.sync_folder(os.path.dirname(rec["path"]))

    def revert(self, rec: Record, disk: Disk) -> None:
        put_back(rec, rec["dest"], disk)
        if rec["info"] and disk.look(rec["info"]) is not None:
            ours = disk.read(rec["info"]) in (rec["text"].encode(), b"")  # b'': killed in between
            if ours and disk.look(rec["dest"]) is None:
                disk.unlink(rec["info"])
        tidy(rec, disk)


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
        put_back(rec, rec["aside"], disk)

    def complete(self, rec: Record, disk: Disk) -> bool:
        folder = disk.look(os.path.dirname(rec["path"]))
        if folder is None or folder.device != rec["file"]["device"]:
            return False  # its disk is away: nobody can tell
        gone = disk.look(rec["path"]) is None and disk.look(rec["aside"]) is None
        return gone and keeper_stands(rec, disk)

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
