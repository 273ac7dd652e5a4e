"""Videos and reports made up for tests, and any report there can be (hypothesis)."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from twinreel.report import FolderPair, Report
from twinreel.types import (
    RELATIONS,
    Failure,
    Group,
    Match,
    Segment,
    Track,
    Video,
    VideoFile,
    VideoInfo,
)

DAY = 86_400 * 10**9
INFO = {"duration_s", "width", "height", "codec", "fps", "bitrate", "hdr", "audio", "subtitles"}
ODD = "/v/new\nline \udcff.mp4"


def video(path: str, **given: Any) -> Video:
    """A plain 1280x720 H.264 video of 60 s with 300 cycles of detail; change what matters."""
    info: dict[str, Any] = {"duration_s": 60.0, "width": 1280, "height": 720, "codec": "h264",
                            "fps": 25.0, "bitrate": 2_000_000}  # fmt: skip
    info |= {k: v for k, v in given.items() if k in INFO}
    size = {"coded_width": info["width"], "coded_height": info["height"]}
    inode = given.get("inode") or abs(hash(path)) % 10**9
    file = VideoFile(path, given.get("size", 15_000_000), given.get("mtime_ns", 1000 * DAY), inode,
                     1, "", given.get("key", f"key of {path}"))  # fmt: skip
    rest = {k: given[k] for k in ("offline", "damage", "detail", "picture") if k in given}
    return Video(file, VideoInfo(**info, **size), **({"detail": 300.0} | rest))


def example() -> Report:
    return Report(
        library="/home/u/videos.db",
        videos=(video("/v/a.mp4", size=5000), video("/v/b.mp4", size=3000),
                video(ODD, size=70, offline=True)),
        matches=(
            Match(
                "/v/a.mp4", "/v/b.mp4", 0.987654, "contains",
                (Segment((0.0, 10.0), (2.0, 12.0), 1.0, True),), 0.8, 1.0,
            ),
        ),
        groups=(
            Group(
                ("/v/a.mp4", "/v/b.mp4", ODD), "/v/a.mp4", "longer", {"/v/b.mp4": ["sound"]},
                None, True,
            ),
        ),
        failures=(Failure("/v/c.mp4", "probe", "CannotOpen", "moov atom not found"),),
        folders=(FolderPair("/v", "/w", 2, 2, 11, 9),),
        skipped={"symbolic link": 2},
        options={"min_score": 0.9, "ext": ["mp4"]},
        model={"name": "twin", "weights_sha256": "0" * 64},
        notes=("3 pairs share content",),
        roots=("/v", "/w"),
        created="2026-01-02T03:04:05Z",
        twinreel="0.1.0",
        partial=True,
    )  # fmt: skip


# -- any report -----------------------------------------------------------------------------------

# Any bytes but NUL and '/' may stand in a name; Python shows what is not UTF-8 as surrogates.
names = st.binary(min_size=1, max_size=12).filter(lambda b: not {0, 47} & set(b))
paths = names.map(lambda b: "/v/" + b.decode("utf-8", "surrogateescape"))
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
finite = st.floats(0, 1e6)
share = st.floats(0, 1)
whole = st.integers(0, 2**63 - 1)
spans = st.tuples(finite, finite)

tracks = st.lists(st.builds(Track, words, words, st.integers(0, 8)), max_size=2).map(tuple)
infos = st.builds(
    VideoInfo, finite, whole, whole, whole, whole, words, words, st.none() | finite,
    st.none() | finite, st.sampled_from([0, 90, 180, 270]), st.floats(0.1, 4), whole,
    st.sampled_from([8, 10]), st.sampled_from(["", "pq"]), st.booleans(), tracks, tracks,
)  # fmt: skip
segments = st.builds(Segment, spans, spans, st.floats(0.5, 2), st.booleans())


@st.composite
def reports(draw: st.DrawFn) -> Report:
    at = draw(st.lists(paths, min_size=1, max_size=4, unique=True))
    videos = tuple(
        Video(
            VideoFile(path, *draw(st.tuples(whole, whole, whole, whole, words)),
                      draw(st.none() | words)),
            draw(infos), draw(st.booleans()), draw(words), draw(words), draw(finite),
            draw(st.tuples(share, share, share, share)), draw(finite),
        )
        for path in at
    )  # fmt: skip
    some = st.sampled_from(at)
    matches = st.builds(
        Match, some, some, share, st.sampled_from(RELATIONS),
        st.lists(segments, max_size=2).map(tuple), share, share,
    )  # fmt: skip
    losses = st.dictionaries(some, st.lists(words, max_size=2))
    groups = st.builds(
        lambda members, n, *rest: Group(tuple(members), members[n % len(members)], *rest),
        st.lists(some, min_size=1, max_size=4, unique=True), st.integers(0, 9), words, losses,
        st.sampled_from([None, "accept", "skip", "not_a_match"]), st.booleans(),
    )  # fmt: skip
    failures = st.builds(Failure, paths, words, words, words)
    folders = st.builds(FolderPair, paths, paths, whole, whole, whole, whole)
    options = st.dictionaries(words, st.none() | st.booleans() | whole | words)
    return Report(
        library=draw(words),
        videos=videos,
        matches=draw(st.lists(matches, max_size=3).map(tuple)),
        groups=draw(st.lists(groups, max_size=3).map(tuple)),
        failures=draw(st.lists(failures, max_size=2).map(tuple)),
        folders=draw(st.lists(folders, max_size=2).map(tuple)),
        skipped=draw(st.dictionaries(words, whole)),
        options=draw(options),
        model=draw(options),
        notes=draw(st.lists(words, max_size=2).map(tuple)),
        roots=draw(st.lists(paths, max_size=2).map(tuple)),
        created=draw(words),
        twinreel=draw(words),
        partial=draw(st.booleans()),
    )
