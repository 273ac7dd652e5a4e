"""Small pictures and similarities of a group, laid out by content time.

    group_pictures(report, group, library, STYLES[0])   # plain data for the page

Columns are moments of the content. Under one column stand the pictures that show this moment, each
at its own video's time: a trimmed copy starts further right. Times are seconds.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from twinreel.report import Report
from twinreel.review.choices import Ties
from twinreel.store import Library
from twinreel.types import Features, Group, Segment, Video

Times = npt.NDArray[np.float64]
Thumbs = list[tuple[float, bytes]]
MOST_ROWS = 512  # moments of a video that a matrix is made of


@dataclass(frozen=True)
class Style:
    """How much is shown: columns of a strip, a picture's width in pixels, JPEG quality, side of a
    similarity matrix."""

    columns: int
    width: int
    quality: int
    matrix: int


# From a few groups to thousands; `page` takes the richest that fits.
STYLES = (
    Style(10, 160, 60, 64),
    Style(8, 128, 55, 48),
    Style(8, 96, 50, 32),
    Style(6, 80, 45, 24),
    Style(5, 72, 40, 16),
)
TYPICAL_BYTES = (
    40_000,
    21_000,
    13_000,
    7_000,
    5_000,
)  # of one strip in base64: measured, and a quarter more


class _Line:
    """One content's own time against the content time of the group (the kept file's)."""

    def __init__(self, segments: tuple[Segment, ...]) -> None:
        self.segments = segments or (Segment((0.0, 0.0), (0.0, 0.0)),)
        self.tied = bool(segments)

    def own(self, at: float) -> tuple[float, bool]:
        """(own time, whether a matched segment says so) at a content time."""
        s = min(self.segments, key=lambda s: max(s.a[0] - at, at - s.a[1], 0.0))
        inside = self.tied and s.a[0] - 0.05 <= at <= s.a[1] + 0.05
        return s.b[0] + (at - s.a[0]) * s.speed, inside

    def content(self, own: float) -> float:
        s = min(self.segments, key=lambda s: max(s.b[0] - own, own - s.b[1], 0.0))
        return s.a[0] + (own - s.b[0]) / s.speed


@dataclass
class _Kind:
    """One content of a group: its video, its pictures, its time line."""

    video: Video
    thumbs: Thumbs
    line: _Line

    def __post_init__(self) -> None:
        self.times: Times = np.array([t for t, _ in self.thumbs])
        gaps = np.diff(self.times)
        self.near_s = max(0.5, 0.75 * float(np.median(gaps))) if len(gaps) else 0.5
        length = self.video.info.duration_s
        self.length = length or (float(self.times[-1]) if len(self.times) else 0.0)

    def picture(self, at: float) -> tuple[int, bool]:
        """(number of the picture at a content time or -1, whether it lies in a segment)."""
        own, inside = self.line.own(at)
        if not len(self.times) or not -0.05 <= own <= self.length + 0.05:
            return -1, False
        i = int(np.abs(self.times - own).argmin())
        return (i, inside) if abs(self.times[i] - own) <= self.near_s else (-1, False)

    def misfit(self, at: float) -> float:
        """Seconds from a content time to the nearest picture; 0 where the video has ended."""
        own, _ = self.line.own(at)
        if not len(self.times) or not 0 <= own <= self.length:
            return 0.0
        return float(np.abs(self.times - own).min())


def group_pictures(report: Report, group: Group, library: Library, style: Style) -> dict[str, Any]:
    """Strips and matrices of a group as plain data.

    Returns:
        columns: content times. start, end: the content's. sprites: per content None or {jpeg
        (base64), n, width, height of one picture}. kinds: per content {cells (number of the
        picture or -1), times (own seconds), inside, length, tied}. matrices: content number ->
        see `_matrix`, of that content against the kept one.
    """
    ties = Ties(report, group)
    keep = group.members.index(group.keep)
    kinds: list[_Kind] = []
    for n in range(ties.count):
        i = ties.kind.index(n)
        video = report.video(group.members[i])
        match = ties.between(keep, i)
        thumbs = library.thumbs(video.file.key) if video.file.key else []
        kinds.append(_Kind(video, thumbs, _Line(match.segments if match else ())))
    start = min(0.0, *(k.line.content(0.0) for k in kinds))
    end = max(k.line.content(k.length) for k in kinds)
    columns = _columns(kinds, start, end, style.columns)
    sprites, laid = [], []
    for kind in kinds:
        found = [kind.picture(c) for c in columns]
        used = sorted({i for i, _ in found if i >= 0})
        sprites.append(_sprite(kind.video, [kind.thumbs[i][1] for i in used], style))
        laid.append(
            {
                "cells": [used.index(i) if i >= 0 else -1 for i, _ in found],
                "times": [round(kind.thumbs[i][0], 3) if i >= 0 else None for i, _ in found],
                "inside": [inside for _, inside in found],
                "length": round(kind.length, 3),
                "tied": kind.line.tied,
            }
        )
    return {
        "columns": [round(c, 3) for c in columns],
        "start": round(start, 3),
        "end": round(end, 3),
        "sprites": sprites,
        "kinds": laid,
        "matrices": _matrices(report, kinds, ties.kind[keep], library, style),
    }


def _columns(kinds: list[_Kind], start: float, end: float, count: int) -> list[float]:
    """Content times, spread evenly, each where the videos' pictures lie closest together."""
    times = {round(k.line.content(t), 3) for k in kinds for t in k.times.tolist()}
    at = sorted(t for t in times if start <= t <= end)
    if len(at) <= count:
        return at
    step = (end - start) / count or 1.0
    best: dict[int, tuple[float, float, float]] = {}
    for t in at:
        slot = min(int((t - start) / step), count - 1)
        centre = start + (slot + 0.5) * step
        rank = (sum(k.misfit(t) for k in kinds), abs(t - centre), t)
        best[slot] = min(best.get(slot, rank), rank)
    return [best[slot][2] for slot in sorted(best)]


