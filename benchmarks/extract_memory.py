"""Peak memory of `extract` on long videos: it must not grow with their length.

    python benchmarks/extract_memory.py [--hours 2] [--model tiny|resnext101-3d] [--json FILE]

Generates a video of that length (a short one, repeated without encoding it again), runs it through
the 3d pipeline (24 frames a second, 112 px, clips of 16), and prints the peak of all processes
together: in all, and above what they hold once the network is loaded and the decoders are up.
'tiny' is a small network with the input of ResNeXt-101.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
from pathlib import Path

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.manual_seed(0)
    name = "benchmarks.extract_memory:tiny" if given.model == "tiny" else given.model
    weights = () if given.model == "tiny" else ("random:0",)
    with tempfile.TemporaryDirectory() as folder:
        video, out = Path(folder) / "long.mp4", Path(folder) / "out"
        generate(video, given.hours * 3600)
        options = ExtractOptions(model=(name,), weights=weights, jobs=1, threads=given.threads)
        run = journey._Run(
            from_files([str(video)], [folder], out), options, out, plan(options),
            lambda *_: None, print,
        )  # fmt: skip
        run._runner.network(0)
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
        rows = np.load(next(out.glob("*.npy")), mmap_mode="r").shape
    result = {
        "model": given.model, "hours": given.hours, "rows": rows[0], "seconds": round(took, 1),
        "peak_mb": round(peak / 1e6), "base_mb": round(base / 1e6),
        "above_mb": round((peak - base) / 1e6), "exit_code": summary.exit_code,
    }  # fmt: skip
    print(json.dumps(result))
    if given.json:
        given.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
