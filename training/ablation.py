"""What each part of the recipe is worth, in short runs: `python -m training.ablation`.

Goes in: the image folders. Comes out: a table of held-out scores, a row for each thing left out.
All runs have the same number of steps, seeds and held-out photographs; they are far too short to
ship and say only which parts help from the start. Two at a time, one core each.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from torch import nn

from training.data import Pool, load_pool
from training.evaluate import Trial, evaluate
from training.strength import Strength
from training.train import Config, read_config, train
from twinreel.models.twin import SHAPE, SIZE, TwinNet

_SIZE = 96
_DRAWN = 3000

RUNS = {
    "all of it": "",
    "photographs alone": "photographs",
    "drawn pictures alone": "drawn",
    "no spread of neighbours (KoLeo)": "spread",
    "loss on all 256 numbers alone": "nested",
    "no parts of photographs": "part",
    "no turns, bars or pictures behind": "places",
    "no colour, blur, noise or codec loss": "tones",
    "views of 48 px instead of 64": "small",
}
# Candidates for the network beside the released one.
SHAPES = {
    "half the blocks": ((32, 64, 128, 256), (1, 2, 4, 1)),
    "half the blocks, half as wide again": ((48, 96, 192, 384), (1, 2, 4, 1)),
    "three quarters as wide": ((24, 48, 96, 192), (2, 4, 8, 2)),
}


def configured(what: str) -> Config:
    """The config of a short run, with one thing left out."""
    config = copy.deepcopy(read_config(Path(__file__).with_name("config.toml")))
    config["size"] = {"until": [1.0], "side": [48 if what == "small" else 64]}
    config["views"]["pairs"] = 48
    config["loss"]["memory"] = 96
    config["optimiser"] |= {"rate": 8e-4, "ema": 0.98, "warmup": 0.05}
    config["evaluate_minutes"] = config["checkpoint_minutes"] = 1e9
    config["data"]["sprites"] = 256
    config["views"]["later_from"] = 0.0
    if what == "spread":
        config["loss"]["spread"] = 0.0
    if what == "nested":
        config["loss"]["nested"] = {"256": 1.0}
    if what == "part":
        config["views"]["part"] = 0.0
    none = dict.fromkeys(vars(Strength()), 0.0)
    if what == "places":
        kept = {k: none[k] for k in ("vflip", "quarter_turn", "tilt", "any_turn", "perspective",
                                     "band", "paste", "inset", "blend", "strip")}
        config["later"] |= kept
    if what == "tones":
        kept = {k: none[k] for k in ("jitter", "grey", "sepia", "channels", "gamma", "vignette",
                                     "blur", "motion", "shrink", "sharpen", "noise", "scanlines",
                                     "jpeg")}
        config["later"] |= kept
    return config


def chosen(pool: Pool, what: str) -> Pool:
    """The pool with one kind of picture left for training; what is held out stays."""
    if what not in ("photographs", "drawn"):
        return pool
    use = pool.held | ((pool.folder >= 0) == (what == "photographs"))
    names = [name for name, kept in zip(pool.names, use, strict=True) if kept]
    return replace(pool, pixels=pool.pixels[use], folder=pool.folder[use], scene=pool.scene[use],
                   held=pool.held[use], names=names)


def score(title: str, cache: Path, steps: int) -> dict[str, float]:
    """Train one short run and judge it."""
    what, shape = RUNS.get(title, ""), SHAPES.get(title, SHAPE)
    pool = load_pool(None, cache, size=_SIZE, drawn=_DRAWN)
    trial = Trial.of(pool, count=150)
    with tempfile.TemporaryDirectory() as folder:
        net = train(configured(what), chosen(pool, what), Path(folder), steps=steps, shape=shape)
    return {**evaluate(net, trial), "GMAC": macs(net) / 1e9}


def macs(net: TwinNet) -> int:
    """Multiplications of the convolutions for one picture of the released size."""
    side, total = SIZE, 0
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            side //= module.stride[0]
            total += side**2 * module.weight.numel()
    return total


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, default=Path("../shared/images"))
    parser.add_argument("--cache", type=Path, default=Path("runs/ablation.npz"))
    parser.add_argument("--steps", type=int, default=500)
    args = parser.parse_args()
    pool = load_pool(args.images, args.cache, size=_SIZE, drawn=_DRAWN, seed=7)
    photos = int((pool.folder >= 0).sum())
    print(f"{photos} photographs, {_DRAWN} drawn; {args.steps} steps of 48 pairs\n")
    names = ("top1", "uap", "top1/rot90", "top1/blurred_sides", "top1/paste70", "top1/blur", "GMAC")
    print("| run | " + " | ".join(n.removeprefix("top1/") for n in names) + " |")
    print("|" + "---|" * (len(names) + 1))
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as workers:
        titles = [*RUNS, *SHAPES]
        found = workers.map(score, titles, repeat(args.cache), repeat(args.steps))
        for title, scores in zip(titles, found, strict=True):
            values = " | ".join(f"{np.round(scores[n], 3):.3f}" for n in names)
            print(f"| {title} | {values} |", flush=True)


if __name__ == "__main__":
    main()
