"""Folders, files, globs and lists -> VideoFile. Nothing is opened but what the rules below name.

    found = discover(["~/Videos", "/mnt/nas/*.mkv"], DiscoverOptions())
    for file in found.files: print(file.path, file.size)

Looked at are regular files with a video's extension. Everything else is counted by reason in
`skipped` or, where it is a video that cannot be had, stands in `failures`. One file is one record,
whatever number of names lead to it: removing 'the other copy' must never remove the only one.
"""

from __future__ import annotations

import codecs
import errno
import fnmatch
import glob
import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from twinreel.errors import InputError
from twinreel.options import DiscoverOptions
from twinreel.types import Failure, VideoFile
from twinreel.volumes import readers, root_alive, volume_of

__all__ = ["Discovery", "discover", "readers", "root_alive", "volume_of"]

# Names as the systems write them; compared in lower case.
_TRASH = {".trash", ".trashes", "$recycle.bin", "recycler", "#recycle", "@recycle", ".recycle"}
_SYSTEM = {
    "@eadir", "@tmp", "#snapshot", ".snapshot", ".snapshots", "@recently-snapshot", ".zfs",
    "backups.backupdb", ".mobilebackups", "system volume information", "lost+found",
    ".twinreel-quarantine",
}  # fmt: skip
_UNFINISHED = (
    ".part", ".partial", ".crdownload", ".download", ".opdownload", ".!qb", ".!ut", ".!bt", ".bc!",
    ".aria2", ".fdmdownload", ".filepart", ".unfinished", ".ytdl", ".incomplete",
)  # fmt: skip
_PLACEHOLDER = (".icloud", ".nextcloud", ".owncloud", ".cloud", ".cloudf")

TRASH, SYSTEM, UNFINISHED = "trash folder", "system or snapshot folder", "unfinished download"
PLACEHOLDER, LINK, HARD_LINK = "cloud placeholder", "symbolic link", "hard link"
SAME_FILE, OTHER, EXCLUDED = "same file under another path", "not a video's extension", "excluded"
EMPTY, SMALL, SOURCE_CODE = "empty file", "below min-size", "source code named .ts"

# The file's bytes are elsewhere: macOS DATALESS; Windows OFFLINE, RECALL_ON_OPEN or _DATA_ACCESS.
_DATALESS, _RECALLED = 0x40000000, 0x1000 | 0x40000 | 0x400000
# What a system says when a disk or share is gone, rather than one file.
_GONE = {errno.ENOENT, errno.ENOTCONN, errno.EIO, errno.ESTALE, errno.ENODEV, errno.EHOSTDOWN}


@dataclass(frozen=True)
class Discovery:
    """What is there, in the order of the paths' bytes.

    skipped: reason -> count. links: the path that stands for a file -> its other names.
    devices: root -> device it was on, for `root_alive`.
    """

    files: tuple[VideoFile, ...]
    skipped: dict[str, int]
    failures: tuple[Failure, ...]
    roots: tuple[str, ...]
    links: dict[str, tuple[str, ...]] = field(default_factory=dict)
    devices: dict[str, int] = field(default_factory=dict)


def discover(
    paths: Sequence[str], options: DiscoverOptions, stdin: Iterable[str] = ()
) -> Discovery:
    """Every video under `paths`, each once.

    Args:
        paths: folders, files, globs (where no file has that very name), '-' for `stdin`.
        stdin: one path per line, or all separated by NUL bytes.

    Raises:
        InputError: none of the paths exists.
    """
    roots, missing, links = _roots(paths, stdin)
    if not roots:
        which = repr(missing[0]) if missing else "an empty list"
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise InputError(
            f"{which}{more}: not reached; name a folder, a file or a glob of videos that exists"
        )
    walk = _Walk(options)
    for path in missing:
        walk.fail(path, "NotReached", "not reached: no such file or folder")
    for path in links:
        walk.skip(path, LINK)
    devices: dict[str, int] = {}
    # Folder -> the names wanted from it; None is all of it. One listing serves a list of files.
    wanted: dict[str, set[str] | None] = {}
    for root in roots:
        if os.path.isdir(root) and not os.path.islink(root):
            wanted[root] = None
        else:
            folder, name = os.path.split(root)
            if (names := wanted.setdefault(folder, set())) is not None:
                names.add(name)
    for root, names in wanted.items():
        try:
            devices[root] = os.lstat(root).st_dev
            walk.root(root, devices[root], names)
        except _RootGone as error:
            walk.fail(root, "NotReached", f"not reached any more: {error}; the rest is left out")
        except OSError as error:
            walk.fail(root, "NotReached", f"not reached: {error.strerror}")
    return walk.result(tuple(roots), devices)


