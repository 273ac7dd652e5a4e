"""keep: which file stays, the sentence that says why, and what the others would take with them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reports import DAY, paths, video
from twinreel import keep
from twinreel.actions.losses import by_headers
from twinreel.demo import Picture, cut, paint, scale
from twinreel.keep import choose, from_anywhere, matches, missing_tracks, other_speed, unheld_s
from twinreel.keep.losses import losses_of
from twinreel.keep.views import Views
from twinreel.options import KeepOptions
from twinreel.types import Group, Match, Segment, Track, Video

SIDE = (160, 160)


def whole(a: Video, b: Video, **more: Any) -> Match:
    """The match of two videos that show the same from start to end."""
    speed = b.info.duration_s / a.info.duration_s
    segment = Segment((0.0, a.info.duration_s), (0.0, b.info.duration_s), speed,
                      more.pop("mirrored", False))  # fmt: skip
    return Match(a.path, b.path, 0.95, "copy", (segment,), **more)


def matching(videos: Sequence[Video], **special: Match) -> Callable[[str, str], Match | None]:
    known = {v.path: v for v in videos}

    def match(a: str, b: str) -> Match | None:
        for found in special.values():
            if {found.a, found.b} == {a, b}:
                return found if found.a == a else found.swapped()
        return whole(known[a], known[b])

    return match


def group_of(
    *videos: Video,
    strips: dict[str, list[tuple[float, Picture]]] | None = None,
    options: KeepOptions | None = None,
    **special: Match,
) -> Group:
    pictures = strips or {}
    return choose(
        videos,
        matching(videos, **special),
        lambda path: pictures.get(path, []),
        options or KeepOptions(),
    )


PLAIN = video("/v/b.mp4")


# Better, worse, and words of the sentence.
DECIDED = {
    "intact": (video("/v/z.mp4", width=320, height=180, detail=80.0),
               video("/v/a.mp4", damage="cut off at 12 s"), "damaged (cut off at 12 s)"),
    "at hand": (video("/v/z.mp4", bitrate=10), video("/v/a.mp4", offline=True), "at hand"),
    "detail": (video("/v/z.mp4", detail=340.0), video("/v/a.mp4", detail=150.0),
               "real detail of 680 lines over 300"),
    "upscale": (video("/v/z.mp4"), video("/v/a.mp4", width=1920, height=1080, detail=200.0),
                "a.mp4 is an upscale"),
    "same detail in more pixels": (
        video("/v/z.mp4"), video("/v/a.mp4", width=1920, height=1080, detail=310.0,
                                 mtime_ns=1001 * DAY, bitrate=9_000_000), "an upscale"),
    "HDR": (video("/v/z.mp4", hdr="pq"), video("/v/a.mp4"), "HDR"),
    "resolution": (video("/v/z.mp4", width=1920, height=1080, detail=0.0),
                   video("/v/a.mp4", detail=0.0), "1920x1080 over 1280x720"),
    "letterbox is no resolution": (
        video("/v/z.mp4", detail=0.0),
        video("/v/a.mp4", detail=0.0, height=940, picture=(0.15, 0.15, 0.85, 0.85)),
        "1280x720 over 1280x940"),
    "no borders": (video("/v/z.mp4"),
                   video("/v/a.mp4", height=940, picture=(0.0, 0.117, 1.0, 0.883),
                         bitrate=9_000_000), "no borders in the picture, as a.mp4 has"),
    "bitrate": (video("/v/z.mp4", bitrate=3_000_000), video("/v/a.mp4"), "3000 kbit/s"),
    "codec-aware bitrate": (video("/v/z.mp4", codec="hevc", bitrate=1_950_000),
                            video("/v/a.mp4"), "1950 kbit/s hevc over 2000 kbit/s h264"),
    "frame rate": (video("/v/z.mp4", fps=50.0), video("/v/a.mp4"), "50 frames per second"),
    "older": (video("/v/z.mp4", mtime_ns=900 * DAY), video("/v/a.mp4"), "older (1972-06-19)"),
    "shorter path": (video("/v/z.mp4"), video("/v/a copy.mp4"), "shorter path"),
    "alphabet": (video("/v/a.mp4"), video("/v/z.mp4"), "first by name"),
}  # fmt: skip


@pytest.mark.parametrize("case", DECIDED)
def test_each_criterion_decides_and_says_so(case: str) -> None:
    better, worse, words = DECIDED[case]
    for members in ((better, worse), (worse, better)):
        group = group_of(*members)
        assert group.keep == better.path
        assert words in group.why
        assert group.members == tuple(sorted(v.path for v in members))
        assert not group.look


# Differences within the tolerance: a later criterion (here the path) decides.
TIES = {
    "24 and 23.976": ({"fps": 24.0}, {"fps": 24000 / 1001}),
    "detail": ({"detail": 300.0}, {"detail": 280.0}),
    "bitrate": ({"bitrate": 2_000_000}, {"bitrate": 1_900_000}),
    "seconds of age": ({"mtime_ns": DAY}, {"mtime_ns": DAY + 10**9}),
    "1088 lines": ({"height": 720}, {"height": 724}),
    "codecs alike": (
        {"codec": "hevc", "bitrate": 1_000_000},
        {"codec": "h264", "bitrate": 1_520_000},
    ),
}


@pytest.mark.parametrize("case", TIES)
def test_small_differences_are_ties(case: str) -> None:
    for one, other in itertools.permutations(TIES[case]):
        group = group_of(video("/v/a.mp4", **one), video("/v/b.mp4", **other))
        assert (group.keep, group.why) == ("/v/a.mp4", "first by name")


def test_detail_comes_before_resolution_and_bitrate() -> None:
    source = video("/v/s.mp4", width=640, height=360, detail=170.0, bitrate=500_000)
    upscale = video("/v/u.mp4", width=1920, height=1080, detail=120.0, bitrate=9_000_000)
    assert group_of(source, upscale).keep == source.path


def test_a_soft_original_beats_its_reduced_copy() -> None:
    """Both hold the same detail; the larger file is the older."""
    original = video("/v/o.mp4", width=1920, height=1080, detail=130.0, mtime_ns=10 * DAY)
    reduced = video("/v/r.mp4", width=640, height=360, detail=128.0, mtime_ns=20 * DAY)
    assert group_of(original, reduced).keep == original.path


def test_unknown_detail_is_no_criterion() -> None:
    group = group_of(video("/v/a.mp4", detail=0.0, bitrate=10), video("/v/b.mp4", detail=50.0))
    assert group.keep == "/v/b.mp4"
    assert "kbit/s" in group.why


def test_prefer_stands_before_quality_but_not_before_intactness() -> None:
    options = KeepOptions(prefer=("/nas/*", "/usb"))
    weak, strong = video("/usb/x/a.mp4", detail=80.0), video("/v/b.mp4")
    group = group_of(weak, strong, options=options)
    assert (group.keep, group.why) == (weak.path, "preferred by --prefer")
    assert group.losses[strong.path] == ["real detail of 600 lines over 160"]
    first = video("/nas/c.mp4", detail=70.0)
    assert group_of(weak, strong, first, options=options).keep == first.path
    broken = video("/nas/d.mp4", damage="no last half")
    assert group_of(weak, broken, options=options).keep == weak.path


def test_protected_members_are_said() -> None:
    options = KeepOptions(protect=("*/archive/*",))
    twin = video("/archive/b.mp4", key=PLAIN.file.key)
    copy = video("/archive/c.mp4", bitrate=10)
    group = group_of(PLAIN, twin, copy, options=options)
    assert group.keep == PLAIN.path
    assert group.losses[twin.path] == ["protected by --protect"]
    assert "protected by --protect" in group.losses[copy.path]


def test_byte_identical_members_lose_nothing() -> None:
    group = group_of(*(video(f"/v/{n}.mp4", key="k") for n in "cab"))
    assert group.keep == "/v/a.mp4"
    assert group.losses == {"/v/b.mp4": [], "/v/c.mp4": []}
    assert not group.look


def test_nothing_intact_asks_for_a_look() -> None:
    group = group_of(video("/v/a.mp4", damage="no end"), video("/v/b.mp4", offline=True))
    assert group.keep == "/v/b.mp4"  # sound, though away: nothing is removed for it
    assert group.look
    assert "look:" in group.why


def test_another_speed_and_more_channels_are_told() -> None:
    kept = video("/v/a.mp4", audio=(Track("aac", "eng", 2),), bitrate=9_000_000)
    fast = video("/v/fast.mp4", duration_s=40.0, audio=(Track("ac3", "eng", 6),))
    losses = group_of(kept, fast).losses[fast.path]
    assert any(w.startswith("speed: it plays 1.50 times as fast as the kept file") for w in losses)
    assert "sound in 6 channels over 2" in losses


@pytest.mark.parametrize(
    ("speed", "rates", "told", "asks"),
    [(25 / 23.976, (25.0, 23.976), False, False), (25 / 24, (25.0, 25.0), True, True),
     (1.03, (None, 25.0), True, True), (1.015, (25.0, 25.0), False, False),
     (1.2, (30.0, 25.0), True, False), (1.2, (25.0, 25.0), True, True)],
)  # fmt: skip
def test_a_speed_that_frame_rates_do_not_bear_out_may_be_a_cut(
    speed: float, rates: tuple[float | None, float], told: bool, asks: bool
) -> None:
    """A piece out of the middle of one slow shot looks like a speed; a film in PAL is none."""
    kept = video("/v/a.mp4", duration_s=6000.0, fps=rates[1], bitrate=9_000_000)
    other = video("/v/b.mp4", duration_s=6000.0 / speed, fps=rates[0])
    group = group_of(kept, other)
    assert group.keep == kept.path and group.look == asks
    words = [w for w in group.losses[other.path] if w.startswith("speed: ")]
    assert bool(words) == told and any("cut out" in w for w in words) == asks


def test_pieces_at_unlike_speeds_are_held_against_the_plain_one() -> None:
    kept, other = video("/v/a.mp4", duration_s=98.0), video("/v/b.mp4", duration_s=100.0)
    pieces = (Segment((0.0, 40.0), (0.0, 38.0), 0.95), Segment((40.0, 100.0), (38.0, 98.0)))
    found = Match(other.path, kept.path, 0.99, "copy", pieces, 1.0, 1.0)
    assert unheld_s(other, kept, found) == pytest.approx(2.0)
    assert other_speed(other, kept, found) == (
        "speed: it plays 0.95 times as fast as the kept file, or seconds were cut out of one", True,
    )  # fmt: skip


def test_a_speed_is_told_where_a_person_keeps_another_file() -> None:
    short, long = video("/v/a.mp4", duration_s=57.0), video("/v/b.mp4", duration_s=60.0)
    (told,) = by_headers(long, short, whole(long, short))
    assert told.startswith("speed: it plays 0.95 times as fast as the kept file, or seconds")


def test_seconds_in_between_that_the_kept_file_lacks_are_told() -> None:
    """A tenth of two hours is more than what the moments' distance can explain."""
    kept, other = (video(f"/v/{n}.mp4", duration_s=7200.0, bitrate=9 - n) for n in range(2))
    pieces = (Segment((0.0, 4000.0), (0.0, 4000.0)), Segment((4400.0, 7200.0), (4400.0, 7200.0)))
    found = Match(kept.path, other.path, 0.99, "copy", pieces, 0.945, 0.945)
    group = group_of(kept, other, found=found)
    lost = {other.path: ["seconds: 400.0 s that the kept file lacks"]}
    assert group.look and group.losses == lost


