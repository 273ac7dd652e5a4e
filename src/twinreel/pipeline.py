"""The spine: folders in, report out. Read `find_duplicates` first; it is the product in one page.

    report = find_duplicates(["~/Videos"], library="videos.db")
    for group in report.groups:
        print(group.keep, group.why)
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import twinreel
from twinreel import exact, keep, models
from twinreel.cluster import clusters, cut_chains
from twinreel.compare import VERSION as COMPARE_VERSION
from twinreel.compare import Calibration, Shelf, compare_all
from twinreel.discover import Discovery, discover, readers, root_alive, volume_of
from twinreel.errors import CannotRead, NothingFound, TwinreelError, VideoError
from twinreel.options import DupsOptions, fingerprint, flatten, gather
from twinreel.progress import Progress
from twinreel.report import FolderPair, Report
from twinreel.sample import sampling_id
from twinreel.store import Facts, Library, Remembered, now
from twinreel.types import Failure, Features, Group, Match, Segment, Video, VideoFile, VideoInfo

COPIES = frozenset({"exact", "copy"})
GROUPING = 1  # raised when the rules for keeping change: remembered decisions are then made anew
CONTAINED = frozenset({"exact", "copy", "contains", "part_of"})


def find_duplicates(
    paths: Sequence[str | os.PathLike[str]],
    options: DupsOptions | None = None,
    *,
    progress: Progress | None = None,
    stdin: Iterable[str] = (),
    **settings: Any,
) -> Report:
    """Look at every video under `paths` and say which show the same thing. Touches no video.

    Args:
        paths: folders, files, globs; '-' takes names from `stdin`.
        options: all dials; or give them by name (`min_score=0.9`, `library="videos.db"`).

    Raises:
        InputError, ModelError, StoreError. What a single video does wrong is a Failure in the
        report, never an exception.
    """
    options = options or gather(settings, DupsOptions)
    progress = progress or Progress(show=False)
    spec = models.get(options.model.model or models.default())
    found = discover([os.path.expanduser(os.fspath(p)) for p in paths], options.discover, stdin)
    with Library.open(options.output.library or None) as library, progress:
        run = Run(library, options, spec, found, progress)
        if not found.files and not run.offline():
            raise NothingFound(
                f"no video under {', '.join(map(str, paths))} "
                f"({sum(found.skipped.values())} files left out); see --ext and --include-system"
            )
        try:
            run.identify()
            run.look()
        except KeyboardInterrupt:
            run.partial = True
        run.compare()
        return run.report()


@dataclass
class Run:
    """One run over a library: the stages in their order, and what they leave for the next."""

    library: Library
    options: DupsOptions
    spec: models.ModelSpec
    found: Discovery
    progress: Progress
    files: list[VideoFile] = field(default_factory=list)  # with keys, after identify()
    failures: list[Failure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    matches: dict[tuple[str, str], Match] = field(default_factory=dict)  # by keys, a < b
    model: str = ""
    weights_sha256: str = ""
    partial: bool = False
    not_reached: int = 0

    def __post_init__(self) -> None:
        self.failures.extend(self.found.failures)
        self.sampling = sampling_id(self.options.sample, self.spec.size)
        self.calibration = Calibration(**self.spec.extra.get("calibration", {}))
        least = self.spec.min_score if self.spec.min_score is not None else 0.9
        self.min_score = self.options.compare.threshold(least)

    # -- identify: paths -> contents ------------------------------------------------------------

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

        plain = [replace(f, key=_quick(f.key)) for f in keyed]
        self.files, errors = exact.settle(plain, hash_of)
        for error in errors:
            self._failed(error)
        if fresh or len(hashes) > sum(bool(full) for _, full in known.values()):
            self.library.put_files(self.files, hashes, now())

    def _keys(self, files: list[VideoFile]) -> Iterator[tuple[VideoFile, str]]:
        """Content keys; a root that went away ends the reading with one message."""
        for i, file in enumerate(files):
            try:
                yield file, exact.content_key(file.path)
            except CannotRead as error:
                if self._root_gone(file):
                    self.not_reached += len(files) - i
                    return
                self._failed(error)
                yield file, ""

    def _root_gone(self, file: VideoFile) -> bool:
        """Whether the root that a file lies under is away; says so once."""
        for root in self.found.roots:
            if file.path.startswith(root.rstrip(os.sep) + os.sep) and not root_alive(
                root, file.device
            ):
                self.notes.append(f"{root} went away during the run: what follows was not reached")
                self.partial = True
                return True
        return False

    def _failed(self, error: VideoError, key: str = "") -> None:
        name = type(error).__name__
        self.failures.append(Failure(error.path, error.stage, name, error.detail))
        if key:
            self.library.put_failure(
                key,
                Remembered(error.stage, name, error.detail, error.transient, twinreel.__version__),
            )

    # -- look: contents -> Features -------------------------------------------------------------

    def look(self) -> None:
        """Decode and embed every content that the library does not know under this model."""
        self._identity()
        done = self.library.known(self.model, self.sampling)
        past = {} if self.options.decode.retry_failed else self.library.failures()
        todo: dict[str, VideoFile] = {}
        for file in self.files:
            key = file.key or ""
            if key in done or key in todo:
                continue
            if key in past and not past[key].transient:
                p = past[key]
                self.failures.append(Failure(file.path, p.stage, p.error, p.detail))
            else:
                todo[key] = file
        if todo:
            from twinreel.jobs import look_all

            for item in look_all(list(todo.values()), self):
                if isinstance(item, VideoError):
                    file = todo[getattr(item, "key", "")]
                    if isinstance(item, CannotRead) and self._root_gone(file):
                        self.not_reached += 1
                        return
                    self._failed(item, file.key or "")
                else:
                    facts, features, thumbs = item
                    self.library.put_look(facts, features, thumbs, self.sampling)

    def _identity(self) -> None:
        """The model's name and weights hash, without loading the network."""
        from twinreel.models.identity import identity, weights_sha256

        self.weights_sha256 = weights_sha256(self.spec, self.options.model.weights)
        size = self.options.model.embedding_size
        self.model = identity(self.spec, self.weights_sha256, 0 if size == self.spec.dim else size)

    # -- compare: Features -> matches by key ----------------------------------------------------

    @property
    def context(self) -> str:
        """What pairs must agree in to be kept together."""
        tolerance = self.options.compare.tolerance()
        plain = [str(t) for t in tolerance]
        return fingerprint(self.model, self.sampling, plain, COMPARE_VERSION, self.calibration)

    def compare(self) -> None:
        """Score pairs that have not been scored before: k new videos against all known ones."""
        if not self.model:
            self._identity()
        active = {f.key for f in self.files} | {f.key for f in self.offline()}
        known = self.library.known(self.model, self.sampling)
        done = self.library.compared(self.context)
        new = {k for k in active if k in known} - done  # type: ignore[operator]
        if new:
            keys = sorted(done | new)
            shelf = Shelf(list(self.library.all_features(self.model, self.sampling, keys)))
            tolerance = self.options.compare.tolerance()
            with self.progress.stage("compare", None):
                scored = compare_all(shelf, new, tolerance, self.calibration)
                self.library.put_pairs(self.context, new, (_ordered(m) for m in scored))
        least = 0.0 if self.options.compare.all_matches else self.min_score
        self.matches = {
            (m.a, m.b): m
            for m in self.library.pairs(self.context, least)
            if m.a in active and m.b in active
        }

    # -- group and report -----------------------------------------------------------------------

    def report(self) -> Report:
        """Clusters of matching contents, as groups of files, with the one worth keeping."""
        facts = self.library.facts(
            {f.key or "" for f in self.files} | {f.key or "" for f in self.offline()}
        )
        videos: dict[str, Video] = {}
        paths: dict[str, list[str]] = defaultdict(list)
        seen = now()
        for file, offline in [(f, False) for f in self.files] + [(f, True) for f in self.offline()]:
            key = file.key or ""
            if key not in facts:
                facts[key] = Facts(_UNKNOWN, 0.0, 0, 0)
            f = facts[key]
            last = self._last_seen.get(file.path, "") if offline else seen
            videos[file.path] = Video(file, f.info, offline, last, f.damage, f.detail, f.picture)
            paths[key].append(file.path)
        groups, used = self._groups(videos, paths)
        listed = {(m.a, m.b): m for m in used}
        for m in self.matches.values():
            pair = (paths[m.a][0], paths[m.b][0])
            if pair not in listed and (pair[1], pair[0]) not in listed:
                listed[pair] = replace(m, a=pair[0], b=pair[1])
        unlike = sum(
            m.score >= self.min_score and m.relation in ("contains", "part_of", "overlap")
            for m in self.matches.values()
        )
        report = Report(
            library=str(self.library.path),
            videos=tuple(videos.values()),
            matches=tuple(sorted(listed.values(), key=lambda m: (-m.score, m.a, m.b))),
            groups=(),
            failures=tuple(self.failures),
            skipped=dict(self.found.skipped),
            options={**flatten(self.options), "min_score": self.min_score},
            model={
                "name": self.spec.name,
                "identity": self.model,
                "weights_sha256": self.weights_sha256,
                "sampling": self.sampling,
                "licence": self.spec.licence,
            },
            roots=self.found.roots,
            created=seen,
            twinreel=twinreel.__version__,
            partial=self.partial,
        )
        groups.sort(key=lambda g: (-report.freed(g), g.keep))
        if self.not_reached:
            self.notes.append(f"{self.not_reached} files were not reached")
        if unlike and not self.options.compare.contained:
            self.notes.append(
                f"{unlike} pairs share content at unlike length: "
                "`twinreel dups --clips --contained` finds them"
            )
        return replace(
            report,
            groups=tuple(groups),
            folders=tuple(folder_pairs(videos, groups)),
            notes=tuple(self.notes),
        )

    def _groups(
        self, videos: dict[str, Video], paths: dict[str, list[str]]
    ) -> tuple[list[Group], list[Match]]:
        """Groups of paths, and the match of every member with its kept file."""
        relations = CONTAINED if self.options.compare.contained else COPIES
        edges = [
            m
            for m in self.matches.values()
            if m.score >= self.min_score and m.relation in relations
        ]
        found = clusters(
            list(paths), edges, 1 - self.min_score, self.options.compare.min_samples,
            {key: len(p) for key, p in paths.items()},
        )
        clustered = {key for members in found for key in members}
        found += [[key] for key, p in paths.items() if len(p) > 1 and key not in clustered]

        def match(a: str, b: str) -> Match | None:
            ka, kb = videos[a].file.key or "", videos[b].file.key or ""
            if ka == kb:
                length = videos[a].info.duration_s
                whole = Segment((0.0, length), (0.0, length))
                return Match(a, b, 1.0, "exact", (whole,))
            m = self.matches.get((min(ka, kb), max(ka, kb)))
            if m is None:
                return None
            m = m if m.a == ka else m.swapped()
            return replace(m, a=a, b=b)

        @functools.lru_cache(maxsize=256)
        def strips(path: str) -> list[tuple[float, Any]]:
            from twinreel.picture import from_jpeg

            kept = self.library.thumbs(videos[path].file.key or "")
            return [(t, from_jpeg(data)) for t, data in kept]

        def choose(names: Sequence[str]) -> Group:
            return keep.choose([videos[n] for n in names], match, strips, self.options.keep)

        groups: list[Group] = []
        used: list[Match] = []
        for members in found:
            names = [p for key in members for p in paths[key]]
            remembered = self._remembered(names, videos)
            fresh = remembered is None
            if remembered is None:
                remembered = []
                for _, together in cut_chains(
                    names, match, lambda n: choose(n).keep, self.min_score, relations
                ):
                    remembered.append(choose(together))
            if fresh:
                self._remember(names, videos, remembered)
            for group in remembered:
                groups.append(group)
                for name in group.members:
                    if name != group.keep and (m := match(name, group.keep)) is not None:
                        used.append(m)
        return groups, used

    def _group_name(self, names: list[str], videos: dict[str, Video]) -> str:
        """What a decision about these files hangs on."""
        plain = [dataclasses.asdict(replace(videos[n], last_seen="")) for n in sorted(names)]
        scored = [
            [m.a, m.b, m.score]
            for m in self.matches.values()
            if m.score >= self.min_score
            and m.a in {videos[n].file.key for n in names}
            and m.b in {videos[n].file.key for n in names}
        ] if len({videos[n].file.key for n in names}) > 1 else []
        return fingerprint(
            plain, scored, self.min_score, self.options.keep, self.options.compare.contained,
            twinreel.__version__, GROUPING,
        )

    def _remembered(self, names: list[str], videos: dict[str, Video]) -> list[Group] | None:
        kept = self.library.recall("group", self._group_name(names, videos))
        if kept is None:
            return None
        return [Group(**{**g, "members": tuple(g["members"])}) for g in kept]

    def _remember(
        self, names: list[str], videos: dict[str, Video], groups: list[Group]
    ) -> None:
        name = self._group_name(names, videos)
        self.library.remember("group", name, [dataclasses.asdict(g) for g in groups])

    # -- what other disks hold ------------------------------------------------------------------

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
    def _last_seen(self) -> dict[str, str]:
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


