"""Report and policy in, steps out. Pure: no file is touched or even looked at.

    plan = plan(Report.load("report.json"), "trash", keep="largest", only=("exact",))
    for step in plan.steps: print(step.path, step.why)
    for skip in plan.skipped: print(skip.path, skip.reason)

What a plan promises, whatever the report says: a file that any group keeps is in no step; every
step has direct evidence (a match, or the same content key) between the file and the kept one; what
another tool's report calls a reference is in no step.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from typing import Any

from twinreel.actions.losses import Judge, accepted, evidence, losses, unheld
from twinreel.discover import emptied_folder
from twinreel.errors import BadReport
from twinreel.keep import matches, unmatched
from twinreel.options import opt
from twinreel.report import Report
from twinreel.types import Group, Step, Video

KEEP_RULES = ("best", "largest", "oldest", "newest", "shortest-path")
RELATIONS = ("exact", "copy", "part_of")  # what may be removed: all of it is in the kept file
DECISIONS = (None, "accept", "skip", "not_a_match")
LINKS = ("hardlink", "symlink", "reflink")
REMOVALS = ("trash", "move", "delete")
QUARANTINE = ".twinreel-quarantine"

# Folders whose files belong together: one taken out spoils the rest.
_STRUCTURED = re.compile(
    r"VIDEO_TS|AUDIO_TS|BDMV|AVCHD|DCIM|MP_ROOT|M4ROOT|XDROOT|CLPR|BPAV|CONTENTS"
    r"|.+\.(photoslibrary|photolibrary|aplibrary|migratedphotolibrary|imovielibrary"
    r"|fcpbundle|lrdata|rdm)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class ActOptions:
    """How a report becomes changes on the disk."""

    keep: str = opt("best", "Which file of a group stays.", choices=KEEP_RULES)
    prefer: tuple[str, ...] = opt((), "Keep files that match this glob before others.")
    protect: tuple[str, ...] = opt((), "Never touch files that match this glob.")
    only: tuple[str, ...] = opt((), "Only these relations to the kept file.", choices=RELATIONS)
    accept: tuple[str, ...] = opt(
        (), "Remove although this is lost (a word of the loss, 'look' or 'all').", metavar="LOSS"
    )
    to: str = opt("", "Where `move` puts files (same file system).", metavar="DIR")
    sidecars: str = opt(
        "leave",
        "What happens to .srt, .nfo and pictures of a removed file.",
        choices=("leave", "follow", "move-to-keeper"),
    )
    place: str = opt(
        "", "Put the kept file under the preferred path and name.", choices=("", "preferred")
    )
    inherit: tuple[str, ...] = opt(
        (), "Carry these over to the kept file.", choices=("mtime", "xattr")
    )
    structured: bool = opt(False, "Act inside VIDEO_TS, BDMV, HLS, camera and photo folders too.")
    verify: str = opt("tail", "How much of a kept file is decoded first.", choices=("tail", "full"))

    def __post_init__(self) -> None:
        choices = {"keep": KEEP_RULES, "sidecars": ("leave", "follow", "move-to-keeper")}
        choices |= {"place": ("", "preferred"), "verify": ("tail", "full")}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is one of {allowed}, got {getattr(self, name)!r}")
        for name, allowed in (("only", RELATIONS), ("inherit", ("mtime", "xattr"))):
            for value in getattr(self, name):
                if value not in allowed:
                    raise ValueError(f"{name} takes {allowed}, got {value!r}")
        if self.place and not self.prefer:
            raise ValueError("place=preferred needs prefer: a glob of where the file should stand")
        if self.place and self.sidecars == "move-to-keeper":
            raise ValueError("place=preferred leaves sidecars in their place; take sidecars=leave")


@dataclass(frozen=True)
class Skip:
    """A file that stays, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """What would be done, in order, and what would not."""

    action: str
    steps: tuple[Step, ...]
    skipped: tuple[Skip, ...] = ()
    options: ActOptions = field(default_factory=ActOptions)
    roots: tuple[str, ...] = ()
    report: str = ""
    library: str = ""
    surveyed: bool = False
    sidecars: dict[str, list[str]] = field(default_factory=dict)  # removed file -> what it leaves
    notes: tuple[str, ...] = ()

    @property
    def freed(self) -> int:
        """Bytes of the files that go, hard links counted once."""
        sizes = {}
        for step in self.steps:
            if step.action == self.action and step.keep:
                file = step.expect["file"]
                sizes[(file["device"], file["inode"]) if file["inode"] else step.path] = step.size
        return sum(sizes.values())


