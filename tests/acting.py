"""Small trees of files, reports about them, and disks that fail or kill, for the tests of act."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
from itertools import combinations
from pathlib import Path
from typing import Any

from twinreel.actions.disk import Disk
from twinreel.exact import content_key
from twinreel.report import Report
from twinreel.types import Group, Match, Video, VideoFile, VideoInfo

OLD_NS = 1_600_000_000_000_000_000  # 2020: nothing here looks as if it were still growing
INFO = VideoInfo(60.0, 640, 360, 640, 360, "h264")
ERRORS = (errno.EIO, errno.ENOSPC, errno.EXDEV, errno.EACCES)


def put(path: Path, content: bytes | str, age: int = 0) -> Path:
    """A file with a fixed time; `age` seconds older than the others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    os.utime(path, ns=(OLD_NS, OLD_NS - age * 10**9))
    return path


def video(path: str | Path, **info: Any) -> Video:
    s = os.lstat(path)
    key = content_key(str(path))
    file = VideoFile(str(path), s.st_size, s.st_mtime_ns, s.st_ino, s.st_dev, "", key)
    return Video(file, VideoInfo(**{**INFO.__dict__, **info}))


def report_of(root: Path, *groups: list[Path], relation: str = "exact", **more: Any) -> Report:
    """A report in which the first of each list is kept; nothing is lost but what is said."""
    lost = more.pop("losses", {})
    paths = {str(p): None for g in groups for p in g}
    matches = [
        Match(str(a), str(b), 1.0 if relation == "exact" else 0.95, relation)
        for g in groups
        for a, b in combinations(g, 2)
    ]
    return Report(
        library="",
        videos=tuple(video(p) for p in paths),
        matches=tuple(matches),
        groups=tuple(
            Group(
                tuple(map(str, g)), str(g[0]), "the first of the test",
                {str(p): lost.get(str(p), []) for p in g[1:]} | lost, **more,
            )
            for g in groups
        ),
        roots=(str(root),),
    )  # fmt: skip


def tree(root: Path) -> dict[str, Any]:
    """Everything below a folder: kind, time and hash of each file, target of each link."""
    out: dict[str, Any] = {}
    for folder, names, files in os.walk(root):
        for name in [*names, *files]:
            path = os.path.join(folder, name)
            at = os.path.relpath(path, root)
            if os.path.islink(path):
                out[at] = ("link", os.readlink(path))
            elif os.path.isdir(path):
                out[at] = "dir"
            else:
                data = Path(path).read_bytes()
                out[at] = (hashlib.sha1(data).hexdigest(), os.stat(path).st_mtime_ns)
    return out


def contents(*roots: Path) -> set[str]:
    """Hashes of all real files, wherever they lie."""
    found = [v for r in roots for v in tree(r).values()]
    return {v[0] for v in found if isinstance(v, tuple) and v[0] != "link"}


LOOKS = ("lstat", "stat", "open", "fstat", "listdir", "readlink", "access", "realpath", "read")
LOOKS += ("key", "hash", "decode", "listxattr", "getxattr")  # calls that change nothing


class Quick(Disk):
    """The real disk, but every video is sound, nothing sleeps, and fsync is only counted.

    old: a kernel without renameat2.
    """

    def __init__(self, old: bool = False) -> None:
        self.names_called: list[str] = []
        self.old = old

    @property
    def changing(self) -> list[int]:
        """Which calls changed something: a kill between two others leaves nothing new."""
        return [i for i, name in enumerate(self.names_called) if name not in LOOKS]

    def _call(self, name: str, function: Any, *args: Any) -> Any:
        self.names_called.append(name)
        if name == "renameat2" and self.old:
            raise OSError(errno.ENOSYS, "no such call")
        return None if name == "fsync" else function(*args)

    def damage(self, path: str, full: bool) -> str:
        return ""

    def sleep(self, seconds: float) -> None:
        pass

    def clone(self, source: str, target: str) -> None:
        """A copy: few file systems share blocks, and to all other calls it looks the same."""
        with self._reading(source) as fd, self._creating(target) as new:
            data = self._call("read", os.read, fd, 1 << 20)
            self._call("ficlone", os.write, new, data)
            self._call("fsync", os.fsync, new)


class Failing(Quick):
    """Fails once, at the n-th call, before or (`late`) after it took effect."""

    def __init__(self, at: int, code: int, late: bool = False) -> None:
        super().__init__()
        self.at, self.code, self.late = at, code, late

    def _call(self, name: str, function: Any, *args: Any) -> Any:
        now = len(self.names_called) == self.at
        if now and not self.late:
            self.names_called.append(name)
            raise OSError(self.code, os.strerror(self.code), *args[:1])
        result = super()._call(name, function, *args)
        if now:
            if name in ("open", "create", "fstat"):
                return result  # a handle that came back is not a failure
            raise OSError(self.code, os.strerror(self.code), *args[:1])
        return result


class Killing(Quick):
    """kill -9 just before the n-th call."""

    def __init__(self, at: int, old: bool = False) -> None:
        super().__init__(old)
        self.at = at

    def _call(self, name: str, function: Any, *args: Any) -> Any:
        if len(self.names_called) == self.at:
            os.kill(os.getpid(), signal.SIGKILL)
        return super()._call(name, function, *args)


def in_child(work: Any) -> int:
    """Run `work` in a forked process; its exit status, negative when a signal ended it."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