_UNKNOWN = VideoInfo(0.0, 0, 0, 0, 0, "")


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


def _quick(key: str | None) -> str:
    """The quick part of a key that may carry a full hash."""
    return (key or "").split("-")[0]


def _ordered(m: Match) -> Match:
    return m if m.a <= m.b else m.swapped()


def folder_pairs(videos: dict[str, Video], groups: Iterable[Group]) -> list[FolderPair]:
    """Which folders hold the same videos, the largest overlap first; at least two shared."""
    total: dict[str, int] = defaultdict(int)
    for path in videos:
        total[os.path.dirname(path)] += 1
    shared: dict[tuple[str, str], set[str]] = defaultdict(set)
    for group in groups:
        folders = defaultdict(list)
        for path in group.members:
            folders[os.path.dirname(path)].append(path)
        if len(folders) > 50:
            continue  # every folder with every other would say nothing
        for a in folders:
            for b in folders:
                if a != b:
                    shared[(a, b)].update(folders[a])
    out = []
    for (a, b), held in shared.items():
        back = shared[(b, a)]
        # From the folder that is more fully contained in the other.
        if len(held) < 2 or (len(held) / total[a], b) < (len(back) / total[b], a):
            continue
        out.append(FolderPair(a, b, len(held), total[a], total[b], total[b] - len(back)))
    return sorted(out, key=lambda f: (-f.shared, f.a, f.b))[:50]


