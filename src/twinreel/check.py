"""What is under some paths, what is broken, and what is too dark or too static to judge."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from twinreel import models
from twinreel.discover import discover
from twinreel.looking import Looking
from twinreel.options import DupsOptions
from twinreel.progress import Progress
from twinreel.store import Library
from twinreel.types import Failure, Features, Video


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
    spec = models.find(options.model.model or models.default(), options.model.weights)
    found = discover([os.path.expanduser(p) for p in paths], options.discover)
    with Library.open(options.output.library or None) as library, progress:
        run = Looking(library, options, found, progress, spec=spec)
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