def test_holes_are_lost_however_small_a_share_they_are() -> None:
    kept, other = (video(f"/v/{n}.mp4", duration_s=7200.0, bitrate=9 - n) for n in range(2))

    def lost(*ends: float) -> list[str]:
        """The words for a copy whose segments lie between these."""
        spans = zip((0.0, *ends[1::2]), (*ends[::2], 7200.0), strict=True)
        pieces = tuple(Segment(s, s) for s in spans)
        found = Match(kept.path, other.path, 0.99, "copy", pieces, 0.99, 0.99)
        return group_of(kept, other, found=found).losses[other.path]

    assert lost(3168.0, 3360.0) == ["seconds: 192.0 s that the kept file lacks"]
    assert lost(10.0, 12.0, 90.0, 93.0) == ["seconds: 5.0 s that the kept file lacks"]
    assert lost(3168.0, 3168.9) == []


def test_the_longer_file_is_kept() -> None:
    long, short = video("/v/l.mp4", bitrate=10), video("/v/s.mp4", duration_s=50.0)
    part = Match(long.path, short.path, 0.9, "contains",
                 (Segment((0.0, 50.0), (0.0, 50.0)),), 50 / 60, 1.0)  # fmt: skip
    group = group_of(long, short, part=part)
    assert group.keep == long.path
    assert "holds 10.0 s that s.mp4 lacks" in group.why
    assert group.losses == {short.path: []}
    # Detail, colour, damage are those of whole files: what a part lacks there nobody has seen.
    assert group.look and "s.mp4 is a part of the kept file" in group.why


