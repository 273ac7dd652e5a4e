"""What a library tells and is told, and what that is as a row of a table."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from twinreel.types import Match, Segment, Track, VideoFile, VideoInfo


@dataclass(frozen=True)
class Facts:
    """What one look taught about a content, whatever the network: stored once per key."""

    info: VideoInfo
    step_s: float
    planned: int
    got: int
    damage: str = ""
    detail: float = 0.0
    picture: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    noise: float = 0.0


@dataclass(frozen=True, slots=True)
class Packed:
    """Where a video's vectors stand in the shards.

    place: their first row. shown: which of its `rows` show something, (n,); None for all.
    """

    key: str
    duration_s: float
    place: int
    rows: int
    dim: int
    shown: npt.NDArray[np.int64] | None


@dataclass(frozen=True)
class Remembered:
    """A failure of an earlier run."""

    stage: str
    error: str
    detail: str
    transient: bool
    twinreel: str


def file_row(f: VideoFile, full_hash: str | None, seen: str) -> tuple[Any, ...]:
    """A row of `files`."""
    about = (f.size, f.mtime_ns, f.inode, f.device, f.volume, f.key)
    return (os.fsencode(f.path), *about, full_hash, seen)


def facts_row(key: str, f: Facts) -> tuple[Any, ...]:
    """A row of `videos`."""
    info, picture = json.dumps(asdict(f.info)), json.dumps(f.picture)
    return (key, info, f.step_s, f.planned, f.got, f.damage, f.detail, picture, f.noise)


def read_info(text: str) -> VideoInfo:
    data = json.loads(text)
    for name in ("audio", "subtitles"):
        data[name] = tuple(Track(**t) for t in data[name])
    return VideoInfo(**data)


def pack_match(m: Match) -> list[Any]:
    """What a match says beside its videos and score, as JSON can hold it."""
    segments = [[*s.a, *s.b, s.speed, s.mirrored] for s in m.segments]
    return [m.relation, m.coverage_a, m.coverage_b, segments]


def unpack_match(a: str, b: str, score: float, packed: list[Any]) -> Match:
    """The match that `pack_match` packed."""
    relation, cover_a, cover_b, segments = packed
    return Match(
        a,
        b,
        score,
        relation,
        tuple(Segment((s[0], s[1]), (s[2], s[3]), s[4], s[5]) for s in segments),
        cover_a,
        cover_b,
    )
