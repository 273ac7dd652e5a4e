"""Every option, declared once: type, default, help and allowed values.

The same dataclass is the keyword argument of the library function, a section of `twinreel.toml`
and the flags of a verb. `__post_init__` checks; a ValueError there is a usage error everywhere.

    >>> SampleOptions(fps=0.0)
    Traceback (most recent call last):
    ValueError: fps must be positive, got 0.0
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from twinreel.errors import BadConfig

T = TypeVar("T")

EXTENSIONS = tuple(
    "mp4 m4v mov mkv webm avi wmv asf flv f4v mpg mpeg mpe m2v vob ts m2ts mts 3gp 3g2 ogv ogm"
    " divx rm rmvb mxf gif y4m".split()
)
SAMPLERS = ("uniform", "dense", "keyframes", "fps")


def opt(default: Any, help: str, **extra: Any) -> Any:
    """A dataclass field with what a flag needs.

    extra: choices, short ('-o'), flag (another name), metavar, hidden, multiple.
    """
    meta = {"help": help, **extra}
    if isinstance(default, list | tuple):
        return field(default_factory=lambda: tuple(default), metadata={**meta, "multiple": True})
    return field(default=default, metadata=meta)


@dataclass(frozen=True)
class DiscoverOptions:
    """Which files are looked at."""

    ext: tuple[str, ...] = opt(
        (), f"Look only at these extensions (default: the usual {len(EXTENSIONS)})."
    )
    exclude: tuple[str, ...] = opt((), "Leave out paths that match this glob.", metavar="GLOB")
    min_size: int = opt(1, "Leave out files smaller than this many bytes.")
    include_system: bool = opt(
        False, "Read trash, system, snapshot and unfinished-download files too."
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "ext", tuple(e.lower().lstrip(".") for e in self.ext))
        if self.min_size < 0:
            raise ValueError(f"min_size must not be negative, got {self.min_size}")

    @property
    def extensions(self) -> frozenset[str]:
        return frozenset(self.ext or EXTENSIONS)


@dataclass(frozen=True)
class SampleOptions:
    """Which moments of a video are looked at."""

    sampler: str = opt(
        "uniform",
        f"How the moments are chosen: {', '.join(SAMPLERS)}, or module:function of your own.",
        metavar="NAME",
    )
    moments: int = opt(32, "At most this many moments a video (not for fps and dense).")
    fps: float = opt(1.0, "Moments per second of video time (fps; dense: at least).")

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS and ":" not in self.sampler:
            known = ", ".join(SAMPLERS)
            raise ValueError(f"sampler is {known} or module:function, got {self.sampler!r}")
        if self.fps <= 0:
            raise ValueError(f"fps must be positive, got {self.fps}")
        if self.moments < 1:
            raise ValueError(f"moments must be at least 1, got {self.moments}")


@dataclass(frozen=True)
class DecodeOptions:
    """How videos are read."""

    jobs: int = opt(0, "Decoding processes (0: one per core, fewer on rotating disks).", short="-j")
    stall: float = opt(30.0, "Give up on a video after this many seconds without a packet.")
    bad_packets: float = opt(0.05, "Share of undecodable packets that is still tolerated.")
    nice: int = opt(10, "Process priority to run at (0: normal).")
    thumbs: bool = opt(True, "Keep small pictures of the looked-at moments in the library.")
    retry_failed: bool = opt(False, "Try again what failed in an earlier run.")
    runner: str = opt("local", "Where videos are decoded: here, or on a Ray cluster.",
                      choices=("local", "ray"))  # fmt: skip
    address: str = opt("", "Ray cluster (default: the one that is running, else this machine).",
                       metavar="HOST:PORT")  # fmt: skip
    features: str = opt("", "Take arrays that `extract` wrote there; decode nothing.",
                        metavar="DIR")  # fmt: skip

    def __post_init__(self) -> None:
        if self.features and self.runner != "local":
            raise ValueError("features are read here: runner ray has nothing to do")
        if self.jobs < 0 or self.stall <= 0:
            raise ValueError(f"jobs >= 0 and stall > 0 are needed, got {self.jobs}, {self.stall}")
        if not 0 <= self.bad_packets <= 1:
            raise ValueError(f"bad_packets is a share within 0 and 1, got {self.bad_packets}")


@dataclass(frozen=True)
class ModelOptions:
    """Which network describes the frames."""

    model: str = opt("", "Name of the descriptor network (default: the built-in one).")
    weights: str = opt("", "Checkpoint file, or random:SEED.", metavar="PATH")
    device: str = opt("auto", "cpu, cuda, cuda:N, mps or auto.")
    precision: str = opt("auto", "Arithmetic.", choices=("auto", "fp32", "bf16"))
    batch_size: int = opt(64, "Frames per forward pass, filled across videos.")
    embedding_size: int = opt(0, "Use only the first N numbers of the descriptor (0: all).")

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")
        if self.embedding_size < 0:
            raise ValueError(f"embedding_size must not be negative, got {self.embedding_size}")


@dataclass(frozen=True)
class CompareOptions:
    """When two videos are compared and when they match."""

    length_tolerance: str = opt(
        "60%", "Compare videos whose durations differ by at most this: 5s, 20% or any."
    )
    min_score: float | None = opt(None, "Lowest match score, 0 to 1 (default: the model's own).")
    epsilon: float | None = opt(None, "The first seed's name for 1 - min_score.")
    min_samples: int = opt(2, "DBSCAN's min_samples.")
    clips: bool = opt(False, "Look densely and compare any lengths: clips inside longer videos.")
    contained: bool = opt(False, "Group videos with longer ones that wholly contain them, too.")
    against: tuple[str, ...] = opt(
        (), "Compare only with the videos under this path.", metavar="PATH"
    )
    part_score: float = opt(
        0.6, "Lowest score at which a part is listed that a closer look has shown (never grouped)."
    )
    all_matches: bool = opt(False, "List every pair that was scored, also below the threshold.")
    closer: bool = opt(
        True, "Settle doubtful pairs by laying their pictures on each other (opens videos again)."
    )
    neighbours: str = opt(
        "auto", "Which pairs are looked at: all, or the nearest by an index (auto: by size).",
        choices=("auto", "exact", "ann"),
    )  # fmt: skip

    def __post_init__(self) -> None:
        if self.min_score is not None and self.epsilon is not None:
            raise ValueError(
                f"min_score ({self.min_score}) and epsilon ({self.epsilon}) say the same thing "
                "(epsilon = 1 - min_score): give one of them"
            )
        for name in ("min_score", "epsilon", "part_score"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"{name} must be within 0 and 1, got {value}")
        if self.min_samples < 1:
            raise ValueError(f"min_samples must be at least 1, got {self.min_samples}")
        self.tolerance()

    def tolerance(self) -> tuple[float, float]:
        """(seconds, fraction): durations may differ by the larger of the two; inf for 'any'."""
        text = "any" if self.clips else self.length_tolerance.strip().lower()
        try:
            if text == "any":
                return float("inf"), 0.0
            if text.endswith("%"):
                seconds, share = 0.0, float(text[:-1]) / 100
            else:
                seconds, share = float(text.removesuffix("s")), 0.0
        except ValueError:
            seconds = -1.0
            share = 0.0
        if seconds < 0 or share < 0:
            raise ValueError(
                f"length_tolerance must be seconds (5s), a share (20%) or any, got {text!r}"
            )
        return seconds, share

    def threshold(self, default: float) -> float:
        """The lowest score that counts as a match, `default` where the user gave none."""
        if self.epsilon is not None:
            return 1.0 - self.epsilon
        return default if self.min_score is None else self.min_score


@dataclass(frozen=True)
class KeepOptions:
    """Which file of a group is worth keeping."""

    prefer: tuple[str, ...] = opt((), "Keep files that match this glob before others.")
    sound: bool = opt(True, "Listen to matched videos: another sound asks for a look.")
    protect: tuple[str, ...] = opt((), "Never propose to remove files that match this glob.")


@dataclass(frozen=True)
class OutputOptions:
    """Where results go and how much is said."""

    output: str = opt("", "Report file (.json, .csv, .txt; - for stdout).", short="-o")
    library: str = opt("", "Library file (default: in the user's data folder).", metavar="FILE")
    map: tuple[str, ...] = opt((), "A path prefix known by another name.", metavar="OLD=NEW")
    json: bool = opt(False, "Print the report as JSON.")
    quiet: bool = opt(False, "Print nothing but errors.", short="-q")

    def __post_init__(self) -> None:
        for pair in self.map:
            if "=" not in pair:
                raise ValueError(f"map takes OLD=NEW, got {pair!r}")


@dataclass(frozen=True)
class DupsOptions:
    """All that `find_duplicates` can be told, by stage."""

    discover: DiscoverOptions = field(default_factory=DiscoverOptions)
    sample: SampleOptions = field(default_factory=SampleOptions)
    decode: DecodeOptions = field(default_factory=DecodeOptions)
    model: ModelOptions = field(default_factory=ModelOptions)
    compare: CompareOptions = field(default_factory=CompareOptions)
    keep: KeepOptions = field(default_factory=KeepOptions)
    output: OutputOptions = field(default_factory=OutputOptions)


# The first seed's settings that are not simply one of ours (see docs/from-the-seeds.md).
SEED_KEYS = {"extensions": "ext", "videos_dir": "paths"}
DELETE_FILES = (
    "delete_files = true is not taken: twinreel never deletes while it searches. "
    "Run `twinreel dups`, look at the report, then `twinreel act trash REPORT --yes`."
)


def stages(cls: type[Any] = DupsOptions) -> dict[str, type[Any]]:
    """Name -> options class of each stage that `cls` is made of."""
    return {f.name: f.default_factory for f in fields(cls)}  # type: ignore[misc]


def gather(values: Mapping[str, Any], cls: type[T]) -> T:
    """Flat names -> a nested options record; unknown names and broken rules raise BadConfig."""
    left = dict(values)
    if left.get("clips"):
        left.setdefault("sampler", "dense")  # sparse moments miss short clips in long videos
    parts: dict[str, Any] = {}
    try:
        for name, stage in stages(cls).items():
            known = {f.name for f in fields(stage)}
            parts[name] = stage(**{k: left.pop(k) for k in list(left) if k in known})
    except (ValueError, TypeError) as error:
        raise BadConfig(str(error)) from None
    if left:
        raise BadConfig(f"unknown option {sorted(left)[0]!r}; known: {', '.join(flat_names(cls))}")
    return cls(**parts)


def flat_names(cls: type[Any] = DupsOptions) -> list[str]:
    """Every option's name, sorted."""
    return sorted(f.name for stage in stages(cls).values() for f in fields(stage))


