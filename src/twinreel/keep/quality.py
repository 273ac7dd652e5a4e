"""Criteria that are measured: the picture, what lies over it, detail, resolution, bits."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twinreel.keep.race import Race, Say, name_of, size_of
from twinreel.keep.views import Views
from twinreel.types import Video

DETAIL_TOLERANCE = 0.15  # measured detail varies by this much between encodes of one picture
PIXELS_TOLERANCE = 0.10
LINES_TOLERANCE = 0.05
BITRATE_TOLERANCE = 0.30  # no closer than encoders of one codec are to each other
USED_TOLERANCE = 0.03  # share of the frame; borders are found to about a line
AGE_TOLERANCE_NS = 2_000_000_000  # FAT keeps even seconds
FPS_TOLERANCE = 0.01  # 24.00 and 23.976 are one rate
WORTH_TOLERANCE = 0.10  # of bits in which more detail is no contradiction
SAME_AREA = 0.96  # of the largest: not more cut away than the search is off by
MUCH_CUT = 0.45  # share of a picture: so much more may be another video beside this one
# So much more real detail outweighs a logo or a cut border.
MUCH_SHARPER = 1.5
# Picture quality per bit against H.264, rounded from published comparisons of encoders.
EFFICIENCY = {
    "h264": 1.0, "hevc": 1.5, "vp9": 1.5, "av1": 2.0, "libdav1d": 2.0, "libaom-av1": 2.0,
    "vp8": 0.8, "libvpx-vp9": 1.5,
}  # fmt: skip
OLDER_CODEC = 0.6  # mpeg4, mpeg2video, wmv ...


def by_picture(race: Race, views: Views) -> None:
    """Colour before grey, the whole picture before a part, a clean one before one with a logo."""
    if len(race.left) < 2:
        return
    if any(views.grey(v) is False for v in race.left):
        race.keep(
            [v for v in race.left if not views.grey(v)],
            lambda a, b: f"in colour, {name_of(b, a)} is not",
        )
    pivot = max(race.left, key=lambda v: (v.detail, stored_pixels(v), v.path))
    seen = {v.path: views.difference(pivot, v) for v in race.left if v is not pivot}
    area, tall = {pivot.path: 1.0}, {pivot.path: 1.0}
    marked = {pivot.path: any(d and d.overlay == "a" for d in seen.values())}
    for path, d in seen.items():
        # In units of the pivot's picture.
        area[path] = 1.0 if d is None else (1 - d.cut_from_a) / (1 - d.cut_from_b)
        tall[path] = 1.0 if d is None else d.height_in_a / d.height_in_b
        marked[path] = d is not None and (
            d.overlay == "b" or (not d.overlay and marked[pivot.path])
        )

    def detail(v: Video) -> float:
        return v.detail / tall[v.path]

    # A small part with much more detail than the whole was not cut out of it: the whole shows it
    # shrunk, beside other things, whose edges may be sharper than the picture ever was.
    largest = max(area.values())
    enough = MUCH_SHARPER * max(detail(v) for v in race.left if area[v.path] > largest * SAME_AREA)
    race.keep(
        [
            v
            for v in race.left
            if area[v.path] < (1 - MUCH_CUT) * largest and detail(v) >= enough > 0
        ],
        lambda a, b: f"at its full size, {name_of(b, a)} shows it shrunk",
    )
    largest = max(area[v.path] for v in race.left)
    _unless_sharper(
        race,
        [v for v in race.left if area[v.path] > largest * SAME_AREA],
        detail,
        lambda a, b: (
            f"the whole picture: {1 - area[b.path] / area[a.path]:.0%} of it is cut away "
            f"in {name_of(b, a)}"
        ),
    )
    _unless_sharper(
        race,
        [v for v in race.left if not marked[v.path]],
        detail,
        lambda a, b: f"nothing laid over the picture, unlike {name_of(b, a)}",
    )


def _unless_sharper(
    race: Race, better: list[Video], detail: Callable[[Video], float], say: Say
) -> None:
    """Stay: `better`, and who has so much more real detail that the flaw is outweighed.

    Letters are sharp themselves, so the larger detail must have the lines to be held in.
    """
    if better:
        enough = MUCH_SHARPER * max(detail(v) for v in better)
        lines = MUCH_SHARPER * max(v.info.coded_height for v in better)
        sharper = [v for v in race.left if v.info.coded_height >= lines and detail(v) >= enough > 0]
        race.keep(better + sharper, say)


def by_numbers(race: Race) -> None:
    """Real detail, HDR, resolution, bitrate, frame rate."""
    believed = {v.path: _believed(v, race.left) for v in race.left}
    race.share(lambda v: believed[v.path], DETAIL_TOLERANCE, _say_detail)
    race.best(lambda v: bool(v.info.hdr), None, lambda a, b: f"HDR, {name_of(b, a)} is not")
    _not_upscaled(race)
    race.share(stored_pixels, PIXELS_TOLERANCE, lambda a, b: f"{size_of(a)} over {size_of(b)}")
    # The same picture with borders around it was made from the one without.
    race.best(
        _used, USED_TOLERANCE, lambda a, b: f"no borders in the picture, as {name_of(b, a)} has"
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
        if abs(stored_pixels(o) - stored_pixels(video)) <= PIXELS_TOLERANCE * stored_pixels(video)
        and 0 < _worth(video) < _worth(o) * (1 - WORTH_TOLERANCE)
    ]
    return min(video.detail, max(richer, default=video.detail))


def _not_upscaled(race: Race) -> None:
    """More lines that hold no more detail are an upscale, unless the larger file is the older.

    The detail of what is left is the same within the tolerance. A soft picture and its reduced
    copy look alike in that; what was there first cannot have been made from the other. Detail is
    measured upright: of a picture that is only wider it says nothing.
    """
    if not all(v.detail for v in race.left):
        return
    least = min(race.left, key=lambda v: (stored_pixels(v), -v.detail, v.path))

    def upscale(v: Video) -> bool:
        age = v.file.mtime_ns - least.file.mtime_ns
        newer = age > -AGE_TOLERANCE_NS and (age > AGE_TOLERANCE_NS or v.detail <= least.detail)
        return newer and _lines(v) * (1 - LINES_TOLERANCE) > _lines(least)

    race.keep([v for v in race.left if not upscale(v)], _say_upscale)


def _lines(v: Video) -> float:
    """Stored lines inside the borders."""
    return v.info.coded_height * (v.picture[3] - v.picture[1])


def _say_upscale(a: Video, b: Video) -> str:
    like = f"as much real detail as {name_of(b, a)} has in {size_of(b)}"
    return f"{size_of(a)} with {like}, an upscale"


def _used(v: Video) -> float:
    """Share of the frame inside the borders."""
    left, top, right, bottom = v.picture
    return (right - left) * (bottom - top)


def stored_pixels(v: Video) -> float:
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
    larger = stored_pixels(b) > stored_pixels(a) * (1 + PIXELS_TOLERANCE)
    return f"{words}: {name_of(b, a)} is an upscale" if larger else words


def _say_bitrate(a: Video, b: Video) -> str:
    return (
        f"{a.info.bitrate / 1000:.0f} kbit/s {a.info.codec} over "
        f"{b.info.bitrate / 1000:.0f} kbit/s {b.info.codec}"
    )
