"""A small library of made-up videos and edited copies, to try twinreel on.

    demo_library(Path("demo"))    # about 8 videos and 8 copies, under 20 s on one core

`paint` is the content: a picture for every (seed, moment), so a trimmed, smaller or slower copy is
painted rather than cut, and every edit is known exactly. Tests paint frame numbers into it.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

Picture = npt.NDArray[np.uint8]  # (h, w, 3) RGB
Film = Iterable[tuple[float, Picture]]  # seconds, picture
_NAMES = ("harbour", "market", "orchard", "station", "bridge", "canyon", "theatre", "meadow")

_OCTAVES = 7  # cells across the picture double each time; finer ones where pixels allow
_MARGIN = 0.25  # how much wider than the picture the panned-over background is


@dataclass(frozen=True)
class _Shape:
    """A moving disc or box. Places and sizes are fractions of the picture."""

    disc: bool
    size: tuple[float, float]
    colour: tuple[int, int, int]
    centre: tuple[float, float]
    reach: tuple[float, float]
    turns: tuple[float, float]  # radians per second
    phase: float


@dataclass(frozen=True)
class _Scene:
    background: Picture  # (h * (1 + margin), w * (1 + margin), 3)
    pan: tuple[float, float]  # turns of the camera, radians per second
    shapes: tuple[_Shape, ...]


def _scene_at(seed: int, t: float) -> tuple[int, float]:
    """Which scene is on at `t` seconds, and when it began. Scenes last 1.5 to 3.5 s."""
    start, index = 0.0, 0
    while True:
        length = 1.5 + 2.0 * float(np.random.default_rng((seed, index, 1)).random())
        if t < start + length:
            return index, start
        start, index = start + length, index + 1


@functools.lru_cache(maxsize=8)
def _scene(seed: int, index: int, width: int, height: int) -> _Scene:
    rng = np.random.default_rng((seed, index, 2))
    wide, high = round(width * (1 + _MARGIN)), round(height * (1 + _MARGIN))
    canvas = np.zeros((high, wide), np.float32)
    tint = np.zeros((high, wide), np.float32)
    decay, contrast = rng.uniform(0.45, 0.85), rng.uniform(0.8, 2.5)
    across, down = rng.uniform(2, 8), rng.uniform(2, 8)  # stripes, clouds or bricks
    for octave in range(_OCTAVES):
        grow = 2**octave * (1 + _MARGIN)
        cells = (max(2, round(across * grow)), max(2, round(down * grow)))
        # Drawn even when too fine for this size, so that every size shows the same scene.
        noise = rng.standard_normal((cells[1], cells[0])).astype(np.float32)
        if cells[0] > wide or cells[1] > high:
            continue
        layer = np.asarray(Image.fromarray(noise).resize((wide, high), Image.Resampling.BICUBIC))
        canvas += layer * decay**octave
        if octave < 2:
            tint += layer[::-1, ::-1]
    dark, light = _colours(rng)
    share = 1 / (1 + np.exp(-contrast * canvas))[..., None]
    picture = dark * (1 - share) + light * share + tint[..., None] * np.array([14, 0, -14])
    shapes = tuple(
        _Shape(
            bool(rng.random() < 0.5),
            (float(rng.uniform(0.06, 0.17)), float(rng.uniform(0.08, 0.22))),
            tuple(int(c) for c in rng.integers(0, 256, 3)),  # type: ignore[arg-type]
            (float(rng.uniform(0.2, 0.8)), float(rng.uniform(0.2, 0.8))),
            (float(rng.uniform(0.1, 0.35)), float(rng.uniform(0.1, 0.35))),
            (float(rng.uniform(0.5, 1.8)), float(rng.uniform(0.5, 1.8))),
            float(rng.uniform(0, 6.3)),
        )
        for _ in range(5)
    )
    pan = (float(rng.uniform(-0.9, 0.9)), float(rng.uniform(-0.9, 0.9)))
    return _Scene(np.clip(picture, 0, 255).astype(np.uint8), pan, shapes)


def _colours(rng: np.random.Generator) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """A dark and a light colour."""
    return rng.uniform(15, 110, 3), rng.uniform(130, 245, 3)


def paint(seed: int, t: float, size: tuple[int, int] = (320, 180)) -> Picture:
    """What video `seed` shows at `t` seconds: uint8 RGB (height, width, 3), `size` (width, height).

    The same moment at another size is the same picture with more or less detail.
    """
    width, height = size
    index, start = _scene_at(seed, t)
    scene = _scene(seed, index, width, height)
    high, wide = scene.background.shape[:2]
    since = t - start
    left = round((wide - width) * (0.5 + 0.5 * np.sin(scene.pan[0] * since)))
    top = round((high - height) * (0.5 + 0.5 * np.sin(scene.pan[1] * since)))
    picture = scene.background[top : top + height, left : left + width].copy()
    for shape in scene.shapes:
        _draw(picture, shape, since)
    return picture


def _draw(picture: Picture, shape: _Shape, since: float) -> None:
    height, width = picture.shape[:2]
    x = (shape.centre[0] + shape.reach[0] * np.sin(shape.turns[0] * since + shape.phase)) * width
    y = (shape.centre[1] + shape.reach[1] * np.cos(shape.turns[1] * since + shape.phase)) * height
    half = (shape.size[0] * width / 2, shape.size[1] * height / 2)
    x0, x1 = max(0, int(x - half[0])), min(width, int(x + half[0]))
    y0, y1 = max(0, int(y - half[1])), min(height, int(y + half[1]))
    if x1 <= x0 or y1 <= y0:
        return
    patch = picture[y0:y1, x0:x1]
    if shape.disc:
        dy = ((np.arange(y0, y1) + 0.5 - y) / half[1])[:, None] ** 2
        dx = ((np.arange(x0, x1) + 0.5 - x) / half[0])[None, :] ** 2
        patch[dx + dy < 1] = shape.colour
    else:
        patch[:] = shape.colour


def pad(picture: Picture, box: tuple[float, float, float, float]) -> Picture:
    """Squeeze the picture into `box` (left, top, right, bottom: fractions) of a black frame."""
    height, width = picture.shape[:2]
    x0, x1 = round(box[0] * width), round(box[2] * width)
    y0, y1 = round(box[1] * height), round(box[3] * height)
    out = np.zeros_like(picture)
    out[y0:y1, x0:x1] = scale(picture, (x1 - x0, y1 - y0))
    return out


def cut(picture: Picture, box: tuple[float, float, float, float]) -> Picture:
    """The part `box` (left, top, right, bottom: fractions) of the picture, at the whole's size."""
    height, width = picture.shape[:2]
    x0, x1 = round(box[0] * width), round(box[2] * width)
    y0, y1 = round(box[1] * height), round(box[3] * height)
    return scale(picture[y0:y1, x0:x1], (width, height))


