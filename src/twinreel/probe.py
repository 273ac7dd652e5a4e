"""A video file -> VideoInfo, from its headers; nothing is decoded.

info = probe("film.mkv")
print(info.duration_s, info.width, info.height, info.codec)
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
from av.container import InputContainer

from twinreel.errors import CannotOpen, CannotRead, NoVideoStream
from twinreel.types import Track, VideoInfo

# ITU-T H.273 transfer characteristics that mean high dynamic range.
_HDR = {16: "pq", 18: "hlg"}
# Containers of FFmpeg that read other files or addresses named inside: not from strangers.
_PROTOCOLS = {"protocol_whitelist": "file,crypto,data"}


def rational(value: Any) -> Fraction | None:
    """A rate or time base as Fraction; None where the container does not know one.

    PyAV 18 gives Fraction or None, PyAV 19 its own rational with 0/1 for unknown.
    """
    if not value or not value.denominator:
        return None
    return Fraction(value.numerator, value.denominator)


@contextlib.contextmanager
def opened(path: str, accelerator: Any = None) -> Iterator[InputContainer]:
    """The container at `path`. Raises CannotRead (the system's fault), CannotOpen (the file's).

    accelerator: an av.codec.hwaccel.HWAccel that decodes, None for the CPU.
    """
    try:
        # 'file:' keeps names with a colon from being taken for an address.
        container = av.open(
            f"file:{path}", metadata_errors="replace", options=_PROTOCOLS, hwaccel=accelerator
        )
    except (av.error.FFmpegError, OSError, ValueError) as error:
        _check_readable(path)  # FFmpeg says 'not permitted' of what a file's content asks for, too
        words = getattr(error, "strerror", None) or str(error)
        raise CannotOpen(path, f"not readable as a video: {words}") from None
    try:
        yield container
    finally:
        container.close()


def _check_readable(path: str) -> None:
    """Raise CannotRead with the system's words where it is the system that refuses."""
    try:
        with open(path, "rb") as file:
            file.read(1)
    except OSError as error:
        raise CannotRead(path, error.strerror or str(error)) from None


def _codec(context: Any) -> str:
    """A codec's own name ('av1'), not its decoder's ('libdav1d')."""
    return str(context.codec.canonical_name) if context else "unknown"


def video_stream(container: InputContainer, path: str) -> Any:
    """The moving picture: the first video stream that is not a cover picture."""
    streams = [
        s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic
    ]
    if not streams:
        raise NoVideoStream(path, "no moving picture in it (sound or cover pictures only)")
    stream = streams[0]
    if stream.codec_context is None:
        raise CannotOpen(path, "no decoder for its video codec")
    return stream


def probe(path: str) -> VideoInfo:
    """What the headers of the file at `path` say.

    Raises:
        CannotRead, CannotOpen, NoVideoStream.
    """
    with opened(path) as container:
        return describe(container, video_stream(container, path))


def describe(container: InputContainer, stream: Any, rotation: int = 0) -> VideoInfo:
    """VideoInfo of an open container; `rotation` (degrees) comes from the first decoded frame."""
    context = stream.codec_context
    aspect = float(rational(stream.sample_aspect_ratio) or 1)
    width, height = context.width or 0, context.height or 0
    # Pixel aspect widens or narrows the picture; the number of lines is what it is.
    shown = (max(1, round(width * aspect)), height)
    if rotation % 180:
        shown = (shown[1], shown[0])
    fps, guessed = rational(stream.average_rate), rational(stream.guessed_rate)
    return VideoInfo(
        duration_s=duration(container, stream),
        width=shown[0],
        height=shown[1],
        coded_width=width,
        coded_height=height,
        codec=_codec(context),
        container=container.format.name,
        fps=float(fps) if fps else None,
        fps_guessed=float(guessed) if guessed else None,
        rotation=rotation % 360,
        sample_aspect=aspect,
        bitrate=context.bit_rate or container.bit_rate or 0,
        bit_depth=context.format.components[0].bits if context.format else 8,
        hdr=_HDR.get(int(context.color_trc or 0), ""),
        interlaced=getattr(context, "field_order", 0) not in (0, 1, None),
        audio=tuple(
            Track(
                _codec(s.codec_context),
                s.language or "und",
                s.codec_context.channels if s.codec_context else 0,
            )
            for s in container.streams.audio
        ),
        subtitles=tuple(
            Track(_codec(s.codec_context), s.language or "und") for s in container.streams.subtitles
        ),
    )


def duration(container: InputContainer, stream: Any) -> float:
    """Seconds of the moving picture as the headers tell it; 0.0 when they do not."""
    base = rational(stream.time_base)
    if stream.duration and base:
        return float(stream.duration * base)
    return container.duration / 1_000_000 if container.duration else 0.0