@pytest.mark.parametrize(
    ("length", "shift", "lost"),
    [(6.0, 0.7, 0.7), (6.0, -0.7, 0.7), (6.0, 0.4, 0.0), (100.0, 0.9, 0.0), (7200.0, 300.0, 300.0)],
)
def test_two_trims_of_one_length_each_lack_what_the_other_has(
    length: float, shift: float, lost: float
) -> None:
    """One lacks the end, the other the head: too little of the length to be seen in coverage."""
    a, b = (video(f"/v/{n}.mp4", duration_s=length) for n in "ab")
    at = (max(0.0, shift), min(length, length + shift))
    share = 1 - abs(shift) / length
    segment = Segment(at, (at[0] - shift, at[1] - shift))
    found = Match(a.path, b.path, 0.95, "copy", (segment,), share, share)
    assert unheld_s(a, b, found) == pytest.approx(lost)
    assert unheld_s(b, a, found.swapped()) == pytest.approx(lost)
    assert group_of(a, b, found=found).look == (lost > 0)


def test_who_holds_seconds_of_their_own_asks_for_a_look() -> None:
    head, tail = video("/v/head.mp4"), video("/v/tail.mp4")
    lap = Match(head.path, tail.path, 0.9, "overlap",
                (Segment((20.0, 60.0), (0.0, 40.0)),), 40 / 60, 40 / 60)  # fmt: skip
    group = group_of(head, tail, lap=lap)
    (loss,) = group.losses[next(p for p in group.members if p != group.keep)]
    assert loss.startswith("seconds: 20.0 s")
    assert group.look


