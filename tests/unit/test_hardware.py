"""Decoding on a GPU: what is refused is said, and what a GPU would give makes the same rows.

No GPU is needed: frames as NVDEC hands them over (nv12, p010le) are made from the CPU's.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests import videos
from twinreel.extract import clips, hardware
from twinreel.extract.clips import ClipTask, Ended, Rows, Sampling, Take, unroll
from twinreel.extract.filters import View
from twinreel.extract.options import ExtractOptions

TAKES = (Take(View((64, 64), "crop")), Take(View((60, 60), "short")))
EVERY = (Sampling("fps", 5.0, takes=TAKES),)


def _rows(path: Path, gpu: str = "") -> tuple[list[np.ndarray], Ended]:
    items = list(unroll(ClipTask(str(path), EVERY, gpu=gpu)))
    ended = items.pop()
    assert isinstance(ended, Ended)
    return [
        np.concatenate([i.pixels for i in items if isinstance(i, Rows) and i.take == take])
        for take in range(len(TAKES))
    ], ended


def _as_from_gpu(frame: Any) -> Any:
    """The same picture with its two colours interleaved, as NVDEC leaves it."""
    wide = frame.format.name == "yuv420p10le"
    planes = [np.frombuffer(p, np.uint16 if wide else np.uint8) for p in frame.planes]
    lines = [
        p.reshape(q.height, -1)[:, : q.width] for p, q in zip(planes, frame.planes, strict=True)
    ]
    out = av.VideoFrame(frame.width, frame.height, "p010le" if wide else "nv12")
    colours = np.stack(lines[1:], axis=-1).reshape(len(lines[1]), -1)
    for plane, values in zip(out.planes, (lines[0], colours), strict=True):
        values = values << 6 if wide else values  # p010le keeps its ten bits on top
        room = np.zeros((plane.height, plane.line_size // values.itemsize), values.dtype)
        room[:, : values.shape[1]] = values
        plane.update(room.tobytes())
    out.pts, out.time_base, out.duration = frame.pts, frame.time_base, frame.duration
    out.color_range, out.colorspace = frame.color_range, frame.colorspace
    return out


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU is there; FFmpeg is not told of it."""
    monkeypatch.setattr(hardware, "_fault", lambda gpu: "")
    monkeypatch.setattr(hardware, "_accelerator", lambda gpu: None)


@pytest.fixture
def frames_of_gpu(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """And every frame comes as it would from there."""
    real = clips.timed

    def timed(*given: Any) -> Iterator[tuple[Any, float, float]]:
        for frame, start, end in real(*given):
            yield _as_from_gpu(frame), start, end

    monkeypatch.setattr(clips, "timed", timed)


@pytest.mark.parametrize(
    "settings", [{}, {"size": (162, 90)}, {"codec": "vp9"}, {"ten_bit_hdr": True}], ids=str
)
def test_pictures_of_a_gpu_are_the_same(
    settings: dict[str, Any], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    path = videos.make(tmp_path / "a.mkv", seconds=2, **settings)
    expected, ended = _rows(path)
    assert (ended.decoder, ended.refused) == ("cpu", "")
    request.getfixturevalue("frames_of_gpu")
    pictures, ended = _rows(path, gpu="0")
    assert (ended.decoder, ended.refused) == ("cuda", "")
    for a, b in zip(expected, pictures, strict=True):
        assert len(a) == 10
        np.testing.assert_array_equal(a, b)


def test_a_video_that_the_gpu_refuses_is_decoded_all_the_same(gpu: None, tmp_path: Path) -> None:
    """FFmpeg goes on with the CPU by itself, which shows in the frames alone."""
    path = videos.make(tmp_path / "a.mp4", seconds=1)
    pictures, ended = _rows(path, gpu="0")
    assert len(pictures[0]) == 5 and ended.decoder == "cpu"
    assert "the GPU refuses" in ended.refused


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"codec": "mpeg4"}, "mpeg4 is decoded on the CPU alone"),
        ({"pix_fmt": "yuv444p"}, "h264 with yuv444p pictures"),
    ],
)
def test_what_is_not_asked_of_a_gpu(
    gpu: None, settings: dict[str, Any], words: str, tmp_path: Path
) -> None:
    path = videos.make(tmp_path / "a.mkv", seconds=1, **settings)
    pictures, ended = _rows(path, gpu="0")
    assert len(pictures[0]) == 5
    assert ended.decoder == "cpu" and words in ended.refused


def test_which_gpu_decodes() -> None:
    assert hardware.chosen("cpu", "cuda:1") == ""
    assert [hardware.chosen("cuda", d) for d in ("auto", "cpu", "cuda", "cuda:1")] == [
        "0", "0", "0", "1",
    ]  # fmt: skip


def test_the_seeds_pictures_are_the_cpus() -> None:
    with pytest.raises(ValueError, match="seed_exact is compared with decoding on the CPU"):
        ExtractOptions(seed_exact=True, decoder="cuda")
