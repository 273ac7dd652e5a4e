"""libavfilter graphs: decoded frames -> frames at a steady rate -> RGB pictures of a set size.

    steady = Chain([("fps", "fps=1")])
    for frame in steady.push(decoded): ...
    picture = Lens(View(size=(224, 224), fit="short"))(frame)      # uint8 (224, 398, 3)

The filters are FFmpeg's own (they come with PyAV), so pictures are equal to the last bit to those
of the `ffmpeg` command line with the same filters.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import av.filter
import numpy as np

from twinreel.probe import rational
from twinreel.types import Pixels

# Clockwise quarter turns -> the filters that set a picture upright.
_TURNS: dict[int, list[tuple[str, str]]] = {
    0: [],
    1: [("transpose", "clock")],
    2: [("hflip", ""), ("vflip", "")],
    3: [("transpose", "cclock")],
}
INTERPOLATIONS = ("bicubic", "bilinear", "lanczos", "area", "neighbor")


@dataclass(frozen=True)
class View:
    """How a frame becomes a network's picture.

    size: (height, width). fit: 'stretch', 'short' or 'crop', see ModelSpec. resize, before a
    crop: (short side,), or (height, width) whatever the aspect, or () for the crop's own.
    seed_exact: pixel aspect is ignored and a turned video is squeezed into the shape it has
    unturned.
    """

    size: tuple[int, int]
    fit: str = "short"
    resize: tuple[int, ...] = ()
    interpolation: str = "bicubic"
    seed_exact: bool = False

    def __post_init__(self) -> None:
        if self.fit not in ("stretch", "short", "crop"):
            raise ValueError(f"fit must be stretch, short or crop, got {self.fit!r}")
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(
                f"interpolation must be one of {INTERPOLATIONS}, got {self.interpolation!r}"
            )


@dataclass(frozen=True)
class Geometry:
    """Scale to (width, height), then cut out `crop` = (width, height, x, y)."""

    scale: tuple[int, int]
    crop: tuple[int, int, int, int] | None = None


def geometry(width: int, height: int, view: View) -> Geometry:
    """Numbers for the filters, for a picture shown at `width` x `height`.

    The long side is truncated, not rounded: 854 x 480 with a short side of 224 is 398 x 224.

    >>> geometry(854, 480, View((112, 112), "crop"))
    Geometry(scale=(199, 112), crop=(112, 112, 43, 0))
    """
    if view.fit == "stretch":
        return Geometry((view.size[1], view.size[0]))
    tall, wide = view.size
    short = view.resize[0] if view.resize else min(tall, wide)
    if len(view.resize) == 2:
        scaled = (view.resize[1], view.resize[0])
    elif height >= width:
        scaled = (short, int(height * short / width))
    else:
        scaled = (int(width * short / height), short)
    if view.fit == "short":
        return Geometry(scaled)
    # A crop that is not square may need more than the short side gives.
    grow = max(wide / scaled[0], tall / scaled[1], 1.0)
    scaled = (max(wide, int(scaled[0] * grow)), max(tall, int(scaled[1] * grow)))
    at = int((scaled[0] - wide) / 2.0), int((scaled[1] - tall) / 2.0)
    return Geometry(scaled, (wide, tall, *at))


def turns(frame: Any) -> int:
    """Clockwise quarter turns that set a decoded frame upright."""
    return -round((frame.rotation or 0) / 90) % 4


class Chain:
    """Filters one after the other. The graph is built at the first frame."""

    def __init__(self, steps: Sequence[tuple[str, str]]) -> None:
        self._steps = list(steps)
        self._graph: Any = None

    def push(self, frame: Any) -> Iterator[Any]:
        """Give one frame, get those that are ready."""
        if self._graph is None:
            self._graph = self._build(frame)
        self._graph.push(frame)
        yield from self._ready()

    def swap(self, frame: Any) -> Any:
        """Give one frame, get one: for filters that hold none back."""
        if self._graph is None:
            self._graph = self._build(frame)
        self._graph.push(frame)
        return self._graph.pull()

    def end(self) -> Iterator[Any]:
        """No more frames: get the rest."""
        if self._graph is not None:
            self._graph.push(None)
            yield from self._ready()
            self._graph = None

    def _ready(self) -> Iterator[Any]:
        while True:
            try:
                yield self._graph.pull()
            except av.error.EOFError:
                return
            except OSError as error:
                if error.errno == errno.EAGAIN:
                    return
                raise

    def _build(self, frame: Any) -> Any:
        graph = av.filter.Graph()
        graph.threads = 1  # one process per core decodes
        nodes = [
            graph.add_buffer(
                width=frame.width,
                height=frame.height,
                format=frame.format,
                time_base=rational(frame.time_base) or Fraction(1, 1000),
            )
        ]
        nodes += [graph.add(name, args) if args else graph.add(name) for name, args in self._steps]
        nodes.append(graph.add("buffersink"))
        graph.link_nodes(*nodes).configure()
        return graph


class Lens:
    """Frames -> pictures of one View. Rebuilds its graph when the frames change shape."""

    def __init__(self, view: View, aspect: float = 1.0) -> None:
        """aspect: width of a pixel over its height."""
        self._view = view
        self._aspect = 1.0 if view.seed_exact else aspect
        self._chain = Chain([])
        self._shape: tuple[Any, ...] = ()

    def __call__(self, frame: Any) -> Pixels:
        """uint8 (height, width, 3), RGB."""
        turned = turns(frame)
        shape = (frame.width, frame.height, frame.format.name, turned)
        if shape != self._shape:
            self._chain, self._shape = Chain(self._steps(frame, turned)), shape
        out = self._chain.swap(frame)
        pixels: Pixels = np.ascontiguousarray(out.to_ndarray(format="rgb24"))
        return pixels

    def _steps(self, frame: Any, turned: int) -> list[tuple[str, str]]:
        width, height = max(1, round(frame.width * self._aspect)), frame.height
        if turned % 2 and not self._view.seed_exact:
            width, height = height, width
        shape = geometry(width, height, self._view)
        scale = f"{shape.scale[0]}:{shape.scale[1]}:flags={self._view.interpolation}"
        # Converting while scaling, before the crop: odd offsets then need no chroma rounding.
        steps = [*_TURNS[turned], ("scale", scale), ("format", "rgb24")]
        if shape.crop:
            steps.append(("crop", ":".join(str(n) for n in shape.crop)))
        return steps
