"""Reports of fclones and czkawka in, our groups out to them and to fdupes' text.

    report = load("czkawka.json")            # any of the three JSON forms, ours included
    write(report, "groups.fdupes")           # or .fclones.json, .czkawka.json

fclones groups are the same bytes. czkawka's are when they come from its duplicate finder (entries
with a hash); its similar videos are somebody else's opinion: such groups ask for a look first.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

from twinreel.actions.disk import Disk, words
from twinreel.actions.plan import check
from twinreel.errors import BadReport, InputError, VideoError
from twinreel.exact import content_key
from twinreel.lines import line_of
from twinreel.report import Report, write_atomically
from twinreel.types import Failure, Group, Match, Video, VideoFile, VideoInfo

_UNKNOWN = VideoInfo(0.0, 0, 0, 0, 0, "")


def load(path: str | Path) -> Report:
    """Read a report, ours or another tool's. Raises BadReport with the line that is wrong."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadReport(
            f"{path}: not readable ({error}); name a report that `dups` wrote"
        ) from None
    head = text.lstrip()[:1]
    form = "ours"
    if head == "[" or head == "{" and '"version": 1' not in text[:2000]:
        form = _form(text)
    if form != "ours":
        return _adopt(json.loads(text), form, str(path))
    report = Report.load(path)
    try:
        check(report)
    except BadReport as error:
        line = line_of(text, str(error))
        at = f"{path}: line {line}: " if line else f"{path}: "
        raise BadReport(at + str(error)) from None
    return report


def _form(text: str) -> str:
    try:
        data = json.loads(text)
    except ValueError:
        return "ours"  # Report.load names the line
    if isinstance(data, dict) and "videos" in data:
        return "ours"
    if isinstance(data, dict) and "groups" in data and "base_dir" in data.get("header", {}):
        return "fclones"
    entries = list(_czkawka_groups(data))
    return "czkawka" if entries else "ours"


def _adopt(data: Any, form: str, source: str) -> Report:
    """Another tool's groups as a report: sizes are compared, keys are read from the disk now."""
    if form == "fclones":
        base = data["header"].get("base_dir", "/")
        groups = [
            ([(os.path.join(base, p), int(g["file_len"])) for p in g["files"]], "exact", "")
            for g in data["groups"]
        ]
    else:
        groups = [
            (
                [(e["path"], int(e["size"])) for e in entries],
                "exact" if all(e.get("hash") for e in entries) else "copy",
                reference,
            )
            for entries, reference in _czkawka_groups(data)
        ]
    videos: dict[str, Video] = {}
    failures: list[Failure] = []
    out: list[Group] = []
    found: list[Match] = []
    references: list[str] = []
    for entries, relation, reference in groups:
        members: list[str] = []
        for path, size in entries:
            try:
                videos[path] = _video(path, size)
                members.append(path)
            except (OSError, VideoError, BadReport) as error:
                failures.append(Failure(path, "import", type(error).__name__, words(error)))
        if len(members) < 2 or reference and reference not in members:
            continue
        references += [reference] if reference else []
        keep = reference or min(members, key=lambda m: (-videos[m].file.size, m))
        why = f"of a reference folder ({form})" if reference else f"the largest ({form} report)"
        look = relation == "copy"
        # That tool knows of no losses; what is not the same bytes asks for a look.
        lost: dict[str, list[str]] = {m: [] for m in members if m != keep}
        out.append(Group(tuple(members), keep, why, lost, None, look))
        # Somebody else's groups say only that all members go together: 0.5 is no measurement.
        score = 1.0 if relation == "exact" else 0.5
        found += [Match(a, b, score, relation) for a, b in combinations(members, 2)]
    note = (f"imported from {form}: {source}",)
    report = Report(
        "", tuple(videos.values()), tuple(found), tuple(out), tuple(failures), notes=note,
        options={"min_score": 0.0} | ({"references": references} if references else {}),
    )  # fmt: skip
    check(report)
    return report