def test_a_faster_copy_holds_every_second() -> None:
    """PAL speed-up: 4 % shorter, nothing missing."""
    longer = video("/v/b.mp4", duration_s=60.0, fps=24.0, bitrate=3_000_000)
    group = group_of(video("/v/a.mp4", duration_s=57.6), longer)
    assert group.keep == "/v/b.mp4"
    assert group.losses == {"/v/a.mp4": []}


@pytest.mark.parametrize(
    ("lengths", "speed", "lost"),
    [
        ((60.0, 60.0), 1.0, 0.0),
        ((60.0, 59.8), 59.8 / 60, 0.0),  # a frame or a bit of sound less
        ((60.0, 57.0), 57 / 60, 0.0),  # faster
        ((60.0, 59.0), 59 / 60, 0.0),  # one second: within the tolerance
        ((60.0, 58.5), 58.5 / 60, 0.0),  # faster by 2.5 %
        ((60.0, 58.9), 58.9 / 60, 1.1),  # 1.8 % is no speed anybody plays at: cut off
        ((7200.0, 7192.8), 1 / 1.001, 0.0),  # 24 for 23.976
        ((7200.0, 7192.8), 1.0, 7.2),
        ((4.0, 3.5), 1.0, 0.5),
    ],
)
def test_unheld_seconds(lengths: tuple[float, float], speed: float, lost: float) -> None:
    a, b = (video(f"/v/{n}.mp4", duration_s=d) for n, d in zip("ab", lengths, strict=True))
    found = Match(a.path, b.path, 0.9, "copy", (Segment((0.0, lengths[0]), (0, 1), speed),))
    assert unheld_s(a, b, found) == pytest.approx(lost, abs=1e-6)
    assert unheld_s(a, a, None) == 0.0