def _roots(paths: Sequence[str], stdin: Iterable[str]) -> tuple[list[str], list[str], list[str]]:
    """Existing paths, resolved, in order, each once; the missing ones; links that a glob met."""
    roots: dict[str, None] = {}
    links: list[str] = []
    missing: list[str] = []
    for given in _given(paths, stdin):
        found = [given] if os.path.lexists(given) else []
        if not found and given.startswith("~"):
            given = os.path.expanduser(given)
            found = [given] if os.path.lexists(given) else []
        if not found and glob.has_magic(given):
            found = glob.glob(given, recursive=True)
            links += filter(os.path.islink, found)
        if not found:
            missing.append(given)
        elif found != [given]:  # what a pattern meets is not named: its links are not followed
            found = [path for path in found if not os.path.islink(path)]
        for path in found:
            # A named link to a folder is meant as the folder; a link to a file stays a link.
            folder, name = os.path.split(os.path.abspath(path))
            whole = os.path.isdir(path)
            real = os.path.realpath(path) if whole else os.path.join(os.path.realpath(folder), name)
            roots[real] = None
    return sorted(roots, key=os.fsencode), missing, links


def _given(paths: Sequence[str], stdin: Iterable[str]) -> Iterator[str]:
    for path in paths:
        if path != "-":
            yield path
            continue
        lines = list(stdin)
        if any("\0" in line for line in lines):
            yield from filter(None, "".join(lines).split("\0"))
            continue
        for line in lines:
            name = line.removesuffix("\n")
            if name.endswith("\r") and not os.path.lexists(name):
                name = name[:-1]
            if name:
                yield name


class _RootGone(Exception):
    """The root that is being walked is no longer there."""


class _Walk:
    """One run over all roots: what was seen and counted so far."""

    def __init__(self, options: DiscoverOptions) -> None:
        self._options = options
        self._extensions = options.extensions
        globs = [fnmatch.translate(g) for g in options.exclude]
        self._exclude = re.compile("|".join(globs)) if globs else None
        self._files: dict[str, VideoFile] = {}
        self._folders: set[tuple[int, int]] = set()
        self._skipped: Counter[str] = Counter()
        self._failures: list[Failure] = []
        self._counted: set[str] = set()
        self._root = ""
        self._device = 0

    def fail(self, path: str, error: str, detail: str) -> None:
        self._failures.append(Failure(path, "discover", error, detail))

    def skip(self, path: str, reason: str) -> None:
        # Two roots may lead to the same name.
        if path not in self._counted:
            self._counted.add(path)
            self._skipped[reason] += 1

    def root(self, root: str, device: int, names: set[str] | None) -> None:
        """Walk the folder `root`, or take only the entries `names` from it."""
        self._root, self._device = root, device
        if not self._options.include_system:
            for folder in (root, *map(str, Path(root).parents)):
                if reason := _closed_folder(folder, os.path.basename(folder)):
                    self.skip(folder, reason)
                    return
        if names is None:
            self._folder(root)
            return
        with os.scandir(root) as listing:
            entries = list(listing)
        around = {e.name for e in entries}
        for entry in entries:
            if entry.name in names:
                self._entry(entry, around)

    def _folder(self, root: str) -> None:
        stack = [root]
        while stack:
            folder = stack.pop()
            try:
                about = os.stat(folder)
                place = (about.st_dev, about.st_ino)
                if about.st_ino and place in self._folders:
                    continue  # overlapping roots, bind mounts, loops
                self._folders.add(place)
                with os.scandir(folder) as listing:
                    entries = list(listing)
            except OSError as error:
                self._check_root(error)
                self.fail(folder, type(error).__name__, f"folder not readable: {error.strerror}")
                continue
            names = {e.name for e in entries}
            stack += [e.path for e in entries if self._entry(e, names)]

    def _check_root(self, error: OSError) -> None:
        """Stop with one message when it is the root that went away, not a single entry."""
        if error.errno in _GONE and not root_alive(self._root, self._device):
            raise _RootGone(error.strerror)

    def _entry(self, entry: os.DirEntry[str], names: set[str]) -> bool:
        """Take in one directory entry; True when it is a folder to walk."""
        try:
            if self._exclude and self._excluded(entry.path, entry.name):
                if self._is_video(entry.name) or entry.is_dir(follow_symlinks=False):
                    self.skip(entry.path, EXCLUDED)
                return False
            if entry.is_symlink() or getattr(entry, "is_junction", bool)():
                if self._is_video(entry.name) or os.path.isdir(entry.path):
                    self.skip(entry.path, LINK)
                return False
            if entry.is_dir(follow_symlinks=False):
                reason = _closed_folder(entry.path, entry.name)
                if reason and not self._options.include_system:
                    self.skip(entry.path, reason)
                    return False
                return True
            self._take(entry, names)
        except OSError as error:
            self._check_root(error)
            gone = isinstance(error, FileNotFoundError)
            what = "vanished while it was looked at" if gone else f"not readable: {error.strerror}"
            self.fail(entry.path, type(error).__name__, what)
        return False

    def _excluded(self, path: str, name: str) -> bool:
        assert self._exclude
        inside = os.path.relpath(path, self._root)
        return any(self._exclude.match(text) for text in (name, path, inside))

    def _is_video(self, name: str) -> bool:
        return os.path.splitext(name)[1][1:].lower() in self._extensions

    def _take(self, entry: os.DirEntry[str], names: set[str]) -> None:
        path, name = entry.path, entry.name
        if not self._is_video(name):
            self.skip(path, self._almost_video(name))
            return
        if not self._options.include_system:
            if name.startswith("._"):
                self.skip(path, SYSTEM)  # macOS keeps a file's attributes under this name
                return
            if any(name + ending in names for ending in (".aria2", ".part", ".ytdl", ".!qB")):
                self.skip(path, UNFINISHED)
                return
        about = entry.stat(follow_symlinks=False)
        if not about.st_ino:  # Windows: a listing knows no file numbers
            about = os.stat(path, follow_symlinks=False)
        if not stat.S_ISREG(about.st_mode):
            self.fail(path, "NotAFile", f"a {_kind(about.st_mode)}, not a file; it was not opened")
        elif about.st_size < self._options.min_size:
            self.skip(path, SMALL if about.st_size else EMPTY)
        elif not self._options.include_system and _is_placeholder(path, about):
            self.skip(path, PLACEHOLDER)
        elif name[-3:].lower() in (".ts", "mts") and _is_text(path):
            self.skip(path, SOURCE_CODE)
        else:
            self._files[path] = VideoFile(
                path,
                about.st_size,
                about.st_mtime_ns,
                about.st_ino,
                about.st_dev,
                volume_of(path, about.st_dev),
            )

    def _almost_video(self, name: str) -> str:
        """Why a name without a video's extension is left out."""
        stem, ending = os.path.splitext(name)
        if ending.lower() in _UNFINISHED and self._is_video(stem):
            return UNFINISHED
        if ending.lower() in _PLACEHOLDER and self._is_video(stem):
            return PLACEHOLDER
        return OTHER

    def result(self, roots: tuple[str, ...], devices: dict[str, int]) -> Discovery:
        """One record per file, in the order of the paths' bytes."""
        first: dict[tuple[int, int], VideoFile] = {}
        links: dict[str, list[str]] = {}
        for path in sorted(self._files, key=os.fsencode):
            file = self._files[path]
            known = first.setdefault((file.device, file.inode), file)
            if known is not file:
                links.setdefault(known.path, []).append(path)
                many = _link_count(path) != 1
                self._skipped[HARD_LINK if many else SAME_FILE] += 1
        self._failures.sort(key=lambda f: os.fsencode(f.path))
        return Discovery(
            tuple(first.values()),
            dict(sorted(self._skipped.items())),
            tuple(self._failures),
            roots,
            {path: tuple(others) for path, others in links.items()},
            devices,
        )


