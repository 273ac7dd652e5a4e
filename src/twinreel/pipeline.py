"""The spine: folders in, report out. Read `find_duplicates` first; it is the product in one page.

report = find_duplicates(["~/Videos"], library="videos.db")
for group in report.groups:
    print(group.keep, group.why)
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import twinreel
from twinreel import ann, exact, large, models
from twinreel.aligned import at_same_moments, beside, is_mirrored
from twinreel.compare import VERSION as COMPARE_VERSION
from twinreel.compare import Calibration, Shelf, compare_all
from twinreel.discover import discover
from twinreel.doubt import HOPELESS, Look, look_again
from twinreel.embed import features
from twinreel.errors import CannotRead, NothingFound, VideoError
from twinreel.grouping import Grouping, folder_pairs
from twinreel.inventory import Inventory, quick
from twinreel.options import DupsOptions, fingerprint, flatten, gather
from twinreel.picture import Rect, from_jpeg
from twinreel.progress import Progress
from twinreel.report import Report
from twinreel.sample import plan, sampling_id
from twinreel.store import Facts, Library, now
from twinreel.types import Failure, Features, Match, Video, VideoFile, VideoInfo


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
    roots = [os.path.expanduser(os.fspath(p)) for p in [*paths, *options.compare.against]]
    found = discover(roots, options.discover, stdin)
    with Library.open(options.output.library or None) as library, progress:
        run = Run(library, options, found, progress, spec=spec)
        if not found.files and not run.offline():
            raise NothingFound(
                f"no video under {', '.join(map(str, paths))} "
                f"({sum(found.skipped.values())} files left out); see --ext and --include-system"
            )
        # Ctrl-C ends the stage it meets; what is known goes into the report, the next run goes on.
        with run.interruptible():
            run.identify()
            run.look()
        with run.interruptible():
            run.score()
            run.look_again()
        run.select()
        return run.report()


@dataclass(kw_only=True)
class Run(Inventory):
    """One run over a library: identify, look, compare, report; each leaves what the next needs."""

    spec: models.ModelSpec
    matches: dict[tuple[str, str], Match] = field(default_factory=dict)  # by keys, a < b
    model: str = ""
    weights_sha256: str = ""
    crowds: large.Held | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.sampling = sampling_id(self.options.sample, self.spec.size)
        self.calibration = Calibration(**self.spec.extra.get("calibration", {}))
        least = self.spec.min_score if self.spec.min_score is not None else 0.9
        self.min_score = self.options.compare.threshold(least)

    def look(self) -> None:
        """Decode and embed every content that the library does not know under this model."""
        if self.options.decode.features:
            from twinreel.given import take

            take(self, Path(self.options.decode.features))
            return
        self.name_model()
        done = self.library.known(self.model, self.sampling)
        past = {} if self.options.decode.retry_failed else self.library.failures()
        todo: dict[str, list[VideoFile]] = defaultdict(list)
        for file in self.files:
            key = file.key or ""
            if key in done or (key not in todo and self._reused(key)):
                continue
            if key in past and not past[key].transient:
                p = past[key]
                self.failures.append(Failure(file.path, p.stage, p.error, p.detail))
            else:
                todo[key].append(file)
        while todo:
            todo = self._look_at(todo)

    def _look_at(self, todo: dict[str, list[VideoFile]]) -> dict[str, list[VideoFile]]:
        """Look at the first file of each content; returns those of which another must be tried."""
        if self.options.decode.runner == "ray":
            from twinreel.rays_look import look_there as look_all
        else:
            from twinreel.jobs import look_all

        again: dict[str, list[VideoFile]] = {}
        for item in look_all([files[0] for files in todo.values()], self):
            if not isinstance(item, VideoError):
                facts, features, thumbs = item
                self.library.put_look(facts, features, thumbs, self.sampling)
                continue
            key: str = getattr(item, "key", "")
            first, *others = todo[key]
            if isinstance(item, CannotRead) and self.root_gone(first):
                self.not_reached += 1
                return {}
            self.failed(item, key)
            if item.stage == "read" and others:
                again[key] = others  # this file's fault, not the content's
            else:
                kind = type(item).__name__
                for file in others:
                    self.failures.append(Failure(file.path, item.stage, kind, item.detail))
        return again

    def _reused(self, key: str) -> bool:
        """Take over rows of another sampling of the grid when it holds every planned moment."""
        if self.options.sample.sampler == "keyframes":
            return False  # its rows are of other moments than the grid says
        for sampling in self.library.samplings(key, self.model):
            held = self.library.features(key, self.model, sampling)
            if held is None or sampling.startswith("keyframes"):
                continue
            wanted = plan(held.duration_s, self.options.sample).times_s
            place = {round(t, 6): i for i, t in enumerate(held.times_s.tolist())}
            rows = [place.get(round(t, 6), -1) for t in wanted.tolist()]
            if rows and min(rows) >= 0:
                self.library.put_features(
                    features(
                        key,
                        self.model,
                        self.sampling,
                        wanted,
                        held.blank[rows],
                        held.vectors[rows],
                        held.duration_s,
                    )
                )
                return True
        return False

    def name_model(self) -> None:
        """The model's name and weights hash, without loading the network."""
        from twinreel.models.identity import identity, weights_sha256

        self.weights_sha256 = weights_sha256(self.spec, self.options.model.weights)
        size = self.options.model.embedding_size
        self.model = identity(self.spec, self.weights_sha256, 0 if size == self.spec.dim else size)

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """Ctrl-C inside marks the run as partial and goes no further."""
        try:
            yield
        except KeyboardInterrupt:
            self.partial = True

    @property
    def context(self) -> str:
        """What pairs must agree in to be kept together."""
        tolerance = self.options.compare.tolerance()
        plain = [str(t) for t in tolerance]
        return fingerprint(self.model, self.sampling, plain, COMPARE_VERSION, self.calibration)

    def score(self) -> None:
        """Score pairs that have not been scored before: k new videos against all known ones."""
        if not self.model:
            self.name_model()
        active = {f.key for f in self.files} | {f.key for f in self.offline()}
        removed = self.library.recall_all("removed")
        known = self.library.known(self.model, self.sampling)
        done = self.library.compared(self.context)
        new = {k for k in active if k in known} - done
        if new:
            keys = sorted(done | new | (removed.keys() & known))
            tolerance = self.options.compare.tolerance()
            with self.progress.stage("compare", None):
                jobs = self.options.decode.jobs or os.cpu_count() or 1
                if self._is_large(len(new) / len(keys)):
                    held, least = self._held(), self.options.compare.min_samples
                    touch, say = self._with_orientation, self.notes.append
                    large.score(held, keys, new, tolerance, least, jobs, touch, say)
                    return
                shelf = Shelf(list(self.library.all_features(self.model, self.sampling, keys)))
                scored = compare_all(shelf, new, tolerance, self.calibration, jobs)
                told = (self._with_orientation(m) for m in scored)
                self.library.put_pairs(self.context, new, (_ordered(m) for m in told))

    def look_again(self) -> None:
        """Settle doubtful pairs by laying their pictures on each other."""
        if not self.options.compare.closer:
            return
        path = {f.key: f.path for f in self.files if f.key}
        removed = self.library.recall_all("removed")
        known = path.keys() | removed.keys()
        asked = (
            m
            for m in self.library.pairs(self.context, HOPELESS)
            if (m.a in path and m.b in known) or (m.b in path and m.a in removed)
        )
        look = self.look_with(path, self._held().read, self._picture)
        left = 0
        for m, why in look_again(asked, look, self.progress):
            if why:
                left += 1
            else:
                self.library.put_pairs(self.context, (), [m])
        if left:
            self.notes.append(f"{left} doubtful pairs could not be looked at again")

    def look_with(
        self, path: dict[str, str], read: Callable[[str], Features], picture: Callable[[str], Rect]
    ) -> Look:
        """What closer looks of this run need; `path`: which contents may be opened where."""
        from twinreel.jobs import job_count

        return Look(
            self.library,
            self.calibration,
            self.spec.min_score or 1.0,
            fingerprint(self.model, self.sampling, self.calibration),
            read,
            picture,
            path,
            self.spec.size,
            job_count(self.options.decode.jobs, self.files),
        )

    def _picture(self, key: str) -> Rect:
        return self.library.facts({key})[key].picture

    def _is_large(self, share: float) -> bool:
        """Whether nearest neighbours are asked for; share: of new videos."""
        rows = self.library.rows(self.model, self.sampling)
        return ann.wanted(self.options.compare.neighbours, round(share * rows), rows)

    def _held(self) -> large.Held:
        return large.Held(
            self.library, self.model, self.sampling, self.context, self.calibration, self.min_score
        )

    def select(self) -> None:
        """The matches of this run's videos, out of all that the library holds."""
        if not self.model:
            self.name_model()
        active = {f.key for f in self.files} | {f.key for f in self.offline()}
        removed = self.library.recall_all("removed")
        least = 0.0 if self.options.compare.all_matches else self.min_score
        self.crowds = self._held()
        large.complete(self.crowds, {key for key in active if key is not None})
        apart = self.library.recall_all("unmatched")
        # With --against, only pairs across the two.
        here = [*self.files, *self.offline()]
        old = {f.key for f in here if self._archived(f.path)}
        new = {f.key for f in here if not self._archived(f.path)} if old else active
        for m in self.library.pairs(self.context, least):
            if " ".join(sorted((quick(m.a), quick(m.b)))) in apart:
                continue
            if m.a in active and m.b in active:
                asked = (m.a in old and m.b in new) or (m.a in new and m.b in old)
                if asked or not self.options.compare.against:
                    self.matches[(m.a, m.b)] = m
            elif m.score >= self.min_score and m.relation == "copy":
                seen, gone = (m.a, m.b) if m.a in active else (m.b, m.a)
                if seen in active and gone in removed:
                    self._seen_before(seen, removed[gone])
        for file in self.files:
            if file.key in removed and removed[file.key]["path"] != file.path:
                self._seen_before(file.key, removed[file.key])

    def _seen_before(self, key: str, removal: dict[str, str]) -> None:
        """Say that a video shows what was removed once."""
        for file in self.files:
            if file.key == key:
                self.notes.append(
                    f"{file.path} shows what you removed on {removal['at'][:10]} "
                    f"({removal['path']}; kept: {removal['keep']})"
                )

    def _archived(self, path: str) -> bool:
        """Whether a path lies under one of --against."""
        return any(path == r or path.startswith(r.rstrip(os.sep) + os.sep) for r in self._against)

    @functools.cached_property
    def _against(self) -> list[str]:
        return [os.path.realpath(os.path.expanduser(r)) for r in self.options.compare.against]

    def _with_orientation(self, m: Match) -> Match:
        """The match with its segments marked where one video mirrors the other."""
        if m.score < LEAST_TOLD:
            return m
        a, b = (self.library.thumbs(key) for key in (m.a, m.b))
        if not a or not b:
            return m
        if a == b:
            return m  # the same packets in another container
        apart = 0.6 * max(_gap(a), _gap(b))
        # A few pictures say it, and small ones.
        few_a, few_b = (
            [(t, from_jpeg(data, TOLD_AT)) for t, data in strip]
            for strip in beside(a, b, m.segments, TOLD_BY, apart)
        )
        pictures = at_same_moments(few_a, few_b, m.segments, apart)
        if not is_mirrored(*pictures):
            return m
        return replace(m, segments=tuple(replace(s, mirrored=True) for s in m.segments))

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
            last = self.last_seen.get(file.path, "") if offline else seen
            videos[file.path] = Video(
                file, f.info, offline, last, f.damage, f.detail, f.picture, f.noise
            )
            paths[key].append(file.path)
        old = frozenset(path for path in videos if self._archived(path))
        grouping = Grouping(
            self.library, self.options, videos, paths, self.matches, self.min_score, old,
            self.crowds,
        )  # fmt: skip
        groups, used = grouping.groups()
        if groups and self.options.keep.sound and not self.partial:
            from twinreel.jobs import job_count
            from twinreel.witness import with_sound

            jobs = job_count(self.options.decode.jobs, self.files)
            groups = with_sound(groups, videos, grouping.match, self.library, jobs, self.progress)
        unlike = sum(
            m.score >= self.min_score and m.relation in ("contains", "part_of", "overlap")
            for m in self.matches.values()
        )
        report = Report(
            library=str(self.library.path),
            videos=tuple(videos.values()),
            matches=tuple(grouping.listed(groups, used)),
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


TOLD_BY = 4  # moments that tell which way round a match is
TOLD_AT = 40  # pixels of the pictures' sides
LEAST_TOLD = 0.3  # below this score nobody asks which way round a match is


def _gap(strip: Sequence[tuple[float, Any]]) -> float:
    """Seconds between the pictures of a strip."""
    return (strip[-1][0] - strip[0][0]) / max(1, len(strip) - 1)


_UNKNOWN = VideoInfo(0.0, 0, 0, 0, 0, "")


def _ordered(m: Match) -> Match:
    return m if m.a <= m.b else m.swapped()


@dataclass(frozen=True)
class Checked:
    """A readable video and, in words, why it could not be judged ('' when it can)."""

    video: Video
    judgement: str


@dataclass(frozen=True)
class CheckResult:
    """What `check` found: readable videos in order, failures, what was left out and why."""

    checked: tuple[Checked, ...]
    failures: tuple[Failure, ...]
    skipped: dict[str, int]


def check(
    paths: Sequence[str], options: DupsOptions | None = None, progress: Progress | None = None
) -> CheckResult:
    """What is under `paths`, what is broken, and what is too dark or too static to judge."""
    options = options or DupsOptions()
    progress = progress or Progress(show=False)
    spec = models.get(options.model.model or models.default())
    found = discover([os.path.expanduser(p) for p in paths], options.discover)
    with Library.open(options.output.library or None) as library, progress:
        run = Run(library, options, found, progress, spec=spec)
        run.identify()
        run.look()
        facts = library.facts({f.key or "" for f in run.files})
        out = []
        for file in run.files:
            if (f := facts.get(file.key or "")) is None:
                continue
            video = Video(file, f.info, damage=f.damage, detail=f.detail, picture=f.picture)
            features = library.features(file.key or "", run.model, run.sampling)
            out.append(Checked(video, "" if features is None else judgement(features)))
        return CheckResult(tuple(out), tuple(run.failures), dict(found.skipped))


STILL = 0.999  # mean cosine with the video's own mean above which nothing moves


def judgement(features: Features) -> str:
    """'' when a video can be compared, else 'too dark ...' or 'too static ...'."""
    shown = features.vectors[~features.blank]
    if not len(shown):
        return "too dark or too even to judge: every looked-at moment is blank"
    mean = shown.mean(axis=0)
    mean /= max(float((mean @ mean) ** 0.5), 1e-9)
    if len(shown) > 1 and float((shown @ mean).mean()) > STILL:
        return "too static to judge by movement: only its one picture can be compared"
    return ""


def search(
    query: str | os.PathLike[str], library: str = "", limit: int = 20, **settings: Any
) -> list[Match]:
    """The videos of a library that share most with a file that need not be in it.

    Returns:
        matches (a: the query, b: a path of the library), best first.
    """
    from twinreel.compare import candidates, compare
    from twinreel.jobs import look_all

    ext = os.path.splitext(os.fspath(query))[1] or ".mp4"  # pictures are welcome here
    settings = {"ext": (ext,), "clips": True, **settings, "library": library}
    options = gather(settings, DupsOptions)
    spec = models.get(options.model.model or models.default())
    found = discover([os.fspath(query)], options.discover)
    if not found.files:
        raise NothingFound(f"{query}: not a video that can be read; see --ext")
    with Library.open(library or None) as kept:
        run = Run(kept, options, found, Progress(show=False), spec=spec)
        run.name_model()
        file = replace(found.files[0], key=exact.content_key(found.files[0].path))
        features = kept.features(file.key or "", run.model, run.sampling)
        if features is None:
            for item in look_all([file], run):
                if isinstance(item, VideoError):
                    raise item
                picture, features = item[0].picture, item[1]
        else:
            picture = kept.facts({features.key})[features.key].picture
        assert features is not None
        paths = {f.key: f.path for f, _, _ in kept.files() if f.path != file.path}
        same = [Match(file.path, paths[file.key], 1.0, "exact")] if file.key in paths else []
        others = [f for f in kept.all_features(run.model, run.sampling) if f.key != file.key]
        shelf = Shelf([features, *others])
        out = []
        for a, b in candidates(shelf, {features.key}, (float("inf"), 0.0), run.calibration):
            m = compare(a, b, run.calibration)
            if m is not None and (m.b if m.a == features.key else m.a) in paths:
                out.append(_ordered(m))
        out.sort(key=lambda m: (-m.score, m.a, m.b))
        settled = {(m.a, m.b): m for m in out[: 2 * limit]}
        if options.compare.closer:
            known = {f.key: f for f in shelf.videos}
            rects = {features.key: picture}
            look = run.look_with({features.key: file.path}, known.__getitem__, rects.__getitem__)
            for m, why in look_again(list(settled.values()), look, run.progress):
                if not why:
                    settled[(m.a, m.b)] = m
        told = [m if m.a == features.key else m.swapped() for m in settled.values()]
        told = [replace(m, a=file.path, b=paths[m.b]) for m in told]
        told.sort(key=lambda m: (-m.score, m.b))
        return (same + told)[:limit]