def audio(*languages: str) -> tuple[Track, ...]:
    return tuple(Track("aac", language, 2) for language in languages)


@pytest.mark.parametrize(
    ("mine", "its", "lost"),
    [
        ((), (), []),
        (("eng",), (), ["sound"]),
        ((), ("eng",), []),
        (("eng", "fre"), ("eng",), ["audio language fre"]),
        (("fre",), ("eng",), ["audio language fre"]),
        (("und",), ("eng",), []),  # may be the same
        (("eng",), ("und",), []),
        (("und", "und"), ("und",), ["audio language not stated"]),
        (("eng", "eng"), ("eng",), ["audio language eng"]),  # a commentary
        (("eng", "und"), ("und", "fre"), []),
    ],
)
def test_missing_sound(mine: tuple[str, ...], its: tuple[str, ...], lost: list[str]) -> None:
    a, b = video("/v/a.mp4", audio=audio(*mine)), video("/v/b.mp4", audio=audio(*its))
    assert missing_tracks(a, b) == lost


def test_a_language_is_kept_before_quality() -> None:
    rich = video("/v/r.mkv", audio=audio("eng", "fre"), detail=150.0)
    poor = video("/v/p.mp4", audio=audio("eng"))
    group = group_of(rich, poor)
    assert group.keep == rich.path
    assert "audio language fre, which p.mp4 lacks" in group.why
    assert group.losses[poor.path] == ["real detail of 600 lines over 300"]


def test_subtitles_and_languages_on_both_sides_ask_for_a_look() -> None:
    a = video("/v/a.mkv", subtitles=(Track("subrip", "eng"),))
    b = video("/v/b.mkv", audio=audio("ger"))
    group = group_of(a, b)
    assert group.look
    other = next(p for p in group.members if p != group.keep)
    assert group.losses[other] in (["subtitles eng"], ["sound"])


def test_an_offline_file_with_more_asks_for_no_look() -> None:
    away = video("/v/a.mkv", subtitles=(Track("subrip", "eng"),), offline=True)
    group = group_of(away, video("/v/b.mkv"))
    assert (group.keep, group.look) == ("/v/b.mkv", False)
    assert group.losses[away.path] == ["subtitles eng"]


def test_hdr_and_mirror_are_losses() -> None:
    hdr = video("/v/a.mkv", hdr="pq", detail=100.0)
    group = group_of(hdr, PLAIN, m=whole(hdr, PLAIN, mirrored=True))
    assert group.keep == PLAIN.path
    assert group.losses[hdr.path] == ["the unmirrored (or mirrored) picture", "HDR (pq)"]


def strip(change: Callable[[Picture], Picture] = lambda p: p) -> list[tuple[float, Picture]]:
    return [(8.0 * i, change(paint(1, 8.0 * i, SIDE).copy())) for i in range(8)]


def logo(picture: Picture) -> Picture:
    picture[12:34, 118:150] = (235, 235, 235)
    return picture


def test_colour_before_grey_and_its_loss() -> None:
    grey = video("/v/a.mp4", bitrate=9_000_000, mtime_ns=0)
    coloured = video("/v/coloured.mp4")
    strips = {
        grey.path: strip(lambda p: p.mean(axis=2, keepdims=True).repeat(3, 2).astype(p.dtype)),
        coloured.path: strip(),
    }
    group = group_of(grey, coloured, strips=strips)
    assert group.keep == coloured.path and "in colour, a.mp4 is not" in group.why
    forced = group_of(grey, coloured, strips=strips, options=KeepOptions(prefer=(grey.path,)))
    assert "colour: the kept file has none" in forced.losses[coloured.path]
    assert "colour: the kept file has none" not in group.losses[grey.path]