def _link_count(path: str) -> int:
    try:
        return os.lstat(path).st_nlink
    except OSError:
        return 0


def _closed_folder(path: str, name: str) -> str:
    """Why a folder is neither read, kept from nor removed from; '' for an ordinary one."""
    name = name.lower()
    if name in _TRASH or name.startswith(".trash-"):
        return TRASH
    if name == "trash" and all(os.path.isdir(os.path.join(path, p)) for p in ("files", "info")):
        return TRASH  # of the desktop, wherever the user's data folder is
    if name in _SYSTEM:
        return SYSTEM
    return UNFINISHED if name.endswith(_UNFINISHED) else ""


def emptied_folder(path: str) -> str:
    """The folder on the way to a file that somebody else empties (trash, snapshots), or ''."""
    parts = path.split(os.sep)[:-1]
    for part, below in zip(parts, [*parts[1:], ""], strict=True):
        if part.lower() == "trash":
            closed = TRASH if below == "files" else ""
        else:
            closed = _closed_folder("", part)
        if closed in (TRASH, SYSTEM):
            return part
    return ""


def _kind(mode: int) -> str:
    if stat.S_ISFIFO(mode):
        return "named pipe"
    return "socket" if stat.S_ISSOCK(mode) else "device"


def _is_placeholder(path: str, about: os.stat_result) -> bool:
    """Whether the file has a size but no bytes on this disk."""
    if getattr(about, "st_flags", 0) & _DATALESS:
        return True
    if getattr(about, "st_file_attributes", 0) & _RECALLED:
        return True
    if getattr(about, "st_blocks", 1) or not about.st_size or not hasattr(os, "SEEK_DATA"):
        return False
    # Some network file systems count no blocks at all: ask whether there is any data.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        os.lseek(handle, 0, os.SEEK_DATA)
        return False
    except OSError as error:
        return error.errno == errno.ENXIO
    finally:
        os.close(handle)


def _is_text(path: str) -> bool:
    """Whether a .ts file is TypeScript rather than a transport stream (which is full of 0xFF)."""
    try:
        with open(path, "rb") as file:
            head = codecs.getincrementaldecoder("utf-8")().decode(file.read(1024))
    except (UnicodeDecodeError, OSError):
        return False
    return "\0" not in head
