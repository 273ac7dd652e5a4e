"""What one file holds that another lacks: seconds, sound, languages, subtitles."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

from twinreel.compare import gaps
from twinreel.types import Match, Track, Video

HOLE_S = 1.0  # shorter ones are seams of sampling
OTHER_SPEED = 0.0198  # |log| from which on a speed is told
SMALL_SPEED = 0.06  # |log| of one that nobody misses: films on television
BORNE_OUT = 2e-3  # |log| by which frame rates may be off a speed that they bear out
ONE_SPEED = 0.01  # |log| by which segments of one speed may differ
Matching = Callable[[str, str], Match | None]  # paths -> 'a RELATION b'


def unheld_s(video: Video, keeper: Video, found: Match | None) -> float:
    """Seconds of `video` that `keeper` does not hold; 0.0 when too few to tell.

    found: the match 'video RELATION keeper'. Its segments are as exact as the looked-at moments
    are close (some 3 % of the length), so durations count too, at the matched speed.
    """
    if video.path == keeper.path or (found and found.relation == "exact"):
        return 0.0
    length = video.info.duration_s
    speed, uncovered = 1.0, 0.0
    if found and found.segments:
        speed = _snapped(_common_speed(found))
        uncovered = length * (1 - found.coverage_a)
    more = length - keeper.info.duration_s / speed
    more = more if more > min(1.0, max(0.25, 0.02 * length)) else 0.0
    uncovered = uncovered if uncovered > max(1.0, 0.03 * length) else 0.0
    beyond = _beyond_s(video, keeper, found)
    least = max(min(1.0, max(0.5, 0.02 * length)), 0.005 * length)
    return max(more, uncovered, beyond if beyond > least else 0.0, _between_s(found))


def _beyond_s(video: Video, keeper: Video, found: Match | None) -> float:
    """Seconds of `video` that lie before the keeper's first moment and after its last, on the lines
    of the first and the last segment, which tell more than where the segments end. Two files of one
    length may each lack what the other begins or ends with.
    """
    if found is None or not found.segments:
        return 0.0
    first = min(found.segments, key=lambda s: s.a[0])
    last = max(found.segments, key=lambda s: s.a[1])
    before = first.a[0] - first.b[0] / first.speed
    after = (video.info.duration_s - last.a[1]) - (keeper.info.duration_s - last.b[1]) / last.speed
    return max(0.0, before) + max(0.0, after)


def _between_s(found: Match | None) -> float:
    """Seconds between segments: unlike the ends of what is shared, they were seen to be others."""
    holes = [end - start for start, end in gaps(found.segments if found else ())]
    return sum(hole for hole in holes if hole >= HOLE_S)


def other_speed(mine: Video, its: Video, found: Match | None) -> tuple[str, bool]:
    """Words where `mine` plays at another speed than `its`, "" where it does not, and whether it
    may be no speed: to moments, a piece cut out of a slow shot looks like one. Frame rates bear a
    speed out where the same frames are shown faster, as of films on television; a cut leaves them.

    found: the match 'mine RELATION its'.
    """
    speeds = [s.speed for s in found.segments] if found else []
    speed = max(speeds, key=lambda s: abs(math.log(s)), default=1.0)
    odd = abs(math.log(speed))
    if odd <= OTHER_SPEED:
        return "", False
    words = f"speed: it plays {speed:.2f} times as fast as the kept file"
    rates = mine.info.fps, its.info.fps
    if rates[0] and rates[1] and abs(math.log(rates[0] / rates[1] / speed)) <= BORNE_OUT:
        return ("" if odd < SMALL_SPEED else words), False
    return f"{words}, or seconds were cut out of one", True


def _common_speed(found: Match) -> float:
    """The speed of all segments; the plain one where they differ."""
    speeds = [s.speed for s in found.segments]
    return speeds[0] if math.log(max(speeds) / min(speeds)) <= ONE_SPEED else 1.0


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