def test_more_detail_out_of_fewer_bits_is_not_believed() -> None:
    source = video("/v/source.mp4", detail=200.0)
    blocks = video("/v/a.mp4", detail=300.0, codec="wmv2", bitrate=900_000)
    group = group_of(source, blocks)
    assert group.keep == source.path
    larger = video("/v/a.mp4", detail=300.0, bitrate=1_500_000, width=1920, height=1080)
    assert group_of(source, larger).keep == larger.path  # other pixels: nothing to contradict
    better = video("/v/a.mp4", detail=300.0, bitrate=3_000_000)
    assert group_of(source, better).keep == better.path


def test_bits_spent_on_noise_do_not_count() -> None:
    source = video("/v/source.mp4")
    noisy = replace(video("/v/a.mp4", bitrate=30_000_000, mtime_ns=1001 * DAY), noise=40.0)
    assert group_of(source, noisy).keep == source.path
    also = replace(source, noise=35.0)  # where both are noisy, bits count
    assert group_of(also, noisy).keep == noisy.path


BOX = (0.1, 0.1, 0.9, 0.9)


def test_a_logo_copy_never_beats_its_source() -> None:
    source = video("/v/source.mp4", detail=300.0)
    marked = video("/v/marked.mp4", detail=500.0, bitrate=9_000_000)
    strips = {source.path: strip(), marked.path: strip(logo)}
    group = group_of(source, marked, strips=strips)
    assert group.keep == source.path
    assert "nothing laid over the picture, unlike marked.mp4" in group.why
    options = KeepOptions(prefer=(marked.path,))
    group = group_of(source, marked, strips=strips, options=options)
    assert group.losses[source.path][0].startswith("overlay-free picture")


def test_a_much_sharper_file_may_carry_a_logo() -> None:
    small = video("/v/small.mp4", width=426, height=240, detail=110.0)
    marked = video("/v/marked.mp4", detail=300.0)
    group = group_of(small, marked, strips={small.path: strip(), marked.path: strip(logo)})
    assert group.keep == marked.path
    assert group.losses[small.path] == [
        "overlay-free picture: the kept file has a logo or text over it"
    ]


def test_the_whole_picture_beats_a_crop() -> None:
    full = video("/v/full.mp4", bitrate=1_000_000)
    part = video("/v/part.mp4")
    strips = {full.path: strip(), part.path: strip(lambda p: cut(p, BOX))}
    group = group_of(full, part, strips=strips)
    assert group.keep == full.path
    assert "the whole picture: 3" in group.why and "cut away in part.mp4" in group.why
    assert group.losses == {part.path: []}
    group = group_of(full, part, strips=strips, options=KeepOptions(prefer=(part.path,)))
    (loss,) = group.losses[full.path]
    assert loss.startswith("picture area: 3")


def test_odd_names_do_not_break_a_terminal() -> None:
    group = group_of(video("/v/a.mp4"), video("/v/b\n\x1b\udcff.mp4", bitrate=10, damage="cut"))
    assert group.why.isprintable()


def test_globs() -> None:
    assert matches("/a/b/c.mp4", "/a/*")
    assert matches("/a/b/c.mp4", "*.mp4")
    assert matches("/a/b/c.mp4", "/a/b") and matches("/a/b/c.mp4", "/a/b/")
    assert not matches("/a/bc.mp4", "/a/b")
    assert not matches("/a/b/c.mp4", "*.MP4")
    assert not matches("/a/b/c.mp4", "")


