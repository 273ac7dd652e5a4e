"""What the headers say, of videos whose every property is known."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests import videos
from tests.videos import make
from twinreel.errors import CannotOpen, CannotRead, NoVideoStream
from twinreel.probe import probe, rational
from twinreel.types import Track

SIZE = (160, 96)


def test_plain(tmp_path: Path) -> None:
    info = probe(str(make(tmp_path / "a.mp4", seconds=2, fps=25, size=(320, 180))))
    assert (info.width, info.height, info.coded_width, info.coded_height) == (320, 180, 320, 180)
    assert info.duration_s == pytest.approx(2.0)
    assert info.fps == info.fps_guessed == 25.0
    assert (info.codec, info.bit_depth, info.hdr, info.rotation) == ("h264", 8, "", 0)
    assert "mp4" in info.container and info.bitrate > 1000
    assert info.audio == info.subtitles == () and not info.interlaced


@pytest.mark.parametrize(
    ("name", "settings", "codec"),
    [
        ("a.mkv", {"codec": "hevc"}, "hevc"),
        ("a.webm", {"codec": "vp9"}, "vp9"),
        ("a.mp4", {"codec": "av1"}, "av1"),
        ("a.avi", {"codec": "mpeg4"}, "mpeg4"),
        ("a.mpg", {"codec": "mpeg2video"}, "mpeg2video"),
        ("a.ts", {}, "h264"),
        ("a.gif", {"codec": "gif", "options": {}, "fps": 10}, "gif"),
    ],
)
def test_codecs_and_containers(
    tmp_path: Path, name: str, settings: dict[str, Any], codec: str
) -> None:
    info = probe(str(make(tmp_path / name, seconds=2, size=SIZE, **settings)))
    assert info.codec == codec
    assert info.duration_s == pytest.approx(2.0, abs=0.21)
    assert (info.width, info.height) == SIZE


def test_tracks_with_languages(tmp_path: Path) -> None:
    path = make(
        tmp_path / "a.mkv", seconds=1, size=SIZE, audio=["eng", "ger"], subtitles=["fre", "spa"]
    )
    info = probe(str(path))
    assert info.audio == (Track("aac", "eng", 1), Track("aac", "ger", 1))
    assert [(t.codec, t.language) for t in info.subtitles] == [("subrip", "fre"), ("subrip", "spa")]


def test_high_dynamic_range(tmp_path: Path) -> None:
    info = probe(str(make(tmp_path / "a.mp4", seconds=1, size=SIZE, ten_bit_hdr=True)))
    assert (info.hdr, info.bit_depth, info.codec) == ("pq", 10, "hevc")


def test_wide_pixels(tmp_path: Path) -> None:
    info = probe(str(make(tmp_path / "a.mp4", seconds=1, size=(180, 144), sar=Fraction(64, 45))))
    assert (info.width, info.height, info.coded_width) == (256, 144, 180)


def test_interlaced(tmp_path: Path) -> None:
    assert probe(str(make(tmp_path / "a.mp4", seconds=1, size=SIZE, interlaced=True))).interlaced


def test_no_timestamps(tmp_path: Path) -> None:
    info = probe(str(videos.no_timestamps(tmp_path / "a.h264", seconds=1, size=SIZE)))
    assert info.duration_s == 0.0 and (info.width, info.height) == SIZE


def test_uneven_rate(tmp_path: Path) -> None:
    info = probe(str(make(tmp_path / "a.mp4", seconds=4, size=SIZE, vfr=True)))
    assert info.duration_s == pytest.approx(4.0, abs=0.1)
    assert info.fps == pytest.approx(25, rel=0.05)


def test_a_cover_picture_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "song.mp4"
    videos.audio_only(path)
    with pytest.raises(NoVideoStream, match="no moving picture"):
        probe(str(path))
    # Sound with a cover: the picture stream is there, and is not a video.
    with av.open(str(tmp_path / "cover.mp4"), "w") as out:
        sound = out.add_stream("aac", rate=48_000, layout="mono")
        cover = out.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        frame = av.VideoFrame(64, 64, "yuvj420p")
        out.mux(cover.encode(frame))
        out.mux(cover.encode(None))
        quiet = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
        )
        quiet.sample_rate, quiet.pts, quiet.time_base = 48_000, 0, Fraction(1, 48_000)
        out.mux(sound.encode(quiet))
        out.mux(sound.encode(None))
    with pytest.raises(NoVideoStream):
        probe(str(tmp_path / "cover.mp4"))


@pytest.mark.parametrize("name", ["a:b.mp4", "file:x.mp4", "100%.mp4", "a\nb.mp4", "-x.mp4"])
def test_any_name_is_a_file_not_an_address(tmp_path: Path, name: str) -> None:
    make(tmp_path / "a.mp4", seconds=0.2, size=SIZE).rename(tmp_path / name)
    assert probe(str(tmp_path / name)).width == 160


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    name = os.fsdecode(os.fsencode(str(tmp_path)) + b"/\xff\xfe.mp4")
    make(tmp_path / "a.mp4", seconds=0.2, size=SIZE).rename(name)
    assert probe(name).width == 160


def test_lists_that_name_other_files_are_not_followed(tmp_path: Path) -> None:
    """A playlist from a stranger must not make us read what it names."""
    victim = make(tmp_path / "v.ts", seconds=1, size=SIZE)
    trap = tmp_path / "trap.mp4"
    trap.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{victim}\n")
    with pytest.raises(CannotOpen):
        probe(str(trap))
    concat = tmp_path / "concat.mp4"
    concat.write_text(f"ffconcat version 1.0\nfile {victim}\n")
    with pytest.raises(CannotOpen):
        probe(str(concat))


def test_errors_have_the_path_and_plain_words(tmp_path: Path) -> None:
    for path, error, words in (
        (videos.empty(tmp_path / "e.mp4"), CannotOpen, "not readable as a video"),
        (videos.text(tmp_path / "t.mp4"), CannotOpen, "not readable as a video"),
        (tmp_path / "n.mp4", CannotRead, "No such file or directory"),
        (tmp_path, CannotRead, "directory"),
    ):
        with pytest.raises(error, match=words) as caught:
            probe(str(path))
        assert caught.value.path == str(path)
        assert caught.value.stage in ("probe", "read")


def test_rational() -> None:
    assert rational(None) is None
    assert rational(Fraction(0)) is None
    assert rational(Fraction(1, 25)) == Fraction(1, 25)

    class Unknown:  # PyAV 19's way to say so
        numerator, denominator = 0, 0

        def __bool__(self) -> bool:
            return False

    assert rational(Unknown()) is None
