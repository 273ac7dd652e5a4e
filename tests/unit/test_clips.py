"""The moments that are asked for are the ones that come, as the pictures that are asked for."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import videos
from twinreel.errors import CannotOpen, DecodeFailed, VideoError
from twinreel.extract.clips import ClipTask, Ended, Rows, Sampling, Take, _damage, unroll
from twinreel.extract.filters import View, geometry
from twinreel.frames import Tally, all_frames

SMALL = View((90, 160), "stretch")


def _unroll(
    path: Path, *samplings: Sampling, **task: float
) -> tuple[dict[tuple[int, int], tuple[np.ndarray, np.ndarray]], Ended]:
    """(sampling, take) -> pixels and spans of all rows; and how it ended."""
    parts: dict[tuple[int, int], list[Rows]] = {}
    for item in unroll(ClipTask(str(path), samplings, **task)):  # type: ignore[arg-type]
        if isinstance(item, Ended):
            ended = item
        else:
            parts.setdefault((item.sampling, item.take), []).append(item)
    return {
        k: (np.concatenate([r.pixels for r in v]), np.concatenate([r.spans_s for r in v]))
        for k, v in parts.items()
    }, ended


def _one(path: Path, sampling: Sampling, **task: float) -> tuple[np.ndarray, np.ndarray]:
    rows, _ = _unroll(path, sampling, **task)
    return rows.get((0, 0), (np.zeros((0, 0, 0, 3), np.uint8), np.zeros((0, 2))))


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds at 25 frames a second, a key frame each second."""
    return videos.make(tmp_path_factory.mktemp("v") / "four.mp4", seconds=4, gop=25)


# -- geometry -------------------------------------------------------------------------------------


@given(st.integers(2, 4000), st.integers(2, 4000), st.sampled_from([112, 224]))
def test_geometry_is_the_seeds(width: int, height: int, size: int) -> None:
    if height >= width:
        seed = (size, int(height * size / width))
    else:
        seed = (int(width * size / height), size)
    assert geometry(width, height, View((size, size), "short")).scale == seed
    cropped = geometry(width, height, View((size, size), "crop"))
    assert cropped.scale == seed
    x, y = int((seed[0] - size) / 2.0), int((seed[1] - size) / 2.0)
    assert cropped.crop == (size, size, x, y)


@given(
    st.integers(2, 3000), st.integers(2, 3000), st.integers(8, 300), st.integers(8, 300),
    st.sampled_from([(), (256,), (128, 171)]),
)  # fmt: skip
def test_a_crop_always_lies_inside(
    width: int, height: int, tall: int, wide: int, resize: tuple[int, ...]
) -> None:
    shape = geometry(width, height, View((tall, wide), "crop", resize))
    assert shape.crop is not None
    w, h, x, y = shape.crop
    assert (w, h) == (wide, tall) and x >= 0 and y >= 0
    assert x + w <= shape.scale[0] and y + h <= shape.scale[1]


# -- moments --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("frames", "seed"), [(12, 0), (13, 1), (37, 1), (38, 2), (63, 3)])
def test_rows_at_one_a_second_are_the_rounded_seconds(
    frames: int, seed: int, tmp_path: Path
) -> None:
    path = videos.make(tmp_path / "a.mp4", seconds=frames / 25)
    ours, _ = _one(path, Sampling("fps", 1.0, takes=(Take(SMALL),)))
    exact, _ = _one(path, Sampling("fps", 1.0, seed_exact=True, takes=(Take(SMALL),)))
    assert len(exact) == seed
    assert len(ours) == max(1, seed), "a video that can be decoded has a row"


def test_the_right_frames_at_a_steady_rate(four: Path) -> None:
    pixels, spans = _one(four, Sampling("fps", 5.0, takes=(Take(SMALL),)))
    np.testing.assert_allclose(spans[:, 0], np.arange(20) / 5)
    np.testing.assert_allclose(spans[:, 1], np.arange(1, 21) / 5)
    numbers = [videos.read_number(p) for p in pixels]
    # Round to nearest: each slot shows the last frame that rounds to it.
    for number, start in zip(numbers, spans[:, 0], strict=True):
        assert number is not None and abs(number / 25 - start) <= 0.1
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize("count", [1, 2, 7])
def test_uniform_moments_are_the_middles_of_equal_parts(count: int, four: Path) -> None:
    sampling = Sampling("uniform", 0.0, count, takes=(Take(SMALL),))
    pixels, spans = _one(four, sampling)
    wanted = [(i + 0.5) * 4 / count for i in range(count)]
    np.testing.assert_allclose(spans[:, 0], wanted, atol=1e-6)
    # The frame on the screen at t is the last that began at or before t.
    assert [videos.read_number(p) for p in pixels] == [int(t * 25 + 1e-6) for t in wanted]