def _video(path: str, size: int) -> Video:
    look = Disk().look(path)
    if look is None or look.kind != "file":
        raise BadReport("not a file here")
    if look.size != size:
        raise BadReport(f"{look.size} bytes, the report says {size}")
    key = content_key(path)
    return Video(
        VideoFile(path, look.size, look.mtime_ns, look.inode, look.device, "", key), _UNKNOWN
    )


def _czkawka_groups(data: Any) -> Iterator[tuple[list[dict[str, Any]], str]]:
    """(entries, path of the reference or '') of each group.

    czkawka nests its groups differently per tool: by size, by hash, with a reference first.
    """
    if isinstance(data, dict) and "path" not in data:
        for value in data.values():
            yield from _czkawka_groups(value)
    elif isinstance(data, list):
        if len(data) == 2 and _is_entry(data[0]) and isinstance(data[1], list):
            yield [data[0], *filter(_is_entry, data[1])], data[0]["path"]
        elif data and all(_is_entry(e) for e in data):
            yield data, ""
        else:
            for value in data:
                yield from _czkawka_groups(value)


def _is_entry(value: Any) -> bool:
    return isinstance(value, dict) and "path" in value and "size" in value


# -- out ------------------------------------------------------------------------------------------


def _fclones(report: Report) -> Iterator[str]:
    groups: list[dict[str, Any]] = []
    for group in report.groups:
        key = report.video(group.keep).file.key
        same = [m for m in group.members if key and report.video(m).file.key == key]
        if len(same) > 1:  # fclones acts on groups of equal bytes; others are not for it
            size = report.video(group.keep).file.size
            ordered = [group.keep, *(m for m in same if m != group.keep)]
            groups.append({"file_len": size, "file_hash": key, "files": ordered})
    redundant = sum(g["file_len"] * (len(g["files"]) - 1) for g in groups)
    header = {
        "version": "0.35.0",
        "timestamp": time.strftime("%Y-%m-%d %H:%M:%S.000 +0000", time.gmtime()),
        "command": ["twinreel", "dups"],
        "base_dir": "/",
        "stats": {
            "group_count": len(groups),
            "total_file_count": sum(len(g["files"]) for g in groups),
            "redundant_file_size": redundant,
        },
    }
    yield json.dumps({"header": header, "groups": groups}, indent=2) + "\n"


def _czkawka(report: Report) -> Iterator[str]:
    def entry(path: str) -> dict[str, Any]:
        file = report.video(path).file
        return {
            "path": path,
            "size": file.size,
            "modified_date": file.mtime_ns // 10**9,
            "error": "",
        }

    yield json.dumps([[entry(m) for m in g.members] for g in report.groups], indent=1) + "\n"


def _fdupes(report: Report) -> Iterator[str]:
    for group in report.groups:
        for path in (group.keep, *(m for m in group.members if m != group.keep)):
            if "\n" in path:
                raise InputError(f"{path!r}: fdupes' text cannot hold a line break; use JSON")
            yield path + "\n"
        yield "\n"


FORMS: dict[str, Callable[[Report], Iterable[str]]] = {
    ".fclones.json": _fclones,
    ".czkawka.json": _czkawka,
    ".fdupes": _fdupes,
}


def write(report: Report, path: str | Path) -> Path:
    """Write a report for another tool; the ending chooses the form. Raises InputError."""
    path = Path(path)
    for ending, form in FORMS.items():
        if path.name.endswith(ending):
            chunks = list(form(report))
            if ending == ".fdupes":  # plain bytes of the names, as fdupes prints them
                temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
                temporary.write_bytes(b"".join(map(os.fsencode, chunks)))
                os.replace(temporary, path)
            else:
                write_atomically(path, iter(chunks))
            return path
    raise InputError(f"{path}: the ending chooses the form: {', '.join(FORMS)}")
