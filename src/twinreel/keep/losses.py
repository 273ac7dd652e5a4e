"""What a file of a group has and the kept one lacks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from twinreel.keep.holds import Matching, missing_tracks, other_speed, unheld_s
from twinreel.keep.quality import (
    DETAIL_TOLERANCE,
    MUCH_CUT,
    MUCH_SHARPER,
    PIXELS_TOLERANCE,
    stored_pixels,
)
from twinreel.keep.race import size_of
from twinreel.keep.views import Strips, Views
from twinreel.keep.wishes import matches
from twinreel.options import KeepOptions
from twinreel.types import Match, Video


@dataclass(frozen=True)
class Loss:
    """Something that goes with a file. is_content: a person should look before it does; what is
    only quality is told."""

    words: str
    is_content: bool = False


def lost(video: Video, keep: Video, match: Matching, strips: Strips) -> list[str] | None:
    """What `video` has and `keep` lacks, in words, whatever `choose` would keep.

    None where no pictures of the two can be laid beside each other, so that nobody can tell.
    """
    views = Views(match, strips)
    if views.difference(keep, video) is None and not views.misfit(keep, video):
        return None
    return [loss.words for loss in losses_of(video, keep, match, views, KeepOptions())]


def losses_of(
    video: Video, keep: Video, match: Matching, views: Views, options: KeepOptions
) -> list[Loss]:
    """What `video` has and `keep` lacks, empty when nothing is lost."""
    protected = any(matches(video.path, g) for g in options.protect)
    out = [Loss("protected by --protect")] if protected else []
    if video.file.key is not None and video.file.key == keep.file.key:
        return out
    found = match(video.path, keep.path)
    out += [Loss(words, is_content=True) for words in _content(video, keep, found, views)]
    return out + [Loss(words) for words in _quality(video, keep, found, views)]


def _content(video: Video, keep: Video, found: Match | None, views: Views) -> Iterator[str]:
    """Seconds, sound, tracks and pictures that only `video` has."""
    if seconds := unheld_s(video, keep, found):
        yield f"seconds: {seconds:.1f} s that the kept file lacks"
    words, is_unsure = other_speed(video, keep, found)
    if is_unsure:
        yield words
    yield from missing_tracks(video, keep)
    seen = views.difference(keep, video)
    if seen and seen.cut_from_b > MUCH_CUT:
        yield f"picture: {seen.cut_from_b:.0%} of it, which the kept file does not show"
    if seen and seen.cut_from_a > MUCH_CUT:
        side = seen.height_in_a
        if video.detail > MUCH_SHARPER * keep.detail * side:
            yield f"picture: the kept file shows it shrunk, to {side:.0%}, inside another one"
    if views.misfit(keep, video):
        # An inset, a stack of two, a turned picture: what else it shows is not known.
        yield "picture: it does not lie on the kept file's, it may show something else, too"
    if views.is_still(keep, video):
        yield "picture: hardly anything moves in it, small print may differ"


def _quality(video: Video, keep: Video, found: Match | None, views: Views) -> Iterator[str]:
    """In what way `video` shows it better, or otherwise."""
    seen = views.difference(keep, video)
    if seen and 0 < seen.cut_from_b <= MUCH_CUT:
        yield f"picture area: {seen.cut_from_b:.0%} that is cut away in the kept file"
    if views.grey(video) is False and views.grey(keep):
        yield "colour: the kept file has none"
    if found and any(s.mirrored for s in found.segments):
        yield "the unmirrored (or mirrored) picture"
    if seen and seen.overlay == "a" and seen.cut_from_b <= MUCH_CUT:
        yield "overlay-free picture: the kept file has a logo or text over it"
    if seen and seen.overlay == "either":
        yield "overlay-free picture, maybe: a part differs, a logo or text on one of the two"
    words, is_unsure = other_speed(video, keep, found)
    if words and not is_unsure:
        yield words
    mine, its = (max((t.channels for t in v.info.audio), default=0) for v in (video, keep))
    if mine > its > 0:
        yield f"sound in {mine} channels over {its}"
    if video.info.hdr and not keep.info.hdr:
        yield f"HDR ({video.info.hdr})"
    if video.detail and keep.detail:
        if video.detail * (1 - DETAIL_TOLERANCE) > keep.detail:
            yield f"real detail of {2 * video.detail:.0f} lines over {2 * keep.detail:.0f}"
    elif stored_pixels(video) * (1 - PIXELS_TOLERANCE) > stored_pixels(keep):
        yield f"resolution {size_of(video)} over {size_of(keep)}"
