"""Filling a library by several machines that share a disk: result shards, then one merge.

    fill(["/mnt/films"], Path("/mnt/shards"), options)       # the same on every machine
    merge(Path("/mnt/shards"), "videos.db")                  # once, on one of them

A shard is a small library of its own, made on the machine's own disk and put whole among the
others under a name of its own: SQLite never has two writers, nor a network disk under it while it
works. Who looks at a video is settled by claims (extract/claims.py) on its path inside its root, so
that machines may mount the videos at unlike places. A video that is in a shard is done.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from twinreel import exact, models
from twinreel.discover import Discovery, discover
from twinreel.errors import CannotRead, NothingFound, VideoError
from twinreel.extract.claims import Claim, Claims
from twinreel.extract.whole import write_whole
from twinreel.inventory import quick
from twinreel.looking import Looking
from twinreel.options import DupsOptions, fingerprint
from twinreel.progress import Progress
from twinreel.store import Library, Remembered, now
from twinreel.types import Failure, VideoFile
from twinreel.volumes import volume_of

SHARD = 64  # videos of a shard: what a kill can cost


@dataclass
class Filled:
    """How one machine's filling ended. looked: videos decoded here; there: done already."""

    looked: int = 0
    there: int = 0
    shards: int = 0
    failures: list[Failure] = field(default_factory=list)


def fill(
    paths: Sequence[str],
    shards: Path,
    options: DupsOptions | None = None,
    progress: Progress | None = None,
    lease_s: float = 60.0,
) -> Filled:
    """Look at every video under `paths` that nobody has looked at; results as shards.

    Raises:
        NothingFound, ModelError, OutputError (the shared disk).
    """
    options = options or DupsOptions()
    progress = progress or Progress(show=False)
    spec = models.find(options.model.model or models.default(), options.model.weights)
    found = discover([os.path.expanduser(p) for p in paths], options.discover)
    if not found.files:
        raise NothingFound(f"no video under {', '.join(paths)}; see --ext and --include-system")
    done = Filled(failures=list(found.failures))
    with Claims(shards / "claims", lease_s) as claims, progress:
        part = _Part(shards, claims, found, options, spec, progress, done)
        waiting = iter(found.files)
        while True:
            later: list[VideoFile] = []
            while batch := list(islice(part.claimed(waiting, later), SHARD)):
                part.look(batch)
            if not later:
                break
            claims.wait()
            waiting = iter(later)
        claims.sweep()
    return done


@dataclass
class _Part:
    """One machine's part of a filling."""

    shards: Path
    claims: Claims
    found: Discovery
    options: DupsOptions
    spec: models.ModelSpec
    progress: Progress
    done: Filled
    read: set[str] = field(default_factory=set)  # shards
    known: set[tuple[str, int, int]] = field(default_factory=set)  # name, size, mtime_ns
    failed: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        with (
            tempfile.TemporaryDirectory(prefix="twinreel-") as folder,
            Library.open(Path(folder) / "none.db") as library,
        ):
            run = Looking(library, self.options, self.found, self.progress, spec=self.spec)
            run.name_model()
            self.mark = fingerprint(run.model, run.sampling)

    def name(self, file: VideoFile) -> str:
        """A video's path inside its root: the same on every machine."""
        return inside(file.path, self.found.roots)

    def refresh(self) -> None:
        """Learn what other machines have finished."""
        for path in sorted(self.shards.glob(f"looks-{self.mark}-*.db")):
            if path.name not in self.read:
                self.read.add(path.name)
                with opened(path) as library:
                    names = library.recall_all("name")
                    self.known |= {
                        (names.get(f.path, f.path), f.size, f.mtime_ns)
                        for f, _, _ in library.files()
                    }

    def is_done(self, file: VideoFile) -> bool:
        return (self.name(file), file.size, file.mtime_ns) in self.known

    def claimed(
        self, files: Iterator[VideoFile], later: list[VideoFile]
    ) -> Iterator[tuple[VideoFile, Claim]]:
        """Files that are ours to look at; those that others hold go to `later`."""
        self.refresh()
        for file in files:
            if self.is_done(file):
                self.done.there += 1
                continue
            claim = self.claims.take(self.name(file))
            if claim is None:
                later.append(file)
                continue
            self.refresh()  # whoever held it before may have finished in between
            if self.is_done(file):
                self.claims.release(claim)
                self.done.there += 1
                continue
            yield file, claim

    def look(self, batch: list[tuple[VideoFile, Claim]]) -> None:
        """Decode and embed some videos; one shard."""
        with tempfile.TemporaryDirectory(prefix="twinreel-") as folder:
            local = Path(folder) / "looks.db"
            files = []
            for file, _ in batch:
                try:
                    files.append(replace(file, key=exact.content_key(file.path)))
                except CannotRead as error:
                    self.done.failures.append(_failure(error))
            with Library.open(local) as library:
                run = Looking(library, self.options, self.found, self.progress, spec=self.spec)
                run.files = files
                run.look()
                looked = library.known(run.model, run.sampling) | set(library.failures())
                self.done.failures += run.failures[len(self.found.failures) :]
                settled = [f for f in files if f.key in looked]
                library.put_files(settled, {}, now())
                for file in settled:
                    library.remember("name", file.path, self.name(file))
            # A claim that was taken over meanwhile is somebody else's to finish.
            if settled and all(self.claims.holds(claim) for _, claim in batch):
                name = f"looks-{self.mark}-{self.claims.owner[:12]}-{self.done.shards:05}.db"
                with open(local, "rb") as source:
                    target = self.shards / name
                    write_whole(
                        target, lambda out: shutil.copyfileobj(source, out), self.claims.owner
                    )
                self.done.shards += 1
                self.done.looked += len(settled)
                self.read.add(name)
                self.known |= {(self.name(f), f.size, f.mtime_ns) for f in settled}
        for _, claim in batch:
            self.claims.release(claim)


