"""Makes the videos that tests run on: moving pictures with the frame number painted in blocks.

    make(tmp_path / "a.mp4", seconds=4, seed=7)
    number = read_number(frame)           # uint8 (h, w, 3) -> 37

The content depends only on `seed` and time: another size, codec, crop or start is a true copy.
With a readable number in it, 'the decoder gave the right frame' is an equality.
"""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from twinreel.demo import Picture, cut, pad, paint, scale

os.environ.setdefault("SVT_LOG", "0")  # the AV1 encoder chats on stderr
Box = tuple[float, float, float, float]  # left, top, right, bottom; fractions of the picture
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)

_COLUMNS, _ROWS = 8, 2  # 15 bits of number and one of odd parity
_PANEL: Box = (0.26, 0.62, 0.74, 0.80)  # inside any crop of up to 0.2 from each side
LARGEST = 2**15 - 1

_FAST = {
    "libx264": {"preset": "veryfast", "crf": "20"},
    "libx265": {"preset": "ultrafast", "crf": "22", "x265-params": "log-level=none:pools=none"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "32", "b": "0"},
    "libsvtav1": {"preset": "12", "crf": "35", "svtav1-params": "lp=1"},
    "mpeg4": {"q": "4"},
    "mpeg2video": {"q": "4"},
}
_NAMES = {"hevc": "libx265", "h264": "libx264", "vp9": "libvpx-vp9", "av1": "libsvtav1"}


