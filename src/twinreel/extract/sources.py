"""What a source file is known by, and whether it is still the same."""

from __future__ import annotations

import os

from twinreel.errors import CannotRead
from twinreel.exact import content_key
from twinreel.extract.whole import Meta


def stat_of(path: str) -> Meta | None:
    """Size in bytes and mtime_ns; None if the file is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return {"size": found.st_size, "mtime_ns": found.st_mtime_ns}


def source_of(path: str) -> Meta:
    """What a source file is known by: path, size, time and content key ('' if unreadable)."""
    try:
        key = content_key(path)
    except CannotRead:
        key = ""  # the decoder will say what is wrong with it
    return {"path": path, **(stat_of(path) or {"size": 0, "mtime_ns": 0}), "key": key}


def changed(path: str, meta: Meta) -> bool:
    """Whether an output's source is another file now than the one it was made from."""
    source, now = meta.get("source", {}), stat_of(path)
    if now is None or now == {k: source.get(k) for k in ("size", "mtime_ns")}:
        return False
    return bool(source_of(path)["key"] != source.get("key"))
