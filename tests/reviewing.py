"""Reports and libraries made up for the tests of review: no video is decoded."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from twinreel.report import FolderPair, Report
from twinreel.store import Facts, Library
from twinreel.types import (
    Features,
    Group,
    Match,
    Segment,
    Track,
    Video,
    VideoFile,
    VideoInfo,
)

BIG_NS = 1_700_000_000_123_456_789  # more than a JavaScript number holds
BIG_INODE = 2**63 - 25


def picture(number: int, second: int) -> bytes:
    """A small JPEG in a colour of its own with the second on it."""
    rng = np.random.default_rng(number)
    base = Image.new("RGB", (160, 160), tuple(int(c) for c in rng.integers(40, 200, 3)))
    draw = ImageDraw.Draw(base)
    x = (second * 23) % 120
    draw.ellipse((x, 40, x + 60, 100), fill=tuple(int(c) for c in rng.integers(120, 255, 3)))
    draw.text((8, 8), f"{number}:{second}", fill="white")
    out = io.BytesIO()
    base.save(out, "JPEG", quality=60)
    return out.getvalue()


def made_up(
    folder: Path, groups: int = 6, library: bool = True, thumbs: int = 16, pool: int = 40
) -> Report:
    """A report of `groups` groups of two to four files that are not there, and its library.

    Group 0 has a file name meant to break out of HTML, group 1 a trimmed copy whose second 0 is
    second 20 of the kept file, group 2 asks for a look, group 3 holds exact copies.
    """
    videos: list[Video] = []
    matches: list[Match] = []
    found: list[Group] = []
    looks: list[tuple[Facts, Features, list[tuple[float, bytes]]]] = []
    drawn = {(n, t): picture(n, t) for n in range(min(pool, groups)) for t in range(thumbs)}
    for n in range(groups):
        names = [f"/videos/originals/film {n}.mkv", f"/videos/copies/film {n} small.mp4"]
        if n % 3 == 2:
            names.append(f"/videos/elsewhere/film {n} again.mp4")
        if n == 0:
            names[1] = "/videos/copies/</script><img src=x onerror=alert(1)>\u202e\udcff.mp4"
        keys = [f"{n:08x}{i:08x}" for i in range(len(names))]
        if n % 5 == 3:
            keys[1] = keys[0]
        length = 60.0 + 7 * n
        for i, (path, key) in enumerate(zip(names, keys, strict=True)):
            size = (1080, 360, 720)[i]
            trimmed = 20.0 if n == 1 and i == 1 else 0.0
            info = VideoInfo(
                length - trimmed, size * 16 // 9, size, size * 16 // 9, size,
                "hevc" if i == 0 else "h264", "matroska,webm" if i == 0 else "mov,mp4,m4a",
                25.0, 25.0, bitrate=(6_000_000, 800_000, 2_000_000)[i],
                audio=(Track("aac", "eng", 2), Track("ac3", "deu", 6))[: 2 - (i > 0)],
                hdr="pq" if n == 4 and i == 0 else "",
            )  # fmt: skip
            bytes_ = int(info.bitrate * info.duration_s / 8)
            number = len(videos)
            file = VideoFile(path, bytes_, BIG_NS + number, BIG_INODE + number, 7, "", key)
            videos.append(Video(file, info, detail=size / 2.4))
            if i and keys[1] != keys[0] or i == 2:
                whole = Segment((0.0, info.duration_s), (trimmed, length))
                relation = "part_of" if trimmed else "copy"
                cover = info.duration_s / length
                score = max(0.8, 0.99 - 0.01 * (n % 17))
                matches.append(Match(path, names[0], score, relation, (whole,), 1.0, cover))
            if library:
                times = np.linspace(0, info.duration_s * 0.95, thumbs)
                row = [(float(t), drawn[n % pool, k]) for k, t in enumerate(times)]
                rng = np.random.default_rng(n)
                vectors = rng.standard_normal((thumbs, 16)).astype(np.float32)
                spans = np.stack([times, np.append(times[1:], info.duration_s)], axis=1)
                blank = np.zeros(thumbs, bool)
                features = Features(key, "m", "s", vectors, spans, blank, info.duration_s)
                looks.append((Facts(info, 4.0, thumbs, thumbs), features, row))
        losses = {names[1]: ["audio language deu"]} if n == 2 else {}
        found.append(
            Group(tuple(names), names[0], f"{names[0]} has more lines", losses, None, n == 2)
        )
    path = folder / "library.db"
    if library:
        with Library.open(path) as kept:
            for facts, features, row in looks:
                kept.put_look(facts, features, row, "s")
    folders = (FolderPair("/videos/copies", "/videos/originals", groups, groups, groups, 0),)
    return Report(
        str(path), tuple(videos), tuple(matches), tuple(found), folders=folders,
        options={"min_score": 0.85}, model={"identity": "m", "sampling": "s"},
        roots=("/videos",), created="2026-04-12T10:00:00Z", twinreel="0.1.0",
    )  # fmt: skip