def test_keyframes_and_all_frames(four: Path) -> None:
    keys, spans = _one(four, Sampling("keyframes", takes=(Take(SMALL),)))
    assert [videos.read_number(p) for p in keys] == [0, 25, 50, 75]
    np.testing.assert_allclose(spans[:, 0], [0, 1, 2, 3])
    every, _ = _one(four, Sampling("all", takes=(Take(SMALL),)))
    assert [videos.read_number(p) for p in every] == list(range(100))


def test_start_and_end(four: Path) -> None:
    every = Sampling("all", takes=(Take(SMALL),))
    pixels, spans = _one(four, every, start=1.5, end=2.5)
    # At 1.5 s frame 37 is on the screen; 2.5 s is frame 62.5.
    assert [videos.read_number(p) for p in pixels] == list(range(37, 63))
    assert spans[0, 0] == pytest.approx(1.5, abs=0.02) and spans[-1, 1] <= 2.5 + 1e-6
    seconds, spans = _one(four, Sampling("fps", 1.0, takes=(Take(SMALL),)), start=1.0, end=3.0)
    np.testing.assert_allclose(spans, [[1, 2], [2, 3]], atol=1e-6)
    assert [videos.read_number(p) for p in seconds] == [25, 50] or len(seconds) == 2


def test_uneven_frames_are_taken_by_their_times(tmp_path: Path) -> None:
    path = videos.make(tmp_path / "a.mp4", seconds=4, vfr=True)
    truth = [(t, videos.read_number(p)) for t, p in videos.frames(path)]
    pixels, spans = _one(path, Sampling("uniform", 0.0, 9, takes=(Take(SMALL),)))
    for picture, (start, _) in zip(pixels, spans, strict=True):
        shown = [n for t, n in truth if t <= start + 1e-6][-1]
        assert videos.read_number(picture) == shown


@pytest.mark.parametrize(
    ("codec", "options"), [("libx264", {"bf": "3", "preset": "fast"}), ("mpeg4", {"bf": "2"})]
)
def test_an_avi_knows_no_times_of_showing(
    codec: str, options: dict[str, str], tmp_path: Path
) -> None:
    path = videos.make(tmp_path / "a.avi", seconds=2, codec=codec, options=options)
    pixels, spans = _one(path, Sampling("all", takes=(Take(SMALL),)))
    assert [videos.read_number(p) for p in pixels] == list(range(50))
    np.testing.assert_allclose(np.diff(spans[:, 0]), 1 / 25, atol=1e-6)


def test_a_clock_that_starts_anew_loses_nothing(tmp_path: Path) -> None:
    """Recordings joined with `cat`, as broadcast formats allow."""
    first = videos.make(tmp_path / "a.ts", seconds=3, seed=1)
    second = videos.make(tmp_path / "b.ts", seconds=2, seed=2, pts_start_s=40)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(p.read_bytes() for p in (first, second, first)))
    pixels, spans = _one(joined, Sampling("all", takes=(Take(SMALL),)))
    numbers = [videos.read_number(p) for p in pixels]
    assert numbers == [*range(75), *range(50), *range(75)]
    np.testing.assert_allclose(spans[:, 0], np.arange(200) / 25, atol=2e-3)
    seconds, _ = _one(joined, Sampling("fps", 1.0, takes=(Take(SMALL),)))
    assert len(seconds) == 8


@pytest.mark.parametrize("late_s", [0.3, 1.3])
def test_pictures_that_begin_later_than_the_file(late_s: float, tmp_path: Path) -> None:
    path = _with_early_sound(tmp_path / "late.mkv", late_s)
    every = Sampling("fps", 10.0, takes=(Take(SMALL),))
    pixels, spans = _one(path, every)
    assert len(pixels) == 20 and spans[0, 0] == pytest.approx(late_s, abs=0.06)
    exact, spans = _one(path, replace(every, seed_exact=True))
    before = round(late_s * 10)
    assert len(exact) == 20 + before and spans[0, 0] == 0
    numbers = [videos.read_number(p) for p in exact]
    assert len(set(numbers[: before + 1])) == 1 and numbers[before] <= 2
    assert numbers[before:] == [videos.read_number(p) for p in pixels]


