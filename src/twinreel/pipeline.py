"""The spine: folders in, report out. Read `find_duplicates` first; it is the product in one page.

report = find_duplicates(["~/Videos"], library="videos.db")
for group in report.groups:
    print(group.keep, group.why)
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import twinreel
from twinreel import cluster, models
from twinreel.discover import discover
from twinreel.errors import NothingFound
from twinreel.grouping import Grouping, folder_pairs
from twinreel.keep import from_anywhere, unmatched
from twinreel.options import DupsOptions, flatten, gather
from twinreel.progress import Progress
from twinreel.report import Report
from twinreel.scoring import Scoring
from twinreel.store import Facts, Library, now
from twinreel.types import Group, Video, VideoFile, VideoInfo
from twinreel.workers import Idle

MANY = 8  # videos to look at: meanwhile there is time to load what comes later


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
    spec = models.find(options.model.model or models.default(), options.model.weights)
    roots = [os.path.expanduser(os.fspath(p)) for p in [*paths, *options.compare.against]]
    found = discover(roots, options.discover, stdin)
    with Library.open(options.output.library or None) as library, progress, Idle() as idle:
        run = Run(library, options, found, progress, spec=spec, idle=idle)
        if not found.files and not run.offline():
            raise NothingFound(
                f"no video under {', '.join(map(str, paths))} "
                f"({sum(found.skipped.values())} files left out); see --ext and --include-system"
            )
        # Ctrl-C ends the stage it meets; what is known goes into the report, the next run goes on.
        with run.interruptible():
            run.identify()  # which files hold which contents
            run.look()  # features of every content
        with run.interruptible():
            run.score()  # what pairs of contents share
            run.look_again()  # doubtful ones, by their pictures
        run.select()  # the pairs that are asked for
        return run.report()  # groups, each with the file worth keeping


@dataclass(kw_only=True)
class Run(Scoring):
    """One run over a library. Each stage leaves what the next needs: inventory.py identifies,
    looking.py looks, scoring.py scores and selects; here is what becomes of it."""

    def _look_at(self, todo: dict[str, list[VideoFile]]) -> dict[str, list[VideoFile]]:
        if len(todo) >= MANY:
            from twinreel.jobs import load_beside

            load_beside(cluster.load)
        return super()._look_at(todo)

    def report(self) -> Report:
        """Clusters of matching contents, as groups of files, with the one worth keeping."""
        created = now()
        videos = self._videos(created)
        paths: dict[str, list[str]] = defaultdict(list)
        for video in videos.values():
            paths[video.file.key or ""].append(video.path)
        archived = frozenset(path for path in videos if self._archived(path))
        grouping = Grouping(
            self.library, self.options, videos, paths, self.matches, self.min_score, archived,
            self.crowds, self.settle,
        )  # fmt: skip
        groups = self._heard(grouping)
        self.spread()
        report = Report(
            library=str(self.library.path),
            videos=tuple(videos.values()),
            matches=tuple(grouping.listed(groups)),
            groups=(),
            failures=tuple(self.failures),
            skipped=dict(self.found.skipped),
            options={
                **flatten(self.options),
                "min_score": self.min_score,
                "protect": from_anywhere(self.options.keep.protect),  # `act` holds to it
            },
            model={
                "name": self.spec.name,
                "identity": self.model,
                "weights_sha256": self.weights_sha256,
                "sampling": self.sampling,
                "licence": self.spec.licence,
            },
            roots=self.found.roots,
            created=created,
            twinreel=twinreel.__version__,
            partial=self.partial,
        )
        groups.sort(key=lambda g: (-report.freed(g), g.keep))
        folders = tuple(folder_pairs(videos, groups))
        report = replace(report, groups=tuple(groups), folders=folders)
        self._last_words(videos, report)
        return replace(report, notes=tuple(self.notes))

    def _videos(self, seen: str) -> dict[str, Video]:
        """Path -> what is known of every file at hand and of those whose disk is away."""
        here = [(f, False) for f in self.files] + [(f, True) for f in self.offline()]
        facts = self.library.facts({f.key or "" for f, _ in here})
        videos = {}
        for file, offline in here:
            f = facts.get(file.key or "", _NOT_LOOKED_AT)
            last = self.last_seen.get(file.path, "") if offline else seen
            videos[file.path] = Video(
                file, f.info, offline, last, f.damage, f.detail, f.picture, f.noise
            )
        return videos

    def _heard(self, grouping: Grouping) -> list[Group]:
        """The groups with what their sound says, unless nobody wants to know."""
        groups = grouping.groups()
        if not self.options.keep.sound:
            return list(groups)
        from twinreel.jobs import job_count
        from twinreel.witness import with_sound

        jobs = job_count(self.options.decode.jobs, self.files)
        return with_sound(
            groups, grouping.videos, grouping.match, self.library, jobs, self.progress, self.idle,
            lambda: self.partial,
        )  # fmt: skip

    def _last_words(self, paths: Collection[str], report: Report) -> None:
        """What a reader should know beside the groups."""
        for pattern in unmatched(self.options.keep.protect, paths):
            self.notes.append(f"no video matches --protect {pattern}")
        if self.not_reached:
            self.notes.append(f"{self.not_reached} files were not reached")
        elif self.partial:
            failed = {f.path for f in self.failures}
            known = self.library.known(self.model, self.sampling)
            left = sum(f.key not in known and f.path not in failed for f in self.files)
            if left:
                self.notes.append(
                    f"{left} of {len(self.files)} videos were not looked at yet; "
                    "the same command goes on with them"
                )
        ask = self.options.compare
        parts = report.parts()
        inside = sum(m.relation == "part_of" and m.score >= self.min_score for m in parts)
        if inside and not ask.contained:
            self.notes.append(f"`--contained` groups what lies wholly in a longer file ({inside})")
        if parts and not ask.clips:
            self.notes.append("`--clips` finds more videos that share a part; it takes longer")


_NOT_LOOKED_AT = Facts(VideoInfo(0.0, 0, 0, 0, 0, ""), 0.0, 0, 0)
