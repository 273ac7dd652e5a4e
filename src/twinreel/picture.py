"""Small arithmetic on single pictures: scale, find and cut borders, blankness, detail, thumbnails.

All on uint8 RGB arrays (h, w, 3); no video, no network.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from twinreel.types import Floats, Pixels

Rect = tuple[float, float, float, float]  # left, top, right, bottom as fractions of the frame
WHOLE: Rect = (0.0, 0.0, 1.0, 1.0)

BORDER_SPREAD = 5.0  # grey levels: a border line is this even along itself ...
BORDER_DRIFT = 8.0  # ... and this close to the outermost line
BORDER_BLACK = 20.0  # a border on one side only is at most this bright
BORDER_FRAMES = 16
BORDER_STRIDE = 4  # every fourth pixel along a line tells whether it is even
BORDER_LEAST = 0.02  # of the side: thinner borders are left alone
BORDER_MOST = 0.45
BLANK_SPREAD = 6.0  # grey levels: an evener picture shows nothing
THUMBS_LIMIT = 100_000  # bytes of pictures kept per video
THUMBS_HELD = 128
THUMB_QUALITY = (60, 40, 25, 12)
DETAIL_COLUMNS = 256
DETAIL_FLOOR = 0.40  # power of a column's noise in a picture of 480 lines, in squared grey levels
DETAIL_DROP = 0.25  # of the level of coarser detail
NOISE_COLUMNS = 64
NOISE_LEAST = 1.0  # squared grey levels
WHITE = 0.18  # fine by middle power of the flattest places: at most 0.11 in clean pictures
_PLACE = 64
_TAPER = np.hanning(_PLACE).astype(np.float32)
_OF_TENTH = 0.6  # the lowest tenth of noise's own power over nine neighbouring frequencies


class Shrinker:
    """Frames -> RGB at most twice the network's size, aspect ignored, rotation not yet applied.

    Twice, because borders are cut afterwards and the rest is scaled once more.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        # Here, because what only compares small pictures needs no decoder.
        from av.video.reformatter import VideoReformatter

        self._size = size
        self._scale = VideoReformatter()

    def __call__(self, frame: Any) -> Pixels:
        height, width = min(frame.height, 2 * self._size[0]), min(frame.width, 2 * self._size[1])
        small = self._scale.reformat(
            frame, width=width, height=height, format="rgb24", interpolation="AREA", threads=1
        )
        return np.asarray(small.to_ndarray(), np.uint8)


# 16..235, as broadcasts have it, as 0..255.
_STRETCHED = np.clip((np.arange(256) - 16) * (255 / 219) + 0.5, 0, 255).astype(np.uint8)
_FULL_RANGE = 2  # AVCOL_RANGE_JPEG


def luma(frame: Any) -> Pixels:
    """The frame in grey at its own size, uint8 (h, w); every other line of interlaced ones."""
    kind = frame.format.name
    if kind.startswith(("yuv", "nv12", "gray")) and frame.format.components[0].bits == 8:
        plane = frame.planes[0]  # as it lies there: a conversion costs 10 ms in 1080p
        rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
        array = rows[:, : plane.width]
        full = frame.color_range == _FULL_RANGE or kind.startswith(("yuvj", "gray"))
        array = array.copy() if full else _STRETCHED[array]
    else:
        array = np.asarray(frame.reformat(format="gray").to_ndarray(), np.uint8)
    return array[::2] if frame.interlaced_frame else array


def _grey(pixels: Pixels) -> Floats:
    return pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)


