"""Truth by construction: which seconds of which source are in which seconds of a file.

From two files' contents follows what the pair is (:func:`relate`): nothing is annotated by hand
but the natural copies. Seconds of a source are seconds of the corpus file.

    >>> a = Content("dog", (0, 10), (0, 10))
    >>> b = Content("dog", (4, 10), (0, 6))
    >>> relate([a], [b], 10, 6).kind
    'partial'
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

__all__ = ["Content", "FileTruth", "Relation", "Segment", "load", "lost_seconds", "relate",
           "save"]

Span = tuple[float, float]
WHOLE = 0.95  # both files covered to this part: the same video, not a part of one
MIN_SHARED_S = 1.5  # less than this in common is neither a copy nor clearly none
MIN_SHARE = 0.25  # a smaller part of the picture is an overlay, not content


@dataclass(frozen=True)
class Content:
    """``source`` seconds ``src`` are shown in ``file`` seconds. ``role``: ``main`` is what the
    file is a copy of, ``other`` the second video of a two-input edit, ``shared`` an intro or outro
    that many files have. ``share``: part of the picture it takes."""

    source: str
    src: Span
    file: Span
    mirrored: bool = False
    reverse: bool = False
    role: str = "main"
    share: float = 1.0

    @property
    def speed(self) -> float:
        """Source seconds per file second."""
        return (self.src[1] - self.src[0]) / max(self.file[1] - self.file[0], 1e-6)

    def file_at(self, t: float) -> float:
        """Source second -> file second."""
        if self.reverse:
            return self.file[0] + (self.src[1] - t) / self.speed
        return self.file[0] + (t - self.src[0]) / self.speed


@dataclass(frozen=True)
class FileTruth:
    """What is known of one file of the set; ``group`` is what the bootstrap draws."""

    name: str
    kind: str  # original, edit, natural, hard, piece, blank, compilation, long
    group: str
    duration_s: float
    width: int
    height: int
    edit: str = ""
    tier: int = 0
    also: tuple[str, ...] = ()
    gated: bool = True
    degraded: bool = False
    content: tuple[Content, ...] = ()


@dataclass(frozen=True)
class Segment:
    """``a`` seconds of the first file show what ``b`` seconds of the second do."""

    a: Span
    b: Span
    speed: float = 1.0  # seconds of b per second of a
    mirrored: bool = False
    reverse: bool = False


@dataclass(frozen=True)
class Relation:
    """``kind``: ``whole``, ``partial``, ``shared`` (intro or outro only), ``none`` or ``ignore``
    (truth by construction does not settle it)."""

    kind: str
    segments: tuple[Segment, ...] = ()
    sources: tuple[str, ...] = field(default=())


def union_s(spans: Iterable[Span]) -> float:
    """Seconds covered by any of ``spans``."""
    total, end = 0.0, float("-inf")
    for lo, hi in sorted(spans):
        total += max(0.0, hi - max(lo, end))
        end = max(end, hi)
    return total


def relate(a: Sequence[Content], b: Sequence[Content], a_duration_s: float, b_duration_s: float,
           *, piece: bool = False) -> Relation:
    """What two files have in common.

    Args:
        piece: One of them is a disjoint piece made to be told apart, so that no shared second
            means ``none``. Otherwise two stretches of one source are ``ignore``: a static shot can
            look the same at any time.
    """
    segments: list[Segment] = []
    sources: list[str] = []
    kinds: set[str] = set()
    same_source = False
    for x in a:
        for y in b:
            if x.source != y.source:
                continue
            same_source = True
            lo, hi = max(x.src[0], y.src[0]), min(x.src[1], y.src[1])
            if hi - lo <= 0.05:
                continue
            if "other" in (x.role, y.role):
                kinds.add("other")
                continue
            if "shared" in (x.role, y.role):
                kinds.add("shared")
                continue
            kinds.add("main")
            sa = sorted((x.file_at(lo), x.file_at(hi)))
            sb = sorted((y.file_at(lo), y.file_at(hi)))
            segments.append(Segment((sa[0], sa[1]), (sb[0], sb[1]), x.speed / y.speed,
                                    x.mirrored != y.mirrored, x.reverse != y.reverse))
            sources.append(x.source)
    found = tuple(segments)
    if "main" in kinds:
        a_s, b_s = union_s(s.a for s in found), union_s(s.b for s in found)
        if a_s >= WHOLE * a_duration_s and b_s >= WHOLE * b_duration_s:
            return Relation("whole", found, tuple(sources))
        if min(a_s, b_s) >= MIN_SHARED_S:
            return Relation("partial", found, tuple(sources))
        return Relation("ignore", found, tuple(sources))
    if "other" in kinds:
        return Relation("ignore")
    if "shared" in kinds:
        return Relation("shared")
    return Relation("ignore" if same_source and not piece else "none")


def lost_seconds(removed: Sequence[Content], kept: Sequence[Content]) -> float:
    """Seconds of source content of ``removed`` that ``kept`` does not show."""
    lost = 0.0
    for item in removed:
        if item.role == "other" and item.share < MIN_SHARE:
            continue
        held = [
            (max(item.src[0], k.src[0]), min(item.src[1], k.src[1]))
            for k in kept if k.source == item.source and (k.role != "other" or k.share >= MIN_SHARE)
        ]
        lost += item.src[1] - item.src[0] - union_s(s for s in held if s[1] > s[0])
    return lost


def save(path: Path, files: Sequence[FileTruth]) -> None:
    """Write the truth of one split as JSON (for people and other tools)."""
    text = json.dumps({"version": 1, "files": [asdict(f) for f in files]}, indent=1)
    temporary = path.with_suffix(".part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def load(path: Path) -> list[FileTruth]:
    """Read what :func:`save` wrote."""
    out = []
    for row in json.loads(path.read_text(encoding="utf-8"))["files"]:
        content = tuple(
            Content(**{**c, "src": tuple(c["src"]), "file": tuple(c["file"])})
            for c in row.pop("content")
        )
        out.append(FileTruth(**{**row, "also": tuple(row["also"]), "content": content}))
    return out
