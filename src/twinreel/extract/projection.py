"""Where the projection of a run comes from: a stored file, or fitted once on some of its videos.

The processes of a run share one: the first to claim it fits it and stores it beside the outputs,
the others wait. `twinreel extract --projection FILE` uses it again for other videos.
"""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import numpy as np

from twinreel.errors import BadConfig
from twinreel.extract.claims import Claims
from twinreel.extract.clips import Rows
from twinreel.extract.feed import Feed
from twinreel.extract.forward import Runner, digest
from twinreel.extract.manifest import Job
from twinreel.extract.options import ExtractOptions
from twinreel.extract.outputs import differences
from twinreel.extract.plan import Entry, clip_task, merged
from twinreel.extract.principal import Projection, load, save
from twinreel.types import Floats

VIDEOS = 64  # that a projection is fitted on, drawn with a fixed seed
ROWS = 20_000
KNOWN_BY = ("model", "weights", "preprocessing")  # what of a request tells whose rows it fits
_POLL_S = 0.5


def settle(
    runner: Runner,
    options: ExtractOptions,
    jobs: list[Job],
    folder: Path,
    claims: Claims,
    feed: Feed,
) -> None:
    """Give every entry of a run its projection.

    Raises:
        BadConfig: a stored one does not fit, or there are too few rows to fit one.
    """
    if not options.embedding_size or not jobs:
        return
    for i, entry in enumerate(list(runner.entries)):
        if runner.cut(i) or options.embedding_size == entry.spec.dim:
            continue  # trained to be cut there, or asked for whole
        path = Path(options.projection) if options.projection else _place(folder, entry, options)
        while not path.exists():
            if options.projection:
                raise BadConfig(f"projection {path}: no such file")
            claim = claims.take(str(path))
            if claim is None:
                time.sleep(_POLL_S)
                continue
            try:
                if not path.exists():
                    made = _fit(runner, i, options, jobs, feed)
                    made.made_by = {field: entry.request[field] for field in KNOWN_BY}
                    save(path, made, claims.owner)
            finally:
                claims.release(claim)
        projection = load(path, options.embedding_size)
        if projection.mean.shape != (entry.spec.dim,):
            raise BadConfig(
                f"projection {path} is for vectors of {len(projection.mean)} numbers, "
                f"{entry.spec.name} gives {entry.spec.dim}"
            )
        made_by = projection.made_by
        if made_by and (other := differences(made_by, entry.request, KNOWN_BY)):
            raise BadConfig(
                f"projection {path} was fitted on rows of another network: {'; '.join(other)}; "
                "move it away to have one fitted anew, or give the right one with --projection"
            )
        runner.project(i, projection, digest(path))


def _place(folder: Path, entry: Entry, options: ExtractOptions) -> Path:
    return folder / f"projection{entry.suffix}-{options.embedding_size}.npz"


def _fit(
    runner: Runner, i: int, options: ExtractOptions, jobs: list[Job], feed: Feed
) -> Projection:
    samplings, _ = merged([runner.entries[i]])
    chosen = random.Random(0).sample(jobs, min(VIDEOS, len(jobs)))
    tasks = [clip_task(j, samplings, options) for j in chosen]
    parts: dict[str, list[Floats]] = {}
    most = max(1, ROWS // len(chosen))
    run: Any = runner.run(i)
    for event in feed.events(tasks):
        have = parts.setdefault(event.task.name, [])
        # A video that fails here fails again, and is reported, when its turn comes.
        if isinstance(event.value, Rows) and (room := most - sum(len(p) for p in have)) > 0:
            have.append(run(event.value.pixels[:room]))
    # In the order of the draw, whichever decoder was faster.
    rows = [p for j in chosen for p in parts.get(j.name, [])]
    if not rows:
        raise BadConfig("embedding_size: none of the sampled videos gave a row to fit it on")
    try:
        return Projection.fit(np.concatenate(rows), options.embedding_size)
    except ValueError as error:
        raise BadConfig(str(error)) from None
