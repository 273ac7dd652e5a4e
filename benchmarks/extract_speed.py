"""How close `extract` comes to the bare work that it cannot avoid.

    python -m benchmarks.extract_speed VIDEO [--quick] [--types 2d,3d] [--precisions fp32,bf16]
        [--device cpu] [--decoders cpu,cuda] [--threads 0] [--repeat 5] [--minutes 11] [--kit DIR]
        [--json FILE]

For each type and precision:

    start-up       from the call until the shortest run has ended: one frame of the video
    decode         the same frames decoded and cut by the same code, in one process, nothing else
    forward        the network on the same tensors, already decoded, in the same batches
    end to end     `extract` on the video, without start-up: network loaded, decoders ready
    ratio          end to end / max(decode, forward); at most 1.15 is wanted
    floor          (core seconds of decode and forward) / cores / max(decode, forward): what the
                   ratio would be if no core ever rested; it cannot be lower on a CPU
    cpu            core seconds end to end / core seconds of decode and forward: what the queue,
                   the pipes and the files cost; other work on the machine does not change it

The three are run in turns, each round in the other direction, so that a machine that grows slower
or faster favours none. Printed are medians, and the ratio three times: of the medians, the median
of each round's own, and of the fastest runs.
Weights are random ones (speed does not depend on them) or, with --kit, those of the parity kit's
script. bf16 rows are compared with fp32 rows by their lowest cosine. With `--device cuda` each line
is measured with both decoders, the CPU and the GPU (NVDEC), and the GPU's rows are compared with
the CPU's; where no GPU decodes, that is said and nothing is printed in its name.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from twinreel.workers import yield_cores

yield_cores()

import numpy as np  # noqa: E402

from twinreel.extract import hardware, journey  # noqa: E402
from twinreel.extract.clips import ClipTask, Rows, unroll  # noqa: E402
from twinreel.extract.forward import Runner  # noqa: E402
from twinreel.extract.journey import extract  # noqa: E402
from twinreel.extract.manifest import from_files  # noqa: E402
from twinreel.extract.options import ExtractOptions  # noqa: E402
from twinreel.extract.plan import Entry, plan  # noqa: E402
from twinreel.extract.status import Listener  # noqa: E402

LIMIT = 1.15
COSINE = 0.999


class NotHere(Exception):
    """The decoder that was to be measured; the message says why."""


def _cpu(feed: Any = None) -> float:
    """Core seconds of this process, its ended children, and a feed's decoders so far."""
    own, ended = (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    total = own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime
    for worker in feed._pool._workers if feed else ():
        words = Path(f"/proc/{worker.process.pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
    return total


def _decode(
    video: str, entry: Entry, options: ExtractOptions, end: float | None
) -> tuple[float, float, list[np.ndarray]]:
    """Seconds, core seconds, rows. Raises NotHere where another decoder did it."""
    begun, cpu = time.perf_counter(), _cpu()
    gpu = hardware.chosen(options.decoder, options.device)
    parts = []
    for item in unroll(ClipTask(video, (entry.sampling,), end=end, gpu=gpu)):
        if isinstance(item, Rows):
            parts.append(item.pixels)
        elif item.decoder != options.decoder:
            raise NotHere(item.refused)
    return time.perf_counter() - begun, _cpu() - cpu, parts


def _forward(runner: Runner, pixels: np.ndarray, size: int) -> tuple[float, float]:
    """Seconds, core seconds."""
    run = runner.run(0)
    begun, cpu = time.perf_counter(), _cpu()
    for at in range(0, len(pixels), size):
        run(pixels[at : at + size])
    return time.perf_counter() - begun, _cpu() - cpu


def _end_to_end(
    video: str, options: ExtractOptions, runner: Runner, end: float | None
) -> tuple[float, float, np.ndarray]:
    """Seconds, core seconds and rows of a run whose network is loaded and decoders are up."""
    out = Path(tempfile.mkdtemp())
    try:
        jobs = [replace(j, end=end) for j in from_files([video], [video], out)]
        run = journey._Run(jobs, options, out, runner.entries, Listener(on_words=print))
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


def measure(
    video: str, kind: str, precision: str, decoder: str, given: argparse.Namespace
) -> dict[str, Any]:
    """All figures of one type and precision; rounds until `repeat` or its share of the minutes."""
    deadline = time.monotonic() + given.share_s
    weights = given.kit.get(kind) or f"random:{given.seed}"
    options = ExtractOptions(
        type=kind, weights=(weights,), precision=precision, device=given.device,
        threads=given.threads, jobs=given.jobs, half_precision=0, decoder=decoder,
    )  # fmt: skip
    entries = plan(options)
    end = given.seconds or None
    parts = _decode(video, entries[0], options, end)[2]
    startup = _startup(video, options)
    runner = Runner(entries, options, lambda words: None)
    runner.network(0)
    pixels = np.concatenate(parts)
    del parts
    runner.run(0)(pixels[: min(8, len(pixels))])  # warm
    _end_to_end(video, options, runner, 1.0)
    rows = np.zeros(0)

    def whole() -> tuple[float, float]:
        nonlocal rows
        took, cpu, rows = _end_to_end(video, options, runner, end)
        return took, cpu

    steps = {
        "decode": lambda: _decode(video, entries[0], options, end)[:2],
        "forward": lambda: _forward(runner, pixels, options.batch_size),
        "whole": whole,
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
    rounds = 0
    while rounds < given.repeat and (not rounds or time.monotonic() < deadline):
        for name in list(steps)[:: -1 if rounds % 2 else 1]:
            found[name].append(steps[name]())
        rounds += 1
    middle = {n: statistics.median(r[0] for r in rs) for n, rs in found.items()}
    best = {n: min(r[0] for r in rs) for n, rs in found.items()}
    cores = {n: statistics.median(r[1] for r in rs) for n, rs in found.items()}
    bound = zip(found["decode"], found["forward"], found["whole"], strict=True)
    pairs = [whole[0] / max(decode[0], forward[0]) for decode, forward, whole in bound]
    bare = max(middle["decode"], middle["forward"])
    return {
        "type": kind, "precision": precision, "decoder": decoder,
        "device": str(runner.network(0).device),
        "weights": "kit" if given.kit else weights, "rounds": rounds,
        "rows": len(rows), "frames": int(np.prod(pixels.shape[: pixels.ndim - 3])),
        "startup_s": startup, "decode_s": middle["decode"], "forward_s": middle["forward"],
        "end_to_end_s": middle["whole"], "ratio": middle["whole"] / bare,
        "ratio_of_rounds": statistics.median(pairs),
        "ratio_of_best": best["whole"] / max(best["decode"], best["forward"]),
        "floor": (cores["decode"] + cores["forward"]) / (os.cpu_count() or 1) / bare,
        "cpu": cores["whole"] / (cores["decode"] + cores["forward"]), "core_s": cores,
        "all": found, "vectors": rows,
    }  # fmt: skip


def seeded(kit: Path, folder: Path) -> dict[str, str]:
    """type -> checkpoint, written by the parity kit's script."""
    found = {}
    for kind, arch in (("2d", "resnet152"), ("3d", "resnext101")):
        path = folder / f"{arch}.pth"
        subprocess.run([sys.executable, kit / "seeded_weights.py", arch, path], check=True)
        found[kind] = str(path)
    return found


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("video")
    parser.add_argument("--types", default="2d,3d")
    parser.add_argument("--precisions", default="fp32,bf16")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--decoders", help="default: cpu, and cuda with --device cuda")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="decoders; one video needs one")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=11.0, help="begin no round after these")
    parser.add_argument("--seconds", type=float, default=0.0, help="only the first so many")
    parser.add_argument("--quick", action="store_true", help="six seconds of the video, one round")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kit", type=Path, help="folder of the parity kit: its seeded weights")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if given.quick:
        given.seconds, given.repeat = 6.0, 1
    kinds, precisions = given.types.split(","), given.precisions.split(",")
    gpu = given.device.startswith("cuda")
    decoders = (given.decoders or ("cpu,cuda" if gpu else "cpu")).split(",")
    given.share_s = given.minutes * 60 / (len(kinds) * len(precisions) * len(decoders))
    folder = Path(tempfile.mkdtemp())
    given.kit = seeded(given.kit.resolve(), folder) if given.kit else {}
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
          f"torch {torch.__version__}, load {os.getloadavg()[0]:.1f}")  # fmt: skip
    print("type prec decoder rounds rows frames start-up  decode forward end-to-end  ratio"
          " of-rounds of-best floor   cpu")  # fmt: skip
    results = []
    try:
        for kind in kinds:
            rows: dict[tuple[str, str], np.ndarray] = {}
            for precision, decoder in itertools.product(precisions, decoders):
                try:
                    r = measure(given.video, kind, precision, decoder, given)
                except NotHere as error:
                    print(f"{kind} {precision}: decoder {decoder} NOT MEASURED: {error}")
                    continue
                rows[precision, decoder] = r.pop("vectors")
                results.append(r)
                print(_line(r), flush=True)
            for (name, first), (other, second) in itertools.combinations(rows, 2):
                if (name == other) == (first == second):
                    continue  # of two that differ in one thing only
                both = rows[name, first], rows[other, second]
                cosine = float((both[0] * both[1]).sum(1).min())
                results.append({"type": kind, "rows": [name, first, other, second],
                                "cosine": cosine})  # fmt: skip
                verdict = "" if cosine >= COSINE else f"  under {COSINE}"
                print(f"{kind}: rows of {other}, decoder {second}, to those of {name}, decoder "
                      f"{first}: lowest cosine {cosine:.6f}{verdict}")  # fmt: skip
    finally:
        shutil.rmtree(folder)
    print(f"load now {os.getloadavg()[0]:.1f}")
    if given.json:
        given.json.write_text(json.dumps(results, indent=1))


def _line(r: dict[str, Any]) -> str:
    verdict = "" if r["ratio"] <= LIMIT else f"  over {LIMIT}"
    return (
        f"{r['type']:<5}{r['precision']:<5}{r['decoder']:<7}{r['rounds']:>6}{r['rows']:>5}{r['frames']:>7}"
        f"{r['startup_s']:>8.2f}s{r['decode_s']:>7.2f}s{r['forward_s']:>7.2f}s"
        f"{r['end_to_end_s']:>10.2f}s{r['ratio']:>7.3f}{r['ratio_of_rounds']:>10.3f}"
        f"{r['ratio_of_best']:>8.3f}"
        f"{r['floor']:>6.3f}{r['cpu']:>6.3f}{verdict}"
    )


if __name__ == "__main__":
    main()