def _blocks(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    left, top, right, bottom = _PANEL
    for row in range(_ROWS):
        for column in range(_COLUMNS):
            y0 = round((top + (bottom - top) * row / _ROWS) * height)
            y1 = round((top + (bottom - top) * (row + 1) / _ROWS) * height)
            x0 = round((left + (right - left) * column / _COLUMNS) * width)
            x1 = round((left + (right - left) * (column + 1) / _COLUMNS) * width)
            yield slice(y0, y1), slice(x0, x1)


def stamp(picture: Picture, number: int, tint: int = 0) -> Picture:
    """Paint `number` (0 to LARGEST) in the picture, in place; `tint` varies the colours."""
    if not 0 <= number <= LARGEST:
        raise ValueError(f"a frame number is 0 to {LARGEST}, got {number}")
    word = number | (1 - number.bit_count() % 2) << 15
    shade = np.random.default_rng((tint, 3)).integers(0, 40, (2, 3))
    colours = shade[0].astype(np.uint8), (255 - shade[1]).astype(np.uint8)
    for bit, place in enumerate(_blocks(*picture.shape[:2])):
        picture[place] = colours[word >> bit & 1]
    return picture


def read_number(picture: Picture, seen: Box = WHOLE, mirrored: bool = False) -> int | None:
    """The number painted in a picture (h, w, 3); None when it is not readable.

    seen: the part of the painted picture that `picture` shows, as for `make(crop=...)`; beyond
    0 and 1 where it has borders around. Blocks may be as small as 4 pixels.
    """
    if mirrored:
        picture = picture[:, ::-1]
    grey = picture.astype(np.float32).mean(axis=-1)
    height, width = grey.shape
    across, down = width / (seen[2] - seen[0]), height / (seen[3] - seen[1])
    bits = []
    for rows, columns in _blocks(10_000, 10_000):
        y0, y1 = ((v / 10_000 - seen[1]) * down for v in (rows.start, rows.stop))
        x0, x1 = ((v / 10_000 - seen[0]) * across for v in (columns.start, columns.stop))
        if x0 < -1 or y0 < -1 or x1 > width + 1 or y1 > height + 1:
            return None
        # The inner half: edges are smeared by scaling and by the codec.
        y, x = (y0 * 3 + y1) / 4, (x0 * 3 + x1) / 4
        h, w = max(1, round((y1 - y0) / 2)), max(1, round((x1 - x0) / 2))
        bits.append(float(grey[round(y) : round(y) + h, round(x) : round(x) + w].mean()))
    low, high = min(bits), max(bits)
    if high - low < 60 or any(abs(b - (low + high) / 2) < (high - low) * 0.15 for b in bits):
        return None
    word = sum(1 << i for i, b in enumerate(bits) if b > (low + high) / 2)
    return word & LARGEST if word.bit_count() % 2 else None


def letterbox_box(amount: float) -> Box:
    """Bars above and below, each `amount` of the height."""
    return (0.0, amount, 1.0, 1.0 - amount)


def make(
    path: Path | str,
    seconds: float = 4,
    fps: float = 25,
    size: tuple[int, int] = (320, 180),
    codec: str = "libx264",
    seed: int = 0,
    *,
    gop: int | None = None,
    audio: str | Sequence[str] | None = None,
    subtitles: Sequence[str] = (),
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    rotate: int | None = None,
    sar: Fraction | None = None,
    letterbox: float | Box | None = None,
    crop: Box | None = None,
    mirrored: bool = False,
    logo: bool = False,
    start_s: float = 0.0,
    pts_start_s: float = 0.0,
    speed: float = 1.0,
    vfr: bool = False,
    ten_bit_hdr: bool = False,
    interlaced: bool = False,
    pix_fmt: str | None = None,
    number: bool = True,
    edit: Callable[[Picture, float], Picture] | None = None,
    paint_size: tuple[int, int] | None = None,
) -> Path:
    """Write one video and return its path. The path's ending chooses the container.

    Args:
        gop: frames between key frames.
        audio: 'sine', or one language per track ('eng', 'ger').
        subtitles: one language per track (mkv).
        rotate: clockwise degrees a player must turn the picture by (mp4, mov).
        sar: sample aspect ratio of the stored pixels.
        letterbox: share of the height of each bar, or the box the picture is squeezed into.
        crop: the part of the picture that is shown.
        start_s: moment of the content at which the video starts; frame numbers start there too.
        pts_start_s: timestamp of the first frame.
        speed: content seconds per second.
        vfr: uneven gaps between frames (the content follows the timestamps).
        number: paint the frame number: round((start_s + t * speed) * fps).
        edit: (picture, content time) -> picture, the last thing before encoding.
        paint_size: paint at this size and scale to `size` (an upscale when smaller).
    """
    path = Path(path)
    if ten_bit_hdr:
        codec, pix_fmt = "libx265", pix_fmt or "yuv420p10le"
    codec = _NAMES.get(codec, codec)
    settings = dict(_FAST.get(codec, {})) if options is None else dict(options)
    if interlaced:
        settings["x264-params"] = "interlaced=1:tff=1"
    if gop is not None:
        settings |= {"g": str(gop), "keyint_min": str(gop)}
    rate = Fraction(fps).limit_denominator(1001)
    base = 1 / rate if codec in ("mpeg4", "mpeg2video", "gif") and not vfr else Fraction(1, 90_000)
    if codec == "gif":
        pix_fmt = pix_fmt or "rgb8"
    with av.open(str(path), "w", container_options=container_options or {}) as container:
        stream: Any = container.add_stream(codec, rate=rate, options=settings)
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt or "yuv420p"
        context = stream.codec_context
        context.time_base, context.thread_count = base, 1
        if sar:
            context.sample_aspect_ratio = sar
        if rotate:
            stream.set_display_rotation(-rotate)  # FFmpeg counts counter-clockwise
        if ten_bit_hdr:
            context.color_trc, context.color_primaries, context.colorspace = 16, 9, 9
        if audio or subtitles:
            _add_tracks(container, audio, subtitles, seconds, lambda: container.start_encoding())
        for t in _times(seconds, float(rate), vfr, seed):
            moment = start_s + t * speed
            picture = paint(seed, moment, paint_size or size)
            if number:
                stamp(picture, round(moment * float(rate)), tint=seed)
            picture = _edited(picture, size, letterbox, crop, mirrored, logo)
            if edit:
                picture = edit(picture, moment)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = round(Fraction(pts_start_s + t) / base), base
            if ten_bit_hdr:
                frame.color_trc = 16
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _times(seconds: float, fps: float, vfr: bool, seed: int) -> list[float]:
    count = max(1, round(seconds * fps))
    if not vfr:
        return [i / fps for i in range(count)]
    jitter = random.Random(seed)
    return [0.0] + [(i + jitter.uniform(-0.4, 0.4)) / fps for i in range(1, count)]


def _edited(
    picture: Picture,
    size: tuple[int, int],
    letterbox: float | Box | None,
    crop: Box | None,
    mirrored: bool,
    logo: bool,
) -> Picture:
    if crop:
        picture = cut(picture, crop)
    if mirrored:
        picture = picture[:, ::-1]
    picture = scale(picture, size)
    if logo:
        picture = picture.copy()
        h, w = picture.shape[:2]
        picture[h // 16 : h // 6, w * 4 // 5 : w * 19 // 20] = (240, 240, 240)
        picture[h // 10 : h // 8, w * 33 // 40 : w * 37 // 40] = (190, 20, 20)
    if letterbox is not None:
        box = letterbox_box(letterbox) if isinstance(letterbox, int | float) else letterbox
        picture = pad(picture, box)
    return picture


def _add_tracks(
    container: Any,
    audio: str | Sequence[str] | None,
    subtitles: Sequence[str],
    seconds: float,
    start: Callable[[], None],
) -> None:
    """Sound and subtitle tracks, written before the picture (players and probes do not mind)."""
    languages = ["und"] if audio == "sine" else [audio] if isinstance(audio, str) else audio or []
    tracks = []
    for i, language in enumerate(languages):
        # Ogg and WebM have no AAC.
        codec = "libopus" if container.format.name in ("webm", "ogg") else "aac"
        track = container.add_stream(codec, rate=48_000, layout="mono")
        track.metadata["language"] = language
        tracks.append((track, 440 * (i + 1)))
    texts = []
    for language in subtitles:
        text = container.add_mux_stream("subrip")
        text.metadata["language"] = language
        text.time_base = Fraction(1, 1000)
        texts.append(text)
    start()
    for track, hertz in tracks:
        t = np.arange(round(seconds * 48_000)) / 48_000
        wave = (0.3 * np.sin(2 * np.pi * hertz * t)).astype(np.float32)[None]
        for at in range(0, wave.shape[1], 1024):
            chunk = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(wave[:, at : at + 1024]), format="fltp", layout="mono"
            )
            chunk.sample_rate, chunk.pts, chunk.time_base = 48_000, at, Fraction(1, 48_000)
            container.mux(track.encode(chunk))
        container.mux(track.encode(None))
    for text in texts:
        packet = av.Packet(b"Good evening.")
        packet.stream, packet.pts, packet.dts = text, 0, 0
        packet.duration, packet.time_base = 900, Fraction(1, 1000)
        container.mux_one(packet)


# -- broken and odd files ---------------------------------------------------------------------


def truncated(source: Path, target: Path, share: float = 0.5) -> Path:
    """The first `share` of the bytes of `source`."""
    data = source.read_bytes()
    target.write_bytes(data[: int(len(data) * share)])
    return target


def garbage(source: Path, target: Path, amount: int = 400_000, at: float = 0.3) -> Path:
    """`source` with up to `amount` bytes (at most 30 % of it) overwritten by noise from `at` on."""
    data = bytearray(source.read_bytes())
    start = int(len(data) * at)
    length = min(amount, int(len(data) * 0.3))
    data[start : start + length] = random.Random(1).randbytes(length)
    target.write_bytes(data)
    return target


def empty(path: Path) -> Path:
    """Zero bytes."""
    path.write_bytes(b"")
    return path


def text(path: Path) -> Path:
    """Words under a video's name."""
    path.write_text("This is not a video.\n" * 100)
    return path


def audio_only(path: Path, seconds: float = 1.0) -> Path:
    """Sound and no picture."""
    with av.open(str(path), "w") as container:
        _add_tracks(container, "sine", (), seconds, lambda: container.start_encoding())
    return path


def one_frame(path: Path, **settings: Any) -> Path:
    """A single frame."""
    return make(path, seconds=0.04, **settings)


def gif(path: Path, seconds: float = 2, seed: int = 0) -> Path:
    """An animated GIF, 10 frames per second."""
    return make(path, seconds, fps=10, size=(160, 90), codec="gif", seed=seed)


def no_timestamps(path: Path, **settings: Any) -> Path:
    """A bare H.264 stream (`path` ends in .h264 or .264, or any ending by renaming)."""
    if path.suffix in (".h264", ".264"):
        return make(path, **settings)
    return make(path.with_name(f".{path.name}.h264"), **settings).replace(path)


def faststart(path: Path, **settings: Any) -> Path:
    """An MP4 with its index in front."""
    return make(path, container_options={"movflags": "+faststart"}, **settings)


def frames(path: Path | str) -> Iterator[tuple[float, Picture]]:
    """(seconds, RGB picture) of every frame, decoded plainly: what a decoder is checked against."""
    with contextlib.closing(av.open(str(path))) as container:
        for frame in container.decode(video=0):
            yield frame.time, frame.to_ndarray(format="rgb24")
