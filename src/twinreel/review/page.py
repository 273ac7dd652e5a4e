"""Report and Library -> the page, one file without network.

    write_page(report, "report.html")

The page is a template with its style, its scripts and the report as JSON inside. Pictures follow
after the script, one element per group, and are decoded when a group is looked at.

Note [numbers that JavaScript cannot hold]: times in nanoseconds and inodes are larger than 2**53.
The report's head (all but its groups) is therefore kept as text and saved as it came; only groups,
which hold no such numbers, are read and written by the page.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from twinreel.errors import StoreError
from twinreel.report import Report, write_atomically
from twinreel.review.choices import Ties
from twinreel.review.pictures import STYLES, TYPICAL_BYTES, Style, group_pictures
from twinreel.store import Library

PAGE_BYTES = 24_000_000  # of pictures: what most mail still carries
_SCRIPTS = ("state", "list", "group", "figures", "compare", "play", "act", "main")


def write_page(report: Report, out: str | Path, library: str = "", name: str = "") -> Path:
    """Write the self-contained page, atomically.

    Args:
        library: the library file; default: the one that the report names.
        name: the report's file name, which a saved report is called after.

    Raises:
        OutputError: the file cannot be written.
    """
    out = Path(out)
    found, note = find_library(report, library)
    if found is None:
        write_atomically(out, render(report, name=name, note=note))
        return out
    with Library.open(found) as kept:
        write_atomically(out, render(report, kept, name=name))
    return out


def find_library(report: Report, library: str = "") -> tuple[Path | None, str]:
    """(the library file, '') or (None, why there are no pictures). Never makes one."""
    named = library or report.library
    if not named:
        return None, "The report names no library, so there are no pictures."
    if not Path(named).is_file():
        return None, f"The library {named} is not here, so there are no pictures (--library FILE)."
    try:
        Library.open(named).close()
    except StoreError as error:
        return None, f"There are no pictures: {error}"
    return Path(named), ""


def render(
    report: Report,
    library: Library | None = None,
    *,
    name: str = "",
    note: str = "",
    served: dict[str, Any] | None = None,
) -> Iterator[str]:
    """The page in pieces of text.

    Args:
        library: where the pictures inside come from; None makes a page without.
        note: why there are no pictures, '' when there are.
        served: what a server adds (see server.py); its page fetches pictures when they are looked
            at, so none are inside.
    """
    script, style = script_and_style()
    data = {
        "head": head(report),
        "groups": json.dumps([_plain(g) for g in report.to_dict()["groups"]]),
        "view": json.dumps(
            {
                "name": Path(name).name or "report.json",
                "note": note,
                "pictures": not note and (library is not None or served is not None),
                "served": served,
                "same": _same_files(report),
                "groups": [_view(report, n) for n in range(len(report.groups))],
            }
        ),
    }
    pictures = iter(()) if library is None else _pictures(report, library)
    template = _environment().get_template("review.html")
    return template.generate(
        script=script,
        style=style,
        policy=policy(script, style, served is not None),
        data={key: safe(text) for key, text in data.items()},
        pictures=pictures,
        title=Path(name).name or "report",
    )


def script_and_style() -> tuple[str, str]:
    """The page's one script and one style, as they stand in it."""
    script = f'"use strict";\n(() => {{\n{_text("js", *_SCRIPTS)}\n}})();\n'
    return script, _text("css", "page")


def head(report: Report) -> str:
    """The report's JSON without its groups (Note [numbers that JavaScript cannot hold])."""
    data = report.to_dict()
    del data["groups"]
    return json.dumps(data)


def policy(script: str, style: str, served: bool) -> str:
    """The page's own content security policy: only this script and style, and nobody else's."""

    def of(text: str) -> str:
        digest = hashlib.sha256(text.encode()).digest()
        return f"'sha256-{base64.b64encode(digest).decode()}'"

    own = "'self'" if served else "'none'"
    images = "data: blob: 'self'" if served else "data: blob:"
    return (
        f"default-src 'none'; script-src {of(script)}; style-src {of(style)}; "
        f"img-src {images}; connect-src {own}; media-src {own}; "
        "base-uri 'none'; form-action 'none'"
    )


def safe(text: str) -> str:
    """JSON that cannot end the script element it stands in."""
    return text.replace("<", "\\u003c")


def style_for(strips: int) -> Style:
    """The richest style with which so many strips stay within PAGE_BYTES."""
    for style, size in zip(STYLES, TYPICAL_BYTES, strict=True):
        if strips * size <= PAGE_BYTES:
            return style
    return STYLES[-1]


@cache
def _environment() -> Environment:
    loader = PackageLoader("twinreel", "templates")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined)


def _text(ending: str, *names: str) -> str:
    folder = resources.files("twinreel") / "templates"
    return "\n".join((folder / f"review-{n}.{ending}").read_text("utf-8") for n in names)


def _pictures(report: Report, library: Library) -> Iterator[tuple[int, str]]:
    contents = {report.video(m).file.key or m for g in report.groups for m in g.members}
    style = style_for(len(contents))
    for n, group in enumerate(report.groups):
        yield n, safe(json.dumps(group_pictures(report, group, library, style)))


def _plain(group: dict[str, Any]) -> dict[str, Any]:
    return {**group, "members": list(group["members"])}


def _same_files(report: Report) -> list[int]:
    """Per video the number of the first one that is the same file (hard links)."""
    seen: dict[Any, int] = {}
    return [
        seen.setdefault((f.device, f.inode) if f.inode else f.path, n)
        for n, f in enumerate(v.file for v in report.videos)
    ]


def _view(report: Report, n: int) -> dict[str, Any]:
    """What the page cannot work out by itself about a group.

    kinds: per member the number of its content. ties: [content, content, match] with the match
    read from the first to the second. losses: member kept instead -> member -> words.
    """
    group = report.groups[n]
    ties = Ties(report, group)
    numbers = {path: i for i, path in enumerate(group.members)}
    losses = {
        i: {numbers[p]: words for p, words in ties.losses(path).items() if words}
        for i, path in enumerate(group.members)
        if path != group.keep
    }
    return {
        "kinds": ties.kind,
        "ties": [[a, b, _match(m)] for (a, b), m in ties.matches.items() if a < b],
        "losses": {i: lost for i, lost in losses.items() if lost},
    }


def _match(match: Any) -> dict[str, Any]:
    return {
        "score": round(match.score, 4),
        "relation": match.relation,
        "cover": [round(match.coverage_a, 4), round(match.coverage_b, 4)],
        "segments": [
            [*(round(t, 3) for t in (*s.a, *s.b)), s.speed, s.mirrored] for s in match.segments
        ],
    }
