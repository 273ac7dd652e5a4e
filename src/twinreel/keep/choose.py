"""The choice among the members of a group, criterion after criterion."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime

from twinreel.keep.holds import Matching, missing_tracks, unheld_s
from twinreel.keep.losses import losses_of
from twinreel.keep.quality import AGE_TOLERANCE_NS, by_numbers, by_picture
from twinreel.keep.race import Race, name_of
from twinreel.keep.views import Strips, Views
from twinreel.keep.wishes import preference
from twinreel.options import KeepOptions
from twinreel.types import Group, Video

VERSION = "15"  # part of what a remembered decision hangs on


def choose(
    members: Sequence[Video],
    match: Matching,
    strips: Strips,
    options: KeepOptions,
    views: Views | None = None,
) -> Group:
    """The group of `members` with its kept file, the reason, and the losses.

    Args:
        members: at least one video.
        match: (path a, path b) -> 'a RELATION b', None where two were not found alike.
        strips: path -> small pictures (see Strip); empty where none are kept.
        views: of the same match and strips, kept from an earlier choice among some of them.

    Returns:
        a Group; `look` is set where no member holds all that the others hold, or none is intact.
    """
    race = Race(sorted(members, key=lambda v: os.fsencode(v.path)))
    views = views or Views(match, strips)
    notes: list[str] = []
    _intact(race, notes)
    race.best(lambda v: -preference(v.path, options.prefer), 0, _say_preferred)
    _complete(race, match)
    if len({v.file.key for v in race.left}) > 1 or race.left[0].file.key is None:
        by_picture(race, views)
        by_numbers(race)
    race.best(lambda v: -v.file.mtime_ns, AGE_TOLERANCE_NS, _say_older)
    race.best(lambda v: -len(v.path), 0, lambda a, b: f"shorter path than {name_of(b, a)}")
    race.best(lambda v: [-c for c in os.fsencode(v.path)], None, lambda a, b: "first by name")
    keep = race.left[0]
    losses = {}
    for video in race.all:
        if video.path == keep.path:
            continue
        lost = losses_of(video, keep, match, views, options)
        losses[video.path] = [loss.words for loss in lost]
        if any(loss.is_content for loss in lost) and not video.offline:
            notes.append(f"{name_of(video, keep)} has what the kept file lacks")
        found = match(video.path, keep.path)
        if found is not None and found.relation == "part_of":
            # Detail, colour and damage are those of whole files, not of these seconds.
            notes.append(f"{name_of(video, keep)} is a part of the kept file")
    words = "; ".join(race.words(keep)) or "the only one"
    why = f"{words}; look: {', '.join(notes[:2])}" if notes else words
    paths = tuple(v.path for v in race.all)
    return Group(paths, keep.path, why, losses, None, bool(notes))


def _intact(race: Race, notes: list[str]) -> None:
    def state(v: Video) -> int:
        return 2 * bool(v.damage) + v.offline

    def say(a: Video, b: Video) -> str:
        if b.damage and not a.damage:
            return f"intact: {name_of(b, a)} is damaged ({b.damage})"
        return f"at hand: the disk of {name_of(b, a)} is not"

    race.best(lambda v: -state(v), 0, say)
    worst = race.left[0]
    if state(worst):
        notes.append(f"no copy is intact and at hand ({worst.damage or 'its disk is away'})")


def _say_preferred(a: Video, b: Video) -> str:
    return "preferred by --prefer"


def _complete(race: Race, match: Matching) -> None:
    """Stay: who holds all seconds and tracks of the others; else who holds most seconds."""
    longest = max(race.left, key=lambda v: v.info.duration_s)
    race.keep(
        [v for v in race.left if not unheld_s(longest, v, match(longest.path, v.path))],
        lambda a, b: f"holds {_longer(longest, b, match):.1f} s that {name_of(b, a)} lacks",
    )
    # Few kinds of tracks even among many members.
    kinds = {(v.info.audio, v.info.subtitles): v for v in race.left}
    lacking = {
        kind: sum(len(missing_tracks(other, v)) for other in kinds.values())
        for kind, v in kinds.items()
    }

    def say(a: Video, b: Video) -> str:
        return f"has {', '.join(missing_tracks(a, b))}, which {name_of(b, a)} lacks"

    race.best(lambda v: -lacking[(v.info.audio, v.info.subtitles)], 0, say)


def _longer(longest: Video, other: Video, match: Matching) -> float:
    return unheld_s(longest, other, match(longest.path, other.path))


def _say_older(a: Video, b: Video) -> str:
    days = [datetime.fromtimestamp(v.file.mtime_ns / 1e9, UTC).date() for v in (a, b)]
    if days[0] == days[1]:
        return f"older than {name_of(b, a)}"
    return f"older ({days[0]}) than {name_of(b, a)} ({days[1]})"