def _failure(error: VideoError) -> Failure:
    return Failure(error.path, error.stage, type(error).__name__, error.detail)


def inside(path: str, roots: Sequence[str]) -> str:
    """A path relative to its root, else its name."""
    for root in sorted(roots, key=len, reverse=True):
        if path.startswith(root.rstrip(os.sep) + os.sep):
            return os.path.relpath(path, root)
    return os.path.basename(path)


class opened:
    """`with opened(shard) as library:` a copy on this machine's disk, brought to this version."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Library:
        self._folder = tempfile.TemporaryDirectory(prefix="twinreel-")
        copy = Path(self._folder.name) / self._path.name
        shutil.copyfile(self._path, copy)
        self._library = Library.open(copy)
        return self._library

    def __exit__(self, *_: object) -> None:
        self._library.close()
        self._folder.cleanup()


def merge(
    shards: Path,
    library: str = "",
    roots: Sequence[str] = (),
    say: Callable[[str], None] = lambda words: None,
) -> int:
    """Bring every new shard into a library; videos brought. A shard is merged once.

    Args:
        roots: where this machine sees the videos (default: under the same paths as their workers).

    Raises:
        NothingFound: no shards there. StoreError, StoreVersion.
    """
    paths = sorted(shards.glob("looks-*.db"))
    if not paths:
        raise NothingFound(f"{shards}: no shards there; `twinreel library fill` makes them")
    brought = 0
    with Library.open(library or None) as kept:
        merged = kept.recall_all("merged")
        for path in paths:
            if path.name in merged:
                continue
            with opened(path) as shard:
                count = _bring(shard, kept, roots)
            kept.remember("merged", path.name, count)
            brought += count
            say(f"{path.name}: {count} videos")
    return brought


def _bring(shard: Library, kept: Library, roots: Sequence[str]) -> int:
    """Copy all that a shard knows."""
    keys = set()
    facts = shard.facts()
    for model, sampling in shard.kinds():
        insets = {f.key: f for f in shard.insets(model, sampling)}
        for features in shard.all_features(model, sampling):
            keys.add(features.key)
            pictures = shard.thumbs(features.key, sampling)
            inset = insets.get(features.key)
            kept.put_look(facts[features.key], features, pictures, sampling, inset)
    for key, failure in shard.failures().items():
        keys.add(key)
        kept.put_failure(key, Remembered(**{**failure.__dict__}))
    names = shard.recall_all("name")
    here = []
    for file, _, seen in shard.files():
        places = [os.path.join(root, names.get(file.path, "")) for root in roots] or [file.path]
        for place in places:
            if (found := _as_here(file, os.path.abspath(place))) is not None:
                here.append((found, seen))
    for found, seen in here:
        kept.put_files([found], {}, seen)
    return len(keys)


def _as_here(file: VideoFile, path: str) -> VideoFile | None:
    """The file as this machine sees it; None where it does not, or it is another by now."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    if (found.st_size, found.st_mtime_ns) != (file.size, file.mtime_ns):
        return None
    volume = volume_of(os.path.dirname(path))
    return VideoFile(
        path, file.size, file.mtime_ns, found.st_ino, found.st_dev, volume, quick(file.key)
    )
