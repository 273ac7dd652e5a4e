"""Peak memory of `extract` on long videos: it must not grow with their length.

    python -m benchmarks.extract_memory [--quick] [--hours 2] [--minutes 3] [--json FILE]

Two runs, each in a process of its own, through the 3d pipeline (24 frames a second, 112 px, clips
of 16): `--hours` of generated video with a small network of ResNeXt-101's input ('tiny'), and
`--minutes` with ResNeXt-101 itself. Printed: the peak of all processes together (what they share
counts once), what the network alone takes, what all hold once it is loaded and the decoder is up,
and the peak above that; at most 1000 MB are wanted.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from twinreel.workers import yield_cores

yield_cores()

import av  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import nn  # noqa: E402

from twinreel.extract import journey  # noqa: E402
from twinreel.extract.clips import ClipTask  # noqa: E402
from twinreel.extract.manifest import from_files  # noqa: E402
from twinreel.extract.options import ExtractOptions  # noqa: E402
from twinreel.extract.plan import plan  # noqa: E402
from twinreel.extract.status import Listener  # noqa: E402


class Tiny(nn.Module):
    """Takes what ResNeXt-101 takes, gives as many numbers."""

    twinreel = {"size": [112, 112], "frames": 16, "fps": 24.0, "mean": [110.6, 103.2, 96.3],
                "std": [1, 1, 1], "scale": 1.0}  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv3d(3, 16, 8, 8)
        self.top = nn.Linear(16, 2048)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.top(self.body(x).flatten(2).mean(2))


def tiny() -> nn.Module:
    torch.manual_seed(0)
    return Tiny()


def generate(path: Path, seconds: float, fps: int = 12) -> None:
    """Moving bars for ten seconds, again and again."""
    first = path.with_name("ten.mp4")
    with av.open(str(first), "w") as out:
        stream = out.add_stream("libx264", rate=fps, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = 192, 112, "yuv420p"
        across = np.arange(192)[None, :, None] + np.zeros((112, 1, 3))
        for i in range(10 * fps):
            shade = (across * [1, 2, 3] + 7 * i) % 256
            frame = av.VideoFrame.from_ndarray(shade.astype(np.uint8), format="rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    with av.open(str(first)) as source, av.open(str(path), "w") as out:
        given = source.streams.video[0]
        stream = out.add_stream_from_template(given)
        packets = [p for p in source.demux(given) if p.size]
        length = max(p.pts + p.duration for p in packets)
        kept = [(bytes(p), p.pts, p.dts, p.duration, p.is_keyframe) for p in packets]
        for turn in range(round(seconds / 10)):
            for data, pts, dts, duration, key in kept:
                packet = av.Packet(data)
                packet.pts, packet.dts = pts + turn * length, dts + turn * length
                packet.duration, packet.time_base = duration, given.time_base
                packet.is_keyframe, packet.stream = key, stream
                out.mux(packet)


def _together() -> int:
    """Bytes of this process and its children; what they share counts once."""
    total = 0
    for pid in [os.getpid(), *_children(os.getpid())]:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += next(int(x.split()[1]) for x in text.splitlines() if x.startswith("Pss:")) * 1024
    return total


def _children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(p) for p in (task / "children").read_text().split()]
    return found


LIMIT_MB = 1000
RUNS = {"tiny": "benchmarks.extract_memory:tiny", "resnext101-3d": "resnext101-3d"}


def measure(model: str, seconds: float, threads: int) -> dict[str, Any]:
    """One run in this process."""
    weights = () if model == "tiny" else ("random:0",)
    with tempfile.TemporaryDirectory() as folder:
        video, out = Path(folder) / "long.mp4", Path(folder) / "out"
        generate(video, seconds)
        options = ExtractOptions(model=(RUNS[model],), weights=weights, jobs=1, threads=threads)
        entries = plan(options)
        bare = _together()
        run = journey._Run(
            from_files([str(video)], [folder], out), options, out, entries, Listener(on_words=print)
        )
        run._runner.network(0)
        own = _together() - bare
        feed = journey.Feed(journey.work, 1, options.stall, 1)
        for _ in feed.events([ClipTask("", ())]):
            pass
        journey.Feed = lambda *_: feed  # type: ignore[misc, assignment]
        base = peak = _together()
        over = threading.Event()

        def watch() -> None:
            nonlocal peak
            while not over.wait(0.3):
                peak = max(peak, _together())

        watcher = threading.Thread(target=watch)
        watcher.start()
        begun = time.perf_counter()
        summary = run.go()
        took = time.perf_counter() - begun
        over.set()
        watcher.join()
        rows = np.load(next(out.glob("*.npy")), mmap_mode="r").shape[0]
    return {
        "model": model, "video_s": seconds, "rows": rows, "took_s": round(took, 1),
        "peak_mb": round(peak / 1e6), "network_mb": round(own / 1e6),
        "ready_mb": round(base / 1e6), "above_mb": round((peak - base) / 1e6),
        "exit_code": summary.exit_code,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=float, default=2.0, help="of video for the small network")
    parser.add_argument("--minutes", type=float, default=3.0, help="of video for ResNeXt-101")
    parser.add_argument("--quick", action="store_true", help="three minutes and ten seconds")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--only", choices=tuple(RUNS), help="one of the two")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if given.quick:
        given.hours, given.minutes = 0.05, 1 / 6
    lengths = {"tiny": given.hours * 3600, "resnext101-3d": given.minutes * 60}
    if given.only:
        results = [measure(given.only, lengths[given.only], given.threads)]
    else:
        results = [_apart(name, given) for name in RUNS]
        for r in results:
            verdict = "kept" if r["above_mb"] <= LIMIT_MB else "BROKEN"
            print(
                f"{r['model']}: {r['video_s'] / 60:g} minutes, {r['rows']} rows in {r['took_s']} s;"
                f" peak {r['peak_mb']} MB, of which the network {r['network_mb']} MB, all at rest"
                f" {r['ready_mb']} MB; above that {r['above_mb']} MB (limit {LIMIT_MB}: {verdict})"
            )
    text = json.dumps(results, indent=1)
    if given.only:
        print(text)
    if given.json:
        given.json.write_text(text)
    sys.exit(any(r["exit_code"] or r["above_mb"] > LIMIT_MB for r in results))


def _apart(name: str, given: argparse.Namespace) -> dict[str, Any]:
    """A run in a process of its own: the first network's memory must not count for the second."""
    command = [
        sys.executable, "-m", "benchmarks.extract_memory", "--only", name,
        "--hours", str(given.hours), "--minutes", str(given.minutes),
        "--threads", str(given.threads),
    ]  # fmt: skip
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    try:
        (result,) = json.loads(done.stdout[done.stdout.index("[\n") :])
    except ValueError:
        sys.exit(f"{name}: ended with {done.returncode} and without figures\n{done.stdout}")
    found: dict[str, Any] = result
    return found


if __name__ == "__main__":
    main()