def aspect(video: Video) -> float:
    """Width over height of the picture inside its borders, within 1/4 and 4."""
    left, top, right, bottom = video.picture
    wide, high = video.info.width * (right - left), video.info.height * (bottom - top)
    return min(4.0, max(0.25, wide / high)) if wide and high else 16 / 9


def _sprite(video: Video, pictures: list[bytes], style: Style) -> dict[str, Any] | None:
    """The pictures side by side at the video's own aspect, in a box of 4:3."""
    if not pictures:
        return None
    shape = aspect(video)
    width = round(min(style.width, style.width * 0.75 * shape))
    height = round(width / shape)
    sheet = Image.new("RGB", (width * len(pictures), height))
    for n, data in enumerate(pictures):
        with Image.open(io.BytesIO(data)) as image:
            image.draft("RGB", (width, height))
            sheet.paste(image.convert("RGB").resize((width, height)), (n * width, 0))
    out = io.BytesIO()
    sheet.save(out, "JPEG", quality=style.quality)
    return {
        "jpeg": base64.b64encode(out.getvalue()).decode(),
        "n": len(pictures),
        "width": width,
        "height": height,
    }


def _matrices(
    report: Report, kinds: list[_Kind], keep: int, library: Library, style: Style
) -> dict[int, Any]:
    """How alike each moment of a content is to each of the kept one, per content."""
    model, sampling = report.model.get("identity", ""), report.model.get("sampling", "")
    out: dict[int, Any] = {}
    held = library.features(kinds[keep].video.file.key or "", model, sampling)
    if held is None:
        return out
    for n, kind in enumerate(kinds):
        if n != keep and (f := library.features(kind.video.file.key or "", model, sampling)):
            out[n] = _matrix(held, f, style.matrix)
    return out


def _matrix(a: Features, b: Features, side: int) -> dict[str, Any]:
    """Cosines of a's moments (rows) and b's (columns), pooled by maximum to at most side x side.

    Returns:
        rows, columns; data: base64 of uint8 (rows, columns), 255 = cosine 1, 0 = cosine 0 or less;
        a, b: [first, last] second shown.
    """
    parts = []
    for f in (a, b):
        rows = np.unique(np.linspace(0, len(f.vectors) - 1, min(len(f.vectors), MOST_ROWS)).round())
        vectors = f.vectors[rows.astype(int)]
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        parts.append(vectors / np.maximum(norms, 1e-9))
    likeness = parts[0] @ parts[1].T
    for axis in (0, 1):
        n = likeness.shape[axis]
        starts = np.unique((np.arange(min(side, n)) * n / min(side, n)).astype(int))
        likeness = np.maximum.reduceat(likeness, starts, axis=axis)
    data = (likeness.clip(0, 1) * 255).round().astype(np.uint8)
    return {
        "rows": data.shape[0],
        "columns": data.shape[1],
        "data": base64.b64encode(data.tobytes()).decode(),
        "a": [0.0, round(float(a.spans_s[-1, 1]), 3)],
        "b": [0.0, round(float(b.spans_s[-1, 1]), 3)],
    }