def find_picture(frames: Sequence[Pixels]) -> Rect:
    """Where the picture is inside constant borders (letterbox, pillarbox), as fractions.

    A line belongs to the border when it is even along itself and like the outermost line in every
    frame that shows something. What would leave less than a tenth of the frame is not believed.
    Looks at up to BORDER_FRAMES of the frames, spread evenly.
    """
    some = np.linspace(0, len(frames) - 1, min(len(frames), BORDER_FRAMES)).astype(int)
    grey = np.stack([_grey(frames[i]) for i in some])  # (n, h, w)
    lively = grey[:, ::2, ::2].std(axis=(1, 2)) >= BLANK_SPREAD
    if not lively.any():
        return WHOLE
    grey = grey[lively]
    top, bottom = _borders(grey)
    # Look for side borders only inside the rows that are left.
    height = grey.shape[1]
    left, right = _borders(grey[:, top : height - bottom].swapaxes(1, 2))
    width = grey.shape[2]
    rect = (left / width, top / height, 1 - right / width, 1 - bottom / height)
    return rect if (rect[2] - rect[0]) * (rect[3] - rect[1]) > 0.1 else WHOLE


def _borders(grey: Floats) -> tuple[int, int]:
    """Border lines at both ends of axis 1. One side alone only counts when it is black.

    A plain wall at one edge of the picture is even and steady too, but rarely so on both sides.
    """
    first, last = _border(grey), _border(grey[:, ::-1])
    if first and not last and grey[:, :first].mean() > BORDER_BLACK:
        first = 0
    if last and not first and grey[:, -last:].mean() > BORDER_BLACK:
        last = 0
    return first, last


