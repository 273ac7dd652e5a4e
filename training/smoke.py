"""Is the recipe alive? Two minutes of training on drawn pictures must beat the untrained network.

    python -m training.smoke

A fixed number of steps, so that a busy machine gives the same answer later, not another one. No
file is read but the config; no network, no photographs. Exit status 1 if the trained network is not
clearly better.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import torch

from training.data import build_pool
from training.evaluate import Trial, evaluate
from training.train import read_config, train
from twinreel.models.twin import TwinNet

_PICTURES = 600
_SIZE = 80
_STEPS = 250  # about two minutes on one core
_GAIN = 0.1  # micro average precision that training must add


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=_STEPS)
    args = parser.parse_args()
    config = read_config(Path(__file__).with_name("config.toml"))
    config["size"] = {"until": [1.0], "side": [64]}
    config["views"]["pairs"] = 48
    config["loss"]["memory"] = 1024
    config["optimiser"]["ema"] = 0.95
    config["optimiser"]["warmup"] = 0.1
    config["evaluate_minutes"] = 1e9
    config["data"]["sprites"] = 64
    config["views"]["weak_second"] = [0.5, 0.5]
    pool = build_pool(None, size=_SIZE, drawn=_PICTURES, seed=config["seed"], held_share=0.2)
    trial = Trial.of(pool, count=100)
    torch.manual_seed(config["seed"])
    before = evaluate(TwinNet(), trial)
    with tempfile.TemporaryDirectory() as folder:
        net = train(config, pool, Path(folder), steps=args.steps)
        print((Path(folder) / "log.jsonl").read_text())
    after = evaluate(net, trial)
    for name, scores in (("untrained", before), ("trained", after)):
        print(f"{name:10s} uap {scores['uap']:.3f} top1 {scores['top1']:.3f}")
    if after["uap"] < before["uap"] + _GAIN:
        print(f"training added {after['uap'] - before['uap']:.3f}, at least {_GAIN} is expected")
        sys.exit(1)


if __name__ == "__main__":
    main()
