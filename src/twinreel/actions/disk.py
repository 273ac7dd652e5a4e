"""Every system call that `act` makes, in one small object.

Tests put their own in its place: one that fails or kills the process at the n-th call, and a model
of a file system in memory. So nothing else in this package touches a file.

    >>> Disk().look("/no/such/file") is None
    True
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from twinreel import exact
from twinreel.errors import ActionRefused, VideoError

if sys.platform != "win32":
    import fcntl

_BLOCK = 1 << 20
_FICLONE = 0x40049409  # ioctl of Linux: share the blocks of another file
_RENAME_NOREPLACE = 1
_RENAME_EXCHANGE = 2
_AT_FDCWD = -100
NATIVE_TRASH = sys.platform in ("darwin", "win32")  # the system moves it; we cannot name the place


@dataclass(frozen=True)
class Look:
    """What stands at a path, links not followed. kind: 'file', 'dir', 'link' or 'other'."""

    kind: str
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    device: int
    links: int = 1
    mode: int = 0o644
    owner: tuple[int, int] = (0, 0)

    def same_file(self, other: Look) -> bool:
        """One inode, so one file under two names."""
        return (self.device, self.inode) == (other.device, other.inode)

    @property
    def reserved(self) -> bool:
        """An empty file without any permission: a name that `Disk.rename` took for a file."""
        return self.kind == "file" and self.size == 0 and self.mode == 0

    def unchanged(self, other: Look) -> bool:
        """Still the same file with the same content, as far as its inode tells."""
        mine = (self.kind, self.inode, self.size, self.mtime_ns)
        return mine == (other.kind, other.inode, other.size, other.mtime_ns)


def _as_look(s: os.stat_result) -> Look:
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "link"}
    kind = kinds.get(stat.S_IFMT(s.st_mode), "other")
    return Look(
        kind=kind,
        size=s.st_size,
        mtime_ns=s.st_mtime_ns,
        ctime_ns=s.st_ctime_ns,
        inode=s.st_ino,
        device=s.st_dev,
        links=s.st_nlink,
        mode=stat.S_IMODE(s.st_mode),
        owner=(s.st_uid, s.st_gid),
    )


class Disk:
    """The real disk. Every method raises OSError as the system gives it."""

    def _call(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        """The one gate; tests override it to count, to fail and to kill."""
        return function(*args)

    # -- looking ------------------------------------------------------------------------------

    def look(self, path: str) -> Look | None:
        """What stands at `path`; None when nothing does."""
        try:
            return _as_look(self._call("lstat", os.lstat, path))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def folder(self, path: str) -> Look | None:
        """The same with links followed, for folders on the way to a file."""
        try:
            return _as_look(self._call("stat", os.stat, path))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def real(self, path: str) -> str:
        """The path with all links on the way to the file resolved."""
        folder, name = os.path.split(path)
        return os.path.join(self._call("realpath", os.path.realpath, folder), name)

    def open_look(self, path: str) -> Look:
        """Open the file and look at what was opened.

        Opening makes a network file system ask its server, so this sees through stale caches
        that a plain look would believe.
        """
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        fd = self._call("open", os.open, path, flags)
        try:
            return _as_look(self._call("fstat", os.fstat, fd))
        finally:
            os.close(fd)

    def names(self, folder: str) -> list[str]:
        """The names in a folder, sorted."""
        return sorted(self._call("listdir", os.listdir, folder))

    def readlink(self, path: str) -> str:
        return str(self._call("readlink", os.readlink, path))

    def writable(self, folder: str) -> bool:
        return bool(self._call("access", os.access, folder, os.W_OK | os.X_OK))

    def key(self, path: str) -> str:
        """The content key. Raises CannotRead."""
        return str(self._call("key", exact.content_key, path))

    def is_key(self, path: str, key: str) -> bool:
        """Whether the content has this key (a key 'short-long' carries the whole file's hash)."""
        short, _, long = key.partition("-")
        if self.key(path) != short:
            return False
        return not long or self._call("hash", exact.full_hash, path) == long

    def same_bytes(self, a: str, b: str) -> bool:
        """Compare two files byte by byte."""
        with self._reading(a) as left, self._reading(b) as right:
            while True:
                block = self._call("read", os.read, left, _BLOCK)
                other = b""
                while len(other) < len(block):
                    more = self._call("read", os.read, right, len(block) - len(other))
                    if not more:
                        return False
                    other += more
                if block != other:
                    return False
                if not block:
                    return not self._call("read", os.read, right, 1)

    def damage(self, path: str, full: bool) -> str:
        """'' when the video's packets read to the end and its tail decodes, else in words."""
        from twinreel.decode import check_intact  # PyAV is loaded only when it is needed

        return str(self._call("decode", check_intact, path, full))

    def read(self, path: str) -> bytes:
        """A small file of our own, whole."""
        with self._reading(path) as fd:
            return b"".join(iter(lambda: self._call("read", os.read, fd, _BLOCK), b""))

    @contextmanager
    def _reading(self, path: str) -> Iterator[int]:
        fd = self._call("open", os.open, path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        try:
            yield fd
        finally:
            os.close(fd)

    # -- changing -----------------------------------------------------------------------------

    def rename(self, source: str, target: str, back: bool = False) -> None:
        """Rename without ever replacing what stands at `target` (FileExistsError).

        Where there is no such call (NFS, old kernels) the name is reserved first: made as an empty
        file, exclusively, and then renamed over. Nothing else may stand for the file meanwhile: a
        second name by link and unlink could be taken for another run's and removed by it.

        back: to the file's own old name. There the other way is right: nobody removes a file
        under its own name, and no empty file may stay there after a kill.
        """
        if not self._rename_new(source, target):
            (self._rename_linked if back else self._rename_reserved)(source, target)

    def _rename_new(self, source: str, target: str) -> bool:
        """Rename to a new name in one call; False where the system cannot."""
        if sys.platform == "win32":
            self._call("rename", os.rename, source, target)
            return True
        try:
            self._call("renameat2", _renameat, source, target, _RENAME_NOREPLACE)
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
                raise
            return False
        return True

    def _rename_reserved(self, source: str, target: str) -> None:
        self.reserve(target)
        try:
            self.replace(source, target)
        except OSError:  # a share may have done it all the same, and lost the answer
            look = self.look(target)
            if look is not None and look.reserved:
                self.unlink(target)
            raise

    def _rename_linked(self, source: str, target: str) -> None:
        try:
            self.link(source, target)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            # No hard links: the one case with a gap between the look and the rename.
            if self.look(target) is not None:
                raise FileExistsError(errno.EEXIST, "already there", target) from None
            self.replace(source, target)
        else:
            self.unlink(source)

    def exchange(self, a: str, b: str) -> bool:
        """Let two names change places in one call; False where the system cannot."""
        try:
            self._call("renameat2", _renameat, a, b, _RENAME_EXCHANGE)
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
                raise
            return False
        return True

    def reserve(self, path: str) -> None:
        """Take a name: an empty file, which needs no room on a full disk (FileExistsError)."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        os.close(self._call("create", os.open, path, flags, 0))

    def replace(self, source: str, target: str) -> None:
        self._call("replace", os.replace, source, target)

    def link(self, source: str, target: str) -> None:
        self._call("link", os.link, source, target)

    def symlink(self, source: str, target: str) -> None:
        self._call("symlink", os.symlink, source, target)

    def unlink(self, path: str) -> None:
        self._call("unlink", os.unlink, path)

    def mkdir(self, path: str, mode: int = 0o755) -> None:
        self._call("mkdir", os.mkdir, path, mode)

    def rmdir(self, path: str) -> None:
        self._call("rmdir", os.rmdir, path)

    def clone(self, source: str, target: str) -> None:
        """A new file `target` that shares the blocks of `source` (btrfs, XFS, bcachefs)."""
        with self._reading(source) as fd, self._creating(target) as new:
            try:
                self._call("ficlone", fcntl.ioctl, new, _FICLONE, fd)
            except OSError as error:
                raise ActionRefused(
                    f"{target}: this file system cannot share blocks ({error.strerror}); "
                    "use hardlink or trash"
                ) from None
            self._call("fsync", os.fsync, new)

    def copy(self, source: str, target: str) -> None:
        """A new file with the same bytes, on the disk when this returns."""
        with self._reading(source) as fd, self._creating(target) as new:
            while block := self._call("read", os.read, fd, _BLOCK):
                self._write(new, block)
            self._call("fsync", os.fsync, new)

    def create(self, path: str, data: bytes) -> None:
        """A new small file; FileExistsError when the name is taken."""
        with self._creating(path) as fd:
            self._write(fd, data)
            self._call("fsync", os.fsync, fd)

    def append(self, path: str, data: bytes) -> None:
        """Add to a file and bring it to the disk."""
        fd = self._call("open", os.open, path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            self._write(fd, data)
            self._call("fsync", os.fsync, fd)
        finally:
            os.close(fd)

    def _write(self, fd: int, data: bytes) -> None:
        while data:
            data = data[self._call("write", os.write, fd, data) :]

    @contextmanager
    def _creating(self, path: str) -> Iterator[int]:
        """A new file that goes away again when writing it fails."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        fd = self._call("create", os.open, path, flags, 0o600)
        try:
            yield fd
        except Exception:
            with suppress(OSError):
                self._call("unlink", os.unlink, path)
            raise
        finally:
            os.close(fd)

    def sync_folder(self, folder: str) -> None:
        """Bring names to the disk. File systems that cannot are left alone."""
        if sys.platform == "win32":
            return
        fd = self._call("open", os.open, folder, os.O_RDONLY)
        try:
            self._call("fsync", os.fsync, fd)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
                raise
        finally:
            os.close(fd)

    # -- what belongs to a file beside its bytes --------------------------------------------------

    def set_mtime(self, path: str, mtime_ns: int) -> None:
        self._call("utime", lambda: os.utime(path, ns=(time.time_ns(), mtime_ns)))

    def set_mode(self, path: str, mode: int) -> None:
        self._call("chmod", os.chmod, path, mode)

    def set_owner(self, path: str, owner: tuple[int, int]) -> None:
        if hasattr(os, "chown"):
            self._call("chown", os.chown, path, *owner)

    def xattrs(self, path: str) -> dict[str, bytes]:
        """The user's own extended attributes; {} where there are none to be had."""
        if not hasattr(os, "listxattr"):
            return {}
        try:
            found = self._call("listxattr", os.listxattr, path)
            wanted = [n for n in found if n.startswith("user.")]
            return {n: self._call("getxattr", os.getxattr, path, n) for n in wanted}
        except OSError as error:
            if error.errno in (errno.ENOTSUP, errno.ENODATA):
                return {}
            raise

    def set_xattr(self, path: str, name: str, value: bytes) -> None:
        self._call("setxattr", os.setxattr, path, name, value)

    def del_xattr(self, path: str, name: str) -> None:
        self._call("removexattr", os.removexattr, path, name)

    # -- the rest -----------------------------------------------------------------------------

    def trash_native(self, path: str) -> None:
        """macOS and Windows: the system's own trash."""
        from send2trash import send2trash

        self._call("trash", send2trash, path)

    @contextmanager
    def locked(self, path: str) -> Iterator[bool]:
        """Hold a lock file; yields False when another process holds it."""
        fd = self._call("open", os.open, path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            yield _try_lock(fd)
        finally:
            os.close(fd)

    def now(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def _try_lock(fd: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK):
            return False
        raise
    return True


def _libc_rename() -> Any:
    try:
        return ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):  # not glibc, not Linux
        return None


_renameat2 = _libc_rename()


def _renameat(source: str, target: str, flag: int) -> None:
    if _renameat2 is None:
        raise OSError(errno.ENOSYS, "no renameat2", source)
    names = os.fsencode(source), os.fsencode(target)
    if _renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], flag):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), source, None, target)


def words(error: BaseException) -> str:
    """What the system said, without Python's wrapping."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if isinstance(error, VideoError):
        return error.detail
    return str(error) or type(error).__name__
