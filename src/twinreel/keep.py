"""Which file of a group is worth keeping, why, and what each other one has that it lacks.

    group = choose(videos, match, strips, KeepOptions())
    print(group.keep, group.why, group.losses)

One criterion after the other narrows the members down until one is left: intact, preferred by the
user, complete (seconds, sound, subtitles), colour, the whole picture, nothing laid over it, real
detail, HDR, resolution, no borders, bitrate, frame rate, age, path. Differences within a tolerance
are ties. Nothing hangs on the order in which members are given.
"""

from __future__ import annotations

import fnmatch
import os
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from twinreel import picture
from twinreel.aligned import PAIRS, Difference, at_same_moments, beside, compare_pictures
from twinreel.options import KeepOptions
from twinreel.picture import from_jpeg
from twinreel.types import Group, Match, Pixels, Track, Video

VERSION = "7"  # part of what a remembered decision hangs on

DETAIL_TOLERANCE = 0.15  # measured detail varies by this much between encodes of one picture
PIXELS_TOLERANCE = 0.10
BITRATE_TOLERANCE = 0.30  # no closer than encoders of one codec are to each other
USED_TOLERANCE = 0.03  # share of the frame; borders are found to about a line
MUCH_CUT = 0.45  # share of a picture: so much more may be another video beside this one
FPS_TOLERANCE = 0.01  # 24.00 and 23.976 are one rate
AGE_TOLERANCE_NS = 2_000_000_000  # FAT keeps even seconds
WORTH_TOLERANCE = 0.10  # of bits in which more detail is no contradiction
GREY, COLOURFUL = 0.5, 2.0  # see picture.colour; what lies between says nothing
# So much more real detail outweighs a logo or a cut border.
MUCH_SHARPER = 1.5
# Picture quality per bit against H.264, rounded from published comparisons of encoders.
EFFICIENCY = {
    "h264": 1.0, "hevc": 1.5, "vp9": 1.5, "av1": 2.0, "libdav1d": 2.0, "libaom-av1": 2.0,
    "vp8": 0.8, "libvpx-vp9": 1.5,
}  # fmt: skip
OLDER_CODEC = 0.6  # mpeg4, mpeg2video, wmv ...

Matching = Callable[[str, str], Match | None]
Strip = Sequence[tuple[float, Pixels | bytes]]  # seconds, uint8 (160, 160, 3) or JPEG
Strips = Callable[[str], Strip]
Say = Callable[[Video, Video], str]  # (winner, loser) -> words


def choose(
    members: Sequence[Video], match: Matching, strips: Strips, options: KeepOptions
) -> Group:
    """The group of `members` with its kept file, the reason, and the losses.

    Args:
        members: at least one video.
        match: (path a, path b) -> 'a RELATION b', None where two were not found alike.
        strips: path -> small pictures (see Strip); empty where none are kept.

    Returns:
        a Group; `look` is set where no member holds all that the others hold, or none is intact.
    """
    race = _Race(sorted(members, key=lambda v: os.fsencode(v.path)))
    views = _Views(match, strips)
    notes: list[str] = []
    _intact(race, notes)
    race.best(lambda v: -_preference(v.path, options.prefer), 0, _say_preferred)
    _complete(race, match)
    if len({v.file.key for v in race.left}) > 1 or race.left[0].file.key is None:
        _by_picture(race, views)
        _by_numbers(race)
    race.best(lambda v: -v.file.mtime_ns, AGE_TOLERANCE_NS, _say_older)
    race.best(lambda v: -len(v.path), 0, lambda a, b: f"shorter path than {_name(b, a)}")
    race.best(lambda v: [-c for c in os.fsencode(v.path)], None, lambda a, b: "first by name")
    keep = race.left[0]
    losses = {
        v.path: _losses(v, keep, match, views, options) for v in race.all if v.path != keep.path
    }
    for video in race.all:
        if any(loss.startswith(_HELD) for loss in losses.get(video.path, [])) and not video.offline:
            notes.append(f"{_name(video, keep)} has what the kept file lacks")
    words = "; ".join(race.words(keep)) or "the only one"
    why = f"{words}; look: {', '.join(notes[:2])}" if notes else words
    paths = tuple(v.path for v in race.all)
    return Group(paths, keep.path, why, losses, None, bool(notes))


