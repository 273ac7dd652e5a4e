"""The decoder gives the frame that is shown at the asked moment: an equality, thanks to the
painted numbers."""

from __future__ import annotations

import bisect
import math
import re
import tracemalloc
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests import videos
from tests.videos import make, read_number
from twinreel import frames
from twinreel.decode import Chunk, Looked, LookTask, check_intact, look
from twinreel.errors import CannotOpen, CannotRead, DecodeFailed, NoVideoStream
from twinreel.frames import Tally, frames_at
from twinreel.options import SampleOptions
from twinreel.probe import opened, probe, video_stream

SIZE = (160, 96)
AV1 = {"preset": "12", "crf": "20", "svtav1-params": "lp=1"}
X264 = {"preset": "veryfast", "crf": "20"}


@dataclass(frozen=True)
class Kind:
    """One sort of video: how it is made, its rate and length."""

    name: str
    settings: dict[str, Any]
    fps: float = 25
    seconds: float = 7
    at_most: float = 1.0  # share of the frames that a few far moments may cost

    @property
    def suffix(self) -> str:
        return "." + self.name.rsplit(".")[-1]

    def times(self) -> list[float]:
        """When each frame is shown, in the order of the painted numbers."""
        vfr = bool(self.settings.get("vfr"))
        return videos._times(self.seconds, self.fps, vfr, self.settings.get("seed", 0))


KINDS = [
    Kind("h264-b-frames.mp4", {"options": X264 | {"bf": "3", "g": "50"}}, at_most=0.8),
    Kind("h264-pyramid.mkv", {"options": X264 | {"bf": "8", "b_strategy": "2", "g": "250"}}),
    Kind("h264-long-gop.mp4", {"gop": 250}),
    Kind("h264-open-gop.mp4", {"options": X264 | {"bf": "3", "g": "25", "x264-params":
                                                  "open-gop=1:keyint=25"}}),
    Kind("h264-no-b.mov", {"options": X264 | {"bf": "0", "g": "12"}}),
    Kind("h264-two-per-second.mp4", {"options": X264 | {"bf": "8", "b_strategy": "0"}}, fps=2,
         seconds=20),
    Kind("hevc.mp4", {"codec": "hevc", "gop": 30}),
    Kind("vp9.webm", {"codec": "vp9", "gop": 40}),
    Kind("av1.mp4", {"codec": "av1", "options": AV1}, fps=10),
    Kind("mpeg4.avi", {"codec": "mpeg4"}),
    # An AVI knows no times of showing, and its pictures come late by what reordering takes.
    Kind("mpeg4-b.avi", {"codec": "mpeg4", "options": {"q": "4", "bf": "2"}}),
    Kind("h264-b.avi", {"options": X264 | {"bf": "3", "g": "25"}}),
    Kind("mpeg4-b.mp4", {"codec": "mpeg4", "options": {"q": "4", "bf": "2"}}),
    Kind("mpeg2.mpg", {"codec": "mpeg2video"}),
    Kind("mpeg2-b.ts", {"codec": "mpeg2video", "options": {"q": "4", "bf": "2", "g": "15"}}),
    Kind("h264.ts", {"gop": 25}),
    Kind("gif.gif", {"codec": "gif", "options": {}}, fps=10, seconds=3),
    Kind("vfr.mp4", {"vfr": True, "seed": 4}),
    Kind("vfr-b-frames.mkv", {"vfr": True, "seed": 5, "options": X264 | {"bf": "3"}}),
    Kind("start-offset.mp4", {"pts_start_s": 1.4}),
    Kind("start-offset.mkv", {"pts_start_s": 3.7, "gop": 20}),
    Kind("start-offset.ts", {"pts_start_s": 11.3, "gop": 20}),
    Kind("odd-size.mkv", {"size": (161, 97), "pix_fmt": "yuv444p"}),
    Kind("ten-bit.mp4", {"ten_bit_hdr": True, "gop": 30}),
    Kind("interlaced.mp4", {"interlaced": True, "gop": 25}),
    Kind("fragmented.mp4", {"gop": 25, "container_options": {
        "movflags": "frag_keyframe+empty_moov"}}),
    Kind("film-rate.mp4", {"gop": 48}, fps=24000 / 1001),
]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Makes each kind of video once."""
    folder = tmp_path_factory.mktemp("kinds")

    def get(kind: Kind) -> Path:
        path = folder / kind.name
        if not path.exists():
            make(path, seconds=kind.seconds, fps=kind.fps, **{"size": SIZE, **kind.settings})
        return path

    return get


def given(
    path: Path | str, times_s: list[float], nearest_key: bool = False
) -> tuple[list[tuple[int, float, int | None]], Tally]:
    """(index, time, painted number) of what frames_at yields, and what it counted."""
    tally = Tally()
    with opened(str(path)) as container:
        stream = video_stream(container, str(path))
        out = [
            (i, t, read_number(frame.to_ndarray(format="rgb24")))
            for i, t, frame in frames_at(
                container, stream, np.array(times_s), str(path), lambda: None, tally, nearest_key
            )
        ]
    return out, tally


def shown(kind: Kind, times_s: list[float]) -> list[int]:
    """The number of the frame shown at each time; a millisecond is every container's grain."""
    starts = kind.times()
    return [bisect.bisect_right(starts, t + 0.0006) - 1 for t in times_s]


