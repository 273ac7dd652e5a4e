"""Turn a checkpoint into the weights that are shipped.

    python -m training.release --run runs/v1 --to src/twinreel/data

Goes in: `average.pt` (running or finished) and `pool.npz` of a run. Comes out:
`twin-v1.safetensors`, float16, fused in float64, with the identity of run and data as metadata; the
figures go to `release.json` in the run's folder. A finished run has averaged its batch-norm
statistics at the released size; one that is still at smaller views wants `--settle 40`, which
measures them anew.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from training.data import Pool, load_pool
from training.evaluate import Trial, embed, embed_trial, evaluate, judge
from training.train import Config, Views
from twinreel.models.twin import NESTED, SIZE, TwinNet, normalise

VERSION = "twin.v1"
FILE = "twin-v1.safetensors"


@torch.no_grad()
def settle(net: TwinNet, views: Views, steps: int) -> None:
    """Replace the running statistics of every batch norm by plain means over `steps` batches."""
    norms = [m for m in net.modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d))]
    kept = [m.momentum for m in norms]
    for m in norms:
        m.reset_running_stats()
        m.momentum = None  # torch: cumulative mean
    net.train()
    for step in range(steps):
        # Step numbers that no run reaches: views that training did not see.
        pixels, _, _ = views.batch(10**9 + step, SIZE)
        net(normalise(pixels * 255))
    for m, momentum in zip(norms, kept, strict=True):
        m.momentum = momentum
    net.eval()


def pack(net: TwinNet, metadata: dict[str, str]) -> bytes:
    """A fused network as safetensors, float16."""
    state = {name: tensor.half().contiguous() for name, tensor in net.state_dict().items()}
    return save(state, metadata=metadata)


def agreement(a: Tensor, b: Tensor) -> float:
    """Smallest cosine between rows of a and b, float (n, d)."""
    return float(torch.nn.functional.cosine_similarity(a, b).min())


@torch.inference_mode()
def rate(net: nn.Module, dtype: torch.dtype, batch: int = 16, rounds: int = 12) -> float:
    """Frames per CPU second of one thread at the released size."""
    net = net.to(dtype)
    x = normalise(torch.randint(0, 256, (batch, 3, SIZE, SIZE), dtype=torch.uint8)).to(dtype)
    net(x)
    began = time.process_time()
    for _ in range(rounds):
        net(x)
    return batch * rounds / (time.process_time() - began)


def write(fused: TwinNet, state: dict[str, Any], checkpoint: Path, to: Path) -> dict[str, object]:
    """Write the weights file, whole or not at all; return its size and sha256."""
    blob = pack(fused, {
        "format": "pt", "name": VERSION, "licence": "Apache-2.0", "step": str(state["step"]),
        "config_sha256": state["config"]["sha256"], "data_sha256": state["data_sha256"],
        "seed": str(state["config"]["seed"]), "minutes": f"{state['spent'] / 60:.1f}",
        "run_sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
    })
    to.mkdir(parents=True, exist_ok=True)
    part = to / (FILE + ".part")
    part.write_bytes(blob)
    os.replace(part, to / FILE)
    return {"bytes": len(blob), "sha256": hashlib.sha256(blob).hexdigest()}


def release(state: dict[str, Any], checkpoint: Path, pool: Pool, to: Path, *,
            settle_steps: int = 0) -> dict[str, object]:
    """Settle, fuse and write the weights; return what was measured on the way."""
    config: Config = state["config"]
    held = [name for name, out_of_it in zip(pool.names, pool.held, strict=True) if out_of_it]
    # Not the hash of the pixels: another Pillow decodes and draws a few of them differently.
    if state["held"] != held:
        raise ValueError(f"{checkpoint} was trained without {len(state['held'])} pictures, the "
                         f"pool holds out {len(held)} others; give the run's own pool.npz")
    torch.set_num_threads(1)
    net = TwinNet()
    net.load_state_dict(state["ema"])
    if settle_steps:
        settle(net, Views(pool, config), settle_steps)
    net.eval()
    fused = net.fuse()
    half = {name: tensor.half() for name, tensor in fused.state_dict().items()}
    shipped = TwinNet.fused(half)
    trial = Trial.of(pool, count=150)
    probe = torch.cat([trial.gallery[:100], *[q[:10] for q in trial.queries.values()]])
    reference = embed(net, probe)
    with torch.inference_mode():
        low = shipped.to(torch.bfloat16)(normalise(probe).bfloat16())
    shipped = TwinNet.fused(half)
    gallery, queries = embed_trial(shipped, trial)
    figures: dict[str, object] = {
        "step": state["step"],
        "minutes": round(state["spent"] / 60, 2),
        "parameters": sum(p.numel() for p in shipped.parameters()),
        "fused_max_difference": float((embed(fused, probe) - reference).abs().max()),
        "float16_weights_min_cosine": agreement(embed(shipped, probe), reference),
        "bf16_min_cosine": agreement(low, embed(shipped, probe)),
        "bf16_mean_cosine": float((low * embed(shipped, probe)).sum(1).mean()),
        "held_out": {dim: judge(gallery, queries, dim) for dim in NESTED},
        "untrained": evaluate(TwinNet().fuse(), trial),
        "frames_per_cpu_s_fp32": rate(TwinNet.fused(half), torch.float32),
        "frames_per_cpu_s_bf16": rate(TwinNet.fused(half), torch.bfloat16),
    }
    figures |= write(fused, state, checkpoint, to)
    return figures


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/v1"))
    parser.add_argument("--to", type=Path, default=Path("src/twinreel/data"))
    parser.add_argument("--settle", type=int, default=0,
                        help="batches to measure batch-norm statistics on anew")
    parser.add_argument("--quick", action="store_true",
                        help="write what the checkpoint holds, settle and measure nothing")
    args = parser.parse_args()
    checkpoint = args.run / "average.pt"
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    if args.quick:
        net = TwinNet()
        net.load_state_dict(state["ema"])
        print(json.dumps(write(net.eval().fuse(), state, checkpoint, args.to)))
        return
    data = state["config"]["data"]
    pool = load_pool(None, args.run / "pool.npz", size=data["size"], drawn=data["drawn"])
    figures = release(state, checkpoint, pool, args.to, settle_steps=args.settle)
    text = json.dumps(figures, indent=2)
    (args.run / "release.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