class _Race:
    """The members still in it, and what sent the others out."""

    def __init__(self, videos: list[Video]) -> None:
        self.all = videos
        self.left = list(videos)
        self._told: list[tuple[Say, Video]] = []

    def keep(self, better: Sequence[Video], say: Say) -> None:
        """Only `better` stay, unless that is nobody."""
        names = {v.path for v in better}
        out = [v for v in self.left if v.path not in names]
        if out and len(out) < len(self.left):
            self.left = [v for v in self.left if v.path in names]
            self._told.append((say, out[0]))

    def best(self, value: Callable[[Video], object], tolerance: float | None, say: Say) -> None:
        """Stay: the highest values, to within `tolerance` (None: only the highest)."""
        if len(self.left) < 2:
            return
        values = {v.path: value(v) for v in self.left}
        top = max(values.values())  # type: ignore[type-var]
        if tolerance is None:
            self.keep([v for v in self.left if values[v.path] == top], say)
        else:
            self.keep([v for v in self.left if values[v.path] >= top - tolerance], say)  # type: ignore[operator]

    def share(self, value: Callable[[Video], float], tolerance: float, say: Say) -> None:
        """Stay: within a share of the highest value; skipped where a value is unknown (0)."""
        values = {v.path: value(v) for v in self.left}
        if all(values.values()):
            least = max(values.values()) * (1 - tolerance) - 1e-9
            self.keep([v for v in self.left if values[v.path] >= least], say)

    def words(self, winner: Video) -> list[str]:
        """What decided: the first and the last criterion that sent somebody out."""
        told = [self._told[0], self._told[-1]] if len(self._told) > 1 else self._told
        return list(dict.fromkeys(say(winner, loser) for say, loser in told))


