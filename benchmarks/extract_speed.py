"""How close `extract` comes to the bare work that it cannot avoid.

    python benchmarks/extract_speed.py VIDEO [--types 2d,3d] [--precisions fp32,bf16]
        [--device cpu] [--threads 0] [--repeat 3] [--seconds 0] [--json FILE]

For each type and precision, with seeded random weights (speed does not depend on their values):

    start-up       from the call until the network is loaded and the decoders are ready
    decode         the same frames decoded and cut by the same code, in one process, nothing else
    forward        the network on the same tensors, already decoded, in the same batches
    end to end     `extract` on the video, without start-up
    ratio          end to end / max(decode, forward); 1.0 is perfect overlap

    cpu            core seconds end to end / core seconds of decode and forward: what the queue,
                   the pipes and the files cost; other work on the machine does not change it

Each figure is the best of `--repeat` runs: other work on the machine only ever adds time.
bf16 rows are compared with fp32 rows by their lowest cosine. With `--device cuda` decoding on the
GPU (NVDEC through PyAV) is measured beside the CPU's.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from twinreel.workers import yield_cores

yield_cores()

import numpy as np  # noqa: E402
import torch  # noqa: E402

from twinreel.extract import journey  # noqa: E402
from twinreel.extract.clips import ClipTask, Rows, unroll  # noqa: E402
from twinreel.extract.forward import Runner  # noqa: E402
from twinreel.extract.journey import extract  # noqa: E402
from twinreel.extract.manifest import from_files  # noqa: E402
from twinreel.extract.options import ExtractOptions  # noqa: E402
from twinreel.extract.plan import Entry, plan  # noqa: E402

LIMIT = 1.15


def _cpu(feed: Any = None) -> float:
    """Core seconds of this process, its ended children, and a feed's decoders so far."""
    own, ended = (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    total = own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime
    for worker in feed._pool._workers if feed else ():
        words = Path(f"/proc/{worker.process.pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
    return total


def _decode(video: str, entry: Entry, end: float | None) -> tuple[float, float, list[np.ndarray]]:
    """Seconds, core seconds, rows."""
    begun, cpu = time.perf_counter(), _cpu()
    task = ClipTask(video, (entry.sampling,), end=end)
    parts = [i.pixels for i in unroll(task) if isinstance(i, Rows)]
    return time.perf_counter() - begun, _cpu() - cpu, parts


def _forward(runner: Runner, pixels: np.ndarray, size: int) -> tuple[float, float]:
    """Seconds, core seconds."""
    run = runner.run(0)
    begun, cpu = time.perf_counter(), _cpu()
    for at in range(0, len(pixels), size):
        run(pixels[at : at + size])
    if runner.network(0).device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun, _cpu() - cpu


def _end_to_end(
    video: str, options: ExtractOptions, runner: Runner, end: float | None
) -> tuple[float, float, np.ndarray]:
    """Seconds, core seconds and rows of a run whose network is loaded and decoders are up."""
    out = Path(tempfile.mkdtemp())
    try:
        jobs = [replace(j, end=end) for j in from_files([video], [video], out)]
        run = journey._Run(jobs, options, out, runner.entries, lambda *_: None, print)
        run._runner._networks = runner._networks
        feed = journey.Feed(journey.work, options.jobs, options.stall, 1)
        _wait_ready(feed)
        real, journey.Feed = journey.Feed, lambda *_: feed  # type: ignore[misc, assignment]
        try:
            begun, cpu = time.perf_counter(), _cpu(feed)
            summary = run.go()
            took, cpu = time.perf_counter() - begun, _cpu() - cpu
        finally:
            journey.Feed = real  # type: ignore[misc]
        assert summary.exit_code == 0, summary.records
        return took, cpu, np.load(next(out.glob("*.npy")))
    finally:
        shutil.rmtree(out)


def _wait_ready(feed: Any) -> None:
    """Until the decoders have imported what they need: they answer for a file that is not there."""
    for _ in feed.events([ClipTask("", ())]):
        pass
    feed.waited_s = 0.0


def _startup(video: str, options: ExtractOptions) -> float:
    """From the call to the end of the shortest run: the first frame of the video."""
    out = Path(tempfile.mkdtemp())
    try:
        jobs = [replace(j, end=0.05) for j in from_files([video], [video], out)]
        begun = time.perf_counter()
        extract(jobs, options, out)
        return time.perf_counter() - begun
    finally:
        shutil.rmtree(out)


def measure(video: str, kind: str, precision: str, given: argparse.Namespace) -> dict[str, Any]:
    options = ExtractOptions(
        type=kind, weights=(f"random:{given.seed}",) if not given.weights else (given.weights,),
        precision=precision, device=given.device, threads=given.threads, jobs=given.jobs,
        half_precision=0,
    )  # fmt: skip
    entries = plan(options)
    runner = Runner(entries, options, lambda words: None)
    runner.network(0)
    end = given.seconds or None
    decodes = [_decode(video, entries[0], end) for _ in range(given.repeat)]
    pixels = np.concatenate(decodes[0][2])
    runner.run(0)(pixels[: min(4, len(pixels))])  # warm
    forwards = [_forward(runner, pixels, options.batch_size) for _ in range(given.repeat)]
    runs = [_end_to_end(video, options, runner, end) for _ in range(given.repeat)]
    decode, forward, whole = (min(r[0] for r in rs) for rs in (decodes, forwards, runs))
    cores = [min(r[1] for r in rs) for rs in (decodes, forwards, runs)]
    return {
        "type": kind, "precision": precision, "device": str(runner.network(0).device),
        "rows": len(runs[0][2]), "frames": int(np.prod(pixels.shape[: pixels.ndim - 3])),
        "startup_s": _startup(video, options), "decode_s": decode, "forward_s": forward,
        "end_to_end_s": whole, "ratio": whole / max(decode, forward), "core_s": cores,
        "cpu": cores[2] / (cores[0] + cores[1]), "vectors": runs[0][2],
    }  # fmt: skip


def gpu_decoding(video: str) -> dict[str, Any]:
    """Decoding alone, all frames, on the GPU and on the CPU."""
    import av
    from av.codec.hwaccel import HWAccel

    found: dict[str, Any] = {}
    for name, accel in (("cpu", None), ("nvdec", HWAccel("cuda", allow_software_fallback=False))):
        try:
            begun = time.perf_counter()
            with av.open(video, hwaccel=accel) as container:
                frames = sum(1 for _ in container.decode(video=0))
            found[name] = frames / (time.perf_counter() - begun)
        except Exception as error:  # said, not hidden: which of many reasons depends on the driver
            print(f"{name}: not available ({error}); CPU decoding is used")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("video")
    parser.add_argument("--types", default="2d,3d")
    parser.add_argument("--precisions", default="fp32,bf16")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="decoders; one video needs one")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.0, help="only the first so many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights", default="", help="a checkpoint, for a true bf16 comparison")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
          f"torch {torch.__version__}, load {os.getloadavg()[0]:.1f}")  # fmt: skip
    print("type prec  rows frames  start-up  decode  forward  end-to-end  ratio    cpu")
    results = []
    for kind in given.types.split(","):
        rows: dict[str, np.ndarray] = {}
        for precision in given.precisions.split(","):
            r = measure(given.video, kind, precision, given)
            rows[precision] = r.pop("vectors")
            results.append(r)
            print(
                f"{kind:<5}{precision:<6}{r['rows']:>4}{r['frames']:>7}{r['startup_s']:>9.2f}s"
                f"{r['decode_s']:>7.2f}s{r['forward_s']:>8.2f}s{r['end_to_end_s']:>11.2f}s"
                f"{r['ratio']:>7.3f}{r['cpu']:>7.3f}"
                f"{'' if r['ratio'] <= LIMIT else '  over ' + str(LIMIT)}"
            )
        if {"fp32", "bf16"} <= set(rows):
            cosine = float((rows["fp32"] * rows["bf16"]).sum(1).min())
            results.append({"type": kind, "bf16_cosine": cosine})
            print(f"{kind}: bf16 rows to fp32 rows, lowest cosine {cosine:.6f}")
    if given.device.startswith("cuda"):
        speeds = gpu_decoding(given.video)
        results.append({"decode_fps": speeds})
        print("decode frames/s:", ", ".join(f"{k} {v:.0f}" for k, v in speeds.items()))
    if given.json:
        given.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
