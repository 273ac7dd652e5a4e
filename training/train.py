"""The training loop.

    python -m training.train --config training/config.toml --images ../shared/images --out runs/v1

Goes in: a config, image folders. Comes out, in --out: `last.pt` (everything to go on from),
`average.pt` (the averaged weights alone), `log.jsonl` (one line per event), `pool.npz` (the decoded
pictures). Start the same command again after any interruption: it goes on from `last.pt`.
`training.release` turns `average.pt` into shipped weights at any time.

The same command runs on a processor and on a GPU, where views are made on the GPU, too, and the
network computes in bfloat16.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import math
import os
import time
import tomllib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.augment import Edits, parts
from training.data import Pool, load_pool
from training.evaluate import Trial, evaluate
from training.loss import Memory, copy_loss
from training.sprites import draw_sprites
from training.strength import WEAK, Strength
from twinreel.models.twin import SHAPE, Shape, TwinNet, normalise

Config = dict[str, Any]


def read_config(path: Path) -> Config:
    """The config as a dictionary, with "sha256" of the file's text added."""
    text = path.read_bytes()
    config = tomllib.loads(text.decode())
    config["sha256"] = hashlib.sha256(text).hexdigest()
    return config


class Views:
    """Makes the batch of a step; it depends on seed, step and kind of device alone."""

    def __init__(self, pool: Pool, config: Config, device: str = "cpu") -> None:
        self.device = device
        pixels = torch.from_numpy(pool.pixels)
        sprites = torch.from_numpy(draw_sprites(config["data"]["sprites"], config["seed"]))
        sprites = sprites.to(device)
        # Held-out pictures are left out here for good: not even as background are they seen.
        kept = torch.from_numpy(~pool.held).nonzero().flatten()
        self.pixels = pixels[kept].to(device)
        self.scene = torch.from_numpy(pool.scene)[kept].to(device)
        folders = {name.split("/")[0]: int(f) for name, f in zip(pool.names, pool.folder,
                                                                 strict=True)}
        folder = torch.from_numpy(pool.folder)[kept]
        self.weight = torch.ones(len(kept))
        for name, weight in config["data"]["weights"].items():
            if name in folders:
                self.weight[folder == folders[name]] = weight
        self.weight = self.weight.to(device)
        self.part: float = config["views"].get("part", 0.0)
        self.part_area: float = config["views"].get("part_area", 0.25)
        self.strong = Edits(self.pixels, sprites, Strength())
        self.later = Edits(self.pixels, sprites, Strength(**config["later"]))
        self.later_from: float = config["views"]["later_from"]
        self.weak = Edits(self.pixels, sprites, WEAK)
        self.pairs: int = config["views"]["pairs"]
        self.weak_first: float = config["views"]["weak_first"]
        self.weak_second: list[float] = config["views"]["weak_second"]
        self.ramp: float = config["views"]["ramp"]
        self.seed: int = config["seed"]

    def batch(self, step: int, size: int, share: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
        """Views of a step.

        Args:
            share: how much of the run is done; the second views get stronger with it.

        Returns:
            float (2 pairs, 3, size, size) in 0..1; scene and other scene, int64 (2 pairs,).
        """
        rng = torch.Generator(self.device).manual_seed(self.seed * 1_000_003 + step)
        rows = torch.multinomial(self.weight, self.pairs, generator=rng)
        early, late = self.weak_second
        second = early + (late - early) * min(1.0, share / self.ramp)
        first = int(round(self.pairs * self.weak_first))
        # Weak second views start halfway, so that they meet weak and strong first views.
        start = self.pairs + self.pairs // 2
        mild = torch.zeros(2 * self.pairs, dtype=torch.bool, device=self.device)
        mild[:first] = True
        mild[start : start + int(round(self.pairs * second))] = True
        twice = rows.repeat(2)
        part = parts(self.pairs, self.part, self.part_area, rng).repeat(2, 1, 1)
        views = torch.empty(2 * self.pairs, 3, size, size, device=self.device)
        other = torch.empty(2 * self.pairs, dtype=torch.int64, device=self.device)
        strong = self.strong if share < self.later_from else self.later
        for which, edits in ((mild, self.weak), (~mild, strong)):
            views[which], other[which] = edits(twice[which], size=size, rng=rng, part=part[which])
        shown = torch.where(other >= 0, self.scene[other.clamp(min=0)], -1)
        return views, self.scene[rows].repeat(2), shown


def view_side(config: Config, share: float) -> int:
    """Side of the views when `share` of the run is done."""
    for until, side in zip(config["size"]["until"], config["size"]["side"], strict=True):
        if share < until:
            return int(side)
    return int(config["size"]["side"][-1])


def rate_at(config: Config, share: float) -> float:
    """Learning rate: linear warm-up, then cosine to one percent."""
    warm, top = config["optimiser"]["warmup"], config["optimiser"]["rate"]
    if share < warm:
        return float(top * max(share / warm, 0.01))
    done = (share - warm) / (1 - warm)
    return float(top * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))))