def scale(picture: Picture, size: tuple[int, int]) -> Picture:
    """The picture at `size` (width, height), bicubic."""
    if (picture.shape[1], picture.shape[0]) == size:
        return picture
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))


def write(
    path: Path,
    frames: Film,
    fps: float = 25.0,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    pix_fmt: str = "yuv420p",
    **stream_settings: Any,
) -> None:
    """Encode (time in seconds, picture) pairs; the path's ending chooses the container."""
    rate = Fraction(fps).limit_denominator(1001)
    # Fine enough for any variable rate, a multiple of the usual ones.
    base = 1 / rate if codec in ("mpeg4", "gif") else Fraction(1, 90_000)
    with av.open(str(path), "w") as container:
        stream: Any = None
        for t, picture in frames:
            if stream is None:
                stream = container.add_stream(codec, rate=rate, options=options or {})
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = pix_fmt
                stream.codec_context.time_base = base
                stream.codec_context.thread_count = 1
                for name, value in stream_settings.items():
                    setattr(stream.codec_context, name, value)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = round(Fraction(t) / base), base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


FAST = {"preset": "veryfast", "crf": "21"}


def demo_library(folder: Path) -> list[Path]:
    """Write eight short videos and eight edited copies into `folder`; what is there is kept.

    Returns:
        the paths, in order. Each copy's name says what was done to it.
    """
    originals = folder / "originals"
    copies = folder / "copies"
    originals.mkdir(parents=True, exist_ok=True)
    copies.mkdir(parents=True, exist_ok=True)
    size = (480, 270)

    def film(seed: int, seconds: float = 8.0, start: float = 0.0) -> Film:
        return ((i / 25, paint(seed, start + i / 25, size)) for i in range(round(seconds * 25)))

    jobs: list[tuple[Path, Film, dict[str, str]]] = [
        (originals / f"{name}.mp4", film(seed), FAST) for seed, name in enumerate(_NAMES, 100)
    ]
    middle = (0.08, 0.08, 0.92, 0.92)
    weak = {"preset": "veryfast", "crf": "34"}
    jobs += [
        (copies / "harbour re-encoded.mkv", film(100), weak),
        (copies / "market smaller.mp4", ((t, scale(p, (240, 136))) for t, p in film(101)), FAST),
        (copies / "orchard letterbox.mp4", ((t, _bars(p)) for t, p in film(102)), FAST),
        (copies / "station trimmed.mp4", film(103, 5.0, 2.0), FAST),
        (copies / "bridge mirrored.mp4", ((t, p[:, ::-1]) for t, p in film(104)), FAST),
        (copies / "canyon cropped.mp4", ((t, cut(p, middle)) for t, p in film(105)), FAST),
        (copies / "theatre with logo.mp4", ((t, _logo(p)) for t, p in film(106)), FAST),
    ]
    for path, frames, options in jobs:
        if not path.exists():
            partial = path.with_name(f".{path.stem}.part{path.suffix}")
            write(partial, frames, options=options)
            partial.replace(path)
    renamed = copies / "VID_20260412.mp4"
    if not renamed.exists():
        shutil.copy2(originals / "meadow.mp4", renamed)
    return [job[0] for job in jobs] + [renamed]


def _bars(picture: Picture) -> Picture:
    """Black bars above and below: 16:9 in a 4:3 frame."""
    bar = picture.shape[0] // 6 + 1
    return np.pad(picture, ((bar, bar), (0, 0), (0, 0)))


def _logo(picture: Picture) -> Picture:
    out = picture.copy()
    height, width = out.shape[:2]
    out[height // 16 : height // 7, width * 4 // 5 : width * 19 // 20] = (235, 235, 235)
    out[height // 11 : height // 9, width * 33 // 40 : width * 37 // 40] = (200, 30, 30)
    return out


if __name__ == "__main__":
    import sys

    made = demo_library(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
    print(f"{len(made)} videos in {made[0].parent.parent}")