def plan(
    report: Report,
    action: str,
    options: ActOptions | None = None,
    *,
    name: str = "",
    judge: Judge | None = None,
    **settings: Any,
) -> Plan:
    """Decide what to do with each file of each group.

    Args:
        report: what `dups` found, perhaps edited.
        action: a registered action ('trash', 'move', 'hardlink', 'symlink', 'reflink', 'delete').
        options: or the fields of ActOptions as keywords.
        name: the report's file name, for the journal.
        judge: looks at pictures where another file is kept than the report chose (see `judging`);
            without one, such a removal counts as a loss.

    Raises:
        BadReport: the report contradicts itself; the message names the place.
        ValueError: an unknown action, or an option breaks a rule.
    """
    options = options or ActOptions(**settings)
    # What `dups --protect` promised holds, whatever --accept waives.
    said = (*options.protect, *report.options.get("protect", ()))
    options = replace(options, protect=tuple(dict.fromkeys(said)))
    _fits(action, options)
    check(report)
    references = frozenset(report.options.get("references", ()))
    keepers = {
        n: g.keep if g.keep in references else choose(report, g, options)
        for n, g in enumerate(report.groups)
    }
    kept = {path: n for n, path in keepers.items() if report.groups[n].decision != "not_a_match"}
    inodes = {_inode(report.video(path)): path for path in kept}
    closed = {
        path: n for n, g in enumerate(report.groups) if g.decision == "skip" for path in g.members
    }
    homes: dict[Any, dict[str, int]] = {}  # each file: which files its groups keep
    for n, keep in keepers.items():
        if report.groups[n].decision != "not_a_match":
            for path in report.groups[n].members:
                homes.setdefault(_inode(report.video(path)), {}).setdefault(keep, n)
    steps: list[Step] = []
    skipped: list[Skip] = []
    taken: set[str] = set()
    for n, group in enumerate(report.groups):
        keep = keepers[n]
        for path in group.members:
            if path == keep:
                continue
            reason = _closed(group, options)
            if not reason and path in references:
                reason = "of a reference folder"
            step = None
            if not reason and path in taken:
                continue
            if not reason and path in closed:
                reason = f"group {closed[path] + 1} holds it too, and is marked skip"
            if not reason and path in kept:
                reason = f"group {kept[path] + 1} keeps it"
            if not reason and inodes.get(_inode(report.video(path)), path) != path:
                reason = "the same file as a kept one (hard link): nothing would be freed"
            several = homes.get(_inode(report.video(path)), {})
            if not reason and len(several) > 1:
                numbers = " and ".join(str(i + 1) for i in several.values())
                reason = f"groups {numbers} hold it and keep different files"
            if not reason:
                step, reason = _step(report, n, path, keep, action, options, judge)
            if step:
                taken.add(path)
                steps.append(step)
            else:
                skipped.append(Skip(path, reason))
    steps += _afterwards(report, steps, options)
    roots = tuple(report.roots)
    notes = tuple(
        f"no video of the report matches --protect {pattern}"
        for pattern in unmatched(options.protect, [v.path for v in report.videos])
    )
    return Plan(
        action, tuple(steps), tuple(skipped), options, roots, name, report.library, notes=notes
    )


