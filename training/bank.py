"""A bank of background descriptors, for score normalisation.

    python -m training.bank --run runs/v1 --to src/twinreel/data

Goes in: the released weights and the run's pictures. Comes out: `twin-v1-bank.safetensors` with
`bank`, float16 (2000, 256), unit rows. A frame's mean cosine with its nearest rows of the bank says
how common it looks; subtracting it from a score makes scores of different frames comparable
(Pizzi et al. 2022, score normalisation in section 5).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor
from torch.nn import functional as F

from training.data import Pool, load_pool
from training.evaluate import embed
from training.release import FILE, VERSION
from training.train import Config, Views
from twinreel.models.twin import SIZE, TwinNet

BANK_FILE = "twin-v1-bank.safetensors"
_PHOTOS = 0.8  # share of the samples that are photographs


def samples(net: TwinNet, pool: Pool, config: Config, count: int, seed: int) -> Tensor:
    """Descriptors of training pictures, every other one mildly edited: float (count, 256)."""
    views = Views(pool, config)
    rng = torch.Generator().manual_seed(seed)
    kept = torch.from_numpy(pool.folder[~pool.held])
    photos, drawn = (kept >= 0).nonzero().flatten(), (kept < 0).nonzero().flatten()

    def some(rows: Tensor, n: int) -> Tensor:
        return rows[torch.randperm(len(rows), generator=rng)[:n]]

    n_photos = min(int(count * _PHOTOS), len(photos))
    rows = torch.cat([some(photos, n_photos), some(drawn, count - n_photos)])
    rows = rows[torch.randperm(len(rows), generator=rng)]
    plain, edited = rows[::2], rows[1::2]
    pixels = [views.pixels[plain]]
    for i in range(0, len(edited), 64):
        made, _ = views.weak(edited[i : i + 64], size=SIZE, rng=rng)
        pixels.append((made * 255).round().to(torch.uint8))
    return embed(net, torch.cat([F.interpolate(p, (SIZE, SIZE)) for p in pixels]))


def spread(z: Tensor, count: int, seed: int, rounds: int = 8) -> Tensor:
    """Spherical k-means centres of z float (n, d): float (count, d), unit rows."""
    rng = torch.Generator().manual_seed(seed)
    centres = z[torch.randperm(len(z), generator=rng)[:count]].clone()
    for _ in range(rounds):
        nearest = (z @ centres.T).argmax(dim=1)
        sums = torch.zeros_like(centres).index_add_(0, nearest, z)
        alive = sums.norm(dim=1) > 0
        centres[alive] = F.normalize(sums[alive], dim=1)
    return centres


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/v1"))
    parser.add_argument("--to", type=Path, default=Path("src/twinreel/data"))
    parser.add_argument("--count", type=int, default=2000)
    args = parser.parse_args()
    torch.set_num_threads(1)
    state = torch.load(args.run / "last.pt", map_location="cpu", weights_only=True)
    data = state["config"]["data"]
    pool = load_pool(None, args.run / "pool.npz", size=data["size"], drawn=data["drawn"])
    weights = args.to / FILE
    net = TwinNet.fused(load_file(weights))
    z = samples(net, pool, state["config"], args.count * 3, seed=9)
    bank = spread(z, args.count, seed=9)
    blob = save({"bank": bank.half()}, metadata={
        "format": "pt", "model": VERSION, "data_sha256": pool.sha256,
        "weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
    })
    part = args.to / (BANK_FILE + ".part")
    part.write_bytes(blob)
    os.replace(part, args.to / BANK_FILE)
    cosine = bank @ bank.T
    cosine.fill_diagonal_(-1)
    print(json.dumps({
        "rows": len(bank), "bytes": len(blob), "sha256": hashlib.sha256(blob).hexdigest(),
        "median_nearest_cosine": float(cosine.max(dim=1).values.median()),
        "mean_cosine": float(cosine.sum() + len(bank)) / len(bank) / (len(bank) - 1),
    }, indent=2))


if __name__ == "__main__":
    main()