class _Views:
    """What pairs of members look like beside each other, found once per pair."""

    def __init__(self, match: Matching, strips: Strips) -> None:
        self._match, self._strips = match, strips
        self._known: dict[tuple[str, str], Difference | None] = {}
        self._misfits: set[frozenset[str]] = set()
        self._grey: dict[str, bool | None] = {}

    def difference(self, a: Video, b: Video) -> Difference | None:
        """How b's picture differs from a's; None where that cannot be told."""
        if a.file.key is not None and a.file.key == b.file.key:
            return Difference()
        pair = (a.path, b.path)
        if (b.path, a.path) in self._known:
            back = self._known[(b.path, a.path)]
            return back.swapped() if back else None
        if pair not in self._known:
            self._known[pair] = self._compare(a, b)
        return self._known[pair]

    def _compare(self, a: Video, b: Video) -> Difference | None:
        strip_a, strip_b = self._strips(a.path), self._strips(b.path)
        if strip_a and _same_jpegs(strip_a, strip_b):
            return Difference()  # the same packets in another container
        found = self._match(a.path, b.path)
        segments = found.segments if found else ()
        few_a, few_b = beside(strip_a, strip_b, segments, 2 * PAIRS)
        pictures = at_same_moments(_decoded(few_a), _decoded(few_b), segments)
        seen = compare_pictures(*pictures)
        if seen is None and len(pictures[0]):
            self._misfits.add(frozenset((a.path, b.path)))
        return seen

    def misfit(self, a: Video, b: Video) -> bool:
        """Whether there are pictures of the same moments, and they do not fit on each other."""
        return self.difference(a, b) is None and frozenset((a.path, b.path)) in self._misfits

    def grey(self, video: Video) -> bool | None:
        """Whether a video is without colour; None where that cannot be told."""
        if video.path not in self._grey:
            strip = self._strips(video.path)
            some = _decoded(strip[:: max(1, -(-len(strip) // PAIRS))])
            found = picture.colour([p for _, p in some]) if some else (GREY + COLOURFUL) / 2
            self._grey[video.path] = True if found < GREY else False if found > COLOURFUL else None
        return self._grey[video.path]


def _same_jpegs(a: Strip, b: Strip) -> bool:
    """Whether two strips hold the same pictures to the last byte."""
    return len(a) == len(b) and all(
        isinstance(x[1], bytes) and x == y for x, y in zip(a, b, strict=True)
    )


def _decoded(strip: Strip) -> list[tuple[float, Pixels]]:
    return [(t, from_jpeg(p) if isinstance(p, bytes) else p) for t, p in strip]


# -- criteria -----------------------------------------------------------------------------------


def _intact(race: _Race, notes: list[str]) -> None:
    def state(v: Video) -> int:
        return 2 * bool(v.damage) + v.offline

    def say(a: Video, b: Video) -> str:
        if b.damage and not a.damage:
            return f"intact: {_name(b, a)} is damaged ({b.damage})"
        return f"at hand: the disk of {_name(b, a)} is not"

    race.best(lambda v: -state(v), 0, say)
    worst = race.left[0]
    if state(worst):
        notes.append(f"no copy is intact and at hand ({worst.damage or 'its disk is away'})")


def _preference(path: str, globs: Sequence[str]) -> int:
    """Place of the first glob that a path matches; their number where none does."""
    return next((i for i, g in enumerate(globs) if matches(path, g)), len(globs))


def matches(path: str, glob: str) -> bool:
    """A glob over the whole path; '*' spans folders; a plain folder means all below it."""
    glob = os.path.expanduser(glob)
    if not set(glob) & set("*?["):
        return path == glob or path.startswith(glob.rstrip(os.sep) + os.sep)
    return fnmatch.fnmatchcase(path, glob)


def _say_preferred(a: Video, b: Video) -> str:
    return "preferred by --prefer"


def _complete(race: _Race, match: Matching) -> None:
    """Stay: who holds all seconds and tracks of the others; else who holds most seconds."""
    longest = max(race.left, key=lambda v: v.info.duration_s)
    race.keep(
        [v for v in race.left if not unheld_s(longest, v, match(longest.path, v.path))],
        lambda a, b: f"holds {_longer(longest, b, match):.1f} s that {_name(b, a)} lacks",
    )
    # Few kinds of tracks even among many members.
    kinds = {(v.info.audio, v.info.subtitles): v for v in race.left}
    lacking = {
        kind: sum(len(missing_tracks(other, v)) for other in kinds.values())
        for kind, v in kinds.items()
    }

    def say(a: Video, b: Video) -> str:
        return f"has {', '.join(missing_tracks(a, b))}, which {_name(b, a)} lacks"

    race.best(lambda v: -lacking[(v.info.audio, v.info.subtitles)], 0, say)


def _longer(longest: Video, other: Video, match: Matching) -> float:
    return unheld_s(longest, other, match(longest.path, other.path))


def unheld_s(video: Video, keeper: Video, found: Match | None) -> float:
    """Seconds of `video` that `keeper` does not hold; 0.0 when too few to tell.

    found: the match 'video RELATION keeper'. Its segments are as exact as the looked-at moments
    are close (some 5 % of the length), so durations count too, at the matched speed.
    """
    if video.path == keeper.path or (found and found.relation == "exact"):
        return 0.0
    length = video.info.duration_s
    speed, uncovered = 1.0, 0.0
    if found and found.segments:
        speed = _snapped(found.segments[0].speed)
        uncovered = length * (1 - found.coverage_a)
    more = length - keeper.info.duration_s / speed
    more = more if more > min(1.0, max(0.25, 0.02 * length)) else 0.0
    return max(more, uncovered if uncovered > max(1.0, 0.08 * length) else 0.0)


def _snapped(speed: float) -> float:
    """Near 1, only film at 24 as 24000/1001 is a speed; the rest is a slightly shorter file."""
    if abs(speed - 1) < 0.02 and min(abs(speed - 1.001), abs(speed - 1 / 1.001)) > 3e-4:
        return 1.0
    return speed


def missing_tracks(video: Video, keeper: Video) -> list[str]:
    """Audio and subtitle tracks that `video` has and `keeper` lacks, in words.

    A track of unstated language may be any: it stands for one that the other states.
    """
    if video.info.audio and not keeper.info.audio:
        sound = ["sound"]
    else:
        sound = _missing("audio language", video.info.audio, keeper.info.audio)
    return sound + _missing("subtitles", video.info.subtitles, keeper.info.subtitles)


def _missing(kind: str, mine: Sequence[Track], its: Sequence[Track]) -> list[str]:
    def stated(tracks: Sequence[Track]) -> Counter[str]:
        return Counter(t.language for t in tracks if t.language not in ("und", ""))

    have, held = stated(mine), stated(its)
    lacking = sorted((have - held).elements())
    spare = len(its) - held.total()
    unstated = len(mine) - have.total()
    # Its tracks beyond those that pair by language may be my unstated ones, and the reverse.
    free = spare + (held - have).total()
    out = [f"{kind} {language}" for language in lacking[min(spare, len(lacking)) :]]
    rest = max(0, free - min(spare, len(lacking)))
    more = max(0, unstated - rest)
    return out + [f"{kind} not stated" for _ in range(more)]


def _by_picture(race: _Race, views: _Views) -> None:
    """Colour before grey, the whole picture before a part, a clean one before one with a logo."""
    if len(race.left) < 2:
        return
    if any(views.grey(v) is False for v in race.left):
        race.keep(
            [v for v in race.left if not views.grey(v)],
            lambda a, b: f"in colour, {_name(b, a)} is not",
        )
    pivot = max(race.left, key=lambda v: (v.detail, _pixels(v), v.path))
    seen = {v.path: views.difference(pivot, v) for v in race.left if v is not pivot}
    area = {pivot.path: 1.0}
    marked = {pivot.path: any(d and d.overlay == "a" for d in seen.values())}
    for path, d in seen.items():
        # In units of the pivot's picture.
        area[path] = 1.0 if d is None else (1 - d.cut_from_a) / (1 - d.cut_from_b)
        marked[path] = d is not None and (
            d.overlay == "b" or (not d.overlay and marked[pivot.path])
        )
    _unless_sharper(
        race,
        [v for v in race.left if area[v.path] > max(area.values()) * 0.96],
        lambda v: v.detail / area[v.path] ** 0.5,
        lambda a, b: (
            f"the whole picture: {1 - area[b.path] / area[a.path]:.0%} of it is cut away "
            f"in {_name(b, a)}"
        ),
    )
    _unless_sharper(
        race,
        [v for v in race.left if not marked[v.path]],
        lambda v: v.detail,
        lambda a, b: f"nothing laid over the picture, unlike {_name(b, a)}",
    )


def _unless_sharper(
    race: _Race, better: list[Video], detail: Callable[[Video], float], say: Say
) -> None:
    """Stay: `better`, and who has so much more real detail that the flaw is outweighed.

    Letters are sharp themselves, so the larger detail must have the lines to be held in.
    """
    if better:
        enough = MUCH_SHARPER * max(detail(v) for v in better)
        lines = MUCH_SHARPER * max(v.info.coded_height for v in better)
        sharper = [v for v in race.left if v.info.coded_height >= lines and detail(v) >= enough > 0]
        race.keep(better + sharper, say)


def _by_numbers(race: _Race) -> None:
    """Real detail, HDR, resolution, bitrate, frame rate."""
    believed = {v.path: _believed(v, race.left) for v in race.left}
    race.share(lambda v: believed[v.path], DETAIL_TOLERANCE, _say_detail)
    race.best(lambda v: bool(v.info.hdr), None, lambda a, b: f"HDR, {_name(b, a)} is not")
    _not_upscaled(race)
    race.share(_pixels, PIXELS_TOLERANCE, lambda a, b: f"{_size(a)} over {_size(b)}")
    # The same picture with borders around it was made from the one without.
    race.best(
        _used, USED_TOLERANCE, lambda a, b: f"no borders in the picture, as {_name(b, a)} has"
    )
    if len({v.noise > 0 for v in race.left}) == 1:  # else bits were spent on noise
        race.share(_worth, BITRATE_TOLERANCE, _say_bitrate)
    race.share(
        lambda v: v.info.fps or 0.0,
        FPS_TOLERANCE,
        lambda a, b: f"{a.info.fps:.3g} frames per second over {b.info.fps:.3g}",
    )


def _believed(video: Video, others: Sequence[Video]) -> float:
    """The detail that a video is credited with.

    More of it out of fewer bits in as many pixels is sharpening or the edges of blocks: then no
    more than the video has that was given more bits.
    """
    richer = [
        o.detail
        for o in others
        if abs(_pixels(o) - _pixels(video)) <= PIXELS_TOLERANCE * _pixels(video)
        and 0 < _worth(video) < _worth(o) * (1 - WORTH_TOLERANCE)
    ]
    return min(video.detail, max(richer, default=video.detail))


def _not_upscaled(race: _Race) -> None:
    """More pixels that hold no more detail are an upscale, unless the larger file is the older.

    The detail of what is left is the same within the tolerance. A soft picture and its reduced
    copy look alike in that; what was there first cannot have been made from the other.
    """
    if not all(v.detail for v in race.left):
        return
    least = min(race.left, key=lambda v: (_pixels(v), -v.detail, v.path))

    def upscale(v: Video) -> bool:
        age = v.file.mtime_ns - least.file.mtime_ns
        newer = age > -AGE_TOLERANCE_NS and (age > AGE_TOLERANCE_NS or v.detail <= least.detail)
        return newer and _pixels(v) * (1 - PIXELS_TOLERANCE) > _pixels(least)

    race.keep([v for v in race.left if not upscale(v)], _say_upscale)


def _say_upscale(a: Video, b: Video) -> str:
    return f"{_size(a)} with as much real detail as {_name(b, a)} has in {_size(b)}, an upscale"


def _used(v: Video) -> float:
    """Share of the frame inside the borders."""
    left, top, right, bottom = v.picture
    return (right - left) * (bottom - top)


def _pixels(v: Video) -> float:
    """Stored pixels inside the borders."""
    return v.info.coded_width * v.info.coded_height * _used(v)


def _worth(v: Video) -> float:
    """Bits per second in H.264's currency; 0 where unknown."""
    rate = v.info.bitrate
    if not rate and v.info.duration_s > 0:
        rate = int(8 * v.file.size / v.info.duration_s)
    return rate * EFFICIENCY.get(v.info.codec, OLDER_CODEC)


def _say_detail(a: Video, b: Video) -> str:
    words = f"real detail of {2 * a.detail:.0f} lines over {2 * b.detail:.0f}"
    larger = _pixels(b) > _pixels(a) * (1 + PIXELS_TOLERANCE)
    return f"{words}: {_name(b, a)} is an upscale" if larger else words


def _say_bitrate(a: Video, b: Video) -> str:
    return (
        f"{a.info.bitrate / 1000:.0f} kbit/s {a.info.codec} over "
        f"{b.info.bitrate / 1000:.0f} kbit/s {b.info.codec}"
    )


def _say_older(a: Video, b: Video) -> str:
    days = [datetime.fromtimestamp(v.file.mtime_ns / 1e9, UTC).date() for v in (a, b)]
    if days[0] == days[1]:
        return f"older than {_name(b, a)}"
    return f"older ({days[0]}) than {_name(b, a)} ({days[1]})"


def _size(v: Video) -> str:
    return f"{v.info.width}x{v.info.height}"


def _name(video: Video, other: Video) -> str:
    """The file's name, or its path where both are called the same; fit for any terminal."""
    name = os.path.basename(video.path)
    name = video.path if name == os.path.basename(other.path) else name
    return "".join(c if c.isprintable() else "?" for c in name)


# -- losses -------------------------------------------------------------------------------------

# Content, not quality: a person should look before a file with one of these goes.
_HELD = ("seconds", "sound", "audio", "subtitles", "picture:")


def lost(video: Video, keep: Video, match: Matching, strips: Strips) -> list[str] | None:
    """What `video` has and `keep` lacks, in words, whatever `choose` would keep.

    None where no pictures of the two can be laid beside each other, so that nobody can tell.
    """
    views = _Views(match, strips)
    if views.difference(keep, video) is None and not views.misfit(keep, video):
        return None
    return _losses(video, keep, match, views, KeepOptions())


def _losses(
    video: Video, keep: Video, match: Matching, views: _Views, options: KeepOptions
) -> list[str]:
    """What `video` has and `keep` lacks, in words; empty when nothing is lost."""
    out = []
    if any(matches(video.path, g) for g in options.protect):
        out.append("protected by --protect")
    if video.file.key is not None and video.file.key == keep.file.key:
        return out
    found = match(video.path, keep.path)
    if seconds := unheld_s(video, keep, found):
        out.append(f"seconds: {seconds:.1f} s that the kept file lacks")
    out += missing_tracks(video, keep)
    seen = views.difference(keep, video)
    if seen and seen.cut_from_b > MUCH_CUT:
        out.append(f"picture: {seen.cut_from_b:.0%} of it, which the kept file does not show")
    elif seen and seen.cut_from_b:
        out.append(f"picture area: {seen.cut_from_b:.0%} that is cut away in the kept file")
    if views.misfit(keep, video):
        # An inset, a stack of two, a turned picture: what else it shows is not known.
        out.append("picture: it does not lie on the kept file's, it may show something else, too")
    if views.grey(video) is False and views.grey(keep):
        out.append("colour: the kept file has none")
    if found and any(s.mirrored for s in found.segments):
        out.append("the unmirrored (or mirrored) picture")
    if seen and seen.overlay == "a":
        out.append("overlay-free picture: the kept file has a logo or text over it")
    if seen and seen.overlay == "either":
        out.append("overlay-free picture, maybe: a part differs, a logo or text on one of the two")
    if video.info.hdr and not keep.info.hdr:
        out.append(f"HDR ({video.info.hdr})")
    if video.detail and keep.detail:
        if video.detail * (1 - DETAIL_TOLERANCE) > keep.detail:
            out.append(f"real detail of {2 * video.detail:.0f} lines over {2 * keep.detail:.0f}")
    elif _pixels(video) * (1 - PIXELS_TOLERANCE) > _pixels(keep):
        out.append(f"resolution {_size(video)} over {_size(keep)}")
    return out
