"""What a person chose on the page -> the report as `act` reads it.

    decided(report, {0: Choice(keep=1, decision="accept")})

The page does the same in JavaScript when it saves by itself, from what `ties` and `alternatives`
computed here; tests hold the two together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from twinreel.actions.losses import by_headers, heard
from twinreel.actions.plan import DECISIONS
from twinreel.errors import InputError
from twinreel.report import Report
from twinreel.types import Group, Match, Segment, Video


@dataclass(frozen=True)
class Choice:
    """One group's. keep: number of the member to keep (None: the report's); apart: numbers of
    members that show something else."""

    keep: int | None = None
    decision: str | None = None
    apart: tuple[int, ...] = ()


def read_choices(data: Any, report: Report) -> dict[int, Choice]:
    """{'12': {'keep': 0, 'decision': 'accept', 'apart': []}} -> checked Choices.

    Raises:
        InputError: naming the group that is wrong.
    """
    if not isinstance(data, dict):
        raise InputError(f"choices are an object of groups, got {type(data).__name__}")
    out: dict[int, Choice] = {}
    for name, value in data.items():
        if not (str(name).isascii() and str(name).isdigit() and int(name) < len(report.groups)):
            raise InputError(f"group {name!r}: the report has {len(report.groups)} groups")
        group = report.groups[int(name)]
        if not isinstance(value, dict):
            raise InputError(f"group {name}: a choice is an object, got {value!r}")
        keep, decision = value.get("keep"), value.get("decision")
        apart = value.get("apart") or []
        if decision not in DECISIONS:
            raise InputError(f"group {name}: decision is one of {DECISIONS}, got {decision!r}")
        if not isinstance(apart, list):
            raise InputError(f"group {name}: apart is a list of members, got {apart!r}")
        for i in apart if keep is None else [*apart, keep]:
            if type(i) is not int or not 0 <= i < len(group.members):
                raise InputError(f"group {name}: it has {len(group.members)} members, got {i!r}")
        kept = group.members.index(group.keep) if keep is None else keep
        if kept in apart:
            raise InputError(f"group {name}: the kept file cannot be told apart from itself")
        out[int(name)] = Choice(keep, decision, tuple(sorted(set(apart))))
    return out


def decided(report: Report, choices: Mapping[int, Choice]) -> Report:
    """The report with the choices in it; groups that nobody touched stay as they are."""
    groups = [
        _edited(report, g, choices[n]) if n in choices else g for n, g in enumerate(report.groups)
    ]
    return replace(report, groups=tuple(groups))


def _edited(report: Report, group: Group, choice: Choice) -> Group:
    keep = group.keep if choice.keep is None else group.members[choice.keep]
    members = tuple(m for i, m in enumerate(group.members) if i not in choice.apart)
    decision = choice.decision
    if len(members) < 2:  # all others are told apart: nothing is left to decide
        members, decision = group.members, "not_a_match"
    lost = group.losses if keep == group.keep else Ties(report, group).losses(keep)
    why = group.why
    if keep != group.keep:
        why = f"chosen by hand; the report proposed {group.keep} ({group.why})"
        if decision != "accept":  # nobody looked at the two: `act` works it out anew
            lost = {}
    lost = {path: words for path, words in lost.items() if path in members}
    return replace(group, members=members, keep=keep, why=why, losses=lost, decision=decision)


class Ties:
    """Who in a group is tied to whom by direct evidence: equal content, or a scored match."""

    def __init__(self, report: Report, group: Group) -> None:
        self.report, self.group = report, group
        kinds: dict[str, int] = {}
        # Files without a key are told apart by their paths.
        self.kind = [kinds.setdefault(_content(report.video(m)), len(kinds)) for m in group.members]
        self.count = len(kinds)
        self.matches: dict[tuple[int, int], Match] = {}
        for i, a in enumerate(group.members):
            for j, b in enumerate(group.members[:i]):
                pair = (self.kind[i], self.kind[j])
                if pair[0] == pair[1] or pair in self.matches:
                    continue
                # Pairs that are only likely, or were refuted (--all-matches), are listed, too.
                if (m := report.match(a, b)) and m.score >= report.min_score:
                    self.matches[pair] = m
                    self.matches[pair[1], pair[0]] = m.swapped()

    def between(self, i: int, j: int) -> Match | None:
        """'member i RELATION member j', None without direct evidence."""
        a, b = self.group.members[i], self.group.members[j]
        if self.kind[i] == self.kind[j]:
            length = self.report.video(a).info.duration_s
            whole = Segment((0.0, length), (0.0, length))
            return Match(a, b, 1.0, "exact", (whole,))
        found = self.matches.get((self.kind[i], self.kind[j]))
        return replace(found, a=a, b=b) if found else None

    def losses(self, keep: str) -> dict[str, list[str]]:
        """What each other member has that `keep` lacks, where a person keeps `keep`."""
        if keep == self.group.keep:
            return self.group.losses
        k = self.group.members.index(keep)
        out = {}
        for i, path in enumerate(self.group.members):
            if i != k:
                match = self.between(i, k)
                exact = match is not None and match.relation == "exact"
                mine, its = (self.report.video(p) for p in (path, keep))
                other = heard(self.group, path, keep)
                out[path] = [] if exact else by_headers(mine, its, match) + other
        return out


def _content(video: Video) -> str:
    return video.file.key or video.path


def told_apart(report: Report, choices: Mapping[int, Choice]) -> Iterator[tuple[Video, Video]]:
    """Pairs of unlike content that a person says do not show the same."""
    for n, choice in choices.items():
        members = [report.video(m) for m in report.groups[n].members]
        everyone = choice.decision == "not_a_match"
        for i, a in enumerate(members):
            for j, b in enumerate(members[:i]):
                parted = everyone or i in choice.apart or j in choice.apart
                if parted and a.file.key and b.file.key and a.file.key != b.file.key:
                    yield a, b
