"""Whether a path is one that the user prefers or protects."""

from __future__ import annotations

import fnmatch
import functools
import glob
import os
import re
from collections.abc import Iterable, Sequence

_GLOB = set("*?[")


def preference(path: str, patterns: Sequence[str]) -> int:
    """Place of the first pattern that a path matches; their number where none does."""
    return next((i for i, p in enumerate(patterns) if matches(path, p)), len(patterns))


def matches(path: str, pattern: str) -> bool:
    """A file's or folder's name as it stands, else a glob over the whole path.

    A folder means all below it; '*' spans folders. Names may be relative or lead through links.
    """
    # A full path is the same from everywhere.
    literals, globs = _forms(pattern, "" if pattern.startswith((os.sep, "~")) else _here())
    if path == pattern or any(
        path.startswith(name) and (len(path) == len(name) or name[-1] == os.sep or
        path[len(name)] == os.sep) for name in literals
    ):  # fmt: skip
        return True
    return globs is not None and globs.match(path) is not None


def unmatched(patterns: Iterable[str], paths: Sequence[str]) -> list[str]:
    """The patterns that match none of the paths: most likely slips of the pen."""
    return [p for p in patterns if not any(matches(path, p) for path in paths)]


def _here() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was removed; then a relative name means nothing
        return ""


@functools.lru_cache(maxsize=4096)
def _forms(pattern: str, here: str) -> tuple[tuple[str, ...], re.Pattern[str] | None]:
    """What a pattern may stand for: names of files and folders, and a glob."""
    if not pattern:
        return (), None
    expanded = os.path.expanduser(pattern)
    full = os.path.normpath(os.path.join(here, expanded))
    real, base, rest = full, full, ""
    try:
        real = os.path.realpath(full) if os.path.isabs(full) else full
        # What exists is a name, whatever is in it; what follows is a glob.
        while not os.path.lexists(base) and os.path.dirname(base) != base:
            base, name = os.path.split(base)
            rest = os.path.join(name, rest) if rest else name
        bases = base, os.path.realpath(base)
    except (OSError, ValueError):  # no name that the system takes
        bases = base, base
    bare = {name.rstrip(os.sep) or os.sep for name in (pattern, expanded, full, real)}
    if not _GLOB & set(expanded):
        return tuple(bare), None
    globs = {expanded.rstrip(os.sep), *(os.path.join(glob.escape(b), rest) for b in bases if rest)}
    forms = [fnmatch.translate(g + end) for g in globs for end in ("", os.sep + "*")]
    return tuple(bare), re.compile("|".join(forms))