def _border(grey: Floats) -> int:
    """Number of border lines at the start of axis 1 of (n, lines, across)."""
    lines = grey.shape[1]
    # Most pictures have none: their very first line says it.
    if (grey[:, 0, ::BORDER_STRIDE].std(axis=1) < BORDER_SPREAD).mean() < 0.95:
        return 0
    outer = grey[:, : lines // 2, ::BORDER_STRIDE]
    means = outer.mean(axis=2)  # (n, lines / 2)
    even = outer.std(axis=2) < BORDER_SPREAD
    steady = np.abs(means - np.median(means[:, 0])) < BORDER_DRIFT
    border = (even & steady).mean(axis=0) >= 0.95
    count = int(np.argmin(border)) if not border.all() else 0
    if count < max(2, BORDER_LEAST * lines) or count > BORDER_MOST * lines:
        return 0
    return int(min(count + 1, lines // 2))  # one more: the edge itself is a blend


def within(outer: Rect, inner: Rect) -> Rect:
    """A part of a part, as a part of the whole."""
    x, y = outer[0], outer[1]
    wide, tall = outer[2] - x, outer[3] - y
    return (x + inner[0] * wide, y + inner[1] * tall, x + inner[2] * wide, y + inner[3] * tall)


def cut(pixels: Pixels, rect: Rect, size: tuple[int, int]) -> Pixels:
    """The part of the picture inside `rect`, scaled to (height, width), uint8 (h, w, 3)."""
    h, w = pixels.shape[:2]
    if rect == WHOLE and (h, w) == size:
        return np.ascontiguousarray(pixels)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if rect == WHOLE and (h, w) == (2 * size[0], 2 * size[1]):
        return np.asarray(image.reduce(2))  # the usual case, and a quarter of the work
    box = (rect[0] * w, rect[1] * h, rect[2] * w, rect[3] * h)
    return np.asarray(image.resize((size[1], size[0]), Image.Resampling.BILINEAR, box=box))


def is_blank(pixels: Pixels) -> bool:
    """Whether a picture shows (almost) nothing: black, white, one colour, a faint gradient."""
    return bool(_grey(pixels[::2, ::2]).std() < BLANK_SPREAD)


def colour(pictures: Sequence[Pixels]) -> float:
    """How colourful small pictures, uint8 (h, w, 3), are, in grey levels: the spread of their tints
    (red and blue less grey) across the direction in which they spread most. 0 for grey pictures,
    2 and more for coloured ones; a tint laid over a grey picture (sepia) looks like colour."""
    pixels = np.concatenate([p[::4, ::4].reshape(-1, 3) for p in pictures]).astype(np.float32)
    grey = pixels @ np.array([0.299, 0.587, 0.114], np.float32)
    tints = pixels[:, ::2] - grey[:, None]
    return float(np.sqrt(max(0.0, np.linalg.eigvalsh(np.cov(tints.T))[0])))


def noise(grey: Pixels, rect: Rect) -> Floats:
    """The power of white noise in a picture, by frequency: float32 (33,), 0 to half the number of
    lines, in squared grey levels; zeros where there is none to tell.

    What the flattest tenth of places (64 lines of a column) still hold. Detail, however fine, falls
    with frequency there, to a ninth or less; noise hardly does, even after coding.
    """
    none = np.zeros(_PLACE // 2 + 1, np.float32)
    lines = _columns(grey, rect, NOISE_COLUMNS)
    starts = range(0, len(lines) - _PLACE + 1, _PLACE // 2)
    if not starts:
        return none
    places = np.stack([lines[i : i + _PLACE] for i in starts])  # (k, 64, columns)
    # Clipped to black or white there is no noise, however noisy the rest.
    unclipped = ((places > 4) & (places < 251)).mean(axis=1) > 0.3
    if unclipped.sum() < 50:
        return none
    places = places.transpose(0, 2, 1)[unclipped].astype(np.float32)  # (m, 64)
    places -= places.mean(axis=1, keepdims=True)
    power = np.abs(np.fft.rfft(places * _TAPER)) ** 2 / (3 * _PLACE / 8)
    power[:, :3] = power[:, 3:4]
    wide = np.cumsum(np.pad(power, ((0, 0), (5, 4)), mode="edge"), axis=1)
    flattest = np.quantile((wide[:, 9:] - wide[:, :-9]) / 9, 0.1, axis=0) / _OF_TENTH
    fine, middle = float(flattest[28]), float(flattest[7])
    return flattest.astype(np.float32) if fine > max(NOISE_LEAST, WHITE * middle) else none


def _columns(grey: Pixels, rect: Rect, count: int) -> Pixels:
    """Some columns of the part of a picture inside `rect`, (lines, count)."""
    h, w = grey.shape
    top, bottom = int(rect[1] * h), max(int(rect[3] * h), int(rect[1] * h) + 16)
    left, right = int(rect[0] * w), max(int(rect[2] * w), int(rect[0] * w) + 16)
    part = grey[top:bottom, left:right]
    return part[:, np.linspace(0, part.shape[1] - 1, count).astype(int)]


def detail(
    frames: Sequence[Pixels], rect: Rect, before: float = 0.0, hiss: Floats | None = None
) -> float:
    """Real detail in cycles per height of the shown picture; the largest of the frames'.

    From upright power spectra (median of some columns, so that a logo does not count). Detail is
    real as long as it stands above what coding and rounding leave (per cycle, so the same in any
    size) and twice above `hiss` (see `noise`), and, times frequency squared (natural pictures are
    then about level), does not drop to a quarter of what coarser detail has. An upscale stops where
    its source stopped. At most half the number of lines.
    """
    best = before
    for grey in frames:
        columns = _columns(grey, rect, DETAIL_COLUMNS)
        n = len(columns)
        if n < 64:
            continue
        x = columns.astype(np.float32)
        x = (x - x.mean(axis=0)) * np.hanning(n).astype(np.float32)[:, None]
        # Divided by n: white noise is the same in any size; a picture's power grows with n.
        power = np.median(np.abs(np.fft.rfft(x, axis=0)) ** 2, axis=1) / (np.log(2) * 3 * n / 8)
        reach = max(3, n // 80)
        mean = np.full(2 * reach + 1, 1 / (2 * reach + 1))
        smooth = np.convolve(np.pad(power, reach, mode="edge"), mean, "valid")
        floor = np.full(len(smooth), max(DETAIL_FLOOR * n / 480, 0.16))
        if hiss is not None:
            at = np.linspace(0, len(hiss) - 1, len(smooth))
            floor = np.maximum(floor, 2 * np.interp(at, np.arange(len(hiss)), hiss))
        weak = np.nonzero(smooth[8:] <= floor[8:])[0]
        end = int(weak[0]) + 8 if len(weak) else len(smooth) - 1
        level = smooth * np.arange(len(smooth), dtype=np.float64) ** 2
        coarse = np.median(level[end // 8 : end // 3 + 1])
        strong = np.nonzero(level[: end + 1] > DETAIL_DROP * coarse)[0]
        if len(strong):
            best = max(best, float(strong[-1]))
    return best


def jpeg(pixels: Pixels, quality: int = THUMB_QUALITY[0]) -> bytes:
    """A picture as JPEG bytes."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=quality, optimize=True)
    return out.getvalue()


def from_jpeg(data: bytes, side: int = 0) -> Pixels:
    """JPEG bytes -> uint8 (h, w, 3); with `side` at a half, quarter or eighth of its size, but with
    at least so many pixels: cheaper, as the fine parts are not decoded."""
    image: Any = Image.open(io.BytesIO(data), formats=("JPEG",))
    if side:
        image.draft("RGB", (side, side))
    return np.asarray(image.convert("RGB"))


def add_thumb(thumbs: list[tuple[float, Pixels]], time_s: float, pixels: Pixels) -> None:
    """Append a small picture; a long row of them is thinned so that memory stays bounded."""
    thumbs.append((time_s, pixels.copy()))  # a view would keep its whole chunk in memory
    if len(thumbs) > THUMBS_HELD:
        del thumbs[1::2]


def fit_thumbs(thumbs: Sequence[tuple[float, Pixels]]) -> tuple[tuple[float, bytes], ...]:
    """Small pictures as JPEG within THUMBS_LIMIT bytes: coarser first, then every other one.

    Always from the pictures themselves: a JPEG of a JPEG is hardly smaller.
    """
    while True:
        for quality in THUMB_QUALITY:
            if quality != THUMB_QUALITY[-1]:  # a few tell what all would take
                some = [jpeg(pixels, quality) for _, pixels in thumbs[:: max(1, len(thumbs) // 4)]]
                if sum(map(len, some)) * len(thumbs) > 0.97 * THUMBS_LIMIT * len(some):
                    continue
            kept = tuple((t, jpeg(pixels, quality)) for t, pixels in thumbs)
            if sum(len(data) for _, data in kept) <= THUMBS_LIMIT or len(kept) < 2:
                return kept
        thumbs = thumbs[::2]


class Twins:
    """Which videos show the very same pictures, to the last byte, as copies in another container
    do: `twins(name)` is the first asked for of those that do. What is seen of it is seen of all."""

    def __init__(self, strip: Callable[[str], Sequence[tuple[float, Pixels | bytes]]]) -> None:
        """strip: name -> its kept pictures, (seconds, JPEG)."""
        self._strip = strip
        self._known: dict[str, str] = {}
        self._first: dict[bytes, str] = {}

    def __call__(self, name: str) -> str:
        if name not in self._known:
            digest = digest_of(self._strip(name))
            self._known[name] = self._first.setdefault(digest, name) if digest else name
        return self._known[name]


def digest_of(strip: Sequence[tuple[float, Pixels | bytes]]) -> bytes:
    """What two strips of (seconds, JPEG) share only where they hold the same pictures at the same
    times to the last byte, as copies in another container do; b"" where there is nothing to tell.
    """
    jpegs = [(t, data) for t, data in strip if isinstance(data, bytes)]
    if not jpegs or len(jpegs) < len(strip):
        return b""
    digest = hashlib.blake2b(b"".join(data for _, data in jpegs), digest_size=16)
    digest.update(repr([(t, len(data)) for t, data in jpegs]).encode())
    return digest.digest()
