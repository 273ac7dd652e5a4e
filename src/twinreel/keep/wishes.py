"""Whether a path is one that the user prefers or protects."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Sequence


def preference(path: str, globs: Sequence[str]) -> int:
    """Place of the first glob that a path matches; their number where none does."""
    return next((i for i, g in enumerate(globs) if matches(path, g)), len(globs))


def matches(path: str, glob: str) -> bool:
    """A glob over the whole path; '*' spans folders; a plain folder means all below it."""
    glob = os.path.expanduser(glob)
    if not set(glob) & set("*?["):
        return path == glob or path.startswith(glob.rstrip(os.sep) + os.sep)
    return fnmatch.fnmatchcase(path, glob)
