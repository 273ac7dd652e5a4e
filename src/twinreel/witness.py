"""Groups whose pictures match -> the same groups, with what their sound says.

A copy with another sound (a language, a commentary, silence) is not a copy to be removed unseen: it
is listed as a loss and the group asks for a look. Verdicts are remembered by content.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

from twinreel.audio import Sound, SoundTask, work
from twinreel.progress import Progress
from twinreel.store import Library
from twinreel.types import Group, Match, Video
from twinreel.workers import Idle, WorkerPool

VERSION = 2  # part of the name under which a verdict is remembered
_UNASKED = Sound("unknown", "it was not compared, the run was interrupted", missed=True)


def with_sound(
    groups: Iterable[Group],
    videos: dict[str, Video],
    match: Callable[[str, str], Match | None],
    library: Library,
    jobs: int,
    progress: Progress,
    idle: Idle | None = None,
    enough: Callable[[], bool] = lambda: False,
) -> list[Group]:
    """Ask the sound of every removable member that is not the kept file to the last byte.

    Groups are taken one by one: the next is chosen while sound of the last ones is heard. Once
    `enough` is true no further sound is asked for.
    """
    verdicts: dict[str, Sound] = {}
    asked: set[str] = set()
    taken: list[Group] = []

    def questions() -> Iterator[SoundTask]:
        for group in groups:
            taken.append(group)
            for task in _questions(group, videos, match):
                name = _name(videos[task.path], videos[task.other])
                if name in asked:
                    continue
                asked.add(name)
                known = library.recall("sound", name)
                if known is None and not enough():
                    yield task
                elif known is not None:
                    verdicts[name] = Sound(**{**known, "tracks": tuple(known["tracks"])})

    tasks = questions()
    first = next(tasks, None)
    if first is not None:
        with (
            WorkerPool(work, jobs, idle=idle) as pool,
            progress.stage("listen", None) as tick,
        ):
            for event in pool.run(chain([first], tasks)):
                name = _name(videos[event.task.path], videos[event.task.other])
                if event.kind == "item":
                    verdicts[name] = event.value
                    library.remember("sound", name, dataclasses.asdict(event.value))
                elif event.kind == "failed":
                    words = f"the sound could not be read: {event.value.detail}"
                    verdicts[name] = Sound("unknown", words, missed=True)
                if event.kind != "item":
                    tick()
    return [_told(group, videos, verdicts, match) for group in taken]


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


def _told(
    group: Group,
    videos: dict[str, Video],
    verdicts: dict[str, Sound],
    match: Callable[[str, str], Match | None],
) -> Group:
    """The group with the sounds that differ, or were not compared, among its losses."""
    losses: dict[str, list[Any]] = {path: list(words) for path, words in group.losses.items()}
    other = []
    for path in (task.path for task in _questions(group, videos, match)):
        sound = verdicts.get(_name(videos[path], videos[group.keep]), _UNASKED)
        if sound.look:
            losses.setdefault(path, []).append(f"sound: {sound.why}")
            other.append(path)
    if not other:
        return group
    why = f"{group.why}; look: the sound of {len(other)} differs or was not compared"
    return replace(group, losses=losses, look=True, why=why)