@torch.no_grad()
def follow(ema: TwinNet, net: TwinNet, decay: float) -> None:
    """Move the averaged weights and statistics a step towards the network."""
    both = list(zip(ema.state_dict().values(), net.state_dict().values(), strict=True))
    moved = [(a, b) for a, b in both if a.is_floating_point()]
    torch._foreach_lerp_([a for a, _ in moved], [b for _, b in moved], 1 - decay)
    for a, b in both:
        if not a.is_floating_point():
            a.copy_(b)


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint whole or not at all."""
    part = path.with_name(path.name + ".part")
    torch.save(state, part)
    os.replace(part, path)


def train(config: Config, pool: Pool, out: Path, *, minutes: float | None = None,
          steps: int | None = None, start: Path | None = None,
          shape: Shape = SHAPE) -> TwinNet:
    """Train until the time is used up.

    Args:
        config: see `config.toml`.
        out: folder for `last.pt`, `average.pt` and `log.jsonl`; an existing `last.pt` is continued.
        minutes: instead of the config's.
        steps: stop after so many steps instead of by the clock; the same on any machine.
        start: checkpoint of an earlier run whose averaged weights this run begins with.
        shape: of the network.

    Returns:
        The network with averaged weights, eval mode.
    """
    budget = (minutes or config["minutes"]) * 60
    torch.set_num_threads(config["threads"])
    torch.manual_seed(config["seed"])
    out.mkdir(parents=True, exist_ok=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.benchmark = True
    views = Views(pool, config, device)
    trial = Trial.of(pool, count=150)
    held = [name for name, out_of_it in zip(pool.names, pool.held, strict=True) if out_of_it]
    net = TwinNet(shape=shape).to(device, memory_format=torch.channels_last)
    decayed = [p for p in net.parameters() if p.ndim > 1]
    plain = [p for p in net.parameters() if p.ndim <= 1]
    opt = config["optimiser"]
    optimiser = torch.optim.AdamW([{"params": decayed, "weight_decay": opt["weight_decay"]},
                                   {"params": plain, "weight_decay": 0.0}], betas=(0.9, 0.98),
                                  fused=device == "cuda")
    ema = copy.deepcopy(net).eval()
    memory = Memory(config["loss"]["memory"], device=device)
    spread: float = config["loss"]["spread"]
    nested = {int(k): float(v) for k, v in config["loss"]["nested"].items()}
    step, spent = 0, 0.0
    last = out / "last.pt"
    if last.exists():
        state = torch.load(last, map_location=device, weights_only=True)
        net.load_state_dict(state["net"])
        ema.load_state_dict(state["ema"])
        optimiser.load_state_dict(state["optimiser"])
        memory.load(state["memory"])
        step, spent = state["step"], state["spent"]
    elif start is not None:
        weights = torch.load(start, map_location=device, weights_only=True)["ema"]
        net.load_state_dict(weights)
        ema.load_state_dict(weights)

    with (out / "log.jsonl").open("a", buffering=1) as log:
        def say(event: str, **values: Any) -> None:
            rounded = {k: round(v, 5) if isinstance(v, float) else v for k, v in values.items()}
            line = {"event": event, "step": step, "minutes": round(spent / 60, 2), **rounded}
            log.write(json.dumps(line) + "\n")

        def keep() -> None:
            save(last, {"net": net.state_dict(), "ema": ema.state_dict(), "step": step,
                        "optimiser": optimiser.state_dict(), "memory": memory.state(),
                        "spent": spent, "config": config, "data_sha256": pool.sha256})
            save(out / "average.pt", {"ema": ema.state_dict(), "step": step, "spent": spent,
                                      "config": config, "data_sha256": pool.sha256,
                                      "held": held, "device": device})

        say("start", device=device, pictures=len(views.pixels), budget_minutes=budget / 60)
        saved, judged, said = spent, spent, spent
        seen = 0
        sums: dict[str, Tensor] = {}
        steps_said = 0
        while (share := step / steps if steps else spent / budget) < 1:
            began = time.monotonic()
            size = view_side(config, share)
            pixels, scene, other = views.batch(step, size, share)
            x = normalise(pixels * 255)
            rate = rate_at(config, share)
            for group in optimiser.param_groups:
                group["lr"] = rate
            net.train()
            with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
                z = net(x)
            loss, terms = copy_loss(z, scene, other, memory, nested=nested,
                                    temperature=config["loss"]["temperature"],
                                    spread=spread * min(1.0, share / config["loss"]["ramp"]),
                                    use_memory=share >= config["loss"]["memory_from"])
            if not math.isfinite(loss.item()):
                raise FloatingPointError(f"loss {loss.item()} at step {step}: lower the rate, "
                                         f"{last} holds the state before")
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), opt["clip"])
            optimiser.step()
            step += 1
            follow(ema, net, min(opt["ema"], (1 + step) / (10 + step)))
            spent += time.monotonic() - began
            seen += len(z)
            steps_said += 1
            for name, value in {**terms, "loss": loss.detach()}.items():
                sums[name] = sums[name] + value if name in sums else value
            done = step >= steps if steps else spent >= budget
            if spent - said > 60 or done:
                mean = {k: v.item() / steps_said for k, v in sums.items()}
                say("train", size=size, rate=rate, views_per_s=seen / (spent - said), **mean)
                said, seen, steps_said = spent, 0, 0
                sums = {}
            began = time.monotonic()
            if spent - judged > config["evaluate_minutes"] * 60 or done:
                judged = spent
                say("evaluate", **evaluate(ema, trial))
            if spent - saved > config["checkpoint_minutes"] * 60 or done:
                saved = spent
                keep()
            spent += time.monotonic() - began
        keep()  # an evaluation may have used up the last of the time
        say("end")
    return ema.eval()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=Path("training/config.toml"))
    parser.add_argument("--images", type=Path, default=Path("../shared/images"))
    parser.add_argument("--out", type=Path, default=Path("runs/v1"))
    parser.add_argument("--pool", type=Path, help="decoded pictures; default OUT/pool.npz")
    parser.add_argument("--minutes", type=float, help="instead of the config's")
    parser.add_argument("--start", type=Path, help="last.pt of an earlier run to begin with")
    args = parser.parse_args()
    config = read_config(args.config)
    data = config["data"]
    pool = load_pool(args.images, args.pool or args.out / "pool.npz", size=data["size"],
                     drawn=data["drawn"], seed=data.get("seed", config["seed"]),
                     held_share=data["held_share"])
    train(config, pool, args.out, minutes=args.minutes, start=args.start)


if __name__ == "__main__":
    main()
