"""Peak memory of `dups` on a long video: all processes together.

    python -m benchmarks.memory [--hours 2] [--limit 700]

A generated 720p video of that length (one minute painted and encoded, then looped without
encoding). Measured are the proportional set sizes of the command and all its processes, every
50 ms; taken off is what idle interpreters cost: one with torch, and one bare for every other
process.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import footage

TORCH = "import torch, time; torch.ones(1); print(flush=True); time.sleep(60)"
BARE = "import time; print(flush=True); time.sleep(60)"


def memory_of(pid: int) -> int:
    """Proportional set size in bytes (shared pages divided by who shares them); 0 when gone."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except (OSError, ProcessLookupError):
        pass
    return 0


def family(pid: int) -> list[int]:
    """A process and all below it."""
    out = [pid]
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                out += family(int(child))
    except OSError:
        pass
    return out


def footprint(code: str) -> int:
    """Memory of an interpreter that has run `code` and sits there."""
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert child.stdout
    child.stdout.readline()
    size = memory_of(child.pid)
    child.kill()
    child.wait()
    child.stdout.close()
    return size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--limit", type=float, default=700, help="MB")
    parser.add_argument("--model", default="dctgrad.v1")
    parser.add_argument("--sampler", default="uniform")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        (home / "v").mkdir()
        minute = footage.encode(
            footage.painted(60, 25, (1280, 720), 1), home / "minute.mp4", (1280, 720), 25
        )
        film = footage.looped(minute, home / "v" / "film.mp4", args.hours * 3600)
        torch, bare = footprint(TORCH), footprint(BARE)
        command = [
            sys.executable, "-m", "twinreel", "dups", str(film), "-q", "--nice", "0", "-j", "2",
            "--library", str(home / "l.db"), "-o", str(home / "r.json"), "--model", args.model,
            "--sampler", args.sampler,
        ]  # fmt: skip
        begun = time.perf_counter()
        child = subprocess.Popen(command)
        peak, most = 0, 1
        parts: list[int] = []
        while child.poll() is None:
            sizes = [s for s in map(memory_of, family(child.pid)) if s]
            if sum(sizes) > peak:
                peak, parts = sum(sizes), sizes
            most = max(most, len(sizes))
            time.sleep(0.05)
        took = time.perf_counter() - begun
    own = peak - torch - bare * (len(parts) - 1)
    kept = own / 1e6 <= args.limit
    shown = " + ".join(f"{s / 1e6:.0f}" for s in sorted(parts, reverse=True))
    text = "\n\n".join(
        [
            footage.machine(),
            f"{args.hours:g} h of 720p, model {args.model}, sampler {args.sampler}, "
            f"exit code {child.returncode}, {took:.1f} s",
            f"peak {peak / 1e6:.0f} MB in {len(parts)} processes ({shown}); interpreter with torch "
            f"{torch / 1e6:.0f} MB, bare {bare / 1e6:.0f} MB each",
            f"own peak {own / 1e6:.0f} MB; limit {args.limit:g} MB: {'kept' if kept else 'BROKEN'}",
        ]
    )
    print(text)
    if args.out:
        args.out.write_text(text + "\n")
    sys.exit(0 if kept and child.returncode == 0 else 1)


if __name__ == "__main__":
    main()