def _with_early_sound(path: Path, late_s: float) -> Path:
    """Two seconds of pictures that begin `late_s` after the sound."""
    whole = videos.make(path.with_name("plain.mkv"), seconds=2, audio="sine")
    with av.open(str(whole)) as source, av.open(str(path), "w") as out:
        streams = {s.index: out.add_stream_from_template(s) for s in source.streams}
        for packet in source.demux():
            if not packet.size:
                continue
            if packet.stream.type == "video":
                packet.pts += round(late_s / packet.time_base)
                packet.dts = None  # Matroska keeps none
            packet.stream = streams[packet.stream.index]
            out.mux(packet)
    return path


def test_a_packet_that_repeats_the_picture_is_no_damage() -> None:
    class Packet:
        is_corrupt = False

        def __init__(self, size: int) -> None:
            self.size = size

        def decode(self) -> list[Any]:
            if not self.size:  # what Theora's decoder is told by libavcodec
                raise av.error.ArgumentError(22, "Invalid argument")
            return [SimpleNamespace(is_corrupt=False)]

    tally = Tally()
    container: Any = SimpleNamespace(demux=lambda s: iter(Packet(n) for n in (9, 0, 0, 7)))
    assert len(list(all_frames(container, None, "", lambda: None, tally))) == 2
    assert (tally.packets, tally.bad) == (2, 0)


# -- clips ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stride", "tail", "rows", "last"),
    [
        (16, "pad", 7, 4), (16, "loop", 7, 4), (16, "drop", 6, 16),
        (8, "pad", 12, 12), (8, "drop", 11, 16), (20, "pad", 5, 16), (30, "pad", 4, 10),
    ],
)  # fmt: skip
def test_clips_of_a_hundred_frames(
    stride: int, tail: str, rows: int, last: int, four: Path
) -> None:
    sampling = Sampling("all", takes=(Take(SMALL, 16, stride, tail),))
    found, ended = _unroll(four, sampling)
    pixels, spans = found[0, 0]
    assert pixels.shape == (rows, 16, 90, 160, 3)
    assert ended.frames == (100,) and ended.last_valid == ((last,),)
    for row, clip in enumerate(pixels):
        first = row * stride
        numbers = [videos.read_number(p) for p in clip]
        if row < rows - 1 or last == 16:
            assert numbers == list(range(first, first + 16))
        elif tail == "loop":
            assert numbers == [first + i % last for i in range(16)]
        else:
            assert numbers[:last] == list(range(first, first + last))
            assert not clip[last:].any(), "padded with black"
        valid = last if row == rows - 1 else 16
        np.testing.assert_allclose(spans[row], [first / 25, (first + valid) / 25], atol=1e-6)


def test_a_video_shorter_than_a_clip(tmp_path: Path) -> None:
    path = videos.make(tmp_path / "a.mp4", seconds=0.2)
    padded, _ = _one(path, Sampling("all", takes=(Take(SMALL, 16, 16),)))
    assert padded.shape[:2] == (1, 16) and not padded[0, 5:].any()
    dropped, _ = _one(path, Sampling("all", takes=(Take(SMALL, 16, 16, "drop"),)))
    assert len(dropped) == 0


def test_one_decode_feeds_many(four: Path) -> None:
    samplings = (
        Sampling("fps", 1.0, takes=(Take(View((48, 48), "short")), Take(View((32, 32), "crop")))),
        Sampling("fps", 12.0, takes=(Take(View((32, 32), "crop"), 8, 4),)),
        Sampling("keyframes", takes=(Take(SMALL),)),
        Sampling("uniform", 0.0, 3, takes=(Take(SMALL),)),
    )
    together, _ = _unroll(four, *samplings)
    assert sorted(together) == [(0, 0), (0, 1), (1, 0), (2, 0), (3, 0)]
    for i, sampling in enumerate(samplings):
        for j, take in enumerate(sampling.takes):
            alone = Sampling(sampling.sampler, sampling.fps, sampling.count, takes=(take,))
            pixels, spans = _one(four, alone)
            np.testing.assert_array_equal(together[i, j][0], pixels)
            np.testing.assert_array_equal(together[i, j][1], spans)


