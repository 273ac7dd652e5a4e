"""Where a removed file goes: the trash or the quarantine of its own file system.

On Linux the trash is written here, by the freedesktop.org trash specification 1.0, and not through
Send2Trash: its exact place must stand in the journal before the file moves (for undo, and for a
kill between two calls), the file must be checked again after it moved, and Send2Trash copies
across file systems where a rename is refused. macOS and Windows use Send2Trash.
"""

from __future__ import annotations

import os
import time
from urllib.parse import quote

from twinreel.actions.disk import Disk, Look
from twinreel.actions.plan import QUARANTINE
from twinreel.errors import ActionRefused


def mount_point(path: str, disk: Disk) -> str:
    """The topmost folder above `path` on the same file system."""
    folder = os.path.dirname(disk.real(path))
    look = disk.folder(folder)
    while (parent := os.path.dirname(folder)) != folder:
        above = disk.folder(parent)
        if look is None or above is None or above.device != look.device:
            break
        folder = parent
    return folder


def nearest(path: str, disk: Disk) -> Look:
    """What `path` is, or the first folder above it that exists."""
    while (look := disk.folder(path)) is None:
        path = os.path.dirname(path)
    return look


def free_name(folder: str, name: str, disk: Disk, *others: tuple[str, str]) -> str:
    """`name`, or 'name (2).ext' and so on, unused in `folder`.

    others: (folder, suffix) pairs in which the name with that suffix must be unused as well.
    """
    stem, suffix = os.path.splitext(name)
    for n in range(1, 10_000):
        tried = name if n == 1 else f"{stem} ({n}){suffix}"
        if all(disk.look(os.path.join(f, tried + s)) is None for f, s in ((folder, ""), *others)):
            return tried
    raise ActionRefused(f"{folder}: 10,000 files named {name!r}; empty it first")


def trash_of(path: str, look: Look, disk: Disk) -> tuple[str, str]:
    """(trash folder, top folder) for a file. The top folder is '' for the home trash.

    Raises ActionRefused when the file's own file system has no trash and none can be made.
    """
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    if nearest(data, disk).device == look.device:
        return os.path.join(data, "Trash"), ""
    top = mount_point(path, disk)
    uid = str(os.getuid()) if hasattr(os, "getuid") else "0"
    shared = disk.look(os.path.join(top, ".Trash"))
    if shared and shared.kind == "dir" and shared.mode & 0o1000:  # sticky, as the rule asks
        return os.path.join(top, ".Trash", uid), top
    own = os.path.join(top, f".Trash-{uid}")
    there = disk.look(own)
    if there is None and not disk.writable(top) or there is not None and there.kind != "dir":
        raise ActionRefused(
            f"{path}: no trash on its file system ({own} cannot be made); "
            "use `twinreel act move` to set it aside"
        )
    return own, top


def trash_info(path: str, top: str, now: float) -> bytes:
    """The text that lets any file manager put the file back."""
    name = os.path.relpath(path, top) if top else path  # the top folder's own paths are relative
    date = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(now))
    return f"[Trash Info]\nPath={quote(os.fsencode(name))}\nDeletionDate={date}\n".encode()


def quarantine_of(
    path: str, look: Look, roots: tuple[str, ...], to: str, disk: Disk, mark: str = ""
) -> str:
    """Where `move` puts a file: below `to`, else in a folder beside the root; the tree is kept.

    Where the place beside the root is another file system or not ours to write, it is inside.
    mark: stands in the name, where no other run may ever choose the same.
    Raises ActionRefused when `to` is on another file system than the file.
    """
    above = [r for r in roots if path.startswith(r.rstrip(os.sep) + os.sep)]
    root = max(above, key=len).rstrip(os.sep) if above else os.path.dirname(path)
    kept_tree = os.path.join(os.path.basename(root), os.path.relpath(path, root))
    if to:
        base = os.path.abspath(os.path.expanduser(to))
        there = nearest(base, disk)
        if there.kind != "dir" or there.device != look.device:
            raise ActionRefused(
                f"{path}: {base} is on another file system; name a folder on the file's own"
            )
    else:
        beside = os.path.dirname(root)
        seen = disk.folder(beside)
        if seen is None or seen.device != look.device or not disk.writable(beside):
            beside = root
        base = os.path.join(beside, QUARANTINE)
    folder, name = os.path.split(os.path.join(base, kept_tree))
    if mark:
        return os.path.join(folder, f".{mark}".join(os.path.splitext(name)))
    return os.path.join(folder, free_name(folder, name, disk))


def missing_folders(folder: str, disk: Disk) -> list[str]:
    """The folders that must be made for `folder` to exist, topmost first."""
    out: list[str] = []
    while disk.folder(folder) is None:
        out.append(folder)
        folder = os.path.dirname(folder)
    return out[::-1]


def make_folders(folders: list[str], disk: Disk) -> None:
    """Readable by their owner alone: what lay in a private folder stays private."""
    for folder in folders:
        try:
            disk.mkdir(folder, 0o700)
        except FileExistsError:
            continue  # another act made it a moment ago
        disk.sync_folder(os.path.dirname(folder))
