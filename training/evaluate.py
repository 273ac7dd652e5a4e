"""How good the network is while it trains: held-out photographs, edits made by other code.

Goes in: a network and the pool. Comes out: per edit the share of copies whose original comes first
(top-1), and micro average precision over all copies.

    scores = evaluate(net, Trial.of(pool, count=150, seed=0))
    scores["uap"], scores["top1"], scores["top1/rot90"]

The edits here are done by Pillow one picture at a time and share nothing with `training.augment`.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps
from torch import Tensor, nn

from training.data import Pool
from twinreel.models.twin import SIZE, normalise, shorten

Picture = Image.Image


def _jpeg(im: Picture, other: Picture) -> Picture:
    kept = io.BytesIO()
    im.resize((im.width * 3 // 4, im.height * 3 // 4)).save(kept, "JPEG", quality=12)
    return Image.open(kept).convert("RGB")


def _crop(x: float, y: float, w: float, h: float) -> Callable[[Picture, Picture], Picture]:
    def edit(im: Picture, other: Picture) -> Picture:
        side = im.width
        return im.crop((int(x * side), int(y * side), int((x + w) * side), int((y + h) * side)))
    return edit


def _paste(wide: float, x: float, y: float) -> Callable[[Picture, Picture], Picture]:
    def edit(im: Picture, other: Picture) -> Picture:
        side = im.width
        small = im.resize((int(side * wide), int(side * wide)), Image.Resampling.LANCZOS)
        ground = other.copy()
        ground.paste(small, (int((side - small.width) * x), int((side - small.height) * y)))
        return ground
    return edit


def _blurred_sides(im: Picture, other: Picture) -> Picture:
    side = im.width
    ground = im.crop((side // 3, 0, side * 2 // 3, side)).resize((side, side))
    ground = ground.filter(ImageFilter.GaussianBlur(side / 30))
    ground.paste(im.resize((side, int(side * 0.33))), (0, int(side * 0.335)))
    return ground


def _screen(im: Picture, other: Picture) -> Picture:
    side = im.width
    ground = Image.new("RGB", (side, side), (32, 34, 37))
    ImageDraw.Draw(ground).rectangle((0, 0, side, side * 0.065), (58, 61, 66))
    ground.paste(im.resize((int(side * 0.86), int(side * 0.77))), (int(side * 0.07),
                                                                 int(side * 0.07)))
    return ground


def _text(im: Picture, other: Picture) -> Picture:
    out = im.copy()
    draw = ImageDraw.Draw(out)
    draw.text((8, 8), "SHARE THIS", (255, 255, 255), font=ImageFont.load_default(size=24),
              stroke_width=2, stroke_fill=(0, 0, 0))
    return out


def _sepia_dark(im: Picture, other: Picture) -> Picture:
    toned = ImageOps.colorize(im.convert("L"), (20, 10, 0), (255, 240, 200))
    return ImageEnhance.Brightness(toned).enhance(0.6)


EDITS: dict[str, Callable[[Picture, Picture], Picture]] = {
    "jpeg": _jpeg,
    "mirror": lambda im, other: ImageOps.mirror(im),
    "vflip": lambda im, other: ImageOps.flip(im),
    "rot90": lambda im, other: im.transpose(Image.Transpose.ROTATE_90),
    "rot180": lambda im, other: im.transpose(Image.Transpose.ROTATE_180),
    "corner": _crop(0, 0, 0.837, 0.837),
    "centre60": _crop(0.11, 0.11, 0.775, 0.775),
    "vertical": _crop(0.34, 0, 0.32, 1),
    "letterbox": lambda im, other: ImageOps.pad(im.resize((160, 108)), (160, 160)),
    "blurred_sides": _blurred_sides,
    "screen": _screen,
    "paste70": _paste(0.7, 0.5, 0.5),
    "paste40": _paste(0.4, 0.95, 0.95),
    "inset30": lambda im, other: _paste(0.3, 0.95, 0.05)(other, im),
    "stack": lambda im, other: _stack(im, other),
    "text": _text,
    "sepia_dark": _sepia_dark,
    "blur": lambda im, other: im.filter(ImageFilter.GaussianBlur(2.5)),
    "pixelate": lambda im, other: im.resize((20, 20), Image.Resampling.BOX).resize(
        im.size, Image.Resampling.NEAREST),
}


def _stack(im: Picture, other: Picture) -> Picture:
    side = im.width
    out = Image.new("RGB", (side, side))
    out.paste(im.resize((side, side // 2)), (0, 0))
    out.paste(other.resize((side, side // 2)), (0, side // 2))
    return out


@dataclass(frozen=True)
class Trial:
    """Queries and gallery.

    Attributes:
        gallery: uint8 (g, 3, size, size), originals first, then pictures nobody asks for.
        queries: edit -> uint8 (q, 3, size, size); query i belongs to gallery i.
    """

    gallery: Tensor
    queries: dict[str, Tensor]

    @classmethod
    def of(cls, pool: Pool, *, count: int, seed: int = 0, distractors: int = 400) -> Trial:
        """Take held-out photographs (drawn pictures if there are none) and edit them."""
        rng = np.random.default_rng([22, seed])
        held = np.flatnonzero(pool.held & (pool.folder >= 0))
        if not len(held):
            held = np.flatnonzero(pool.held)
        rest = rng.permutation(held)
        chosen, extra = rest[:count], rest[count : count + distractors]
        side = min(SIZE, pool.pixels.shape[-1])
        images = at_size(pool, chosen, side)
        # What is shown beside a picture is not in the gallery, else it would be a right answer too.
        beside = rng.permutation(np.flatnonzero(~pool.held))[: len(images)]
        others = at_size(pool, beside, side)
        queries = {}
        for name, edit in EDITS.items():
            made = [edit(im, others[k % len(others)]) for k, im in enumerate(images)]
            made = [im.resize((side, side), Image.Resampling.BICUBIC) for im in made]
            queries[name] = stacked(made)
        shown = at_size(pool, np.concatenate([chosen, extra]), side)
        return cls(stacked(shown), queries)


def at_size(pool: Pool, rows: np.ndarray, side: int) -> list[Picture]:
    """Pictures of a pool at another size."""
    whole = (Image.fromarray(pool.pixels[i].transpose(1, 2, 0)) for i in rows)
    return [im.resize((side, side), Image.Resampling.BICUBIC) for im in whole]


def stacked(images: list[Picture]) -> Tensor:
    """uint8 (n, 3, h, w)."""
    return torch.from_numpy(np.stack([np.asarray(im).transpose(2, 0, 1) for im in images]))


@torch.inference_mode()
def embed(net: nn.Module, pixels: Tensor, batch: int = 64) -> Tensor:
    """uint8 (n, 3, h, w) -> float32 (n, 256), network in eval mode."""
    net.eval()
    device = next(net.parameters()).device
    return torch.cat([net(normalise(pixels[i : i + batch].to(device))).cpu()
                      for i in range(0, len(pixels), batch)])


def evaluate(net: nn.Module, trial: Trial, dim: int = 256) -> dict[str, float]:
    """Search every edited copy in the gallery: `judge` of what the network makes of the trial."""
    return judge(*embed_trial(net, trial), dim)


def embed_trial(net: nn.Module, trial: Trial) -> tuple[Tensor, dict[str, Tensor]]:
    """Descriptors of the gallery, float (g, 256), and of the queries by edit."""
    return embed(net, trial.gallery), {k: embed(net, v) for k, v in trial.queries.items()}


def judge(gallery: Tensor, queries: dict[str, Tensor], dim: int = 256) -> dict[str, float]:
    """How often, and how clearly, the original of a copy is found by its first `dim` numbers.

    Returns:
        "top1", "uap" (micro average precision over the best 20 answers of each query), and
        "top1/EDIT" for each edit.
    """
    gallery = shorten(gallery, dim)
    out: dict[str, float] = {}
    scores, right = [], []
    total = 0
    for name, z in queries.items():
        cosine = shorten(z, dim) @ gallery.T  # (q, g)
        best = cosine.topk(min(20, cosine.shape[1]), dim=1)
        hit = best.indices == torch.arange(len(z))[:, None]
        out[f"top1/{name}"] = float(hit[:, 0].float().mean())
        scores.append(best.values.flatten())
        right.append(hit.flatten())
        total += len(z)
    order = torch.cat(scores).argsort(descending=True)
    hits = torch.cat(right)[order].double()
    precision = hits.cumsum(0) / torch.arange(1, len(hits) + 1)
    out["uap"] = float((precision * hits).sum() / total)
    out["top1"] = float(np.mean([v for k, v in out.items() if k.startswith("top1/")]))
    return out
