"""Paths -> contents: which files of a run are known, which share their bytes, which are offline.

What is known by path, size and time is not opened. The rest is read for its content key; equal
keys are settled by whole hashes (exact.py). A disk that goes away in the middle is one message.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import twinreel
from twinreel import exact
from twinreel.discover import Discovery, root_alive, volume_of
from twinreel.errors import CannotRead, VideoError
from twinreel.options import DupsOptions
from twinreel.progress import Progress
from twinreel.store import Library, Remembered, now
from twinreel.types import Failure, VideoFile
from twinreel.workers import Idle


@dataclass
class Inventory:
    """The files of one run, with their keys after `identify`, and those on disks not plugged in."""

    library: Library
    options: DupsOptions
    found: Discovery
    progress: Progress
    files: list[VideoFile] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    partial: bool = False
    not_reached: int = 0
    idle: Idle | None = None  # processes that one stage leaves for the next

    def __post_init__(self) -> None:
        self.failures.extend(self.found.failures)

    def identify(self) -> None:
        """Give every file its content key; files known by path, size and time are not opened."""
        known = {f.path: (f, full) for f, full, _ in self._library_files}
        fresh: list[VideoFile] = []
        hashes: dict[str, str] = {}
        keyed: list[VideoFile] = []
        for file in self.found.files:
            before, full = known.get(file.path, (None, ""))
            if before is not None and _unchanged(before, file):
                keyed.append(replace(file, key=before.key))
                if full:
                    hashes[file.path] = full
            else:
                fresh.append(file)
        with self.progress.stage("identify", len(fresh)) as tick:
            for file, key in self._keys(fresh):
                tick()
                if key:
                    keyed.append(replace(file, key=key))
        order = {file.path: i for i, file in enumerate(self.found.files)}
        keyed.sort(key=lambda f: order[f.path])

        def hash_of(file: VideoFile) -> str:
            if file.path not in hashes:
                hashes[file.path] = exact.full_hash(file.path)
            return hashes[file.path]

        plain = [replace(f, key=quick(f.key)) for f in keyed]
        self.files, errors = exact.settle(plain, hash_of)
        for error in errors:
            self.failed(error)
        if fresh or len(hashes) > sum(bool(full) for _, full in known.values()):
            self.library.put_files(self.files, hashes, now())

    def _keys(self, files: list[VideoFile]) -> Iterator[tuple[VideoFile, str]]:
        """Content keys; a root that went away ends the reading with one message."""
        for i, file in enumerate(files):
            try:
                yield file, exact.content_key(file.path)
            except CannotRead as error:
                if self.root_gone(file):
                    self.not_reached += len(files) - i
                    return
                self.failed(error)
                yield file, ""

    def root_gone(self, file: VideoFile) -> bool:
        """Whether the root that a file lies under is away; says so once."""
        for root in self.found.roots:
            if file.path.startswith(root.rstrip(os.sep) + os.sep) and not root_alive(
                root, file.device
            ):
                self.notes.append(f"{root} went away during the run: what follows was not reached")
                self.partial = True
                return True
        return False

    def failed(self, error: VideoError, key: str = "") -> None:
        """One more row of failures; remembered in the library when the content is known."""
        name = type(error).__name__
        self.failures.append(Failure(error.path, error.stage, name, error.detail))
        if key:
            self.library.put_failure(
                key,
                Remembered(error.stage, name, error.detail, error.transient, twinreel.__version__),
            )

    @functools.cached_property
    def _library_files(self) -> list[tuple[VideoFile, str, str]]:
        """Every path of the library, as --map calls it today."""
        moved = [tuple(pair.split("=", 1)) for pair in self.options.output.map]
        out = []
        for file, full, seen in self.library.files():
            for old, new in moved:
                if file.path.startswith(old):
                    file = replace(file, path=new + file.path[len(old) :], inode=-1)
                    break
            out.append((file, full, seen))
        return out

    @functools.cached_property
    def last_seen(self) -> dict[str, str]:
        """Path -> when a scan last saw it."""
        return {f.path: seen for f, _, seen in self._library_files}

    @functools.cached_property
    def _offline(self) -> list[VideoFile]:
        here = {f.path for f in self.found.files}
        out = []
        mounted: dict[str, str] = {}
        for file, _, _ in self._library_files:
            if file.path in here or not file.volume:
                continue
            folder = os.path.dirname(file.path)
            if folder not in mounted:
                mounted[folder] = _volume_at(folder)
            # Another file system stands where the file's own was: its disk is not plugged in.
            if mounted[folder] != file.volume and not os.path.lexists(file.path):
                out.append(file)
        return out

    def offline(self) -> list[VideoFile]:
        """Videos of the library whose volume is not mounted now."""
        return self._offline


def _volume_at(folder: str) -> str:
    """The volume of a folder, or of its nearest ancestor that exists."""
    while folder and not os.path.isdir(folder):
        parent = os.path.dirname(folder)
        if parent == folder:
            break
        folder = parent
    try:
        return volume_of(folder)
    except OSError:
        return ""


def _unchanged(before: VideoFile, file: VideoFile) -> bool:
    """Same size and time, and the same inode unless the path was mapped."""
    return (before.size, before.mtime_ns) == (file.size, file.mtime_ns) and (
        before.inode in (file.inode, -1)
    )


def quick(key: str | None) -> str:
    """The quick part of a key that may carry a full hash."""
    return (key or "").split("-")[0]