def moments(kind: Kind, n: int, seed: int = 0) -> list[float]:
    """n random times, not within a millisecond of a change of frame."""
    rng = np.random.default_rng(seed)
    starts = np.array(kind.times())
    out: set[float] = set()
    while len(out) < n:
        t = float(rng.uniform(0, kind.seconds - 0.01))
        if np.abs(starts - t).min() > 0.0012:
            out.add(t)
    return sorted(out)


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.name)
class TestTheFrameShown:
    def test_at_every_frame_start(self, kind: Kind, library: Any) -> None:
        starts = kind.times()
        got, _ = given(library(kind), [t + 0.0011 for t in starts])
        assert [n for _, _, n in got] == list(range(len(starts)))

    def test_at_few_far_moments(self, kind: Kind, library: Any) -> None:
        times = moments(kind, 5)
        got, tally = given(library(kind), times)
        assert [(i, n) for i, _, n in got] == list(enumerate(shown(kind, times)))
        assert [t for _, t, _ in got] == times
        assert tally.frames <= len(kind.times()) * 1.1 + 60

    @pytest.mark.parametrize("seed", range(4))
    def test_seeking_equals_reading_on(
        self, kind: Kind, library: Any, seed: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        times = moments(kind, 3 + 3 * seed, seed)
        monkeypatch.setattr(frames._Reader, "_pays", lambda *_: False)
        monkeypatch.setattr(frames, "DROPPABLE", frozenset())
        plain, all_read = given(library(kind), times)
        monkeypatch.undo()
        usual, _ = given(library(kind), times)
        assert usual == plain
        # As eager as can be: also where it does not pay.
        monkeypatch.setattr(frames, "SEEK_GAIN", 0)
        monkeypatch.setattr(frames, "UNKNOWN_GAIN_S", 0.3)
        eager, _ = given(library(kind), times)
        if kind.suffix == ".mpg":  # see frames.py, Note [why a landing is checked]
            assert all(abs(a[2] - b[2]) <= 1 for a, b in zip(eager, plain, strict=True))
        else:
            assert eager == plain
        assert [n for _, _, n in plain] == shown(kind, times)


def test_seeking_saves_decoding(library: Any) -> None:
    kind = next(k for k in KINDS if k.name == "h264-no-b.mov")
    got, tally = given(library(kind), [1.01, 5.01])
    assert [n for _, _, n in got] == [25, 125]
    assert tally.frames < 40  # of 175


def test_non_reference_frames_are_left_out_unseen(
    library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The frame given is the same to the last pixel, and fewer were decoded for it."""
    kind = Kind("skips.mp4", {"options": X264 | {"bf": "3", "b_strategy": "0", "g": "500",
                                                    "sc_threshold": "0"}}, seconds=12)
    times = [3.33, 6.66, 7.5, 11.9]

    def pictures() -> tuple[list[Any], int]:
        tally = Tally()
        with opened(str(library(kind))) as container:
            stream = video_stream(container, "")
            return [
                (i, t, f.to_ndarray(format="rgb24").tobytes())
                for i, t, f in frames_at(
                    container, stream, np.array(times), "", lambda: None, tally
                )
            ], tally.frames

    skipping, few = pictures()
    monkeypatch.setattr(frames, "DROPPABLE", frozenset())
    plain, many = pictures()
    assert skipping == plain
    assert few < 0.75 * many


def test_a_long_gap_does_not_lose_the_frame_before_it(tmp_path: Path) -> None:
    """Skipping non-reference frames must not skip one that stays on the screen for seconds."""
    path = tmp_path / "gaps.mp4"
    times = [*(i / 25 for i in range(50)), *(12 + i / 25 for i in range(50))]
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(
            "libx264", rate=25, options=X264 | {"bf": "3", "b_strategy": "0", "g": "500"}
        )
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 90_000)
        for i, t in enumerate(times):
            picture = videos.stamp(videos.paint(0, t, SIZE), i)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = round(t * 90_000), Fraction(1, 90_000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    for ask in ([11.0], [3.0, 11.9, 13.0], [1.5, 1.99, 11.0]):
        got, _ = given(path, ask)
        want = [bisect.bisect_right(times, t) - 1 for t in ask]
        assert [n for _, _, n in got] == want, ask


@pytest.mark.parametrize("suffix", [".ts", ".mpg"])
def test_without_an_index_far_moments_are_exact(tmp_path: Path, suffix: str) -> None:
    """A transport stream has no index: a seek lands anywhere, often after the key frame."""
    path = make(
        tmp_path / f"long{suffix}", seconds=60, fps=5, size=SIZE,
        codec="h264" if suffix == ".ts" else "mpeg2video", gop=75,
    )
    ask = [1.1, 16.3, 31.1, 47.9, 59.5]
    got, tally = given(path, ask)
    assert [n for _, _, n in got] == [math.floor(t * 5) for t in ask]
    assert tally.bad == 0


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_rotated_pictures_come_out_upright(tmp_path: Path, degrees: int) -> None:
    path = make(tmp_path / "r.mp4", seconds=1, size=(320, 180), rotate=degrees)
    looked, pixels, _ = taken(path, size=(320, 320))
    if degrees % 180:
        # Painted lying, shown standing: turning it back must give the painted picture.
        assert (looked.info.width, looked.info.height) == (180, 320)
    else:
        assert (looked.info.width, looked.info.height) == (320, 180)
    assert looked.info.rotation == degrees
    upright = [np.rot90(p, degrees // 90) for p in pixels]  # undo the clockwise turn
    assert [read_number(p) for p in upright] == [0, 3, 6, 9, 12, 15, 18, 21]


def taken(
    path: Path, size: tuple[int, int] = (160, 160), **sample: Any
) -> tuple[Looked, np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Everything `look` gives of a video: (Looked, pixels, times)."""
    *chunks, looked = look(LookTask(str(path), size, SampleOptions(**sample)))
    assert isinstance(looked, Looked)
    assert all(isinstance(c, Chunk) for c in chunks)
    pixels = np.concatenate([c.batch.pixels for c in chunks])  # type: ignore[union-attr]
    times = np.concatenate([c.batch.times_s for c in chunks])  # type: ignore[union-attr]
    return looked, pixels, times


def test_look_gives_pictures_of_the_networks_size(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mp4", seconds=4, gop=50)
    looked, pixels, times = taken(path, moments=16)
    assert pixels.shape == (16, 160, 160, 3) and pixels.dtype == np.uint8
    assert times.tolist() == [i / 4 for i in range(16)]
    assert [read_number(p) for p in pixels] == [math.floor(t * 25) for t in times]
    assert (looked.planned, looked.got, looked.step_s) == (16, 16, 0.25)
    assert looked.damage == "" and looked.picture == (0.0, 0.0, 1.0, 1.0)
    assert looked.info.duration_s == pytest.approx(4.0)


def test_wide_pixels_are_shown_wide(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mp4", seconds=1, size=(180, 144), sar=Fraction(16, 11))
    info = taken(path)[0].info
    assert (info.width, info.height) == (262, 144)
    assert (info.coded_width, info.coded_height) == (180, 144)
    assert info.sample_aspect == pytest.approx(16 / 11)


def test_a_bare_stream_without_timestamps_is_read(tmp_path: Path) -> None:
    path = videos.no_timestamps(tmp_path / "bare.h264", seconds=2, size=SIZE)
    looked, pixels, times = taken(path, size=(96, 160))
    assert [read_number(p) for p in pixels] == [math.floor(t * 25 + 1e-6) for t in times]
    assert looked.info.duration_s == pytest.approx(2.0, abs=0.05)
    assert looked.damage == "" and len(times) == 16


@pytest.mark.parametrize("suffix", ["mkv", "webm"])
def test_a_recording_whose_header_knows_no_length(tmp_path: Path, suffix: str) -> None:
    """As browsers write them: no duration, no index."""
    path = make(
        tmp_path / f"live.{suffix}", seconds=20, fps=5, size=SIZE,
        codec="vp9" if suffix == "webm" else "h264", container_options={"live": "1"},
    )  # fmt: skip
    assert probe(str(path)).duration_s == 0.0
    looked, pixels, times = taken(path, size=(96, 160), moments=16)
    assert looked.info.duration_s == pytest.approx(20, abs=0.3)
    assert times.tolist() == [2.0 * i for i in range(10)] and looked.damage == ""
    assert [read_number(p) for p in pixels] == [10 * i for i in range(10)]


def test_keyframes_sampler_gives_key_frames_only(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mp4", seconds=8, size=SIZE, gop=20)
    got, tally = given(path, [i / 4 for i in range(32)], nearest_key=True)
    assert [n for _, _, n in got] == list(range(0, 200, 20))
    assert [t for _, t, _ in got] == pytest.approx([n / 25 for n in range(0, 200, 20)])
    assert tally.frames <= 10


def test_a_cut_that_leaves_no_key_frame_is_still_read(tmp_path: Path) -> None:
    """Editors cut without encoding: the key frame is in the file, and never shown."""
    whole = make(tmp_path / "whole.mp4", seconds=4, size=SIZE, gop=250)
    path = tmp_path / "cut.mp4"
    with av.open(str(whole)) as source, av.open(str(path), "w") as out:
        stream = source.streams.video[0]
        copy = out.add_stream_from_template(stream)
        shift = round(1 / stream.time_base)
        for packet in source.demux(stream):
            if packet.dts is not None:
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                packet.stream = copy
                out.mux(packet)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.skip_frame = "NONKEY"
        assert list(container.decode(stream)) == []
    for nearest_key in (False, True):
        got, _ = given(path, [0.001, 1.001, 2.5], nearest_key)
        assert [n for _, _, n in got] == [25, 50, 87]


def test_times_are_asked_beyond_the_end(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mp4", seconds=2, size=SIZE)
    got, _ = given(path, [0.5, 1.99, 3.0, 9.0])
    assert [(i, n) for i, _, n in got] == [(0, 12), (1, 49)]


# -- borders ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "box",
    [
        (0.0, 0.12, 1.0, 0.88),
        (0.0, 0.04, 1.0, 0.96),
        (0.2, 0.0, 0.8, 1.0),
        (0.15, 0.1, 0.85, 0.9),
        (0.0, 0.2, 1.0, 1.0),
        (0.0, 0.05, 1.0, 0.8),
    ],
)
def test_borders_are_found_and_cut_within_two_per_cent(
    tmp_path: Path, box: tuple[float, float, float, float]
) -> None:
    path = make(tmp_path / "a.mp4", seconds=2, size=(320, 240), letterbox=box)
    looked, pixels, _ = taken(path, size=(240, 320))
    assert looked.picture == pytest.approx(box, abs=0.02)
    assert read_number(pixels[0]) == 0 and read_number(pixels[-1]) is not None
    # What is left shows the same as the video without borders.
    whole = taken(make(tmp_path / "b.mp4", seconds=2, size=(320, 240)), size=(240, 320))[1]
    away = np.abs(pixels.astype(int) - whole.astype(int)).mean()
    assert away < 14, away


def test_a_picture_without_borders_is_left_whole(tmp_path: Path) -> None:
    for seed in range(4):
        path = make(tmp_path / f"{seed}.mp4", seconds=2, seed=seed, size=(320, 180))
        assert taken(path)[0].picture == (0.0, 0.0, 1.0, 1.0)


def test_a_black_start_does_not_hide_the_borders(tmp_path: Path) -> None:
    def fade(picture: Any, t: float) -> Any:
        return picture * 0 if t < 1 else picture

    path = make(
        tmp_path / "a.mp4", seconds=3, size=(320, 240), letterbox=0.125, edit=fade
    )
    looked, _, times = taken(path)
    assert looked.picture == pytest.approx((0, 0.125, 1, 0.875), abs=0.02)
    blank = np.concatenate(
        [c.blank for c in look(LookTask(str(path))) if isinstance(c, Chunk)]
    )
    assert blank.tolist() == (times < 1).tolist()


# -- trouble ------------------------------------------------------------------------------------


def test_bad_packets_are_skipped_and_counted(tmp_path: Path) -> None:
    source = make(tmp_path / "a.mp4", seconds=8, size=(320, 180), gop=10)
    data = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        stream = container.streams.video[0]
        packets = [(p.pos, p.size) for p in container.demux(stream) if p.size]
    for pos, size in packets[40:200:20]:
        data[pos + 4 : pos + size] = bytes(size - 4)
    hurt = tmp_path / "hurt.mp4"
    hurt.write_bytes(data)
    times = [i / 2 for i in range(16)]
    got, tally = given(hurt, [i / 25 + 0.001 for i in range(200)])
    assert tally.packets == 200
    assert 4 <= tally.bad <= 60
    sound = [(t, n) for _, t, n in got if n is not None]
    assert len(sound) >= 180
    *chunks, looked = look(LookTask(str(hurt), bad_packets=1.0))
    assert re.fullmatch(r"\d+ of \d+ packets undecodable", looked.damage)
    assert sum(len(c.batch.pixels) for c in chunks) >= len(times)
    with pytest.raises(DecodeFailed, match=r"packets are undecodable \(limit 0%\)"):
        list(look(LookTask(str(hurt), bad_packets=0.0)))


def test_a_cut_off_video_gives_what_is_there_and_says_so(tmp_path: Path) -> None:
    whole = make(tmp_path / "a.mkv", seconds=8, size=(320, 180), gop=25)
    half = videos.truncated(whole, tmp_path / "half.mkv")
    looked, pixels, times = taken(half)
    assert 2 < times[-1] < 6
    assert "ends at" in looked.damage and "of 8.0 s" in looked.damage
    numbers = [read_number(p) for p in pixels[:-1]]
    assert numbers == [math.floor(t * 25 + 1e-6) for t in times[:-1]]
    assert check_intact(str(half)).startswith("ends at")
    assert check_intact(str(half), full=True) != ""
    assert check_intact(str(whole)) == check_intact(str(whole), full=True) == ""


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm", "avi", "ts", "mpg", "gif"])
def test_check_intact_finds_sound_files_sound(tmp_path: Path, suffix: str) -> None:
    codec = {"webm": "vp9", "avi": "mpeg4", "mpg": "mpeg2video", "gif": "gif"}.get(suffix, "h264")
    fps = 10 if suffix == "gif" else 25
    path = make(tmp_path / f"a.{suffix}", seconds=3, fps=fps, size=SIZE, codec=codec,
                options={} if suffix == "gif" else None)
    assert check_intact(str(path)) == ""
    assert check_intact(str(path), full=True) == ""


def test_check_intact_when_the_last_frames_come_only_at_the_end(tmp_path: Path) -> None:
    """A last group of pictures shorter than the decoder's delay: all of it comes by flushing."""
    path = make(tmp_path / "short.mp4", 2.08, gop=50, options={"preset": "medium"})
    assert check_intact(str(path)) == ""


def test_check_intact_finds_damage(tmp_path: Path) -> None:
    source = videos.faststart(tmp_path / "a.mp4", seconds=6, size=(640, 360))
    noisy = videos.garbage(source, tmp_path / "noisy.mp4")
    assert check_intact(str(noisy), full=True) != ""
    cut = videos.truncated(source, tmp_path / "cut.mp4")
    assert check_intact(str(cut)) != ""
    assert check_intact(str(tmp_path / "none.mp4")) != ""
    assert "not readable as a video" in check_intact(str(videos.text(tmp_path / "t.mp4")))


def test_check_intact_beats_while_it_reads(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mp4", seconds=2, size=SIZE)
    for full in (False, True):
        beats: list[int] = []
        check_intact(str(path), full=full, beat=lambda beats=beats: beats.append(1))
        assert len(beats) >= 49


def test_what_is_no_video_is_said(tmp_path: Path) -> None:
    for path, error in (
        (videos.empty(tmp_path / "empty.mp4"), CannotOpen),
        (videos.text(tmp_path / "text.mp4"), CannotOpen),
        (videos.audio_only(tmp_path / "sound.mp4"), NoVideoStream),
        (tmp_path / "nowhere.mp4", CannotRead),
        (tmp_path, CannotRead),
    ):
        with pytest.raises(error) as caught:
            list(look(LookTask(str(path))))
        assert caught.value.path == str(path) and caught.value.detail


def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    """What is held while the moments of a video pass by, short and eight times as long."""

    def peak(seconds: float) -> int:
        path = make(tmp_path / f"{seconds}.mp4", seconds=seconds, fps=8, size=SIZE)
        tracemalloc.start()
        n = sum(
            len(c.batch.pixels)
            for c in look(
                LookTask(str(path), (96, 160), SampleOptions(sampler="fps", fps=8))
            )
            if isinstance(c, Chunk)
        )
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert n == seconds * 8
        return most

    assert peak(160) < peak(20) * 1.1 + 600_000  # small pictures: at most 128 are held


def test_every_packet_beats(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mp4", seconds=2, size=SIZE)
    beats: list[int] = []
    list(look(LookTask(str(path)), lambda: beats.append(1)))
    assert len(beats) >= 49


def test_small_pictures_stay_within_their_bytes(tmp_path: Path) -> None:
    def noisy(picture: Any, t: float) -> Any:
        noise = np.random.default_rng(int(t * 25)).integers(0, 255, picture.shape, np.uint8)
        return (picture // 2 + noise // 2).astype(np.uint8)

    path = make(tmp_path / "a.mp4", seconds=4, edit=noisy, options=X264 | {"crf": "10"})
    looked = taken(path, moments=128)[0]
    assert 0 < sum(len(d) for _, d in looked.thumbs) <= 100_000
    assert [t for t, _ in looked.thumbs] == sorted({t for t, _ in looked.thumbs})
    silent = list(look(LookTask(str(path), thumbs=False)))[-1]
    assert silent.thumbs == ()
