"""Videos to measure on, made cheaply, and the name of the machine for results."""

from __future__ import annotations

import os
import platform
import random
import struct
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from twinreel.demo import paint

FILM = (1920, 1080)


def machine() -> str:
    """Processor, cores and load, for the head of a result."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [n for n in info.read_text().splitlines() if n.startswith("model name")]
        model = lines[0].split(":", 1)[1].strip() if lines else model
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg()) if hasattr(os, "getloadavg") else "?"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{model}, {cores} cores; load {load}; Python {platform.python_version()}"


def hard_copy(source: Path, target: Path, number: int) -> Path:
    """The same video in another content: a few bytes that containers skip are added at the end."""
    word = random.Random(number).randbytes(16)
    tail = {
        ".mp4": struct.pack(">I4s", 24, b"free") + word,
        ".mov": struct.pack(">I4s", 24, b"free") + word,
        ".mkv": b"\xec\x90" + word,  # an EBML Void element
        ".webm": b"\xec\x90" + word,
    }.get(source.suffix.lower(), word)
    with open(target, "wb") as out:
        out.write(source.read_bytes())
        out.write(tail)
    return target


def pictures(clips: Sequence[Path], seconds: float, fps: int) -> Iterator[Any]:
    """Frames of the clips one after the other, again from the start until there are enough."""
    left = round(seconds * fps)
    while left > 0:
        for clip in clips:
            with av.open(str(clip)) as container:
                for frame in container.decode(video=0):
                    yield frame
                    left -= 1
                    if left <= 0:
                        return


def encode(frames: Iterator[Any], target: Path, size: tuple[int, int], fps: int) -> Path:
    """H.264 with B-frames and key frames at most 10 s apart, as films have them."""
    with av.open(str(target), "w") as out:
        stream: Any = out.add_stream(
            "libx264", rate=fps, options={"preset": "veryfast", "crf": "23", "g": str(fps * 10)}
        )
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.thread_count = os.cpu_count() or 1
        for i, frame in enumerate(frames):
            ready = frame.reformat(width=size[0], height=size[1], format="yuv420p")
            ready.pts, ready.time_base = i, Fraction(1, fps)
            ready.pict_type = 0
            out.mux(stream.encode(ready))
        out.mux(stream.encode(None))
    return target


def painted(seconds: float, fps: int, size: tuple[int, int], seed: int) -> Iterator[Any]:
    """Frames of a generated moving picture."""
    for i in range(round(seconds * fps)):
        picture = paint(seed, i / fps, size)
        yield av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")


def looped(source: Path, target: Path, seconds: float) -> Path:
    """`source` again and again without encoding, until it lasts `seconds`."""
    with av.open(str(target), "w") as out:
        copy: Any = None
        offset = 0
        while True:
            with av.open(str(source)) as container:
                stream = container.streams.video[0]
                if copy is None:
                    copy = out.add_stream_from_template(stream)
                base, length = stream.time_base, stream.duration
                assert base and length
                for packet in container.demux(stream):
                    if packet.dts is None:
                        continue
                    packet.pts += offset
                    packet.dts += offset
                    packet.stream = copy
                    out.mux(packet)
                offset += length
                if offset * base >= seconds:
                    return target