def read_config(path: Path) -> dict[str, Any]:
    """`twinreel.toml` -> flat option values, plus 'paths' when the file names folders.

    Options stand at the top or in a table named after their stage. The first seed's names are
    understood; `delete_files = true` is answered with what to do instead.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfig(f"{path}: not readable as TOML: {error}") from None
    values: dict[str, Any] = {}
    for name, value in data.items():
        if isinstance(value, dict):
            if name not in stages():
                raise BadConfig(f"{path}: unknown table [{name}]; known: {', '.join(stages())}")
            values.update(value)
        else:
            values[name] = value
    if values.pop("delete_files", False):
        raise BadConfig(f"{path}: {DELETE_FILES}")
    for old, new in SEED_KEYS.items():
        if old in values:
            values[new] = values.pop(old)
    if isinstance(values.get("paths"), str):
        values["paths"] = [values["paths"]]
    unknown = set(values) - set(flat_names()) - {"paths"}
    if unknown:
        raise BadConfig(f"{path}: unknown option {sorted(unknown)[0]!r}")
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


def flatten(options: Any) -> dict[str, Any]:
    """A nested options record -> {name: value}, as written into reports."""
    return {k: v for part in dataclasses.asdict(options).values() for k, v in part.items()}


def fingerprint(*parts: Any) -> str:
    """A short stable hash of option records and plain values (12 hex digits)."""
    plain = [dataclasses.asdict(p) if dataclasses.is_dataclass(p) else p for p in parts]  # type: ignore[arg-type]
    return hashlib.blake2b(json.dumps(plain, sort_keys=True).encode(), digest_size=6).hexdigest()
