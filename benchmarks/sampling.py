"""Accuracy against cost of the ways to choose moments.

    python -m benchmarks.sampling [--corpus DIR] [--out FILE.md] [--model dctgrad.v1]

Every clip of the corpus is looked at and compared with every other, once per setting. Cost is
processor time of one process: `look` (decode, scale, borders) and the network. Accuracy is over the
corpus's natural copies (pairs of one content, except those left out when they were looked at)
against all other pairs, hard negatives among them: average precision, the share of copies scored
above every other pair, and the share above the model's own min_score.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import av
import numpy as np
import torch

from benchmarks import footage
from benchmarks.accuracy import corpus
from twinreel import models
from twinreel.candidates import Shelf, candidates
from twinreel.compare import Calibration, compare
from twinreel.decode import Chunk, Looked, LookTask, look
from twinreel.embed import features
from twinreel.errors import VideoError
from twinreel.options import SampleOptions
from twinreel.types import Features

SETTINGS = (
    SampleOptions(moments=8),
    SampleOptions(moments=16),
    SampleOptions(moments=32),
    SampleOptions(moments=64),
    SampleOptions(sampler="keyframes", moments=32),
    SampleOptions(sampler="fps", fps=1.0),
    SampleOptions(sampler="fps", fps=4.0),
)


@dataclass(frozen=True)
class Point:
    """One setting's cost and accuracy."""

    name: str
    frames: int
    look_s: float
    network_s: float
    precision: float  # average
    above_all: float
    above_least: float
    wrong: int  # pairs that are no copies at or above min_score

    def line(self) -> str:
        return (
            f"| {self.name} | {self.frames} | {self.look_s:.1f} | {self.network_s:.1f} "
            f"| {self.precision:.3f} | {self.above_all:.2f} | {self.above_least:.2f} "
            f"| {self.wrong} |"
        )


HEAD = """| sampling | frames | look, s | network, s | average precision | copies above all others \
| copies above min_score | others above it |
|---|---|---|---|---|---|---|---|"""


def name_of(options: SampleOptions) -> str:
    dial = f"{options.fps:g}/s" if options.sampler == "fps" else f"{options.moments}"
    return f"{options.sampler} {dial}"


def truth(clips: Sequence[corpus.Clip]) -> set[frozenset[str]]:
    """Pairs of files that show the same content."""
    judged = corpus.naturals()
    good = [c for c in clips if c.role == "source" or c.file in judged]
    return {
        frozenset((a.file, b.file)) for a, b in combinations(good, 2)
        if a.group == b.group and "natural_copy" in (a.role, b.role)
    }  # fmt: skip


def take(folder: Path, clips: Sequence[corpus.Clip], options: SampleOptions, model: str) -> tuple[
    list[Features], float, float
]:
    """(Features by file name, seconds of looking, seconds of the network)."""
    spec = models.get(model)
    network = models.load(spec)
    out, look_s, network_s = [], 0.0, 0.0
    for clip in clips:
        begun = time.process_time()
        try:
            *chunks, looked = look(
                LookTask(str(folder / clip.file), spec.size, options, thumbs=False)
            )
        except VideoError as error:
            print(f"{clip.file}: {error.detail}", file=sys.stderr)
            continue
        look_s += time.process_time() - begun
        parts = [c for c in chunks if isinstance(c, Chunk)]
        assert isinstance(looked, Looked)
        pixels = np.concatenate([c.batch.pixels for c in parts])
        begun = time.process_time()
        vectors = np.concatenate(
            [network(pixels[i : i + 64]) for i in range(0, len(pixels), 64)]
        )
        network_s += time.process_time() - begun
        out.append(
            features(
                clip.file, model, name_of(options),
                np.concatenate([c.batch.times_s for c in parts]),
                np.concatenate([c.blank for c in parts]), vectors, looked.info.duration_s,
            )
        )  # fmt: skip
    return out, look_s, network_s


def judge(
    made: Sequence[Features], copies: set[frozenset[str]], model: str
) -> tuple[float, float, float, int]:
    """(average precision, copies above all others, copies above min_score, others above it)."""
    spec = models.get(model)
    calibration = Calibration(**spec.extra.get("calibration", {}))
    everything = {f.key for f in made}
    scored = []
    for a, b in candidates(Shelf(list(made)), everything, (float("inf"), 0.0), calibration):
        match = compare(a, b, calibration)
        if match is not None:
            scored.append((match.score, frozenset((a.key, b.key)) in copies))
    scored.sort(key=lambda s: (-s[0], s[1]))  # at equal scores the wrong one counts first
    hits, total, area = 0, len(copies), 0.0
    for rank, (_, right) in enumerate(scored, 1):
        if right:
            hits += 1
            area += hits / rank
    best_wrong = max((s for s, right in scored if not right), default=0.0)
    least = spec.min_score if spec.min_score is not None else 0.9
    return (
        area / total,
        sum(s > best_wrong for s, right in scored if right) / total,
        sum(s >= least for s, right in scored if right) / total,
        sum(s >= least for s, right in scored if not right),
    )


def main() -> None:
    root = Path(__file__).parents[1]
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--corpus", type=Path, default=root.parent / "shared/corpus")
    parser.add_argument("--model", default="dctgrad.v1")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    av.logging.set_level(None)
    clips = corpus.load(args.corpus)
    copies = truth(clips)
    lines = [
        footage.machine(),
        f"model {args.model}; {len(clips)} clips, {sum(c.duration_s for c in clips):.0f} s of "
        f"video, {len(copies)} pairs of copies",
        HEAD,
    ]
    print("\n\n".join(lines), flush=True)
    points = []
    for options in SETTINGS:
        made, look_s, network_s = take(args.corpus / "videos", clips, options, args.model)
        frames = sum(len(f.vectors) for f in made)
        point = Point(
            name_of(options), frames, look_s, network_s, *judge(made, copies, args.model)
        )
        print(point.line(), flush=True)
        points.append(point)
    if args.out:
        head, about, table = lines
        body = "\n".join([table, *(p.line() for p in points)])
        args.out.write_text(f"{head}\n\n{about}\n\n{body}\n")


if __name__ == "__main__":
    main()
