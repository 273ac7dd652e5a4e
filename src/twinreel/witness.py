"""Groups whose pictures match -> the same groups, with what their sound says.

A copy with another sound (a language, a commentary, silence) is not a copy to be removed unseen: it
is listed as a loss and the group asks for a look. Verdicts are remembered by content.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from twinreel.audio import Sound, SoundTask, work
from twinreel.progress import Progress
from twinreel.store import Library
from twinreel.types import Group, Match, Video
from twinreel.workers import Idle, WorkerPool

VERSION = 1  # part of the name under which a verdict is remembered


def with_sound(
    groups: Sequence[Group],
    videos: dict[str, Video],
    match: Callable[[str, str], Match | None],
    library: Library,
    jobs: int,
    progress: Progress,
    idle: Idle | None = None,
) -> list[Group]:
    """Ask the sound of every removable member that is not the kept file to the last byte."""
    verdicts: dict[str, Sound] = {}
    tasks: dict[str, SoundTask] = {}
    for group in groups:
        for task in _questions(group, videos, match):
            name = _name(videos[task.path], videos[task.other])
            if name in tasks:
                continue
            known = library.recall("sound", name)
            if known is None:
                tasks[name] = task
            else:
                verdicts[name] = Sound(**{**known, "tracks": tuple(known["tracks"])})
    by_task = {id(task): name for name, task in tasks.items()}
    if tasks:
        with (
            WorkerPool(work, min(jobs, len(tasks)), idle=idle) as pool,
            progress.stage("listen", len(tasks)) as tick,
        ):
            for event in pool.run(tasks.values()):
                name = by_task[id(event.task)]
                if event.kind == "item":
                    verdicts[name] = event.value
                    library.remember("sound", name, dataclasses.asdict(event.value))
                elif event.kind == "failed":
                    words = f"the sound could not be read: {event.value.detail}"
                    verdicts[name] = Sound("unknown", words)
                if event.kind != "item":
                    tick()
    return [_told(group, videos, verdicts) for group in groups]


def _questions(
    group: Group, videos: dict[str, Video], match: Callable[[str, str], Match | None]
) -> Iterator[SoundTask]:
    """What to listen to: members with sound beside a kept file with sound."""
    keep = videos[group.keep]
    if not keep.info.audio or keep.offline:
        return  # a file with sound beside one without is told by the headers already
    for path in group.members:
        video = videos[path]
        if path == group.keep or video.file.key == keep.file.key:
            continue
        found = match(path, group.keep)
        if video.info.audio and not video.offline and found is not None and found.segments:
            yield SoundTask(path, group.keep, found.segments)


def _name(a: Video, b: Video) -> str:
    return f"{VERSION} {a.file.key} {b.file.key}"


def _told(group: Group, videos: dict[str, Video], verdicts: dict[str, Sound]) -> Group:
    """The group with the sounds that differ among its losses."""
    losses: dict[str, list[Any]] = {path: list(words) for path, words in group.losses.items()}
    other = []
    for path in group.members:
        sound = verdicts.get(_name(videos[path], videos[group.keep]))
        if sound is not None and sound.look:
            losses.setdefault(path, []).append(f"sound: {sound.why}")
            other.append(path)
    if not other:
        return group
    why = f"{group.why}; look: the sound of {len(other)} differs"
    return replace(group, losses=losses, look=True, why=why)
