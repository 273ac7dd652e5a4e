"""One file -> the videos of a library that share most with it."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from twinreel import exact, models
from twinreel.candidates import Shelf
from twinreel.discover import discover
from twinreel.doubt import look_again
from twinreel.errors import NothingFound, VideoError
from twinreel.options import DupsOptions, gather
from twinreel.progress import Progress
from twinreel.scoring import Scoring
from twinreel.store import Library
from twinreel.types import Match


def search(
    query: str | os.PathLike[str], library: str = "", limit: int = 20, **settings: Any
) -> list[Match]:
    """The videos of a library that share most with a file that need not be in it.

    Returns:
        matches (a: the query, b: a path of the library), best first.

    Raises:
        NothingFound: no such video, or the library knows none under this network.
    """
    from twinreel.candidates import candidates
    from twinreel.compare import compare
    from twinreel.jobs import look_all

    ext = os.path.splitext(os.fspath(query))[1] or ".mp4"  # pictures are welcome here
    settings = {"ext": (ext,), **settings, "library": library}
    options = gather({"clips": True, **settings}, DupsOptions)
    spec = models.find(options.model.model or models.default(), options.model.weights)
    found = discover([os.fspath(query)], options.discover)
    if not found.files:
        raise NothingFound(f"{query}: not a video that can be read; see --ext")
    with Library.open(library or None) as kept:
        run = Scoring(kept, options, found, Progress(show=False), spec=spec)
        run.name_model()
        if not kept.rows(run.model, run.sampling):  # filled without --clips: as it was looked at
            options = gather(settings, DupsOptions)
            run = Scoring(kept, options, found, run.progress, spec=spec)
            run.name_model()
        if not kept.rows(run.model, run.sampling):
            raise NothingFound(
                f"{kept.path}: no video under {spec.name}; run `twinreel dups` on a folder first"
            )
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
                out.append(run.touched(m).ordered())
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
