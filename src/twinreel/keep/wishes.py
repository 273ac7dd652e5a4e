"""Whether a path is one that the user prefers or protects."""

from __future__ import annotations

import fnmatch
import functools
import glob
import os
import re
from collections.abc import Collection, Iterable, Sequence

_GLOB = set("*?[")


def preference(path: str, patterns: Sequence[str]) -> int:
    """Place of the first pattern that a path matches; their number where none does."""
    return next((i for i, p in enumerate(patterns) if matches(path, p)), len(patterns))


def matches(path: str, pattern: str) -> bool:
    """The name of a file or of a folder above it as it stands, else a glob over the whole path.

    In a glob '*' spans folders. Names may be relative, begin with '~' and lead through links.
    """
    if path == pattern:
        return True
    wanted = os.path.expanduser(pattern) if pattern.startswith("~") else pattern
    # A full name means the same from everywhere.
    names, globs = _forms(wanted, "" if wanted.startswith(os.sep) else _here())
    if any(path == name or path.startswith(folder) for name, folder in names):
        return True
    return globs is not None and globs.match(path) is not None


def unmatched(patterns: Iterable[str], paths: Collection[str]) -> list[str]:
    """The patterns that match none of the paths: slips of the pen, most likely."""
    return [p for p in patterns if not any(matches(path, p) for path in paths)]


def from_anywhere(patterns: Iterable[str]) -> list[str]:
    """The same wishes for a process that runs in another folder or for another user."""
    expanded = [os.path.expanduser(p) for p in patterns]
    return [p if p.startswith("*") or not p else os.path.join(_here(), p) for p in expanded]


def _here() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was removed; a relative name means nothing then
        return ""


@functools.lru_cache(maxsize=4096)
def _forms(pattern: str, here: str) -> tuple[list[tuple[str, str]], re.Pattern[str] | None]:
    """What a pattern may stand for: (name, the same as a folder), and a glob of all others."""
    if not pattern:
        return [], None
    full = os.path.normpath(os.path.join(here, pattern))
    bases, rest = {full}, ""
    try:
        real = os.path.realpath(full)
        base = full
        # What exists is a name, whatever characters it holds; what follows it is a glob.
        while not os.path.lexists(base) and os.path.dirname(base) != base:
            base, name = os.path.split(base)
            rest = os.path.join(name, rest) if rest else name
        bases = {base, os.path.realpath(base)}
    except (OSError, ValueError):  # no name that the system takes
        real = full
    bare = {name.rstrip(os.sep) for name in (pattern, full, real)}
    names = [(name, name + os.sep) for name in bare]
    if not _GLOB & set(pattern):
        return names, None
    globs = {pattern.rstrip(os.sep), *(os.path.join(glob.escape(b), rest) for b in bases if rest)}
    forms = [fnmatch.translate(g + end) for g in globs for end in ("", os.sep + "*")]
    return names, re.compile("|".join(forms))
