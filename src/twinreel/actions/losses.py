"""What is lost when one file goes and another stays, and what ties the two together.

    with judging(report) as judge:
        plan(report, "trash", keep="largest", judge=judge)

`dups` wrote down what each file of a group has that the file it kept lacks. Where another file is
kept (`--keep`, `--prefer`, a report edited by hand), those words are about the wrong pair: headers
and the library's small pictures are asked again, and what nobody compared counts as lost.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from twinreel.keep import lost, missing_tracks, other_speed, unheld_s
from twinreel.report import Report
from twinreel.store import Library
from twinreel.types import Group, Match, Video

# (file that goes, file that stays) -> what only the first has; None where that cannot be told
Judge = Callable[[Video, Video], list[str] | None]
UNSEEN = "picture: not compared with this kept file's"
_TOLERANCE_S = 1.0  # a shorter difference in duration is a container's rounding, not content


def _by_key(report: Report) -> dict[str | None, list[str]]:
    """Content key -> paths, worked out once for a report."""
    known: dict[str | None, list[str]] | None = report.__dict__.get("_twins")
    if known is None:
        known = {}
        for video in report.videos:
            if video.file.key is not None:
                known.setdefault(video.file.key, []).append(video.path)
        object.__setattr__(report, "_twins", known)
    return known


def evidence(report: Report, path: str, keep: str) -> Match | None:
    """The direct match 'path RELATION keep': by path, else by files of the same content.

    A report lists parts that are only likely, too, and with --all-matches pairs that were refuted:
    they are no evidence.
    """
    least = report.min_score
    keys = {p: report.video(p).file.key for p in (path, keep)}
    if keys[path] is not None and keys[path] == keys[keep]:
        return Match(path, keep, 1.0, "exact")
    direct = report.match(path, keep)
    if direct is not None and direct.score >= least:
        return direct
    twins = _by_key(report)
    for a in twins.get(keys[path], ()):
        for b in twins.get(keys[keep], ()):
            found = report.match(a, b)
            if found is not None and found.score >= least:
                return replace(found, a=path, b=keep)
    return None


def losses(
    report: Report,
    group: Group,
    path: str,
    keep: str,
    match: Match | None,
    judge: Judge | None = None,
) -> list[str]:
    """What the file has and the kept one lacks: the report's words, or what can be found out when
    another file is kept than the report chose.

    A report has words, if only none, for each file but the one it chose to keep. So where the kept
    file has some, or the other one none, the report was edited, and its words are about another.
    """
    if keep == group.keep and keep not in group.losses and path in group.losses:
        return list(group.losses[path])
    if match is not None and match.relation == "exact":
        return []
    victim, keeper = report.video(path), report.video(keep)
    other = heard(group, path, keep)
    if keep == group.keep and group.decision == "accept":  # a person looked at these two
        return by_headers(victim, keeper, match) + other
    seen = judge(victim, keeper) if judge else None
    found = by_headers(victim, keeper, match) + [UNSEEN] if seen is None else seen
    return found + other


def heard(group: Group, path: str, keep: str) -> list[str]:
    """What was said of the sound of either file: it differs, whichever of the two stays."""
    said = {words for p in (path, keep) for words in group.losses.get(p, ())}
    return sorted(words for words in said if words.startswith("sound:"))


def by_headers(mine: Video, its: Video, match: Match | None) -> list[str]:
    """What the headers of `mine` promise and those of `its` do not."""
    seconds = unheld_s(mine, its, match)
    out = [f"seconds: {seconds:.1f} s that the kept file lacks"] if seconds else []
    speed, _ = other_speed(mine, its, match)
    out += [speed] if speed else []
    out += missing_tracks(mine, its)
    if mine.info.hdr and not its.info.hdr:
        out.append(f"HDR ({mine.info.hdr})")
    size, other = (f"{v.info.width}x{v.info.height}" for v in (mine, its))
    if mine.info.width * mine.info.height > its.info.width * its.info.height:
        out.append(f"resolution {size} over {other}")
    return out


@contextmanager
def judging(report: Report) -> Iterator[Judge | None]:
    """A judge that compares the small pictures in the report's library; None without one."""
    if not os.path.isfile(report.library):
        yield None
        return
    with Library.open(report.library) as library:

        @functools.lru_cache(maxsize=256)
        def strips(path: str) -> list[tuple[float, bytes]]:
            return library.thumbs(report.video(path).file.key or "")

        def judge(victim: Video, keeper: Video) -> list[str] | None:
            return lost(victim, keeper, functools.partial(evidence, report), strips)

        yield judge


def accepted(loss: str, words: Iterable[str]) -> bool:
    """Whether the user gave this loss up: 'all', the whole loss, or one of its words."""
    in_it = set(re.findall(r"[a-z]+", loss.lower()))
    return any(w in ("all", loss) or w.lower() in in_it for w in words)


def unheld(match: Match, duration_s: float) -> list[list[float]]:
    """Stretches of a in seconds (at least 1 s) that no matched segment covers."""
    out, at = [], 0.0
    for start, end in sorted(s.a for s in match.segments):
        if start - at >= _TOLERANCE_S:
            out.append([at, start])
        at = max(at, end)
    if match.segments and duration_s - at >= _TOLERANCE_S:
        out.append([at, duration_s])
    return out
