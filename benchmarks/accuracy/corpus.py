"""The source clips: a manifest, its checksums, and the fixed split.

``videos.csv`` of the corpus folder names every file with its sha256, role and look-alike group.
``split.csv``, ``windows.csv`` and ``natural.csv`` beside this module hold what people decided:
which look-alike groups fit thresholds (train) and which are reported (test), which seconds of a
long source are its library original, and what the natural copies turned out to be when looked at.
"""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Clip", "Natural", "load", "naturals", "verify"]

HERE = Path(__file__).parent
MAX_ORIGINAL_S = 10.0  # originals are cut to this, to bound the cost of some 15 edits each
MIN_SOURCE_S = 4.0


@dataclass(frozen=True)
class Clip:
    """One row of the manifest with its split and window (seconds of the file)."""

    file: str
    group: str
    lookalike: str
    role: str
    split: str
    duration_s: float
    window: tuple[float, float]
    sha256: str

    @property
    def is_source(self) -> bool:
        return self.role == "source" and self.duration_s >= MIN_SOURCE_S


@dataclass(frozen=True)
class Natural:
    """What a natural copy was found to be: ``shared_s`` file seconds from ``file_start_s`` show the
    source from ``source_start_s`` on, at ``speed`` source seconds per file second."""

    file: str
    verdict: str
    source_start_s: float
    file_start_s: float
    shared_s: float
    speed: float
    degraded: bool


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def load(corpus: Path) -> list[Clip]:
    """All clips of the manifest in ``corpus``, in its order.

    Raises:
        FileNotFoundError: no manifest there.
        ValueError: a look-alike group that split.csv does not know.
    """
    manifest = corpus / "videos.csv"
    if not manifest.is_file():
        raise FileNotFoundError(f"{manifest}: no manifest; give the corpus folder with --corpus")
    splits = {row["lookalike"]: row["split"] for row in _rows(HERE / "split.csv")}
    windows = {r["file"]: (float(r["start_s"]), float(r["end_s"])) for r in
               _rows(HERE / "windows.csv")}
    clips = []
    for row in _rows(manifest):
        look = row["lookalike"]
        if look not in splits:
            raise ValueError(f"look-alike group {look!r} has no split; add it to split.csv")
        duration = float(row["duration_s"])
        window = windows.get(row["file"], (0.0, min(duration, MAX_ORIGINAL_S)))
        clips.append(Clip(row["file"], row["group"], look, row["role"], splits[look], duration,
                          window, row["sha256"]))
    return clips


def naturals() -> dict[str, Natural]:
    """The verdicts on natural copies, by file name; those left out are not in it."""
    return {
        r["file"]: Natural(r["file"], r["verdict"], float(r["source_start_s"]),
                           float(r["file_start_s"]), float(r["shared_s"]), float(r["speed"]),
                           r["degraded"] == "1")
        for r in _rows(HERE / "natural.csv") if r["verdict"] != "left_out"
    }


def verify(corpus: Path, clips: list[Clip]) -> tuple[list[str], list[str]]:
    """Read every file and compare checksums. Returns (missing, changed) file names."""
    missing, changed = [], []
    for clip in clips:
        path = corpus / "videos" / clip.file
        if not path.is_file():
            missing.append(clip.file)
            continue
        with path.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != clip.sha256:
                changed.append(clip.file)
    return missing, changed