def _fits(action: str, options: ActOptions) -> None:
    """Refuse an unknown action, and options that make no sense, or are not safe, with it."""
    from twinreel.actions.kinds import ACTIONS  # whose module needs this one first

    if action not in ACTIONS:
        raise ValueError(f"action is one of {', '.join(ACTIONS)}, got {action!r}")
    if options.to and action != "move":
        raise ValueError(f"to goes with move, got {action}")
    if action in LINKS and (options.place or options.sidecars != "leave"):
        raise ValueError(f"place and sidecars go with {', '.join(REMOVALS)}, got {action}")
    if action == "delete" and options.sidecars == "follow":
        raise ValueError("sidecars=follow would delete their only copy; use trash or move")


def check(report: Report) -> None:
    """Refuse a report that contradicts itself. Raises BadReport naming the place."""
    known: set[str] = set()
    for i, video in enumerate(report.videos):
        if video.path in known:
            raise BadReport(f"videos[{i}]: {video.path!r} is listed twice; remove one")
        known.add(video.path)
        file = video.file
        if not os.path.isabs(video.path):
            raise BadReport(
                f"videos[{i}]: {video.path!r} is not a full path on this system; "
                "if the report is from another machine, run `dups` here"
            )
        for part in ("size", "mtime_ns", "inode", "device"):
            value = getattr(file, part)
            if not isinstance(value, int) or value < 0:
                raise BadReport(f"videos[{i}]: {part} must be a whole number, got {value!r}")
    for i, match in enumerate(report.matches):
        for path in (match.a, match.b):
            if path not in known:
                raise BadReport(f"matches[{i}]: {path!r} is not among the report's videos")
    for i, group in enumerate(report.groups):
        if len(set(group.members)) != len(group.members):
            raise BadReport(f"groups[{i}]: a member is listed twice; remove one")
        if group.decision not in DECISIONS:
            raise BadReport(
                f"groups[{i}]: decision is null, 'accept', 'skip' or 'not_a_match', "
                f"got {group.decision!r}"
            )
        for path in group.losses:
            if path not in group.members:
                raise BadReport(f"groups[{i}]: losses name {path!r}, which is no member")


def choose(report: Report, group: Group, options: ActOptions) -> str:
    """The member to keep: a sound one before a damaged one, a preferred one, then the rule."""
    liked_globs = () if options.place else options.prefer
    if options.keep == "best" and not liked_globs:
        return group.keep  # the report's choice; if its disk is away, nothing is removed for it
    members = list(group.members)
    ready = [m for m in members if not report.video(m).offline]
    sound = [m for m in ready if not report.video(m).damage] or ready or members
    for glob in liked_globs:
        liked = [m for m in sound if matches(m, glob)]
        if liked:
            sound = liked
            break
    if options.keep == "best":
        return group.keep if group.keep in sound else min(sound, key=lambda m: _rank(report, m))
    file = {m: report.video(m).file for m in sound}
    order: dict[str, Any] = {
        "largest": lambda m: (-file[m].size, m),
        "oldest": lambda m: (file[m].mtime_ns, m),
        "newest": lambda m: (-file[m].mtime_ns, m),
        "shortest-path": lambda m: (len(m), m),
    }
    return min(sound, key=order[options.keep])


def _rank(report: Report, path: str) -> tuple[Any, ...]:
    """Better first, where the report's own choice is not to be had."""
    video = report.video(path)
    info = video.info
    pixels = info.width * info.height
    return (
        -info.duration_s,
        -len(info.audio),
        -video.detail * pixels,
        -pixels,
        -info.bitrate,
        path,
    )


def _closed(group: Group, options: ActOptions) -> str:
    """Why nothing of a group is done, or ''."""
    if group.decision == "skip":
        return "marked skip in the report"
    if group.decision == "not_a_match":
        return "marked not a match in the report"
    if group.look and group.decision != "accept" and not {"look", "all"} & set(options.accept):
        return f"a person should look first ({group.why}): run `twinreel review`, or --accept look"
    return ""


