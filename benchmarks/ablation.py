"""What each part of looking is worth: ``python -m benchmarks.ablation --library LIB --work WORK``.

Goes in: a library that ``twinreel dups WORK/set/train`` filled, and the scoreboard's truth of that
set. Pairs are ranked by the mean similarity of their best moments and by nothing else: no
alignment, no closer look, no calibration. Comes out: a table, a row for each thing left out or
changed. The test split is not read.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.accuracy import build, truth
from benchmarks.accuracy.evaluate import NONE, Truth
from benchmarks.accuracy.metrics import Ranking
from twinreel import models, picture
from twinreel.candidates import best_count
from twinreel.models.twin import DIM, SIZE, TwinNet, normalise
from twinreel.store import Library
from twinreel.types import Floats

BANK = 2000  # background pictures
NEAREST = 10  # of them that a moment is compared with
Network = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Video:
    """One file's kept pictures, uint8 (n, 160, 160, 3), and where the picture is in them."""

    pixels: np.ndarray
    inside: picture.Rect


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=build.DEFAULT_WORK / "full")
    parser.add_argument("--images", type=Path, default=Path("../shared/images"))
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    t = Truth(truth.load(args.work / "truth_train.json"))
    videos = read(args.library, t.names)
    pair = models.load("twin.v1").module
    twin = pair.twin
    torch.manual_seed(0)
    untrained = TwinNet().fuse()
    shown = cut(videos)
    both = embed(pair, shown)
    z, g = shortened(both, slice(0, DIM)), shortened(both, slice(DIM, None))
    print(f"{len(t.names)} files, {sum(map(len, z))} moments\n")
    print("Average precision over whole copies, among all pairs and without look-alikes (other\n"
          "takes and pieces of one scene, which similarity alone cannot tell from copies).\n")
    print("| what | all pairs | without look-alikes |\n|---|---|---|")

    def row(what: str, rows: Sequence[Floats], bias: Sequence[Floats] | None = None) -> None:
        every, unlike = judge(t, rows, bias)
        print(f"| {what} | {every:.3f} | {unlike:.3f} |", flush=True)

    row("network and gradients, as shipped", both)
    row("network alone", z)
    row("its first 128 numbers", shortened(z, slice(0, 128)))
    row("its first 64 numbers", shortened(z, slice(0, 64)))
    row("gradients alone", g)
    row("untrained network", embed(untrained, shown))
    row("borders not cut", embed(twin, cut(videos, borders=True)))
    for side in (96, 128, 192, 224):
        row(f"pictures of {side} px instead of {SIZE}", embed(twin, shown, side))
    for most in (4, 8, 16):
        row(f"{most} moments instead of up to 32", [some(v, most) for v in z])
    bank = embed(twin, [background(args.images)])[0]
    row(f"similarity less that to {BANK} background pictures", z,
        [np.sort(v @ bank.T, axis=1)[:, -NEAREST:].mean(axis=1) for v in z])
    return 0


def read(library: Path, names: Sequence[str]) -> list[Video]:
    """The kept pictures of these files."""
    with Library.open(str(library)) as kept:
        key = {Path(f.path).name: f.key for f, _, _ in kept.files()}
        facts = kept.facts()
        out = []
        for name in names:
            strip = kept.thumbs(key[name] or "")
            if not strip:
                raise SystemExit(f"{library} keeps no pictures of {name}; run twinreel dups there")
            pixels = np.stack([picture.from_jpeg(data) for _, data in strip])
            # Blank moments prove nothing: they are left out there, too.
            pixels = pixels[[not picture.is_blank(p) for p in pixels]]
            out.append(Video(pixels, facts[key[name] or ""].picture))
    return out


def cut(videos: Sequence[Video], *, borders: bool = False) -> list[np.ndarray]:
    """uint8 (n, 160, 160, 3) of each video, inside its borders or with them."""
    empty = [np.zeros((0, SIZE, SIZE, 3), np.uint8)]
    return [np.concatenate(empty + [
        picture.cut(p, picture.WHOLE if borders else v.inside, (SIZE, SIZE))[None]
        for p in v.pixels]) for v in videos]


@torch.inference_mode()
def embed(network: Network, shown: Sequence[np.ndarray], side: int = SIZE) -> list[Floats]:
    """float32 (n, dim), unit length, of each video."""
    out = []
    for pixels in shown:
        if side != SIZE and len(pixels):
            images = [Image.fromarray(p).resize((side, side), Image.Resampling.BICUBIC)
                      for p in pixels]
            pixels = np.stack([np.asarray(im) for im in images])
        x = normalise(torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()))
        made = [network(part).numpy() for part in x.split(64) if len(part)]
        out.append(np.concatenate(made) if made else np.zeros((0, 1), np.float32))
    return out


def shortened(rows: Sequence[Floats], part: slice) -> list[Floats]:
    """Some of the numbers, of unit length again."""
    return [v[:, part] / np.linalg.norm(v[:, part], axis=1, keepdims=True) for v in rows]


def some(v: Floats, most: int) -> Floats:
    """At most so many of a video's moments, spread evenly."""
    if len(v) <= most:
        return v
    return v[np.linspace(0, len(v) - 1, most).round().astype(int)]


def background(images: Path) -> np.ndarray:
    """Training photographs, every so many of them: uint8 (BANK, 160, 160, 3)."""
    files = sorted(images.glob("*/*.webp"))
    if len(files) < BANK:
        raise SystemExit(f"{images}: {len(files)} pictures, {BANK} are needed; pass --images")
    out = []
    for path in files[:: len(files) // BANK][:BANK]:
        with Image.open(path) as image:
            out.append(np.asarray(image.convert("RGB").resize((SIZE, SIZE))))
    return np.stack(out)


def judge(t: Truth, rows: Sequence[Floats], bias: Sequence[Floats] | None = None
          ) -> tuple[float, float]:
    """Average precision over whole copies: among all pairs, and without look-alikes."""
    positive = t.whole & t.gated
    use = positive | (t.kind == NONE)
    scores = np.array([alike(rows, int(a), int(b), bias)
                       for a, b in zip(t.i[use], t.j[use], strict=True)])
    some_piece = np.array(["piece" in (t.files[a].kind, t.files[b].kind)
                           for a, b in zip(t.i[use], t.j[use], strict=True)])
    unlike = positive[use] | ~(t.hard[use] | some_piece)
    return (Ranking(scores, positive[use]).average_precision(),
            Ranking(scores[unlike], positive[use][unlike]).average_precision())


def alike(rows: Sequence[Floats], a: int, b: int, bias: Sequence[Floats] | None) -> float:
    """Mean similarity of the best moments of two videos, as candidates.best_moments has it."""
    if len(rows[b]) < len(rows[a]):
        a, b = b, a
    if not len(rows[a]):
        return -1.0
    sims = rows[a] @ rows[b].T
    if bias is not None:
        sims = sims - (bias[a][:, None] + bias[b][None]) / 2
    best = sims.max(axis=1)
    k = best_count(len(best))
    return float(np.partition(best, len(best) - k)[len(best) - k :].mean())


if __name__ == "__main__":
    sys.exit(main())
