"""How a video can be shown by a browser: as it is, in another container, or converted.

    how(video)                      # ('direct', 'video/mp4', '') and so on
    frame_jpeg(path, 12.5, rect)    # one frame as JPEG, in a process of its own

Decoders meet broken files here, so they run in other processes: one that crashes takes no server
with it.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import NamedTuple

from twinreel.errors import DecodeFailed
from twinreel.types import Video

FRAME_WIDTH = 1280  # of single frames for comparing, at most
_MP4 = (".mp4", ".m4v", ".mov")
_MP4_AUDIO = frozenset({"aac", "mp3", "opus", "flac"})
_WEBM_AUDIO = frozenset({"opus", "vorbis"})
# Containers whose timestamps can be copied as they are; AVI knows none for B-frames.
_COPIED = ("matroska", "mov", "flv", "mpegts")


class How(NamedTuple):
    """mode: 'direct', 'remux', 'transcode' or 'none'; why: in words, '' for direct."""

    mode: str
    mime: str
    why: str


def how(video: Video) -> How:
    """How a browser can play a video, from what its headers say."""
    info = video.info
    ending = os.path.splitext(video.path)[1].lower()
    sound = {t.codec for t in info.audio[:1]}
    if not info.codec:
        return How("none", "", "nothing is known of its video stream")
    plain = info.bit_depth == 8 and not info.hdr and not info.interlaced
    mp4 = plain and info.codec == "h264" or info.codec in ("av1", "vp9") and not info.hdr
    webm = info.codec in ("vp8", "vp9", "av1") and not info.hdr
    if mp4 and ending in _MP4 and info.container.startswith("mov") and sound <= _MP4_AUDIO:
        return How("direct", "video/mp4", "")
    if webm and ending == ".webm" and sound <= _WEBM_AUDIO:
        return How("direct", "video/webm", "")
    if mp4 and info.container.startswith(_COPIED):
        return How("remux", "video/mp4", f"in another container: browsers do not read {ending}")
    what = " ".join(filter(None, [info.codec, info.hdr, "interlaced" if info.interlaced else ""]))
    return How("transcode", "video/mp4", f"converted while it plays: {what} is not for browsers")


def stream_command(path: str, mode: str, from_s: float) -> list[str]:
    """The worker that writes a fragmented MP4 to its standard output."""
    return [sys.executable, "-m", "twinreel.review.stream", mode, f"{from_s:.3f}", path]


class Frames:
    """A few processes that decode single frames; one that dies is replaced."""

    def __init__(self, workers: int = 2) -> None:
        self._workers = workers
        self._pool: ProcessPoolExecutor | None = None

    def jpeg(self, video: Video, at_s: float, whole: bool = False) -> bytes:
        """The frame shown at `at_s` as JPEG, without its borders unless `whole`.

        Raises:
            VideoError: it cannot be read.
        """
        rect = (0.0, 0.0, 1.0, 1.0) if whole else video.picture
        shape = (video.info.width, video.info.height)
        try:
            return self._ready().submit(frame_jpeg, video.path, at_s, rect, shape).result(60)
        except (BrokenProcessPool, TimeoutError):
            self.close()
            raise DecodeFailed(video.path, "the decoder crashed or hung on this frame") from None

    def start_of(self, video: Video, mode: str, at_s: float) -> float:
        """Which second of the video is time 0 of its stream; see stream.py."""
        from twinreel.review.stream import start_of

        try:
            return self._ready().submit(start_of, video.path, mode, at_s).result(60)
        except (BrokenProcessPool, TimeoutError):
            self.close()
            raise DecodeFailed(video.path, "the decoder crashed or hung") from None

    def _ready(self) -> ProcessPoolExecutor:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(
                self._workers, mp_context=context, initializer=_end_with_parent
            )
        return self._pool

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


def _end_with_parent() -> None:
    """In a worker: end when the server ends, however it ends."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def frame_jpeg(
    path: str, at_s: float, rect: tuple[float, float, float, float], shape: tuple[int, int]
) -> bytes:
    """The frame shown at `at_s`, upright, cut to `rect`, at most FRAME_WIDTH wide, as JPEG.

    shape: (width, height) as displayed, which gives the pixels their aspect.
    """
    import numpy as np
    from PIL import Image

    from twinreel.frames import Tally, frames_at, rotation_of
    from twinreel.probe import opened, video_stream

    with opened(path) as container:
        stream = video_stream(container, path)
        # A moment before as well: the end of a file may hold no frame exactly at its last second.
        times = np.array([max(0.0, at_s - 1.0), at_s] if at_s > 0 else [0.0])
        tally = Tally()
        pixels = None
        for _, _, frame in frames_at(container, stream, times, path, lambda: None, tally):
            pixels = np.rot90(frame.to_ndarray(format="rgb24"), rotation_of(frame))
    if pixels is None:
        raise DecodeFailed(path, tally.words or f"no frame at {at_s:.2f} s")
    image = Image.fromarray(np.ascontiguousarray(pixels))
    wide, high = shape if all(shape) else image.size
    image = image.crop(
        (
            round(rect[0] * image.width),
            round(rect[1] * image.height),
            round(rect[2] * image.width),
            round(rect[3] * image.height),
        )
    )
    width, height = wide * (rect[2] - rect[0]), high * (rect[3] - rect[1])
    scale = min(1.0, FRAME_WIDTH / width)
    image = image.resize((max(1, round(width * scale)), max(1, round(height * scale))))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=88)
    return out.getvalue()