def _step(
    report: Report,
    n: int,
    path: str,
    keep: str,
    action: str,
    options: ActOptions,
    judge: Judge | None,
) -> tuple[Step | None, str]:
    """The step for one file, or the reason why there is none."""
    group, victim, keeper = report.groups[n], report.video(path), report.video(keep)
    match = evidence(report, path, keep)
    relation = match.relation if match else ""
    lost = losses(report, group, path, keep, match, judge)
    open_losses = [loss for loss in lost if not accepted(loss, options.accept)]
    reasons = {
        f"protected by {options.protect}": any(matches(path, g) for g in options.protect),
        "its disk is not here": victim.offline,
        f"the kept file's disk is not here ({keep})": keeper.offline,
        f"the kept file is damaged ({keeper.damage}): {keep}": keeper.damage,
        f"no match with the kept file {keep}": match is None,
        f"it is not contained in the kept file ({relation})": relation not in RELATIONS,
        f"{relation} is not among --only": options.only and relation not in options.only,
        f"would be lost: {'; '.join(open_losses)} (--accept LOSS)": open_losses,
        "part of a disc, stream, camera or photo folder (--structured)": not options.structured
        and structured(path),
        f"the kept file lies in {emptied_folder(keep)}, which may be emptied": emptied_folder(keep),
    }
    for reason, holds in reasons.items():
        if holds:
            return None, reason
    assert match is not None
    expect = {
        "file": _expected(victim),
        "keep": _expected(keeper),
        "relation": relation,
        "group": n + 1,
        "unheld": unheld(match, victim.info.duration_s) if lost else [],
    }
    why = {
        "exact": "the same bytes",
        "copy": f"the same content, score {match.score:.3f}",
        "part_of": f"contained in the kept file, score {match.score:.3f}",
    }[relation]
    if group.why:
        said = "kept" if keep == group.keep else f"the report keeps {group.keep}"
        why = f"{why}; {said}: {group.why}"
    return Step(action, path, keep, None, victim.file.size, why, tuple(lost), expect), ""


def structured(path: str) -> bool:
    """Whether a folder on the way is a disc, a camera card or a photo library."""
    return any(_STRUCTURED.fullmatch(part) for part in path.split(os.sep)[:-1])


def _inode(video: Video) -> Any:
    """What makes two paths one file; a report that does not know inodes falls back to paths."""
    file = video.file
    return (file.device, file.inode) if file.inode else file.path


def _expected(video: Video) -> dict[str, Any]:
    file = video.file
    names = ("size", "mtime_ns", "inode", "device", "key")
    return {name: getattr(file, name) for name in names}


def _afterwards(report: Report, steps: list[Step], options: ActOptions) -> list[Step]:
    """Steps on the kept files themselves. Last, because they change what earlier steps check."""
    removed: dict[str, list[str]] = {}
    for step in steps:
        removed.setdefault(step.keep, []).append(step.path)
    out: list[Step] = []
    for keep, paths in removed.items():
        if any(matches(keep, g) for g in options.protect):
            continue
        expect = {"file": _expected(report.video(keep)), "after": paths}
        if options.inherit:
            what = {**expect, "what": list(options.inherit)}
            out.append(Step("inherit", keep, "", None, 0, "from the removed files", (), what))
        wanted = (
            [p for g in options.prefer for p in paths if matches(p, g)] if options.place else []
        )
        belongs = structured(keep) and not options.structured
        if wanted and not belongs and not any(matches(keep, g) for g in options.prefer):
            target = os.path.splitext(wanted[0])[0] + os.path.splitext(keep)[1]
            first = {**expect, "after": [wanted[0]]}
            out.append(Step("place", keep, "", target, 0, "the preferred place", (), first))
    return out
