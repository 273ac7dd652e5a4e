"""The records that flow from stage to stage. All are frozen; all say what they hold.

A video's journey: VideoFile (discover) -> VideoInfo (probe) -> SamplePlan (sample) ->
FrameBatch (decode) -> Features (embed) -> Match (compare) -> Group (cluster, keep) -> Report.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
Seconds = npt.NDArray[np.float64]

RELATIONS = ("exact", "copy", "contains", "part_of", "overlap", "shared_intro")
COPIES = frozenset({"exact", "copy"})  # the relations that make a group
CONVERSE = {"contains": "part_of", "part_of": "contains"}  # 'a contains b' = 'b part_of a'


@dataclass(frozen=True)
class VideoFile:
    """A file on a disk. `key` follows the content, not the name; None until it is read."""

    path: str
    size: int  # bytes
    mtime_ns: int
    inode: int
    device: int
    volume: str = ""
    key: str | None = None


@dataclass(frozen=True)
class Track:
    """An audio or subtitle track, as its header describes it."""

    codec: str
    language: str = "und"
    channels: int = 0


@dataclass(frozen=True)
class VideoInfo:
    """What the headers say. Width and height are as displayed (rotation and pixel aspect applied).

    `fps` is the average rate, None where the container does not know one; `hdr` is the transfer
    ('pq', 'hlg') or ''; `duration_s` is 0.0 when the container does not say.
    """

    duration_s: float
    width: int
    height: int
    coded_width: int
    coded_height: int
    codec: str
    container: str = ""
    fps: float | None = None
    fps_guessed: float | None = None
    rotation: int = 0
    sample_aspect: float = 1.0
    bitrate: int = 0
    bit_depth: int = 8
    hdr: str = ""
    interlaced: bool = False
    audio: tuple[Track, ...] = ()
    subtitles: tuple[Track, ...] = ()


@dataclass(frozen=True)
class SamplePlan:
    """The moments to look at, in seconds from the first frame: (n,) float64, increasing."""

    times_s: Seconds
    step_s: float

    def __post_init__(self) -> None:
        if self.times_s.ndim != 1 or np.any(np.diff(self.times_s) <= 0):
            raise ValueError(f"times must be increasing and one-dimensional, got {self.times_s!r}")


@dataclass(frozen=True)
class FrameBatch:
    """Some moments of one video. pixels: uint8 (n, h, w, 3) RGB; times_s: float64 (n,)."""

    pixels: Pixels
    times_s: Seconds

    def __post_init__(self) -> None:
        if self.pixels.dtype != np.uint8 or self.pixels.ndim != 4 or self.pixels.shape[-1] != 3:
            raise ValueError(f"pixels must be uint8 (n, h, w, 3), got {self.pixels.shape = }")
        if self.times_s.shape != (len(self.pixels),):
            raise ValueError(f"one time per frame, got {self.times_s.shape = }")

    def __repr__(self) -> str:
        return f"FrameBatch(pixels{self.pixels.shape})"


@dataclass(frozen=True)
class Features:
    """One descriptor per looked-at span of a video.

    vectors: float32 (n, d). spans_s: float64 (n, 2), start and end of what each row saw.
    blank: bool (n,), rows that show (almost) nothing and prove nothing. `model` contains the
    weights' hash, `sampling` the fingerprint of how the moments were chosen: Features that differ
    in either are never compared.
    """

    key: str
    model: str
    sampling: str
    vectors: Floats
    spans_s: Seconds
    blank: npt.NDArray[np.bool_]
    duration_s: float

    def __post_init__(self) -> None:
        n = len(self.vectors)
        if self.vectors.ndim != 2 or self.vectors.dtype != np.float32:
            raise ValueError(f"vectors must be float32 (n, d), got {self.vectors.shape = }")
        if self.spans_s.shape != (n, 2) or self.blank.shape != (n,):
            raise ValueError(
                f"one span and flag per row, got {self.spans_s.shape = } {self.blank.shape = }"
            )

    @property
    def times_s(self) -> Seconds:
        """Start of each span, float64 (n,)."""
        return self.spans_s[:, 0]

    def __repr__(self) -> str:
        return f"Features({self.key}, vectors{self.vectors.shape}, {self.duration_s:.1f} s)"


@dataclass(frozen=True)
class Segment:
    """The same content: seconds a[0]..a[1] of one video are seconds b[0]..b[1] of the other.

    speed: seconds of b per second of a.
    """

    a: tuple[float, float]
    b: tuple[float, float]
    speed: float = 1.0
    mirrored: bool = False

    def swapped(self) -> Segment:
        """The same statement read from the other video."""
        return Segment(self.b, self.a, 1.0 / self.speed, self.mirrored)


@dataclass(frozen=True)
class Match:
    """Two videos and what they share; reads 'a RELATION b'. Coverage is a fraction of duration."""

    a: str
    b: str
    score: float
    relation: str
    segments: tuple[Segment, ...] = ()
    coverage_a: float = 1.0
    coverage_b: float = 1.0

    def __post_init__(self) -> None:
        if self.relation not in RELATIONS:
            raise ValueError(f"relation must be one of {RELATIONS}, got {self.relation!r}")
        if not 0.0 <= self.score <= 1.0:
            raise ValueError(f"score must be within 0 and 1, got {self.score}")

    def swapped(self) -> Match:
        """The same match with a and b exchanged."""
        return Match(
            self.b,
            self.a,
            self.score,
            CONVERSE.get(self.relation, self.relation),
            tuple(s.swapped() for s in self.segments),
            self.coverage_b,
            self.coverage_a,
        )

    def ordered(self) -> Match:
        """The same match read from its smaller key."""
        return self if self.a <= self.b else self.swapped()


@dataclass(frozen=True)
class Video:
    """One file of a report: where it is, what it is, and what is known to be wrong with it."""

    file: VideoFile
    info: VideoInfo
    offline: bool = False
    last_seen: str = ""  # ISO time of the last scan that saw it
    damage: str = ""  # '' when intact, else in words
    detail: float = 0.0  # cycles of real detail per picture height, measured; 0 = unknown
    picture: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)  # left, top, right, bottom
    noise: float = 0.0  # power of white noise, squared grey levels

    @property
    def path(self) -> str:
        return self.file.path


@dataclass(frozen=True)
class Group:
    """Files that show the same thing: the one worth keeping, why, and what each other one has
    that the kept one lacks (`losses`: path -> words; empty when nothing is lost).

    decision: None (not looked at), 'accept', 'skip' or 'not_a_match'; 'look' in `why` asks for
    human eyes before anything is removed.
    """

    members: tuple[str, ...]
    keep: str
    why: str
    losses: dict[str, list[str]] = field(default_factory=dict)
    decision: str | None = None
    look: bool = False

    def __post_init__(self) -> None:
        if self.keep not in self.members:
            raise ValueError(f"the kept file must be a member, got keep={self.keep!r}")


@dataclass(frozen=True)
class Failure:
    """A video that could not be used: where it stopped, the kind of error, the decoder's words."""

    path: str
    stage: str
    error: str
    detail: str


@dataclass(frozen=True)
class Step:
    """One change that a plan proposes: do `action` to `path`, because `keep` holds its content."""

    action: str
    path: str
    keep: str
    target: str | None = None
    size: int = 0
    why: str = ""
    losses: tuple[str, ...] = ()
    expect: dict[str, Any] = field(default_factory=dict)
