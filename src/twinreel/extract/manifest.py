"""A CSV of videos, or folders -> Jobs: which video becomes which output. Checked whole first.

    jobs = from_csv(Path("videos.csv"))          # columns video_path,feature_path[,start,end]
    jobs = from_files(["/films/a/x.mp4"], roots=["/films"], out=Path("features"))

A folder is mirrored: /films/a/x.mp4 becomes features/a/x.mp4.npy, so equal names never collide.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from twinreel.errors import BadManifest

NEEDED = ("video_path", "feature_path")
OPTIONAL = ("start", "end")
_SHOWN = 10  # faults listed in one message


@dataclass(frozen=True)
class Job:
    """One output: seconds `start` to `end` (None: to its end) of a video.

    output: where the array goes, ending as in the CSV; name: the same relative to the run's folder.
    """

    row: int
    video: str
    output: str
    name: str
    start: float = 0.0
    end: float | None = None
    url: str = ""  # where the video was fetched from

    @property
    def shown(self) -> str:
        """What the video is called in records."""
        return self.url or self.video


def from_csv(path: Path, suffix: str = ".npy", root: Path | None = None) -> list[Job]:
    """Read and check a CSV.

    Args:
        suffix: of the outputs; put behind a feature_path that lacks it, as numpy does.
        root: relative feature_paths start here (default: the working folder, as video_paths do).

    Raises:
        BadManifest: naming every row (up to 10) that breaks a rule.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            table = list(csv.reader(file, skipinitialspace=True, strict=True))
    except OSError as error:
        raise BadManifest(f"{path}: {error.strerror or error}; give a readable CSV") from None
    except csv.Error as error:
        raise BadManifest(f"{path}: not a CSV: {error}; quote names with commas") from None
    if not table:
        raise BadManifest(f"{path}: empty; the first line must be {','.join(NEEDED)}")
    header = [cell.strip() for cell in table[0]]
    if lacking := [name for name in NEEDED if name not in header]:
        raise BadManifest(
            f"{path}: no column {' and no column '.join(lacking)} in the header "
            f"{','.join(header)!r}; the first line must be {','.join(NEEDED)}"
        )
    if twice := {name for name in header if name and header.count(name) > 1}:
        raise BadManifest(f"{path}: column {min(twice)} stands twice in the header; keep one")
    faults: list[str] = []
    jobs: list[Job] = []
    base = (root or Path.cwd()).resolve()
    for number, cells in enumerate(table[1:], start=2):
        if not any(cell.strip() for cell in cells):
            continue
        try:
            if any(cell.strip() for cell in cells[len(header) :]):
                raise ValueError(
                    f"{len(cells)} cells, the header has {len(header)}; quote names with commas"
                )
            jobs.append(_job(number, dict(zip(header, cells, strict=False)), base, suffix))
        except ValueError as error:
            faults.append(f"row {number}: {error}")
    faults += _clashes(jobs)
    if faults:
        more = f"\n... and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise BadManifest(f"{path}: " + "\n".join(faults[:_SHOWN]) + more)
    if not jobs:
        raise BadManifest(f"{path}: no rows under the header; one row per video is needed")
    return _named(jobs, root)


def _job(number: int, cells: dict[str, str], base: Path, suffix: str) -> Job:
    video, output = cells.get("video_path", ""), cells.get("feature_path", "")
    for name, value in (("video_path", video), ("feature_path", output)):
        if not value.strip():
            raise ValueError(f"{name} is empty; every row needs both paths")
        if "\0" in value:
            raise ValueError(f"{name} holds a zero byte; no file can be called so")
    start = _seconds("start", cells.get("start", "")) or 0.0
    end = _seconds("end", cells.get("end", ""))
    if end is not None and end <= start:
        raise ValueError(f"end {end:g} is not after start {start:g}")
    return Job(number, os.path.abspath(video), _with_suffix(base / output, suffix), "", start, end)


def _seconds(name: str, text: str) -> float | None:
    if not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} must be seconds, 0 or more, got {text!r}")
    return value


_SUFFIXES = (".npy", ".npz", ".safetensors")


def _with_suffix(path: Path, suffix: str) -> str:
    text = os.path.abspath(path)
    for other in _SUFFIXES:
        if text.endswith(other):
            return text.removesuffix(other) + suffix
    return text + suffix


def _clashes(jobs: Iterable[Job]) -> list[str]:
    """Two rows with one output, or one row twice."""
    first: dict[str, Job] = {}
    faults = []
    for job in jobs:
        other = first.setdefault(job.output, job)
        if other is job:
            continue
        if (other.video, other.start, other.end) == (job.video, job.start, job.end):
            faults.append(f"row {job.row}: repeats row {other.row}; remove one")
        else:
            faults.append(
                f"row {job.row}: same output as row {other.row} ({job.output}); "
                "each row needs a feature_path of its own"
            )
    return faults


def _named(jobs: list[Job], root: Path | None) -> list[Job]:
    base = run_folder(jobs, root)
    return [
        Job(j.row, j.video, j.output, os.path.relpath(j.output, base), j.start, j.end) for j in jobs
    ]


def run_folder(jobs: Sequence[Job], root: Path | None = None) -> Path:
    """The folder that all outputs of a run share: `root`, else their nearest common folder."""
    if root is not None:
        return root.resolve()
    common = os.path.commonpath([os.path.dirname(j.output) for j in jobs])
    if common == os.path.dirname(common):
        raise BadManifest(
            f"the outputs have only {common} in common, where no status can be kept; "
            "name a folder for it with -o"
        )
    return Path(common)


def from_files(
    files: Sequence[str], roots: Sequence[str], out: Path, suffix: str = ".npy"
) -> list[Job]:
    """Jobs that mirror folders into `out`.

    Args:
        files: videos, each inside one of the roots or itself a root.
        roots: the folders and files that were asked for.

    Raises:
        BadManifest: two videos would get one output (roots with equal names inside).
    """
    tops = sorted((os.path.abspath(r) for r in roots), key=len, reverse=True)
    base = out.resolve()
    jobs = []
    for number, file in enumerate(files, start=1):
        path = os.path.abspath(file)
        name = os.path.basename(path)
        for top in tops:
            if path != top and path.startswith(top.rstrip(os.sep) + os.sep):
                name = os.path.relpath(path, top)
                break
        output = os.path.join(base, name) + suffix
        jobs.append(Job(number, path, output, name + suffix))
    if faults := _clashes(jobs):
        raise BadManifest(
            f"{len(faults)} videos of different folders have one name, e.g. {faults[0]}; "
            "give their common parent folder, or a CSV"
        )
    return jobs
