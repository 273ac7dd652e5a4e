"""twinreel through its own command, as a user runs it, and its report read back.

The report's JSON is the only thing that is known of twinreel here.
"""

from __future__ import annotations

import json
import os
import resource
import shlex
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .truth import Segment

__all__ = ["Answer", "Found", "Grouped", "Outcome", "read", "run"]

MERGES = ("exact", "copy")  # what is proposed for removal by default
RELATIONS = (*MERGES, "contains", "part_of", "overlap", "shared_intro")
CONVERSE = {"contains": "part_of", "part_of": "contains"}


@dataclass(frozen=True)
class Found:
    """A match; spans are seconds of the first and of the second file of the pair."""

    score: float
    relation: str
    segments: tuple[Segment, ...] = ()

    def swapped(self) -> Found:
        """Read from the second file."""
        return Found(self.score, CONVERSE.get(self.relation, self.relation), tuple(
            Segment(s.b, s.a, 1 / s.speed if s.speed else 1.0, s.mirrored)
            for s in self.segments))


@dataclass(frozen=True)
class Grouped:
    """A group: file names, the kept one, and whether it asks for a look before removal."""

    members: tuple[str, ...]
    keep: str
    look: bool
    losses: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """One report: matches by (file name, file name), groups, failures, the default threshold, and
    from which score on it lists parts (all that it lists; with ``--all-matches`` the threshold)."""

    matches: dict[tuple[str, str], Found]
    groups: tuple[Grouped, ...]
    failures: tuple[tuple[str, str], ...]
    min_score: float
    model: str
    part_score: float = 1.0

    def match(self, a: str, b: str) -> Found | None:
        """The match of two files, read from ``a``."""
        if (a, b) in self.matches:
            return self.matches[a, b]
        return self.matches[b, a].swapped() if (b, a) in self.matches else None


@dataclass(frozen=True)
class Outcome:
    """The runs on one split: defaults, every scored pair, and clips in longer videos (or None)."""

    default: Answer
    everything: Answer
    clips: Answer | None
    cpu_s: float
    wall_s: float
    library_bytes: int
    version: str


def read(report: Mapping[str, Any]) -> Answer:
    """A report as Python's json gives it.

    Raises:
        ValueError: no threshold in it, or a version that is not 1.
    """
    if report.get("version") != 1:
        raise ValueError(f"report version {report.get('version')!r}; this adapter reads version 1")
    least = report.get("options", {}).get("min_score")
    if least is None:
        raise ValueError("the report's options hold no min_score: no default to judge by")
    matches = {}
    for m in report["matches"]:
        segments = tuple(
            Segment(tuple(s["a"]), tuple(s["b"]), s.get("speed", 1.0), bool(s.get("mirrored")))
            for s in m.get("segments", ()))
        matches[_name(m["a"]), _name(m["b"])] = Found(float(m["score"]), m["relation"], segments)
    groups = tuple(
        Grouped(tuple(_name(p) for p in g["members"]), _name(g["keep"]), bool(g.get("look")),
                {_name(p): tuple(v) for p, v in g.get("losses", {}).items()})
        for g in report["groups"])
    _spread(matches, groups, report.get("videos", ()))
    failures = tuple((_name(f["path"]), f"{f['stage']}: {f['error']}") for f in report["failures"])
    model = report.get("model", {})
    parts = least if report["options"].get("all_matches") else report["options"].get("part_score")
    return Answer(matches, groups, failures, float(least),
                  model.get("name", "") if isinstance(model, Mapping) else str(model),
                  min(float(least), float(least if parts is None else parts)))


def _spread(matches: dict[tuple[str, str], Found], groups: Sequence[Grouped],
            videos: Sequence[Mapping[str, Any]]) -> None:
    """What is said of one of several byte-identical files (same content key) holds for all; they
    are found as copies of one another where a group shows them together."""
    twins: dict[str, list[str]] = {}
    for video in videos:
        if video.get("key"):
            twins.setdefault(video["key"], []).append(_name(video["path"]))
    of = {name: names for names in twins.values() if len(names) > 1 for name in names}
    for (a, b), found in list(matches.items()):
        for x in of.get(a, [a]):
            for y in of.get(b, [b]):
                if x != y and (y, x) not in matches:
                    matches.setdefault((x, y), found)
    for group in groups:
        for x in group.members:
            for y in of.get(x, ()):
                if x < y and y in group.members and (y, x) not in matches:
                    matches.setdefault((x, y), Found(1.0, "exact"))


def _name(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def run(command: str, videos: Path, out: Path, extra: Sequence[str] = (), *,
        clips: Path | None = None, reuse: bool = False,
        pictures: Path | None = None) -> Outcome:
    """Run ``dups`` over ``videos``: cold with defaults, then on the filled library.

    Args:
        command: How to call twinreel, as in a shell.
        extra: More arguments (a model, random weights).
        clips: Look for clips inside longer videos, too, among the videos of this folder.
        reuse: Keep the library of an earlier run, and its cost with it (nan where none is known,
            as for a library that another model's run filled).
        pictures: A library whose kept pictures are embedded instead of decoding (for networks that
            are a floor: cost unknown, and pairs of unlike length are not scored).

    Raises:
        RuntimeError: twinreel ended with something else than 0 or 1; its words are in it.
    """
    out.mkdir(parents=True, exist_ok=True)
    library, cost = out / "library.db", out / "cost.json"
    cold = bool(pictures) or not (reuse and library.is_file())
    if cold:
        for path in out.iterdir():
            path.unlink()
    if pictures:
        shutil.copyfile(pictures, library)
    wide = [] if pictures else ["--length-tolerance", "any"]
    base = [*shlex.split(command), "dups", "--library", str(library), *extra]
    before, started = _children_cpu(), time.monotonic()
    default = _report([*base, str(videos)], out / "default.json")
    if cold and not pictures:
        size = sum(p.stat().st_size for p in out.glob("library.db*"))
        cost.write_text(json.dumps({"cpu_s": _children_cpu() - before,
                                    "wall_s": time.monotonic() - started, "bytes": size}))
    everything = _report([*base, str(videos), "--all-matches", *wide], out / "all.json")
    inside = _report([*base, str(clips), "--clips"], out / "clips.json") if clips else None
    unknown = {"cpu_s": float("nan"), "wall_s": float("nan"), "bytes": 0}
    paid = json.loads(cost.read_text()) if cost.is_file() else unknown
    version = subprocess.run([*shlex.split(command), "--version"], capture_output=True, text=True,
                             check=False).stdout.strip()
    return Outcome(default, everything, inside, paid["cpu_s"], paid["wall_s"], paid["bytes"],
                   version)


def _report(command: Sequence[str], path: Path) -> Answer:
    path.unlink(missing_ok=True)
    done = subprocess.run([*command, "-q", "-o", str(path)], capture_output=True, text=True,
                          check=False, env={**os.environ, "NO_COLOR": "1"})
    if done.returncode not in (0, 1) or not path.is_file():
        raise RuntimeError(f"twinreel ended with {done.returncode}: {done.stderr[-1500:]}")
    return read(json.loads(path.read_text(encoding="utf-8")))


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
