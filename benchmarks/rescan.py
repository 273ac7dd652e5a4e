"""How long a second run takes when nothing changed.

    python -m benchmarks.rescan [--files 10000] [--videos 250] [--limit 3.0]

A library of many files: small generated videos, each with hard copies under other content keys and
byte-identical ones. The first run looks at all; the second, timed, at none.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import footage

OTHER_KEYS = 4  # hard copies of each video that are not byte-identical


def fill(folder: Path, files: int, videos: int) -> None:
    """`files` files, of which 1 + OTHER_KEYS per video are distinct contents."""
    per_video = files // videos
    for n in range(videos):
        place = folder / f"{n // 50:02}"
        place.mkdir(parents=True, exist_ok=True)
        first = place / f"v{n:04}.mp4"
        footage.encode(footage.painted(1.0, 8, (96, 64), n), first, (96, 64), 8)
        for i in range(1, per_video):
            target = place / f"v{n:04}-{i:02}.mp4"
            if i <= OTHER_KEYS:
                footage.hard_copy(first, target, i)
            else:
                shutil.copyfile(first, target)


def run(folder: Path, home: Path, jobs: int) -> tuple[float, float, int]:
    """(seconds by the clock, of processor time, exit code) of one `dups`."""
    command = [
        sys.executable, "-m", "twinreel", "dups", str(folder), "-q", "--nice", "0",
        "--library", str(home / "library.db"), "-o", str(home / "report.json"),
        "--model", "dctgrad.v1", "-j", str(jobs),
    ]  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.perf_counter()
    code = subprocess.run(command, check=False).returncode
    wall = time.perf_counter() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, code


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--videos", type=int, default=250)
    parser.add_argument("--limit", type=float, default=3.0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--work", type=Path, help="keep the files here, go on with them next time")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    lines = [footage.machine(), ""]
    with tempfile.TemporaryDirectory() as temporary:
        home = args.work or Path(temporary)
        folder = home / "videos"
        if not folder.exists():
            fill(folder, args.files, args.videos)
        wall, cpu, code = run(folder, home, args.jobs)
        report = json.loads((home / "report.json").read_text())
        lines.append(
            f"first run:  {wall:.1f} s by the clock, {cpu:.1f} s of processor; exit code {code}; "
            f"{len(report['videos'])} files, {len({v['key'] for v in report['videos']})} contents, "
            f"{len(report['groups'])} groups"
        )
        clock = processor = float("inf")
        for _ in range(3):
            wall, cpu, again = run(folder, home, args.jobs)
            clock, processor = min(clock, wall), min(processor, cpu)
            lines.append(
                f"unchanged:  {wall:.2f} s by the clock, {cpu:.2f} s of processor; code {again}"
            )
        second = json.loads((home / "report.json").read_text())
        if second["groups"] != report["groups"]:
            sys.exit("the second run gave other groups")
    said = ["kept" if best <= args.limit else "BROKEN" for best in (clock, processor)]
    lines.append(f"limit {args.limit} s: by the clock {said[0]}, by processor time {said[1]}")
    print("\n".join(lines))
    if args.out:
        args.out.write_text("\n\n".join(line for line in lines if line) + "\n")
    sys.exit(0 if processor <= args.limit else 1)


if __name__ == "__main__":
    main()
