"""Are the frames of `--seed-exact` those of the ffmpeg command that the seed runs?

    python -m benchmarks.extract_exact FOLDER|VIDEO... [--types 2d,3d] [--part 1/1] [--json FILE]

The seed decodes with `ffmpeg -i V -filter_complex fps,scale[,crop] -f rawvideo -pix_fmt rgb24`.
This runs that command (the one on PATH) and twinreel's decoder over each video, compares the
pictures one by one, bit for bit, and prints every video that differs. Exit code 1 if any does.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from twinreel.errors import VideoError
from twinreel.extract.clips import ClipTask, Rows, Sampling, Take, unroll
from twinreel.extract.filters import View, geometry
from twinreel.probe import probe

TYPES = {"2d": (1, View((224, 224), "short", seed_exact=True)),
         "3d": (24, View((112, 112), "crop", seed_exact=True))}  # fmt: skip


def commands_frames(video: Path, kind: str) -> list[str]:
    """A digest of each picture of the ffmpeg command; RuntimeError with its words if it fails."""
    fps, view = TYPES[kind]
    info = probe(str(video))
    shape = geometry(info.coded_width, info.coded_height, view)
    graph = f"[0:v:0]fps=fps={fps},scale={shape.scale[0]}:{shape.scale[1]}"
    width, height = shape.scale
    if shape.crop:
        graph += ",crop=" + ":".join(map(str, shape.crop))
        width, height = shape.crop[:2]
    command = ["ffmpeg", "-nostdin", "-v", "error", "-i", f"file:{video}", "-filter_complex",
               f"{graph}[out]", "-map", "[out]", "-f", "rawvideo", "-pix_fmt", "rgb24",
               "pipe:"]  # fmt: skip
    digests = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        while picture := process.stdout.read(width * height * 3):
            digests.append(hashlib.blake2b(picture, digest_size=16).hexdigest())
        words = process.stderr.read().decode(errors="replace").strip()
    if process.returncode:
        raise RuntimeError(words.splitlines()[-1] if words else f"ffmpeg {process.returncode}")
    return digests


def our_frames(video: Path, kinds: list[str]) -> dict[str, list[str]]:
    """The same of one decode by twinreel, by type."""
    samplings = tuple(
        Sampling("fps", float(TYPES[k][0]), seed_exact=True, takes=(Take(TYPES[k][1]),))
        for k in kinds
    )
    found: dict[str, list[str]] = {k: [] for k in kinds}
    for item in unroll(ClipTask(str(video), samplings, bad_packets=1.0)):
        if isinstance(item, Rows):
            found[kinds[item.sampling]] += [
                hashlib.blake2b(p.tobytes(), digest_size=16).hexdigest() for p in item.pixels
            ]
    return found


def compare(video: Path, kinds: list[str]) -> dict[str, Any]:
    """type -> (pictures of ffmpeg, ours, how many of those at the same place differ)."""
    ours = our_frames(video, kinds)
    record: dict[str, Any] = {"video": video.name}
    for kind in kinds:
        theirs, mine = commands_frames(video, kind), ours[kind]
        differing = sum(a != b for a, b in zip(theirs, mine, strict=False))
        record[kind] = [len(theirs), len(mine), differing]
    return record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--types", default="2d,3d")
    parser.add_argument("--part", default="1/1", help="K/N: every N-th video, from the K-th on")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    part, parts = (int(n) for n in given.part.split("/"))
    videos = [
        p for v in given.videos for p in (sorted(v.iterdir()) if v.is_dir() else [v])
        if p.is_file() and not p.name.startswith(".")
    ][part - 1 :: parts]  # fmt: skip
    first = subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True, check=True)
    print(first.stdout.splitlines()[0], flush=True)
    records, begun, frames = [], time.monotonic(), 0
    for video in videos:
        try:
            record = compare(video, given.types.split(","))
        except (VideoError, RuntimeError) as error:
            record = {"video": video.name, "error": str(error)}
        counts = [c for k, c in record.items() if k in TYPES]
        record["equal"] = bool(counts) and all(a == b and not bad for a, b, bad in counts)
        frames += sum(c[0] for c in counts)
        records.append(record)
        if not record["equal"]:
            print(f"DIFFERS {record}", flush=True)
    equal = sum(r["equal"] for r in records)
    print(f"{equal} of {len(records)} videos equal, {frames} pictures, part {given.part}, "
          f"{time.monotonic() - begun:.0f} s")  # fmt: skip
    if given.json:
        given.json.write_text(json.dumps(records, indent=1))
    sys.exit(int(equal < len(records)))


if __name__ == "__main__":
    main()