# -- pictures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_turned_phone_video_stands_upright(degrees: int, tmp_path: Path) -> None:
    path = videos.make(tmp_path / "a.mp4", seconds=1, rotate=degrees)  # stored 320 x 180
    view = View((120, 120), "short")
    pixels, _ = _one(path, Sampling("all", takes=(Take(view),)))
    turned = degrees % 180 == 90
    assert pixels.shape[1:3] == ((213, 120) if turned else (120, 213))
    shown = next(iter(videos.frames(path)))[1]
    upright = np.rot90(shown, -degrees // 90)
    step = (len(upright) / pixels.shape[1], upright.shape[1] / pixels.shape[2])
    down = (np.arange(pixels.shape[1]) * step[0]).astype(int)
    across = (np.arange(pixels.shape[2]) * step[1]).astype(int)
    like = upright[down][:, across].astype(float)
    other = like[::-1, ::-1]
    ours = pixels[0].astype(float)
    assert np.corrcoef(ours.ravel(), like.ravel())[0, 1] > 0.95
    assert np.corrcoef(ours.ravel(), other.ravel())[0, 1] < 0.9
    exact = View((120, 120), "short", seed_exact=True)
    squashed, _ = _one(path, Sampling("uniform", 0.0, 1, takes=(Take(exact),)))
    assert squashed.shape[1:3] == (120, 213), "the seed squeezes it into the unturned shape"


def test_pixel_aspect(tmp_path: Path) -> None:
    path = videos.make(tmp_path / "a.mp4", seconds=1, sar=Fraction(4, 3))  # 320 x 180 stored
    takes = (Take(View((90, 90), "short")), Take(View((90, 90), "short", seed_exact=True)))
    rows, _ = _unroll(path, Sampling("uniform", 0.0, 1, takes=takes))
    assert rows[0, 0][0].shape[1:3] == (90, 213) and rows[0, 1][0].shape[1:3] == (90, 160)


# -- trouble --------------------------------------------------------------------------------------


def test_half_a_file_says_what_is_missing(tmp_path: Path) -> None:
    whole = videos.faststart(tmp_path / "a.mp4", seconds=6)
    half = videos.truncated(whole, tmp_path / "b.mp4")
    _, ended = _unroll(half, Sampling("fps", 1.0, takes=(Take(SMALL),)))
    assert "of 6.0 s" in ended.damage and 0 < ended.frames[0] < ended.expected[0] == 6


@pytest.mark.parametrize(
    ("seen_s", "length_s", "partial"),
    [(9.1, 10, False), (8.9, 10, True), (981, 1000, False), (979, 1000, True)],
)
def test_a_second_or_two_percent_may_be_lacking(
    seen_s: float, length_s: float, partial: bool
) -> None:
    assert bool(_damage(length_s, Tally(last_s=seen_s))) is partial


@pytest.mark.parametrize(
    ("make", "kind"),
    [(videos.empty, CannotOpen), (videos.text, CannotOpen), (videos.audio_only, VideoError)],
)
def test_what_is_no_video(make: object, kind: type[Exception], tmp_path: Path) -> None:
    path = make(tmp_path / "a.mp4")  # type: ignore[operator]
    with pytest.raises(kind):
        _unroll(path, Sampling("fps", 1.0, takes=(Take(SMALL),)))


def test_garbage_inside_is_noticed(tmp_path: Path) -> None:
    whole = videos.make(tmp_path / "a.mp4", seconds=6, size=(640, 360))
    size = whole.stat().st_size
    bad = videos.garbage(whole, tmp_path / "b.mp4", amount=size // 3)
    try:
        _, ended = _unroll(bad, Sampling("fps", 1.0, takes=(Take(SMALL),)))
    except DecodeFailed as error:
        assert "undecodable" in str(error)
    else:
        assert "undecodable" in ended.damage


def test_pieces_are_small_whatever_the_length(four: Path) -> None:
    big = Take(View((720, 1280), "stretch"))
    for item in unroll(ClipTask(str(four), (Sampling("all", takes=(big,)),))):
        if isinstance(item, Rows):
            assert item.pixels.nbytes <= 8 << 20