@pytest.mark.parametrize(
    ("path", "pattern"),
    [("[2020] Trip/a.mp4", "{here}/[2020] Trip"), ("[2020] Trip/a.mp4", "[2020] Trip/"),
     ("[2020] Trip/a.mp4", "[2020] Trip/*.mp4"), ("[2020] Trip/a.mp4", "{here}/*2020*/*.mp4"),
     ("Film [1080p].mkv", "{here}/Film [1080p].mkv"), ("Film [1080p].mkv", "Film [1080p].mkv"),
     ("Masters/a.mp4", "Masters"), ("Masters/x/a.mp4", "./Masters/"), ("Masters/a.mp4", "Mast*"),
     ("Masters/a.mp4", "~/Masters"), ("Masters/a.mp4", "{here}/link"),
     ("Masters/a.mp4", "link/*.mp4"), ("Masters/a.mp4", "[li]ink/../Masters"),
     ("x/Masters/a.mp4", "{here}/*/Masters"), ("x/Masters/a.mp4", "{here}/*/Masters/"),
     ("x/Masters/a.mp4", "*/Masters")],
)  # fmt: skip
def test_a_wish_is_what_its_writer_means(
    path: str, pattern: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "home [u]"
    for folder in ("[2020] Trip", "Masters", "x/Masters"):
        (here / folder).mkdir(parents=True)
    (here / "link").symlink_to("Masters")
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(here))
    pattern = pattern.replace("{here}", str(here) if "*" not in pattern else f"{tmp_path}/home*")
    assert matches(str(here / path), pattern)
    (saved,) = from_anywhere([pattern])
    monkeypatch.chdir(tmp_path)
    assert matches(str(here / path), saved)
    assert not matches(str(here / "other" / "b.avi"), pattern)
    assert not matches(str(here) + "2", pattern)


@given(paths, st.sampled_from(["", "/", "/more/x.mp4"]))
def test_a_full_name_means_itself_whatever_it_holds(path: str, more: str) -> None:
    assert matches(path + more.rstrip("/"), path) and matches(path, path + more[:1])


def test_one_sentence_per_group_and_a_version() -> None:
    for better, worse, _ in DECIDED.values():
        assert "\n" not in group_of(better, worse).why
    assert keep.VERSION