def search(
    query: str | os.PathLike[str], library: str = "", limit: int = 20, **settings: Any
) -> list[Match]:
    """The videos of a library that share most with a file that need not be in it.

    Returns:
        matches (a: the query, b: a path of the library), best first.
    """
    from twinreel.compare import candidates, compare
    from twinreel.jobs import look_all

    options = gather({**settings, "library": library, "clips": True, "quiet": True}, DupsOptions)
    spec = models.get(options.model.model or models.default())
    found = discover([os.fspath(query)], options.discover)
    if not found.files:
        raise NothingFound(f"{query}: not a video that can be read; see --ext")
    with Library.open(library or None) as kept:
        run = Run(kept, options, spec, found, Progress(show=False))
        run._identity()
        file = replace(found.files[0], key=exact.content_key(found.files[0].path))
        features = kept.features(file.key or "", run.model, run.sampling)
        if features is None:
            for item in look_all([file], run):
                if isinstance(item, VideoError):
                    raise item
                features = item[1]
        assert features is not None
        paths = {f.key: f.path for f, _, _ in kept.files() if f.path != file.path}
        same = [Match(file.path, paths[file.key], 1.0, "exact")] if file.key in paths else []
        others = [f for f in kept.all_features(run.model, run.sampling) if f.key != file.key]
        shelf = Shelf([features, *others])
        out = []
        for a, b in candidates(shelf, {features.key}, (float("inf"), 0.0), run.calibration):
            m = compare(a, b, run.calibration)
            if m is not None:
                m = m if m.a == features.key else m.swapped()
                if m.b in paths:
                    out.append(replace(m, a=file.path, b=paths[m.b]))
        out.sort(key=lambda m: (-m.score, m.b))
        return (same + out)[:limit]
