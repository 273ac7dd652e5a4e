"""A file system in memory for the property test of act: inodes, names, links, other disks.

Same methods as the real Disk, and the same manners: renames that never replace, hard links that
share an inode, EXDEV between devices, ctime that moves when an inode is renamed or linked. The
folder /alias shows /a again, as a bind mount, as a second mount of the same share (other device
number), as such a mount whose cache still believes in names that are gone, or as a union file
system does that numbers files by their path.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from twinreel.actions.disk import Disk, Look
from twinreel.errors import ActionRefused, CannotRead

ALIASES = ("none", "bind", "twice", "stale", "union")
SHIFT = 100  # the device number of a second mount
UNION = 1000  # the inode number in a union


class Killed(BaseException):
    """The process is gone: nothing runs after this, not even clean-up."""


@dataclass
class Inode:
    data: str
    device: int
    mtime_ns: int = 1
    ctime_ns: int = 1
    mode: int = 0o644
    xattrs: dict[str, bytes] = field(default_factory=dict)


class Target(str):
    """What a symbolic link says; its number goes with it when it is renamed."""

    number: int


class Store:
    """What is on the disks, shared by all that look at it."""

    def __init__(self, alias: str = "none") -> None:
        self.alias = alias
        self.inodes: dict[int, Inode] = {}
        self.names: dict[
            str, tuple[str, Any]
        ] = {}  # path -> ('file', inode), ('link', target), ...
        self.cached: dict[str, int] = {}  # what the second mount remembers
        self.clock = 10
        self.made = 0
        self.locks: set[str] = set()
        self.old = False  # no call that renames without replacing, as on NFS
        for device, folder in ((1, "/"), (1, "/a"), (1, "/b"), (2, "/c"), (1, "/home"), (1, "/j")):
            self.names[folder] = ("dir", device)

    def add(self, path: str, data: str, mtime_ns: int = 1) -> None:
        self.made += 1
        inode = Inode(data, self.device(os.path.dirname(path)), mtime_ns)
        self.inodes[self.made] = inode
        self.names[path] = ("file", self.made)

    def device(self, folder: str) -> int:
        return int(self.names[folder][1])

    def links(self, number: int) -> int:
        return sum(1 for kind, what in self.names.values() if kind == "file" and what == number)

    def tick(self, number: int) -> None:
        self.clock += 1
        self.inodes[number].ctime_ns = self.clock

    def files(self) -> dict[str, str]:
        """Path -> content of all real files."""
        return {p: self.inodes[w].data for p, (k, w) in self.names.items() if k == "file"}


class ModelDisk(Disk):
    """A process's view of a Store. `before`: called with each call's number and name."""

    def __init__(
        self, store: Store, before: Callable[[int, str], None] = lambda n, name: None
    ) -> None:
        self.store, self.before = store, before
        self.count = 0
        self.dead = False
        self.late: OSError | None = None  # to be raised after this call took effect

    def step(self, name: str) -> None:
        if self.dead:
            raise Killed
        self.count += 1
        try:
            self.before(self.count, name)
        except Killed:
            self.dead = True
            raise

    def done(self) -> None:
        if self.late:
            error, self.late = self.late, None
            raise error

    # -- names ------------------------------------------------------------------------------------

    def _at(self, path: str) -> tuple[str, bool]:
        """The real name behind a path, and whether the second mount was used."""
        if self.store.alias != "none" and (path == "/alias" or path.startswith("/alias/")):
            return "/a" + path[len("/alias") :], self.store.alias != "bind"
        return path, False

    def _look(self, path: str) -> Look | None:
        store = self.store
        name, shifted = self._at(path)
        entry = store.names.get(name)
        if store.alias == "stale" and shifted:
            if entry is None and path in store.cached and store.links(store.cached[path]):
                entry = ("file", store.cached[path])
            elif entry is not None and entry[0] == "file":
                store.cached[path] = entry[1]
        if entry is None:
            return None
        kind, what = entry
        if kind == "file":
            node = store.inodes[what]
            union = store.alias == "union"
            device = node.device + (SHIFT if shifted and not union else 0)
            number = what + (UNION if shifted and union else 0)
            links = store.links(what)
            times = node.mtime_ns, node.ctime_ns
            return Look(kind, len(node.data), *times, number, device, links, node.mode)
        number = getattr(what, "number", None) or hash(name) % 10**6 + 10**6
        return Look(kind, 0, 1, 1, number, what if kind == "dir" else 1)

    def look(self, path: str) -> Look | None:
        self.step("lstat")
        return self._look(path)

    def folder(self, path: str) -> Look | None:
        self.step("stat")
        return self._look(path)

    def real(self, path: str) -> str:
        return path

    def open_look(self, path: str) -> Look:
        self.step("open")
        found = self._look(path)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        if found.kind == "link":
            raise OSError(errno.ELOOP, "a link", path)
        return found

    def names(self, folder: str) -> list[str]:
        self.step("listdir")
        folder, _ = self._at(folder)
        return sorted(os.path.basename(p) for p in self.store.names if os.path.dirname(p) == folder)

    def readlink(self, path: str) -> str:
        self.step("readlink")
        kind, what = self.store.names.get(self._at(path)[0], ("", ""))
        if kind != "link":
            raise OSError(errno.EINVAL, "no link", path)
        return str(what)

    def writable(self, folder: str) -> bool:
        return folder != "/"

    # -- contents ---------------------------------------------------------------------------------

    def _data(self, path: str) -> str:
        for _ in range(5):
            found = self._look(path)
            if found is None:
                raise FileNotFoundError(errno.ENOENT, "no such file", path)
            if found.kind == "dir":
                raise IsADirectoryError(errno.EISDIR, "a folder", path)
            if found.kind == "file":
                return self.store.inodes[found.inode % UNION].data
            path = self.store.names[self._at(path)[0]][1]
        raise OSError(errno.ELOOP, "too many links", path)

    def key(self, path: str) -> str:
        try:
            self.step("key")
            return key_of(self._data(path))
        except OSError as error:
            raise CannotRead(path, str(error.strerror)) from None

    def same_bytes(self, a: str, b: str) -> bool:
        self.step("read")
        return self._data(a) == self._data(b)

    def damage(self, path: str, full: bool) -> str:
        self.step("decode")
        return "broken" if self._data(path).startswith("!") else ""

    def read(self, path: str) -> bytes:
        self.step("read")
        return self._data(path).encode()

    # -- changes ----------------------------------------------------------------------------------

    def _free(self, path: str) -> tuple[str, int]:
        name, _ = self._at(path)
        parent = self.store.names.get(os.path.dirname(name))
        if parent is None or parent[0] != "dir":
            raise FileNotFoundError(errno.ENOENT, "no such folder", path)
        if name in self.store.names:
            raise FileExistsError(errno.EEXIST, "there already", path)
        return name, int(parent[1])

    def _entry(self, path: str) -> tuple[str, tuple[str, Any]]:
        name, _ = self._at(path)
        if name not in self.store.names:
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        return name, self.store.names[name]

    def _move(self, source: str, target: str, device: int, entry: tuple[str, Any]) -> None:
        if entry[0] == "file":
            if self.store.inodes[entry[1]].device != device:
                raise OSError(errno.EXDEV, "another file system", target)
            self.store.tick(entry[1])
        del self.store.names[source]
        self.store.names[target] = entry

    def _rename_new(self, source: str, target: str) -> bool:
        self.step("rename")
        if self.store.old:
            return False
        old, entry = self._entry(source)
        new, device = self._free(target)
        self._move(old, new, device, entry)
        self.store.cached.pop(source, None)  # a mount knows what went through itself
        self.done()
        return True

    def exchange(self, a: str, b: str) -> bool:
        self.step("exchange")
        if self.store.old:
            return False
        (x, entry), (y, other) = self._entry(a), self._entry(b)
        devices = {self.store.device(os.path.dirname(name)) for name in (x, y)}
        if len(devices) > 1:
            raise OSError(errno.EXDEV, "another file system", b)
        self.store.names[x], self.store.names[y] = other, entry
        for kind, what in (entry, other):
            if kind == "file":
                self.store.tick(what)
        for name in (a, b):
            self.store.cached.pop(name, None)
        self.done()
        return True

    def reserve(self, path: str) -> None:
        self.step("create")
        self._new(path, "")
        self.store.inodes[self.store.made].mode = 0
        self.done()

    def replace(self, source: str, target: str) -> None:
        self.step("replace")
        old, entry = self._entry(source)
        new, _ = self._at(target)
        if self.store.names.get(new) == entry and entry[0] == "file":
            return  # POSIX: two names of one file, nothing happens
        self._move(old, new, self.store.device(os.path.dirname(new)), entry)
        self.store.cached.pop(source, None)
        self.store.cached.pop(target, None)
        self.done()

    def link(self, source: str, target: str) -> None:
        self.step("link")
        _, entry = self._entry(source)
        name, device = self._free(target)
        if entry[0] == "file":
            if self.store.inodes[entry[1]].device != device:
                raise OSError(errno.EXDEV, "another file system", target)
            self.store.tick(entry[1])
        self.store.names[name] = entry
        self.done()

    def symlink(self, source: str, target: str) -> None:
        self.step("symlink")
        self.store.made += 1
        link = Target(source)
        link.number = 10**7 + self.store.made
        self.store.names[self._free(target)[0]] = ("link", link)
        self.done()

    def unlink(self, path: str) -> None:
        self.step("unlink")
        name, entry = self._entry(path)
        if entry[0] == "dir":
            raise IsADirectoryError(errno.EISDIR, "a folder", path)
        del self.store.names[name]
        self.store.cached.pop(path, None)
        if entry[0] == "file" and entry[1] in self.store.inodes:
            self.store.tick(entry[1])
        self.done()

    def mkdir(self, path: str, mode: int = 0o755) -> None:
        self.step("mkdir")
        name, device = self._free(path)
        self.store.names[name] = ("dir", device)
        self.done()

    def rmdir(self, path: str) -> None:
        self.step("rmdir")
        name, _ = self._entry(path)
        if any(p.startswith(name + "/") for p in self.store.names):
            raise OSError(errno.ENOTEMPTY, "not empty", path)
        del self.store.names[name]
        self.done()

    def _new(self, path: str, data: str) -> None:
        name, _ = self._free(path)
        self.store.add(name, data, self.store.clock)

    def clone(self, source: str, target: str) -> None:
        self.step("ficlone")
        look = self._look(source)
        if look is None:
            raise FileNotFoundError(errno.ENOENT, "no such file", source)
        if look.device > 1:
            raise ActionRefused("cannot share blocks")
        self._new(target, self._data(source))
        self.done()

    def copy(self, source: str, target: str) -> None:
        self.step("copy")
        self._new(target, self._data(source))
        self.done()

    def create(self, path: str, data: bytes) -> None:
        self.step("create")
        self._new(path, data.decode())
        self.done()

    def append(self, path: str, data: bytes) -> None:
        self.step("write")
        if path not in self.store.names:
            self._new(path, "")
        text = data.decode()
        whole = self.late is None
        self.store.inodes[self.store.names[path][1]].data += (
            text if whole else text[: len(text) // 2]
        )
        self.done()

    def sync_folder(self, folder: str) -> None:
        self.step("fsync")

    def set_mtime(self, path: str, mtime_ns: int) -> None:
        self.step("utime")
        self.store.inodes[self._entry(path)[1][1]].mtime_ns = mtime_ns
        self.done()

    def set_mode(self, path: str, mode: int) -> None:
        self.step("chmod")

    def set_owner(self, path: str, owner: tuple[int, int]) -> None:
        self.step("chown")

    def xattrs(self, path: str) -> dict[str, bytes]:
        self.step("listxattr")
        kind, what = self._entry(path)[1]
        return dict(self.store.inodes[what].xattrs) if kind == "file" else {}

    def set_xattr(self, path: str, name: str, value: bytes) -> None:
        self.step("setxattr")
        self.store.inodes[self._entry(path)[1][1]].xattrs[name] = value
        self.done()

    def del_xattr(self, path: str, name: str) -> None:
        self.step("removexattr")
        del self.store.inodes[self._entry(path)[1][1]].xattrs[name]
        self.done()

    @contextmanager
    def locked(self, path: str) -> Iterator[bool]:
        mine = path not in self.store.locks
        self.store.locks.add(path)
        try:
            yield mine
        finally:
            if mine:
                self.store.locks.discard(path)

    def now(self) -> float:
        return 1e9

    def sleep(self, seconds: float) -> None:
        pass


def key_of(data: str) -> str:
    """Short keys that collide for contents that differ only in their last letter, as ours may."""
    return f"k{data[:-1]}"
