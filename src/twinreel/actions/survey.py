"""A plan meets the disk, by looks alone: what cannot be done is said before anything is touched.

    planned = survey(plan(report, "trash"), Disk())

Takes out steps that would be refused (gone, changed, linked, on another file system, no trash,
inside an HLS stream) and adds steps for sidecars. `apply` checks all of it again, step by step.
"""

from __future__ import annotations

import dataclasses
import os
import re
from bisect import bisect_left

from twinreel.actions.disk import Disk, Look, words
from twinreel.actions.kinds import ACTIONS, Run
from twinreel.actions.plan import LINKS, Plan, Skip
from twinreel.errors import ActionRefused, TwinreelError
from twinreel.keep import matches
from twinreel.options import EXTENSIONS
from twinreel.types import Step

SIDECARS = (
    *(".srt", ".ass", ".ssa", ".sub", ".idx", ".sup", ".vtt", ".smi", ".lrc", ".nfo"),
    *(".jpg", ".jpeg", ".png", ".webp", ".tbn", ".xmp"),
)
_VIDEO = tuple(f".{e}" for e in EXTENSIONS)
_LIKE = re.compile(r"[.\-_ ]")  # what may follow the stem: film.en.srt, film-poster.jpg
_STREAM = (".m3u8", ".mpd")


def survey(plan: Plan, disk: Disk | None = None) -> Plan:
    """The same plan without what the disk refuses, with sidecars."""
    disk = disk or Disk()
    run = Run(disk, plan.options, plan.roots, "")
    steps: list[Step] = []
    skipped = list(plan.skipped)
    sidecars: dict[str, list[str]] = {}
    folders = _Folders(disk)
    leaving = {s.path for s in plan.steps if s.keep}
    for step in plan.steps:
        try:
            if step.keep:
                step = _possible(step, run, folders)
        except (TwinreelError, OSError) as error:
            leaving.discard(step.path)
            skipped.append(Skip(step.path, words(error).removeprefix(f"{step.path}: ")))
            continue
        steps.append(step)
    standing = {s.path for s in steps}
    steps = [s for s in steps if s.keep or standing & set(s.expect["after"])]
    if not plan.options.structured:  # a kept file that is part of a stream stays in it
        steps = [s for s in steps if s.action != "place" or not folders.of(s.path)[1]]
    owners: dict[str, list[Step]] = {}  # sidecar -> the videos it goes with
    for step in [s for s in steps if s.keep and plan.action not in LINKS]:
        found = beside(step.path, folders.of(step.path)[0], leaving)
        if found:
            sidecars[step.path] = found
        for path in found if plan.options.sidecars != "leave" else []:
            if globs := [g for g in plan.options.protect if matches(path, g)]:
                skipped.append(Skip(path, f"protected by {globs[0]}"))
            else:
                owners.setdefault(path, []).append(step)
    steps += [_sidecar_step(path, videos, plan) for path, videos in owners.items()]
    # What changes the kept file comes last, after the sidecars that take its name.
    last = [s for s in steps if s.action in ("inherit", "place")]
    steps = [s for s in steps if s.action not in ("inherit", "place")] + last
    return dataclasses.replace(
        plan, steps=tuple(steps), skipped=tuple(skipped), sidecars=sidecars, surveyed=True
    )


class _Folders:
    """What lies in folders, read and judged once for all their files."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.known: dict[str, tuple[list[str], bool]] = {}

    def of(self, path: str) -> tuple[list[str], bool]:
        """(names in the folder of `path`, whether they are a stream's)"""
        folder = os.path.dirname(path)
        if folder not in self.known:
            names = self.disk.names(folder)
            self.known[folder] = names, in_stream(names)
        return self.known[folder]


def _possible(step: Step, run: Run, folders: _Folders) -> Step:
    """The step with the places it would use now, or the reason why it cannot be done."""
    looks: dict[str, Look] = {}
    for path, expect in ((step.path, step.expect["file"]), (step.keep, step.expect["keep"])):
        look = run.disk.look(path)
        if look is None:
            raise ActionRefused(f"{path}: not there any more; run `dups` again")
        if look.kind != "file":
            raise ActionRefused(f"{path}: not a real file (a {look.kind}); run `dups` again")
        for name in ("size", "mtime_ns"):
            if getattr(look, name) != expect[name]:
                raise ActionRefused(f"{path}: changed since the report; run `dups` again")
        looks[path] = look
    if looks[step.path].same_file(looks[step.keep]):
        raise ActionRefused(f"{step.path}: the same file as {step.keep}; nothing would be freed")
    if not run.options.structured and folders.of(step.path)[1]:
        raise ActionRefused(f"{step.path}: belongs to a stream playlist (--structured)")
    rec = ACTIONS[step.action].prepare(step, 0, looks[step.path], looks[step.keep], run)
    places = {name: rec[name] for name in ("dest", "hold", "info", "text") if name in rec}
    return dataclasses.replace(step, expect={**step.expect, "places": places})


def in_stream(names: list[str]) -> bool:
    """Whether a folder holds an HLS or DASH stream, whose pieces play only together."""
    return any(os.path.splitext(n)[1].lower() in _STREAM for n in names)


def beside(path: str, names: list[str], leaving: set[str]) -> list[str]:
    """Sidecars of a video: same folder, same stem. None while another video of that stem stays.

    names: those of the folder, sorted.
    """
    folder, name = os.path.split(path)
    stem = os.path.splitext(name)[0]
    # The names are sorted: those that begin with the stem lie together.
    first, last = bisect_left(names, stem), bisect_left(names, f"{stem}\U0010ffff")
    others = [n for n in names[first:last] if n != name]
    stems = [os.path.splitext(n)[0] for n in others if n.lower().endswith(_VIDEO)]
    for other in others:
        same = os.path.splitext(other)[0] == stem and other.lower().endswith(_VIDEO)
        if same and os.path.join(folder, other) not in leaving:
            return []
    # film.srt belongs to film.mp4; film-2.srt to film-2.mp4 where there is one.
    longer = tuple(s for s in stems if s != stem)
    return [
        os.path.join(folder, n)
        for n in others
        if n.lower().endswith(SIDECARS) and _LIKE.match(n[len(stem) :]) and not n.startswith(longer)
    ]


def _sidecar_step(path: str, videos: list[Step], plan: Plan) -> Step:
    """What becomes of a sidecar once all its videos went: where one stays, it stays too."""
    expect = {"after": [v.path for v in videos]}
    if plan.options.sidecars == "follow":
        return Step(plan.action, path, "", None, 0, "goes with its video", (), expect)
    first = videos[0]
    target = os.path.splitext(first.keep)[0] + path[len(os.path.splitext(first.path)[0]) :]
    return Step("carry", path, "", target, 0, "to the kept file", (), expect)