members = st.lists(
    st.builds(
        lambda n, detail, height, bitrate, damage, offline, length, sound, key: video(
            f"/v/{n}.mp4", detail=detail, height=height, width=height * 16 // 9, bitrate=bitrate,
            damage=damage, offline=offline, duration_s=length, audio=audio(*sound), key=key,
        ),
        st.integers(0, 99), st.sampled_from([0.0, 100.0, 109.0, 119.0, 300.0]),
        st.sampled_from([240, 720, 1080]), st.sampled_from([0, 10**6, 11 * 10**5, 3 * 10**6]),
        st.sampled_from(["", "", "cut"]), st.booleans(), st.sampled_from([40.0, 60.0]),
        st.sampled_from([(), ("eng",), ("eng", "ger")]), st.sampled_from(["k1", "k2", "k3"]),
    ),
    min_size=1, max_size=6, unique_by=lambda v: v.path,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(members, st.randoms())
def test_the_choice_does_not_depend_on_order_and_is_never_a_damaged_one(
    videos: list[Video], random: Any
) -> None:
    group = group_of(*videos)
    mixed = list(videos)
    random.shuffle(mixed)
    assert group_of(*mixed) == group
    kept = next(v for v in videos if v.path == group.keep)
    if any(not v.damage and not v.offline for v in videos):
        assert not kept.damage and not kept.offline
    else:
        assert group.look
    for other in videos:
        lost = group.losses.get(other.path, [])
        if other.info.audio and not kept.info.audio and other.file.key != kept.file.key:
            assert "sound" in lost
        if other.path != kept.path and not other.offline and "sound" in lost:
            assert group.look


def test_pictures_a_little_apart_are_laid_on_each_other_too() -> None:
    """A copy that begins 0.1 s later has no picture of the very same moment: what it shows beside
    the kept file must not go unseen for that."""

    def strip(later_s: float, under: int | None = None) -> list[tuple[float, Picture]]:
        out = []
        for n in range(12):
            t = 0.5 * n
            picture = paint(3, 0.4 + t + later_s, SIDE)
            if under is not None:  # the upper half of two films stacked in one picture
                picture = np.concatenate([picture[::2], paint(under, 0.4 + t, SIDE)[::2]])
            out.append((t, picture))
        return out

    a, b = video("a.mp4"), video("b.mp4")
    later = replace(whole(a, b), segments=(Segment((0.1, 6.0), (0.0, 5.9)),))
    for under, lost in ((None, False), (7, True)):
        strips = {a.path: strip(0.0), b.path: strip(0.1, under)}
        match = matching([a, b], later=later)
        views = Views(match, lambda path, kept=strips: kept[path])
        assert views.difference(a, b) is not None
        words = [x for x in losses_of(b, a, match, views, KeepOptions()) if x.is_content]
        assert any("which the kept file does not show" in x.words for x in words) == lost


def upright(t: float) -> Picture:
    """A film across the middle of an upright picture, large and blurred above and below it."""
    picture = paint(3, t, SIDE)
    blurred = np.array(scale(scale(picture, (8, 8)), SIDE))
    blurred[52:108] = scale(picture, (160, 56))
    return blurred


def test_a_film_is_kept_before_its_upright_version_with_blurred_sides() -> None:
    film = video("/v/z.mp4", width=854, height=480, detail=190.0)
    # Its edges are as sharp as its lines allow: 640 lines "of detail", where the film has 200.
    other = video("/v/a.mp4", width=360, height=640, detail=320.0)
    strips = {film.path: [(0.5 * n, paint(3, 0.5 * n, SIDE)) for n in range(12)],
              other.path: [(0.5 * n, upright(0.5 * n)) for n in range(12)]}
    group = group_of(film, other, strips=strips)
    assert group.keep == film.path and "shows it shrunk" in group.why
    # Where the other is kept by a wish, it asks for a look.
    group = group_of(film, other, strips=strips, options=KeepOptions(prefer=("/v/a*",)))
    assert group.keep == other.path and group.look


def test_an_upright_strip_is_no_film_that_the_whole_shows_shrunk() -> None:
    whole_ = video("/v/z.mp4", width=854, height=480, detail=190.0)
    cut = video("/v/a.mp4", width=270, height=480, detail=190.0)  # all its lines, a third as wide
    strips = {whole_.path: [(0.5 * n, paint(3, 0.5 * n, SIDE)) for n in range(12)],
              cut.path: [(0.5 * n, scale(paint(3, 0.5 * n, SIDE)[:, 55:105], SIDE))
                         for n in range(12)]}
    group = group_of(whole_, cut, strips=strips)
    assert group.keep == whole_.path and "the whole picture" in group.why


def test_a_picture_that_is_only_wider_is_no_upscale() -> None:
    wide = video("/v/z.mp4", width=640, height=360, detail=150.0, mtime_ns=20 * DAY)
    squeezed = video("/v/a.mp4", width=480, height=360, detail=151.0, mtime_ns=10 * DAY)
    assert group_of(wide, squeezed).keep == wide.path


def test_a_film_that_another_shows_shrunk_is_kept_and_neither_goes_unseen() -> None:
    rect = (0.55, 0.5, 0.95, 0.9)
    x0, y0, x1, y1 = (round(160 * v) for v in rect)

    def strip(laid: bool) -> list[tuple[float, Picture]]:
        out = []
        for n in range(12):
            picture = paint(3, 0.5 * n, SIDE)
            if laid:
                around = paint(8, 0.5 * n, SIDE)
                around[y0:y1, x0:x1] = scale(picture, (x1 - x0, y1 - y0))
                picture = around
            out.append((0.5 * n, picture))
        return out

    film, reaction = video("/v/z.mp4", detail=160.0), video("/v/a.mp4", detail=130.0)
    strips = {film.path: strip(False), reaction.path: strip(True)}
    group = group_of(film, reaction, strips=strips)
    assert group.keep == film.path and group.look
    assert "which the kept file does not show" in group.losses[reaction.path][0]
    # Where the other is kept all the same, by a wish: what is lost is said.
    group = group_of(film, reaction, strips=strips, options=KeepOptions(prefer=("/v/a*",)))
    assert group.keep == reaction.path and group.look
    assert group.losses[film.path][0].startswith("picture: the kept file shows it shrunk, to 40%")
    # A part cut out of the whole holds no more detail than the whole shows there.
    part = video("/v/z.mp4", detail=60.0)
    strips[reaction.path] = [(t, p) for t, p in strips[reaction.path]]
    group = group_of(part, reaction, strips=strips)
    assert group.keep == reaction.path and not group.look
