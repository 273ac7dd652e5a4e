"""One decoding pass for the rivals that are recipes or surrogates: the frames each asks for.

What they measure is written from their published rules; see :mod:`.rivals` for which is what.
"""

from __future__ import annotations

from dataclasses import dataclass

import av
import imagehash
import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.fft import dctn

Bytes = npt.NDArray[np.uint8]
DARK = 0x20  # a pixel at most this bright is black
DARK_SHARE = 0.8  # a frame with this part of its pixels black says nothing


@dataclass(frozen=True)
class Looks:
    """``rgb`` (n, 120, 160, 3) uint8 frames at ``times_s`` (n,), and the file's ``duration_s``."""

    times_s: npt.NDArray[np.float64]
    rgb: Bytes
    duration_s: float

    def at(self, wanted: npt.NDArray[np.float64]) -> Bytes:
        """The first frame not before each wanted second, as a seek would give it."""
        place = np.searchsorted(self.times_s, wanted - 1e-3)
        return self.rgb[np.minimum(place, len(self.rgb) - 1)]


def stash_times(duration_s: float) -> npt.NDArray[np.float64]:
    """25 moments from 5 %, 3.6 % apart."""
    return duration_s * (0.05 + 0.036 * np.arange(25))


def window_times(duration_s: float) -> npt.NDArray[np.float64]:
    """(5, 16) moments: five windows of at most 10 s after skipping min(15 s, 15 %)."""
    skip = min(15.0, 0.15 * duration_s)
    length = min(10.0, duration_s - skip)
    starts = np.linspace(skip, max(skip, duration_s - length), 5)
    return starts[:, None] + length * np.arange(16)[None, :] / 16


def look(path: str) -> Looks:
    """Decode once and keep every frame that one of the recipes asks for."""
    with av.open(path) as box:
        stream = box.streams.video[0]
        stream.thread_type = "NONE"
        if stream.duration and stream.time_base:
            duration = float(stream.duration * stream.time_base)
        else:
            duration = float(box.duration or 0) / 1e6
        wanted = np.unique(np.concatenate([
            stash_times(duration), window_times(duration).ravel(), [duration / 2],
            np.arange(0, duration, 1.0)]))
        times, kept, k = [], [], 0
        for frame in box.decode(stream):
            if frame.time is None:
                continue
            if (k < len(wanted) and frame.time >= wanted[k] - 1e-3) or not kept:
                small = frame.reformat(width=160, height=120, format="rgb24")
                times.append(frame.time)
                kept.append(small.to_ndarray())
                while k < len(wanted) and wanted[k] <= frame.time + 1e-3:
                    k += 1
    return Looks(np.array(times), np.stack(kept), duration)


def _grey(rgb: Bytes) -> npt.NDArray[np.float32]:
    return rgb.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)


def stash_phash(looks: Looks) -> int:
    """64-bit pHash of a 5x5 montage (ImageHash's phash, as stash's goimagehash)."""
    frames = looks.at(stash_times(looks.duration_s))
    montage = frames.reshape(5, 5, 120, 160, 3).swapaxes(1, 2).reshape(600, 800, 3)
    return int(str(imagehash.phash(Image.fromarray(montage))), 16)


def vdf_grey(looks: Looks) -> Bytes | None:
    """The middle frame as 32x32 grey; None if it is too dark to compare."""
    frame = Image.fromarray(looks.at(np.array([looks.duration_s / 2]))[0]).convert("L")
    grey = np.asarray(frame.resize((32, 32), Image.Resampling.BILINEAR))
    return None if (grey <= DARK).mean() >= DARK_SHARE else grey


def dct_bits(looks: Looks) -> Bytes:
    """(5, 125) packed signs of the 10x10x10 corner of a 16x16x16 3D-DCT, a window each."""
    frames = _grey(looks.at(window_times(looks.duration_s).ravel()))  # (80, 120, 160)
    top, bottom, left, right = _bars(frames)
    frames = frames[:, top:bottom, left:right]
    dark = (frames <= DARK).mean(axis=(1, 2)) >= DARK_SHARE
    if dark.any() and not dark.all():  # a black frame is replaced by the nearest other one
        good = np.flatnonzero(~dark)
        nearest = good[np.abs(np.arange(len(frames))[:, None] - good[None, :]).argmin(axis=1)]
        frames = frames[nearest]
    small = np.stack([np.asarray(Image.fromarray(f).resize((16, 16), Image.Resampling.BOX))
                      for f in frames]).reshape(5, 16, 16, 16)
    corners = [dctn(window, norm="ortho")[:10, :10, :10] > 0 for window in small]
    return np.stack([np.packbits(c.ravel()) for c in corners])


def _bars(frames: npt.NDArray[np.float32]) -> tuple[int, int, int, int]:
    """Rows and columns inside black bars that every frame has."""
    bright = frames.max(axis=0) > DARK
    rows, columns = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
    if len(rows) < 16 or len(columns) < 16:
        return 0, frames.shape[1], 0, frames.shape[2]
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def colours(looks: Looks) -> npt.NDArray[np.float32]:
    """(512,) histogram of 8x8x8 RGB cells over one frame a second, summing to 1."""
    frames = looks.at(np.arange(0, max(looks.duration_s, 0.5), 1.0))
    cells = (frames >> 5).astype(np.int64) @ np.array([64, 8, 1])
    counts = np.bincount(cells.ravel(), minlength=512).astype(np.float32)
    return counts / counts.sum()
